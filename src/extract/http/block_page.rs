use memchr::memmem;

use super::Response;

/// How far into a body a block page's mark is looked for, in bytes. FortiGate's follows 5 KB of
/// style sheet.
const SEARCHED: usize = 8 * 1024;

/// Names the product whose block page a response is, `None` for any other response.
///
/// `body` is what is there of the bytes that follow the head, in any transfer coding. Only marks
/// that the device itself sets count, never a mere status: an origin server sends 403 as well.
pub fn deny_marker(response: &Response, body: &[u8]) -> Option<&'static str> {
    let body = &body[..body.len().min(SEARCHED)];
    let says = |words: &str| memmem::find(body, words.as_bytes()).is_some();
    let starts = |header: &Option<String>, with: &str| {
        header.as_deref().is_some_and(|text| text.starts_with(with))
    };
    match response.status {
        470 if says("Action: Deny") => Some("azure-firewall"),
        403 if says("FortiGuard Intrusion Prevention") => Some("fortigate"),
        403 if starts(&response.server, "Zscaler") => Some("zscaler"),
        301..=307 if leads_to_websense(response) => Some("websense"),
        _ if starts(&response.squid_error, "ERR_ACCESS_DENIED")
            || starts(&response.squid_error, "ERR_CACHE_ACCESS_DENIED") =>
        {
            Some("squid")
        }
        // Its own page about a destination that it can't reach.
        500..=599 if starts(&response.squid_error, "ERR_") => Some("squid"),
        _ => None,
    }
}

/// The block page service listens on port 15871 of the filtering host.
fn leads_to_websense(response: &Response) -> bool {
    response
        .location
        .as_deref()
        .is_some_and(|location| location.contains(":15871/cgi-bin/blockpage.cgi"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extract::{
        Probe,
        http::{Asked, response},
    };

    fn marker(bytes: &[u8]) -> Option<&'static str> {
        let Probe::Found(found) = response(bytes, Asked::Other) else {
            panic!("no response");
        };
        deny_marker(&found, &bytes[found.len..])
    }

    #[test]
    fn names_the_device() {
        for (bytes, product) in [
            (
                "HTTP/1.1 470 status code 470\r\nContent-Length: 70\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nAction: Deny. Reason: No rule matched. Proceeding with default action.",
                "azure-firewall",
            ),
            (
                "HTTP/1.1 470 x\r\nTransfer-Encoding: chunked\r\n\r\n2b\r\nHTTP request from 10.0.0.4. Action: Deny. X",
                "azure-firewall",
            ),
            (
                "HTTP/1.1 403 Forbidden\r\nServer: squid/5.7\r\nX-Squid-Error: ERR_ACCESS_DENIED 0\r\n\r\n",
                "squid",
            ),
            (
                "HTTP/1.1 407 Proxy Authentication Required\r\nX-Squid-Error: ERR_CACHE_ACCESS_DENIED 0\r\n\r\n",
                "squid",
            ),
            (
                "HTTP/1.1 403 Forbidden\r\n\r\n<h1>FortiGuard Intrusion Prevention - Access Blocked</h1>",
                "fortigate",
            ),
            ("HTTP/1.1 403 Forbidden\r\nServer: Zscaler/6.2\r\n\r\n", "zscaler"),
            ("HTTP/1.1 503 x\r\nX-Squid-Error: ERR_CONNECT_FAIL 111\r\n\r\n", "squid"),
            (
                "HTTP/1.1 302 Moved\r\nLocation: http://10.0.0.1:15871/cgi-bin/blockpage.cgi?ws-session=1\r\n\r\n",
                "websense",
            ),
        ] {
            assert_eq!(marker(bytes.as_bytes()), Some(product), "{bytes}");
        }
    }

    #[test]
    fn an_origin_servers_refusal_is_none() {
        for bytes in [
            "HTTP/1.1 403 Forbidden\r\nServer: nginx\r\n\r\n<h1>403 Forbidden</h1>",
            "HTTP/1.1 200 OK\r\n\r\nAction: Deny. FortiGuard Intrusion Prevention",
            "HTTP/1.1 503 Service Unavailable\r\nServer: nginx\r\n\r\n",
            "HTTP/1.1 470 x\r\n\r\n",
        ] {
            assert_eq!(marker(bytes.as_bytes()), None, "{bytes}");
        }
    }
}
