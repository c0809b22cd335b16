use super::wire::Cursor;
use crate::base::HostName;

/// Names that providers put into outer hellos for all their customers. Nobody means them as a
/// destination.
const SHARED_PUBLIC_NAMES: [&str; 1] = ["cloudflare-ech.com"];

/// What the name in a hello is worth, given Encrypted Client Hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ech {
    /// No ECH: the SNI is the destination.
    None,
    /// A made-up extension, or none that could be shown to be real: the SNI is the destination.
    Grease,
    /// A real outer hello: the SNI is the provider's public name, the destination is hidden.
    Outer,
}

impl Ech {
    /// `none`, `grease` or `outer`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Grease => "grease",
            Self::Outer => "outer",
        }
    }

    /// Tells a real outer hello from GREASE, by the ECH configurations that DNS gave this client
    /// (HTTPS or SVCB records, parameter `ech`, see [`EchConfig::parse_list`]).
    ///
    /// GREASE is built to look the same (RFC 9849 section 6.2: random config_id, a real public
    /// key, a payload of a plausible length), so the extension decides nothing. What a GREASE
    /// client cannot fake is the SNI: section 6.1 makes a real outer hello carry the
    /// configuration's public_name, while GREASE accompanies the true name. Hence: `Outer` when
    /// the SNI is the public_name of a known configuration with the same config_id, or a shared
    /// name that providers use for nothing else; `Grease` otherwise. Without sight of the
    /// client's DNS (DoH) a real outer hello to a provider not listed passes as `Grease`: its
    /// public name is then reported, which is also the name that a firewall decides by.
    pub fn classify(offer: Option<&EchOffer>, sni: Option<&str>, known: &[EchConfig]) -> Self {
        let outer = match (offer, sni) {
            // An inner hello only travels behind the client-facing server, with its true name.
            (None | Some(EchOffer::Inner), _) => return Self::None,
            (Some(EchOffer::Malformed), _) | (_, None) => return Self::Grease,
            (Some(EchOffer::Outer(outer)), Some(sni)) => (outer, sni),
        };
        let (OuterEch { config_id, .. }, sni) = outer;
        let real = SHARED_PUBLIC_NAMES.contains(&sni)
            || known.iter().any(|c| c.config_id == *config_id && *c.public_name == *sni);
        if real { Self::Outer } else { Self::Grease }
    }
}

/// The extension encrypted_client_hello of a ClientHello (RFC 9849 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EchOffer {
    /// Type outer, real or GREASE.
    Outer(OuterEch),
    /// Type inner: the hello was decrypted by a client-facing server.
    Inner,
    /// Neither, or cut short.
    Malformed,
}

/// Fields of an ECHClientHello of type outer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OuterEch {
    /// Which of the server's configurations.
    pub config_id: u8,
    /// HPKE KDF identifier (RFC 9180 section 7.2).
    pub kdf: u16,
    /// HPKE AEAD identifier (RFC 9180 section 7.3).
    pub aead: u16,
    /// Bytes of the encapsulated key; 0 in the hello after a HelloRetryRequest.
    pub enc_len: u16,
    /// Bytes of the encrypted inner hello.
    pub payload_len: u16,
}

impl EchOffer {
    /// Reads the extension's data.
    pub(super) fn parse(data: &[u8]) -> Self {
        let mut cursor = Cursor(data);
        match cursor.u8() {
            Some(0) => OuterEch::parse(cursor).map_or(Self::Malformed, Self::Outer),
            Some(1) => Self::Inner,
            _ => Self::Malformed,
        }
    }
}

impl OuterEch {
    fn parse(mut cursor: Cursor<'_>) -> Option<Self> {
        Some(Self {
            kdf: cursor.u16()?,
            aead: cursor.u16()?,
            config_id: cursor.u8()?,
            enc_len: cursor.vec16()?.len() as u16,
            payload_len: cursor.vec16()?.len() as u16,
        })
    }
}

/// What a published ECH configuration shows of the hellos made with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EchConfig {
    /// Returns in the hello.
    pub config_id: u8,
    /// SNI of the outer hello.
    pub public_name: HostName,
}

impl EchConfig {
    /// Reads an ECHConfigList, the value of the SVCB parameter `ech` (RFC 9849 section 4, RFC
    /// 9848). Configurations of other versions and malformed ones are passed over.
    pub fn parse_list(list: &[u8]) -> Vec<Self> {
        let mut cursor = Cursor(Cursor(list).vec16().unwrap_or_default());
        std::iter::from_fn(|| Some((cursor.u16()?, cursor.vec16()?)))
            .filter(|(version, _)| *version == super::wire::extension::ENCRYPTED_CLIENT_HELLO)
            .filter_map(|(_, contents)| Self::parse(contents))
            .collect()
    }

    fn parse(contents: &[u8]) -> Option<Self> {
        let mut cursor = Cursor(contents);
        let config_id = cursor.u8()?;
        cursor.u16()?; // KEM
        cursor.vec16()?; // public key
        cursor.vec16()?; // cipher suites
        cursor.u8()?; // maximum name length
        Some(Self { config_id, public_name: HostName::parse(cursor.vec8()?)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outer(config_id: u8) -> EchOffer {
        let mut data = vec![0, 0, 1, 0, 1, config_id, 0, 32];
        data.extend([7; 32]);
        data.extend([0, 144]);
        data.extend([9; 144]);
        EchOffer::parse(&data)
    }

    /// config_id 5, X25519, public name `public.example`, behind one of an unknown version.
    fn list() -> Vec<u8> {
        let mut config = vec![5, 0, 0x20, 0, 32];
        config.extend([1; 32]);
        config.extend([0, 4, 0, 1, 0, 1, 0, 14]);
        config.extend(b"public.example\0\0");
        let mut list = vec![0xfe, 0x0a, 0, 1, 0xff, 0xfe, 0x0d, 0, config.len() as u8];
        list.extend(config);
        [&[0, list.len() as u8][..], &list].concat()
    }

    #[test]
    fn reads_both_sides_of_the_evidence() {
        let EchOffer::Outer(ech) = outer(5) else { panic!("no outer") };
        assert_eq!(
            (ech.config_id, ech.kdf, ech.aead, ech.enc_len, ech.payload_len),
            (5, 1, 1, 32, 144)
        );
        let known = EchConfig::parse_list(&list());
        assert_eq!(known.len(), 1);
        assert_eq!(&*known[0].public_name, "public.example");
        assert_eq!(EchOffer::parse(&[1]), EchOffer::Inner);
        assert_eq!(EchOffer::parse(&[0, 0, 1]), EchOffer::Malformed);
        for cut in 0..list().len() {
            EchConfig::parse_list(&list()[..cut]);
        }
    }

    #[test]
    fn only_evidence_makes_an_outer_hello() {
        let known = EchConfig::parse_list(&list());
        let of = |offer: EchOffer, sni| Ech::classify(Some(&offer), sni, &known);
        assert_eq!(of(outer(5), Some("public.example")), Ech::Outer);
        assert_eq!(of(outer(6), Some("public.example")), Ech::Grease);
        assert_eq!(of(outer(5), Some("real.example")), Ech::Grease);
        assert_eq!(of(outer(9), Some("cloudflare-ech.com")), Ech::Outer);
        assert_eq!(of(EchOffer::Inner, Some("public.example")), Ech::None);
        assert_eq!(Ech::classify(None, Some("public.example"), &known), Ech::None);
    }
}
