//! Protection of Initial packets (RFC 9001 section 5). The one file that names `ring`.

use std::{fmt, ops::Deref, sync::OnceLock};

use ring::{
    aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey, quic},
    hmac,
};

use super::{
    packet::Long,
    version::{Labels, Version},
};

/// The salt of the Initial packets of some versions.
pub(super) struct Salt {
    bytes: &'static [u8; 20],
    key: OnceLock<hmac::Key>,
}

/// The secrets of both directions' Initial packets.
pub(super) struct Secrets {
    pub(super) client: Secret,
    pub(super) server: Secret,
}

/// What the keys of one direction are made from.
#[derive(Clone)]
pub(super) struct Secret {
    bytes: [u8; SECRET_LEN],
    labels: &'static Labels,
}

/// Keys of one direction.
pub(super) struct Keys {
    aead: LessSafeKey,
    iv: [u8; IV_LEN],
    header: quic::HeaderProtectionKey,
}

/// The payload of a packet, in clear.
pub(in crate::extract) struct Payload {
    /// Of the packet.
    bytes: Vec<u8>,
    /// Where it begins.
    start: usize,
}

const SECRET_LEN: usize = 32;
const KEY_LEN: usize = 16;
const IV_LEN: usize = 12;

/// Where the sample for header protection lies, from the packet number (RFC 9001 section 5.4.2).
const SAMPLE_AT: usize = 4;
const SAMPLE_LEN: usize = 16;

impl Salt {
    pub(super) const fn new(bytes: &'static [u8; 20]) -> Self {
        Self { bytes, key: OnceLock::new() }
    }

    fn key(&self) -> &hmac::Key {
        self.key.get_or_init(|| hmac::Key::new(hmac::HMAC_SHA256, self.bytes))
    }
}

impl Secrets {
    /// Made of a version and the Destination Connection ID of the client's first packet (RFC 9001
    /// section 5.2).
    pub(super) fn new(version: Version, dcid: &[u8]) -> Option<Self> {
        // HKDF-Extract (RFC 5869 section 2.2).
        let initial: [u8; SECRET_LEN] = sign(version.salt()?.key(), dcid);
        let initial = hmac::Key::new(hmac::HMAC_SHA256, &initial);
        let of = |side: &[u8]| Secret { bytes: sign(&initial, side), labels: version.labels() };
        let client = of(b"\0\x20\x0ftls13 client in\0\x01");
        Some(Self { client, server: of(b"\0\x20\x0ftls13 server in\0\x01") })
    }
}

impl Secret {
    /// Keys of what this direction sends.
    pub(super) fn keys(&self) -> Option<Keys> {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, &self.bytes);
        let key: [u8; KEY_LEN] = sign(&secret, self.labels.key);
        let header: [u8; KEY_LEN] = sign(&secret, self.labels.hp);
        Some(Keys {
            aead: LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).ok()?),
            iv: sign(&secret, self.labels.iv),
            header: quic::HeaderProtectionKey::new(&quic::AES_128, &header).ok()?,
        })
    }
}

impl Keys {
    /// Removes both protections; gives the payload, or nothing when it isn't authentic.
    pub(super) fn open(&self, packet: &Long<'_>) -> Option<Payload> {
        let sample = packet.bytes.get(packet.number_at + SAMPLE_AT..)?.get(..SAMPLE_LEN)?;
        if !packet.complete {
            return None;
        }
        let mask = self.header.new_mask(sample).ok()?;
        let mut bytes = packet.bytes.to_vec();
        bytes[0] ^= mask[0] & 0x0f;
        let number_len = usize::from(bytes[0] & 3) + 1;
        let (header, payload) = bytes.split_at_mut_checked(packet.number_at + number_len)?;
        let mut number = 0;
        for (byte, mask) in header[packet.number_at..].iter_mut().zip(&mask[1..]) {
            *byte ^= mask;
            number = number << 8 | u64::from(*byte);
        }
        let nonce = self.nonce(number);
        let len = self.aead.open_in_place(nonce, Aad::from(&*header), payload).ok()?.len();
        let start = header.len();
        bytes.truncate(start + len);
        Some(Payload { bytes, start })
    }

    /// The packet number on the wire is the whole one: it counts from 0 (RFC 9000 section 12.3),
    /// and no handshake has so many Initial packets that its upper bytes are left out.
    fn nonce(&self, number: u64) -> Nonce {
        let mut nonce = self.iv;
        for (byte, number) in nonce[IV_LEN - 8..].iter_mut().zip(number.to_be_bytes()) {
            *byte ^= number;
        }
        Nonce::assume_unique_for_key(nonce)
    }
}

impl Deref for Payload {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").finish_non_exhaustive()
    }
}

/// The first bytes of the HMAC. Of [`Labels`] that is HKDF-Expand-Label, as none asks for more than
/// one round of it.
fn sign<const N: usize>(key: &hmac::Key, data: &[u8]) -> [u8; N] {
    const { assert!(N <= SECRET_LEN) };
    let mut out = [0; N];
    out.copy_from_slice(&hmac::sign(key, data).as_ref()[..N]);
    out
}

/// Makes packets for tests.
#[cfg(test)]
pub(in crate::extract) mod sealing {
    use super::*;

    /// Protects a packet: `header` ends with a packet number of 4 bytes.
    fn seal(keys: &Keys, header: &[u8], payload: &[u8]) -> Vec<u8> {
        let number_len = usize::from(header[0] & 3) + 1;
        let number_at = header.len() - number_len;
        let number = header[number_at..].iter().fold(0, |n, b| n << 8 | u64::from(*b));
        let mut sealed = payload.to_vec();
        let (nonce, aad) = (keys.nonce(number), Aad::from(header));
        keys.aead.seal_in_place_append_tag(nonce, aad, &mut sealed).unwrap();
        let mut packet = [header, &sealed].concat();
        let sample = &packet[number_at + SAMPLE_AT..][..SAMPLE_LEN];
        let mask = keys.header.new_mask(sample).unwrap();
        packet[0] ^= mask[0] & 0x0f;
        for (byte, mask) in packet[number_at..header.len()].iter_mut().zip(&mask[1..]) {
            *byte ^= mask;
        }
        packet
    }

    pub(in crate::extract) fn seal_client(
        version: u32,
        key_dcid: &[u8],
        header: &[u8],
        payload: &[u8],
    ) -> Vec<u8> {
        let version = Version::known(version).unwrap();
        seal(&Secrets::new(version, key_dcid).unwrap().client.keys().unwrap(), header, payload)
    }

    pub(in crate::extract) fn seal_server(
        version: u32,
        key_dcid: &[u8],
        header: &[u8],
        payload: &[u8],
    ) -> Vec<u8> {
        let version = Version::known(version).unwrap();
        seal(&Secrets::new(version, key_dcid).unwrap().server.keys().unwrap(), header, payload)
    }
}

/// RFC 9001 and RFC 9369, appendix A.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::extract::quic::packet::{Packet, packets};

    const V2: u32 = 0x6b33_43cf;
    const DCID: &str = "8394c8f03e515708";
    const HELLO: &str = concat!(
        "060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e868",
        "04fe3a47f06a2b69484c00000413011302010000c000000010000e00000b6578",
        "616d706c652e636f6dff01000100000a00080006001d00170018001000070005",
        "04616c706e000500050100000000003300260024001d00209370b2c9caa47fba",
        "baf4559fedba753de171fa71f50f1ce15d43e994ec74d748002b000302030400",
        "0d0010000e0403050306030203080408050806002d00020101001c0002400100",
        "3900320408ffffffffffffffff05048000ffff07048000ffff08011001048000",
        "75300901100f088394c8f03e51570806048000ffff",
    );
    const ANSWER: &str = concat!(
        "02000000000600405a020000560303eefce7f7b37ba1d1632e96677825ddf739",
        "88cfc79825df566dc5430b9a045a1200130100002e00330024001d00209d3c94",
        "0d89690b84d08a60993c144eca684d1081287c834d5311bcf32bb9da1a002b00",
        "020304",
    );
    const ANSWER_V1: &str = concat!(
        "cf000000010008f067a5502a4262b5004075c0d95a482cd0991cd25b0aac406a",
        "5816b6394100f37a1c69797554780bb38cc5a99f5ede4cf73c3ec2493a1839b3",
        "dbcba3f6ea46c5b7684df3548e7ddeb9c3bf9c73cc3f3bded74b562bfb19fb84",
        "022f8ef4cdd93795d77d06edbb7aaf2f58891850abbdca3d20398c276456cbc4",
        "2158407dd074ee",
    );
    const ANSWER_V2: &str = concat!(
        "dc6b3343cf0008f067a5502a4262b5004075d92faaf16f05d8a4398c47089698",
        "baeea26b91eb761d9b89237bbf87263017915358230035f7fd3945d88965cf17",
        "f9af6e16886c61bfc703106fbaf3cb4cfa52382dd16a393e42757507698075b2",
        "c984c707f0a0812d8cd5a6881eaf21ceda98f4bd23f6fe1a3e2c43edd9ce7ca8",
        "4bed8521e2e140",
    );

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
            .collect()
    }

    fn open(keys: Option<Keys>, datagram: &[u8]) -> Option<Vec<u8>> {
        let Some(Packet::Long(packet)) = packets(datagram).next() else { panic!("no packet") };
        keys.unwrap().open(&packet).map(|payload| payload.to_vec())
    }

    fn secrets(version: u32) -> Secrets {
        Secrets::new(Version::known(version).unwrap(), &hex(DCID)).unwrap()
    }

    /// The tag depends on all bytes: when it's right, so is what lies between.
    #[test]
    fn client_initial() {
        let mut payload = hex(HELLO);
        payload.resize(1162, 0);
        let vectors = [
            (
                1,
                "c300000001088394c8f03e5157080000449e00000002",
                "c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11",
                "e221af44860018ab0856972e194cd934",
            ),
            (
                V2,
                "d36b3343cf088394c8f03e5157080000449e00000002",
                "d76b3343cf088394c8f03e5157080000449ea0c95e82ffe67b6abcdb4298b485",
                "a18b2faa745b6fe189cf772a9f84cbfc",
            ),
        ];
        for (version, header, start, end) in vectors {
            let packet = sealing::seal_client(version, &hex(DCID), &hex(header), &payload);
            assert_eq!((&packet[..32], &packet[1184..]), (&hex(start)[..], &hex(end)[..]));
            assert_eq!(open(secrets(version).client.keys(), &packet).as_ref(), Some(&payload));
            assert_eq!(open(secrets(version).server.keys(), &packet), None);
        }
    }

    #[test]
    fn server_initial() {
        for (version, packet) in [(1, hex(ANSWER_V1)), (V2, hex(ANSWER_V2))] {
            assert_eq!(open(secrets(version).server.keys(), &packet), Some(hex(ANSWER)));
            for at in 0..packet.len() {
                let mut damaged = packet.clone();
                damaged[at] ^= 1;
                if let Some(Packet::Long(packet)) = packets(&damaged).next() {
                    assert_eq!(
                        secrets(version).server.keys().unwrap().open(&packet).as_deref(),
                        None,
                        "{at}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_packet_too_short_for_a_sample_or_a_tag_does_not_open() {
        for len in 0..=21 {
            let packet = [&[0xc0, 0, 0, 0, 1, 0, 0, 0, len][..], &vec![0; len.into()]].concat();
            assert_eq!(open(secrets(1).client.keys(), &packet), None);
        }
    }
}
