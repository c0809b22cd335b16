use std::{fmt, num::NonZeroU64, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// Nanoseconds since 1970-01-01T00:00:00Z, as the capture recorded them.
///
/// All time in the core is capture time; the wall clock is never read. Displays and serialises as
/// RFC 3339 in UTC with nine fractional digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// From nanoseconds since the epoch. Always in range: `u64` ends in the year 2554.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// From whole seconds and nanoseconds; saturates.
    pub const fn from_parts(seconds: u64, nanos: u64) -> Self {
        Self(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
    }

    /// Reads RFC 3339 in UTC, with up to nine fractional digits; `None` for anything else, and for
    /// times before 1970.
    pub fn parse(text: &str) -> Option<Self> {
        let utc = text.strip_suffix("+00:00").map(|text| format!("{text}Z"));
        let time = humantime::parse_rfc3339_weak(utc.as_deref().unwrap_or(text)).ok()?;
        let since = time.duration_since(std::time::UNIX_EPOCH).ok()?;
        u64::try_from(since.as_nanos()).ok().map(Self)
    }

    /// Nanoseconds since the epoch.
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// Time from `earlier` to `self`; zero when the clock went backwards.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// True when more than `span` passed from `earlier` to `self`.
    #[inline]
    pub const fn is_beyond(self, earlier: Self, span: Duration) -> bool {
        self.0.saturating_sub(earlier.0) as u128 > span.as_nanos()
    }

    /// `self` minus a duration; saturates.
    pub fn minus(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(nanos))
    }

    /// `self` plus a duration; saturates.
    #[inline]
    pub fn plus(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = std::time::UNIX_EPOCH + Duration::from_nanos(self.0);
        humantime::format_rfc3339_nanos(time).fmt(f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serializer.is_human_readable() {
            true => serializer.collect_str(self),
            false => serializer.serialize_u64(self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return u64::deserialize(deserializer).map(Self);
        }
        let text = String::deserialize(deserializer)?;
        let time = humantime::parse_rfc3339(&text).map_err(D::Error::custom)?;
        let since = time.duration_since(std::time::UNIX_EPOCH).map_err(D::Error::custom)?;
        u64::try_from(since.as_nanos()).map(Self).map_err(D::Error::custom)
    }
}

/// Position of a frame in the whole capture: which input, and the 1-based number in it.
///
/// Orders by input, then by number: the order in which frames were read. The number is the one
/// that `frame.number` has in Wireshark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "u64", into = "u64")]
pub struct FrameId(
    /// One more than input and number, so that an optional stamp takes no more room than a stamp.
    NonZeroU64,
);

impl FrameId {
    /// Bits of the frame number; the input's index has the others.
    const NUMBER_BITS: u32 = 44;

    /// From an input's index and a 1-based frame number. Numbers above 2^44 wrap.
    pub const fn new(input: u32, number: u64) -> Self {
        Self::packed((input as u64) << Self::NUMBER_BITS | number & ((1 << Self::NUMBER_BITS) - 1))
    }

    /// Index of the input, in reading order.
    pub const fn input(self) -> u32 {
        (self.unpacked() >> Self::NUMBER_BITS) as u32
    }

    /// 1-based frame number within the input.
    pub const fn number(self) -> u64 {
        self.unpacked() & ((1 << Self::NUMBER_BITS) - 1)
    }

    const fn packed(bits: u64) -> Self {
        Self(NonZeroU64::MIN.saturating_add(bits))
    }

    const fn unpacked(self) -> u64 {
        self.0.get() - 1
    }
}

impl Default for FrameId {
    fn default() -> Self {
        Self::packed(0)
    }
}

impl From<u64> for FrameId {
    fn from(bits: u64) -> Self {
        Self::packed(bits)
    }
}

impl From<FrameId> for u64 {
    fn from(id: FrameId) -> Self {
        id.unpacked()
    }
}

/// When and where something was seen. Orders by capture time, then by position.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Stamp {
    /// Capture time.
    pub time: Timestamp,
    /// Position in the capture.
    pub frame: FrameId,
}

impl Stamp {
    /// Later than any other.
    pub const MAX: Self = Self { time: Timestamp(u64::MAX), frame: FrameId(NonZeroU64::MAX) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_rfc3339_with_nanoseconds() {
        let t = Timestamp::from_parts(1_700_000_000, 5);
        assert_eq!(t.to_string(), "2023-11-14T22:13:20.000000005Z");
        assert_eq!(Timestamp::from_nanos(u64::MAX).to_string(), "2554-07-21T23:34:33.709551615Z");
    }

    #[test]
    fn reads_what_it_writes() {
        let t = Timestamp::from_parts(1_700_000_000, 5);
        assert_eq!(Timestamp::parse(&t.to_string()), Some(t));
        assert_eq!(Timestamp::parse("2023-11-14T22:13:20.000000005+00:00"), Some(t));
        assert_eq!(Timestamp::parse("1969-12-31T23:59:59Z"), None);
        assert_eq!(Timestamp::parse("yesterday"), None);
    }

    #[test]
    fn frame_ids_order_by_input_then_number() {
        let a = FrameId::new(0, 9);
        let b = FrameId::new(1, 1);
        assert!(a < b);
        assert_eq!((b.input(), b.number()), (1, 1));
    }
}
