/// An alert in clear (RFC 8446 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Alert {
    /// 1 is warning, 2 is fatal.
    pub level: u8,
    /// Number in the IANA registry "TLS Alerts".
    pub description: u8,
}

impl Alert {
    /// The description's registered name.
    pub fn name(self) -> &'static str {
        alert_name(self.description)
    }

    /// True when the sender gives the connection up.
    ///
    /// RFC 8446 section 6 lets the level be ignored for all but the closure alerts; RFC 5246
    /// section 7.2 lets a warning such as `unrecognized_name` pass. What says fatal is fatal in
    /// both.
    pub fn is_fatal(self) -> bool {
        self.level == 2
    }
}

/// Name of an alert description in the IANA registry "TLS Alerts", `unknown` when it has none.
pub fn alert_name(description: u8) -> &'static str {
    match description {
        0 => "close_notify",
        10 => "unexpected_message",
        20 => "bad_record_mac",
        21 => "decryption_failed",
        22 => "record_overflow",
        30 => "decompression_failure",
        40 => "handshake_failure",
        41 => "no_certificate",
        42 => "bad_certificate",
        43 => "unsupported_certificate",
        44 => "certificate_revoked",
        45 => "certificate_expired",
        46 => "certificate_unknown",
        47 => "illegal_parameter",
        48 => "unknown_ca",
        49 => "access_denied",
        50 => "decode_error",
        51 => "decrypt_error",
        52 => "too_many_cids_requested",
        60 => "export_restriction",
        70 => "protocol_version",
        71 => "insufficient_security",
        80 => "internal_error",
        86 => "inappropriate_fallback",
        90 => "user_canceled",
        100 => "no_renegotiation",
        109 => "missing_extension",
        110 => "unsupported_extension",
        111 => "certificate_unobtainable",
        112 => "unrecognized_name",
        113 => "bad_certificate_status_response",
        114 => "bad_certificate_hash_value",
        115 => "unknown_psk_identity",
        116 => "certificate_required",
        117 => "general_error",
        120 => "no_application_protocol",
        121 => "ech_required",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = (0..=255).map(alert_name).filter(|n| *n != "unknown").collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!((names.len(), all), (37, 37));
    }
}
