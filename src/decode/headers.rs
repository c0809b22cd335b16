//! The headers that are read by `etherparse`: the rare ones. What nearly every packet has (an IPv4
//! header without options, IPv6, TCP, UDP) is read by hand in `ip` and `transport`.

use etherparse::{
    IpAuthHeaderSlice, IpNumber, Ipv4HeaderSlice, Ipv6FragmentHeaderSlice, Ipv6RawExtHeaderSlice,
    MacsecHeaderSlice,
    err::{ip_auth, ipv4, macsec},
};

use super::{Undecoded, span::Span};

/// What an IPv4 header says, with or without options (RFC 791 section 3.1).
pub(super) struct Ipv4Header {
    /// Header length in bytes, options included.
    pub(super) len: usize,
    /// The packet's length in bytes; 0 when the sender's hardware was to fill it in.
    pub(super) total_len: usize,
    pub(super) ident: u16,
    pub(super) protocol: u8,
    pub(super) src: [u8; 4],
    pub(super) dst: [u8; 4],
    /// Set when this is a part of a datagram.
    pub(super) fragment: Option<FragmentHeader>,
}

/// Where a fragment belongs in its datagram.
#[derive(Clone, Copy, Debug)]
pub(super) struct FragmentHeader {
    pub(super) id: u32,
    /// In bytes.
    pub(super) offset: usize,
    pub(super) more: bool,
}

/// Any IPv4 header.
#[cold]
pub(super) fn ipv4(bytes: &[u8]) -> Result<Ipv4Header, Undecoded> {
    let header = Ipv4HeaderSlice::from_slice(bytes).map_err(|e| match e {
        ipv4::HeaderSliceError::Len(_) => Undecoded::TruncatedIp,
        ipv4::HeaderSliceError::Content(_) => Undecoded::BadIpHeader,
    })?;
    Ok(Ipv4Header {
        len: header.slice().len(),
        total_len: header.total_len().into(),
        ident: header.identification(),
        protocol: header.protocol().0,
        src: header.source(),
        dst: header.destination(),
        fragment: header.is_fragmenting_payload().then(|| FragmentHeader {
            id: header.identification().into(),
            offset: usize::from(header.fragments_offset().value()) * 8,
            more: header.more_fragments(),
        }),
    })
}

/// What follows an extension header.
pub(super) enum Extension<'a> {
    /// The header of this protocol.
    Next(u8, Span<'a>),
    /// A part of something that begins with the header of this protocol.
    Fragment(FragmentHeader, u8, Span<'a>),
    /// It isn't an extension header that can be read over.
    None,
}

/// Reads over one extension header: of IPv6 (RFC 8200 section 4, and the mobility, HIP and shim6
/// ones that share its form), or AH (RFC 4302), which IPv4 has too.
#[cold]
pub(super) fn extension(
    protocol: u8,
    span: Span<'_>,
    v6: bool,
) -> Result<Extension<'_>, Undecoded> {
    const FRAGMENT: u8 = 44;
    const AUTHENTICATION: u8 = 51;
    let cut = Undecoded::TruncatedIp;
    match protocol {
        AUTHENTICATION => {
            let header = IpAuthHeaderSlice::from_slice(span.here).map_err(|e| match e {
                ip_auth::HeaderSliceError::Len(_) => Undecoded::TruncatedIp,
                ip_auth::HeaderSliceError::Content(_) => Undecoded::BadIpHeader,
            })?;
            let rest = span.skip(header.slice().len()).ok_or(cut)?;
            Ok(Extension::Next(header.next_header().0, rest))
        }
        FRAGMENT if v6 => {
            let header = Ipv6FragmentHeaderSlice::from_slice(span.here).map_err(|_| cut)?;
            let rest = span.skip(header.slice().len()).ok_or(cut)?;
            let next = header.next_header().0;
            // An "atomic" fragment is a whole packet (RFC 6946).
            if !header.is_fragmenting_payload() {
                return Ok(Extension::Next(next, rest));
            }
            let place = FragmentHeader {
                id: header.identification(),
                offset: usize::from(header.fragment_offset().value()) * 8,
                more: header.more_fragments(),
            };
            Ok(Extension::Fragment(place, next, rest))
        }
        _ if v6 && Ipv6RawExtHeaderSlice::header_type_supported(IpNumber(protocol)) => {
            let header = Ipv6RawExtHeaderSlice::from_slice(span.here).map_err(|_| cut)?;
            let rest = span.skip(header.slice().len()).ok_or(cut)?;
            Ok(Extension::Next(header.next_header().0, rest))
        }
        _ => Ok(Extension::None),
    }
}

/// Reads over a MACsec SecTAG (IEEE 802.1AE section 9) whose content is in clear: the EtherType
/// that follows and what it describes. The integrity check value stays at the end.
pub(super) fn macsec(span: Span<'_>) -> Result<(u16, Span<'_>), Undecoded> {
    let header = MacsecHeaderSlice::from_slice(span.here).map_err(|e| match e {
        macsec::HeaderSliceError::Len(_) => Undecoded::TruncatedLink,
        macsec::HeaderSliceError::Content(_) => Undecoded::BadLinkHeader,
    })?;
    let kind = header.next_ether_type().ok_or(Undecoded::Encrypted)?.0;
    let rest = span.skip(header.header_len()).ok_or(Undecoded::TruncatedLink)?;
    Ok((kind, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(protocol: u8, bytes: &[u8], v6: bool) -> Option<(u8, usize)> {
        match extension(protocol, Span::whole(bytes), v6).unwrap() {
            Extension::Next(next, rest) => Some((next, rest.here.len())),
            Extension::Fragment(..) => panic!("a fragment"),
            Extension::None => None,
        }
    }

    #[test]
    fn reads_over_extension_headers() {
        // Next header 6, 16 bytes in all, then 3 bytes.
        let mut options = [0; 19];
        (options[0], options[1]) = (6, 1);
        for protocol in [0, 43, 60, 135, 139, 140] {
            assert_eq!(next(protocol, &options, true), Some((6, 3)));
            assert_eq!(next(protocol, &options, false), None);
        }
        // AH counts in units of four bytes, less two.
        (options[0], options[1]) = (17, 2);
        assert_eq!(next(51, &options, false), Some((17, 3)));
        assert_eq!(next(51, &options, true), Some((17, 3)));
        assert!(extension(51, Span::whole(&options[..15]), true).is_err());
    }

    #[test]
    fn opens_macsec_only_in_clear() {
        // TCI/AN, SL, PN; then SCI with SC bit; then EtherType.
        let clear = [0x00, 0, 0, 0, 0, 1, 0x08, 0x00, 0x45];
        let (kind, rest) = macsec(Span::whole(&clear)).unwrap();
        assert_eq!((kind, rest.here), (0x0800, &[0x45][..]));
        let mut sci = [0; 17];
        (sci[0], sci[14], sci[15], sci[16]) = (0x20, 0x86, 0xdd, 0x60);
        let (kind, rest) = macsec(Span::whole(&sci)).unwrap();
        assert_eq!((kind, rest.here), (0x86dd, &[0x60][..]));
        sci[0] |= 0x0c;
        assert_eq!(macsec(Span::whole(&sci)).unwrap_err(), Undecoded::Encrypted);
    }
}
