use std::{fs, io::ErrorKind};

/// Whether an interface can carry frames, as the system tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    /// It is there and up; counts how often its carrier came or went.
    Up(u64),
    /// It is there, but down.
    Down,
    /// There is no such interface.
    Gone,
    /// The system doesn't tell, as for `any`.
    Unknown,
}

/// IFF_UP of <linux/if.h>: switched on by the administrator.
const IFF_UP: u32 = 1;

impl Carrier {
    /// The state of an interface, from sysfs (Documentation/ABI/testing/sysfs-class-net).
    pub(super) fn of(name: &str) -> Self {
        if !cfg!(target_os = "linux") || name == "any" || name.contains('/') {
            return Self::Unknown;
        }
        let read = |what: &str| {
            let text = fs::read_to_string(format!("/sys/class/net/{name}/{what}"));
            text.map(|text| text.trim().to_owned())
        };
        let flags = match read("flags") {
            Ok(text) => u32::from_str_radix(text.trim_start_matches("0x"), 16).unwrap_or(IFF_UP),
            Err(error) if error.kind() == ErrorKind::NotFound && has_sysfs() => return Self::Gone,
            Err(_) => return Self::Unknown,
        };
        // Reading `carrier` fails while the interface is down.
        let carrier = read("carrier").map_or(flags & IFF_UP != 0, |text| text != "0");
        if flags & IFF_UP == 0 || !carrier {
            return Self::Down;
        }
        Self::Up(read("carrier_changes").ok().and_then(|text| text.parse().ok()).unwrap_or(0))
    }

    pub(super) fn is_up(self) -> bool {
        matches!(self, Self::Up(_) | Self::Unknown)
    }
}

fn has_sysfs() -> bool {
    fs::metadata("/sys/class/net").is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_is_there() {
        assert!(!Carrier::of("no-such-if0").is_up() || !cfg!(target_os = "linux"));
        assert_eq!(Carrier::of("any"), Carrier::Unknown);
        assert_eq!(Carrier::of("../lo"), Carrier::Unknown);
        assert!(Carrier::of("any").is_up());
    }
}
