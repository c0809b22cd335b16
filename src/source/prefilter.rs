/// A capture filter (pcap-filter(7)) for the kernel that drops the bulk of downloads: large segments
/// that servers send from ports 80 and 443, and that don't begin a TLS record or an HTTP answer.
///
/// Clients' frames are all kept, and so are small frames, SYN, FIN and RST, other ports, fragments,
/// tunnels and whatever else the filter can't look into. What it costs: the count of bytes that
/// came in; TLS certificates and HTTP heads that continue in a second segment.
pub fn prefilter() -> String {
    // A load beyond the frame's end rejects it, so the tests that need least come first.
    let tcp = |byte: &dyn Fn(&str, u8) -> String| {
        let flags = byte("13", 1);
        let at = |index: u8, len: u8| {
            // The data offset counts 32-bit words in the upper half of byte 12 (RFC 9293 section 3.1).
            let start = format!("(({} & 0xf0) >> 2)", byte("12", 1));
            byte(&format!("{start} + {index}"), len)
        };
        // SYN, FIN, RST; then records 20 to 23 of TLS (RFC 8446 section 5.1); then "HTTP".
        format!(
            "({flags} & 7 != 0 or ({0} >= 20 and {0} <= 23 and {1} = 3) or {2} = 0x48545450)",
            at(0, 1),
            at(1, 1),
            at(0, 4)
        )
    };
    let v4 = tcp(&|start, len| format!("tcp[{start}:{len}]"));
    // libpcap has no tcp[] over IPv6.
    let v6 = tcp(&|start, len| format!("ip6[40 + {start}:{len}]"));
    // Long headers of QUIC have the top bit set (RFC 9000 section 17.2).
    format!(
        "(less 600 or not (src port 80 or src port 443) \
         or (ip proto 6 and {v4}) or (ip6[6] = 6 and {v6}) \
         or (ip proto 17 and udp[8] & 0x80 != 0) or (ip6[6] = 17 and ip6[48] & 0x80 != 0))"
    )
}
