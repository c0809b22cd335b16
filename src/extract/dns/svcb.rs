use std::net::{Ipv4Addr, Ipv6Addr};

use super::{
    Svcb,
    name::{Names, push_octet},
    wire::RawRecord,
};

/// Service parameters that are read (RFC 9460 section 14.3.2).
mod key {
    pub(super) const ALPN: u16 = 1;
    pub(super) const PORT: u16 = 3;
    pub(super) const IPV4HINT: u16 = 4;
    pub(super) const ECH: u16 = 5;
    pub(super) const IPV6HINT: u16 = 6;
}

/// Reads SVCB or HTTPS data. `None` when any of it is malformed: a client must then not use any of
/// it either (RFC 9460 section 2.2).
pub(super) fn read(message: &[u8], raw: &RawRecord, names: &mut Names) -> Option<Svcb> {
    let message = &message[..raw.rdata.end];
    let priority = u16::from_be_bytes(*message.get(raw.rdata.start..)?.first_chunk()?);
    let (target, params) = names.read(message, raw.rdata.start + 2).ok()?;
    let mut svcb = Svcb {
        priority,
        target,
        alpn: Vec::new(),
        port: None,
        ipv4hint: Vec::new(),
        ipv6hint: Vec::new(),
        ech: false,
    };
    // RFC 9460 section 2.4.2: an alias has no parameters; those that come are ignored.
    if priority != 0 {
        read_params(&mut svcb, message.get(params..)?)?;
    }
    Some(svcb)
}

fn read_params(svcb: &mut Svcb, mut rest: &[u8]) -> Option<()> {
    let mut least = 0;
    while !rest.is_empty() {
        let (&[k0, k1, l0, l1], after) = rest.split_first_chunk()?;
        let key = u16::from_be_bytes([k0, k1]);
        let (value, after) = after.split_at_checked(u16::from_be_bytes([l0, l1]).into())?;
        // Strictly ascending keys.
        if u32::from(key) < least {
            return None;
        }
        least = u32::from(key) + 1;
        read_param(svcb, key, value)?;
        rest = after;
    }
    Some(())
}

fn read_param(svcb: &mut Svcb, key: u16, value: &[u8]) -> Option<()> {
    match key {
        key::ALPN => svcb.alpn = alpn(value)?,
        key::PORT => svcb.port = Some(u16::from_be_bytes(value.try_into().ok()?)),
        key::IPV4HINT => svcb.ipv4hint = hints::<4, Ipv4Addr>(value)?,
        key::IPV6HINT => svcb.ipv6hint = hints::<16, Ipv6Addr>(value)?,
        key::ECH => svcb.ech = true,
        _ => {}
    }
    Some(())
}

/// One address or more (RFC 9460 section 7.3).
fn hints<const N: usize, T: From<[u8; N]>>(value: &[u8]) -> Option<Vec<T>> {
    let (addresses, rest) = value.as_chunks::<N>();
    let whole = !addresses.is_empty() && rest.is_empty();
    whole.then(|| addresses.iter().map(|&octets| octets.into()).collect())
}

/// One identifier or more, none of them empty (RFC 9460 section 7.1.1).
fn alpn(mut value: &[u8]) -> Option<Vec<String>> {
    let mut ids = Vec::new();
    while let Some((&len, after)) = value.split_first() {
        let (id, after) = after.split_at_checked(len.into())?;
        ids.push(alpn_id(id)?);
        value = after;
    }
    (!ids.is_empty()).then_some(ids)
}

fn alpn_id(id: &[u8]) -> Option<String> {
    let mut text = Vec::with_capacity(id.len());
    for &octet in id {
        push_octet(octet, |octets| text.extend(octets));
    }
    String::from_utf8(text).ok().filter(|id| !id.is_empty())
}
