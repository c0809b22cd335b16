//! Whole messages of the server, read by tls-parser. This is the one file that names it.
//!
//! Two of its habits are kept out: it gives up an extension list at the first one that it can't
//! read, so it gets them one by one; and it knows no incomplete messages, so it gets whole ones.

use std::borrow::Cow;

use tls_parser::{
    TlsExtension, TlsMessage, TlsMessageHandshake, TlsServerHelloContents,
    parse_tls_message_handshake, parse_tls_server_hello_extension,
};

use super::{
    client::protocol_name,
    version::Version,
    wire::{self, extension},
};

/// What a ServerHello says (RFC 8446 section 4.1.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerHello {
    /// The version negotiated.
    pub version: Version,
    /// True for a HelloRetryRequest: another ClientHello and ServerHello follow.
    pub retry: bool,
    /// The protocol chosen (RFC 7301). TLS 1.3 hides it.
    pub alpn: Option<Cow<'static, str>>,
    /// TLS 1.3: a pre-shared key was accepted, in practice a resumption. For earlier versions see
    /// [`Event::ChangeCipherSpec`](super::Event::ChangeCipherSpec).
    pub psk: bool,
}

/// The random value that marks a HelloRetryRequest: SHA-256 of that word (RFC 8446 section 4.1.3).
const RETRY_RANDOM: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// Reads a whole ServerHello, message header included.
pub(super) fn server_hello(message: &[u8]) -> Option<ServerHello> {
    match parse(message)? {
        TlsMessageHandshake::ServerHello(hello) => Some(read_server_hello(&hello)),
        TlsMessageHandshake::ServerHelloV13Draft18(hello) => Some(ServerHello {
            version: Version(hello.version.0),
            retry: false,
            alpn: None,
            psk: false,
        }),
        _ => None,
    }
}

/// The certificates in a whole Certificate message of TLS 1.2 or earlier (RFC 5246 section
/// 7.4.2), header included, leaf first, as DER.
pub(super) fn certificates(message: &[u8]) -> Option<Vec<&[u8]>> {
    match parse(message)? {
        TlsMessageHandshake::Certificate(list) => {
            Some(list.cert_chain.iter().map(|c| c.data).collect())
        }
        _ => None,
    }
}

fn parse(message: &[u8]) -> Option<TlsMessageHandshake<'_>> {
    match parse_tls_message_handshake(message) {
        Ok((_, TlsMessage::Handshake(message))) => Some(message),
        _ => None,
    }
}

fn read_server_hello(hello: &TlsServerHelloContents<'_>) -> ServerHello {
    let mut read = ServerHello {
        version: Version(hello.version.0),
        retry: hello.random == RETRY_RANDOM,
        alpn: None,
        psk: false,
    };
    let told = |ext: &wire::Extension<'_>| {
        matches!(
            ext.kind,
            extension::SUPPORTED_VERSIONS | extension::ALPN | extension::PRE_SHARED_KEY
        )
    };
    for ext in wire::extensions(hello.ext.unwrap_or_default()).filter(told) {
        match parse_tls_server_hello_extension(ext.whole) {
            Ok((_, TlsExtension::SupportedVersions(chosen))) => {
                read.version = chosen.first().map_or(read.version, |v| Version(v.0));
            }
            Ok((_, TlsExtension::ALPN(chosen))) => {
                read.alpn = chosen.first().map(|protocol| protocol_name(protocol));
            }
            Ok((_, TlsExtension::PreSharedKey(_))) => read.psk = true,
            _ => {}
        }
    }
    read
}

#[cfg(test)]
mod tests {
    use super::super::{client::client_hello, testdata::*};
    use super::*;
    use crate::{base::HostName, extract::Probe};
    use proptest::prelude::*;
    use tls_parser::{TlsClientHelloContents, parse_tls_client_hello_extensions};

    /// Names, protocols and versions.
    type Offer = (Vec<Vec<u8>>, Vec<Vec<u8>>, Vec<u16>);

    fn of_parser(message: &[u8]) -> Option<Offer> {
        let TlsMessageHandshake::ClientHello(TlsClientHelloContents { ext, .. }) = parse(message)?
        else {
            return None;
        };
        let (mut names, mut alpn, mut versions) = (vec![], vec![], vec![]);
        for ext in parse_tls_client_hello_extensions(ext.unwrap_or_default()).ok()?.1 {
            match ext {
                TlsExtension::SNI(list) => {
                    names.extend(list.iter().filter(|n| n.0.0 == 0).map(|n| n.1.to_vec()));
                }
                TlsExtension::ALPN(list) => alpn = list.iter().map(|p| p.to_vec()).collect(),
                TlsExtension::SupportedVersions(list) => {
                    versions = list.iter().map(|v| v.0).collect();
                }
                _ => {}
            }
        }
        Some((names, alpn, versions))
    }

    /// Both readers see the same in a well-formed hello.
    fn agree(message: &[u8]) {
        let (names, alpn, versions) = of_parser(message).expect("tls-parser reads it");
        let Probe::Found(own) = client_hello(&records(22, message, &[])) else {
            panic!("no hello")
        };
        assert_eq!(own.sni, names.iter().find_map(|n| HostName::parse(n)));
        let alpn: Vec<_> = alpn.iter().map(|p| protocol_name(p)).collect();
        assert_eq!(own.alpn, alpn);
        let newest = Version::newest(versions.into_iter());
        assert_eq!(own.max_version, newest.unwrap_or(own.legacy_version));
    }

    #[test]
    fn both_readers_agree_on_recorded_hellos() {
        CLIENTS.iter().for_each(|stream| agree(first_payload(stream)));
    }

    proptest! {
        #[test]
        fn both_readers_agree_on_made_hellos(
            names in prop::collection::vec(("[a-zA-Z0-9.:-]{0,40}", any::<bool>()), 0..3),
            protocols in prop::collection::vec("[a-z0-9/.]{1,9}", 0..4),
            versions in prop::collection::vec(any::<u16>(), 0..5),
            before in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let entries: Vec<_> = names.iter().map(|(n, host)| (u8::from(!host), n.as_bytes())).collect();
            let list: Vec<u8> = protocols
                .iter()
                .flat_map(|p| [&[p.len() as u8], p.as_bytes()].concat())
                .collect();
            let supported: Vec<u8> = versions.iter().flat_map(|v| v.to_be_bytes()).collect();
            let block = [
                ext(0x0a0a, &before),
                ext(21, &before),
                server_name(&entries),
                ext(16, &[&(list.len() as u16).to_be_bytes()[..], &list].concat()),
                ext(43, &[&[supported.len() as u8][..], &supported].concat()),
            ]
            .concat();
            agree(&hello(Some(&block)));
        }

        #[test]
        fn any_message_is_survived(kind in prop::sample::select(vec![2u8, 11]), body in prop::collection::vec(any::<u8>(), 0..300)) {
            let len = (body.len() as u32).to_be_bytes();
            let message = [&[kind, len[1], len[2], len[3]][..], &body].concat();
            server_hello(&message);
            certificates(&message);
        }
    }

    #[test]
    fn one_malformed_extension_leaves_the_others() {
        let mut body = vec![3, 3];
        body.extend([1; 32]);
        body.extend([0, 0x13, 0x01, 0]);
        let block = [
            ext(23, &[9]), // has to be empty
            ext(16, &[0, 3, 2, b'h', b'2']),
            ext(43, &[3, 4]),
            ext(41, &[0, 0]),
        ]
        .concat();
        body.extend((block.len() as u16).to_be_bytes());
        body.extend(&block);
        let message = [&[2, 0, 0, body.len() as u8][..], &body].concat();
        let hello = server_hello(&message).unwrap();
        assert_eq!(hello.alpn.as_deref(), Some("h2"));
        assert_eq!(hello.version, Version::TLS13);
        assert!(hello.psk && !hello.retry);
    }
}
