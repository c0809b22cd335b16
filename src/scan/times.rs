//! Times that verdicts hang on. They are here since thinning keeps apart what they tell apart.

use std::time::Duration;

/// How long an answer may take before its absence means something. Above any round trip, and above
/// the first retransmission time-out of 1 s (RFC 6298 section 2.1) and the second of 2 s.
pub const ANSWER_WAIT: Duration = Duration::from_secs(3);

/// Between the two resets by which a device cuts a connection: above the time from it to either end.
pub const CUT: Duration = Duration::from_millis(200);

/// From the end of a failing attempt to the retry that succeeds.
pub const RETRY_WINDOW: Duration = Duration::from_secs(30);

/// Between tries that are made side by side: over IPv4 and IPv6 (RFC 8305 section 5 recommends
/// 250 ms between them), or by a browser on several connections.
pub const SIDE_BY_SIDE: Duration = Duration::from_secs(3);

/// Connections of one client that follow each other within this time are one try: retries, other
/// addresses, the other address family.
pub const TRY_GAP: Duration = Duration::from_secs(30);
