use ring::{
    aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey, quic},
    hkdf::{HKDF_SHA256, KeyType, Prk, Salt},
};

/// Who sends a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// Who opened the connection.
    Client,
    /// Who was asked.
    Server,
}

/// The salt of version 1 (RFC 9001 section 5.2).
const SALT: [u8; 20] = [
    0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad,
    0xcc, 0xbb, 0x7f, 0x0a,
];

/// An Initial packet of version 1 that carries `frames`, protected as a peer would, so that what
/// the fuzzer makes gets behind the encryption. Keys come from `key_dcid`; `dcid` is in the header.
pub fn seal(sender: Sender, [key_dcid, dcid, scid]: [&[u8]; 3], frames: &[u8]) -> Vec<u8> {
    const NUMBER_LEN: usize = 4;
    const TAG_LEN: usize = 16;
    // Enough bytes to take the sample for header protection from.
    let mut payload = frames[..frames.len().min(16_000)].to_vec();
    payload.resize(payload.len().max(4), 0);
    let len = (NUMBER_LEN + payload.len() + TAG_LEN) as u16 | 0x4000;
    let mut header = vec![0xc3, 0, 0, 0, 1];
    for id in [dcid, scid] {
        let id = &id[..id.len().min(20)];
        header.push(id.len() as u8);
        header.extend(id);
    }
    header.push(0);
    header.extend(len.to_be_bytes());
    let number_at = header.len();
    header.extend([0, 0, 0, 1]);

    let initial = Salt::new(HKDF_SHA256, &SALT).extract(key_dcid);
    let label: &[u8] = if sender == Sender::Client { b"client in" } else { b"server in" };
    let secret = Prk::new_less_safe(HKDF_SHA256, &expand::<32>(&initial, label));
    let key = UnboundKey::new(&AES_128_GCM, &expand::<16>(&secret, b"quic key")).expect("key");
    let mut nonce = expand::<12>(&secret, b"quic iv");
    nonce[11] ^= 1;
    LessSafeKey::new(key)
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(&*header),
            &mut payload,
        )
        .expect("short enough");
    let mask = quic::HeaderProtectionKey::new(&quic::AES_128, &expand::<16>(&secret, b"quic hp"))
        .and_then(|key| key.new_mask(&payload[..16]))
        .expect("sample");
    header[0] ^= mask[0] & 0x0f;
    header[number_at..].iter_mut().zip(&mask[1..]).for_each(|(byte, mask)| *byte ^= mask);
    [header, payload].concat()
}

/// HKDF-Expand-Label (RFC 8446 section 7.1).
fn expand<const N: usize>(secret: &Prk, label: &[u8]) -> [u8; N] {
    struct Len(usize);
    impl KeyType for Len {
        fn len(&self) -> usize {
            self.0
        }
    }
    let mut out = [0; N];
    let info = [&[0, N as u8, 6 + label.len() as u8][..], b"tls13 ", label, &[0]];
    secret.expand(&info, Len(N)).and_then(|okm| okm.fill(&mut out)).expect("short enough");
    out
}
