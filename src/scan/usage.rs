/// How much of its [`Limits`](super::Limits) a scan takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Open flows.
    pub flows: usize,
    /// Finished connections that are kept.
    pub connections: usize,
    /// DNS lookups that are remembered.
    pub lookups: usize,
    /// Addresses that DNS named, of which there may be as many as lookups.
    pub addresses: usize,
    /// Bytes of memory that payload takes which waits for the rest of its message.
    pub payload: usize,
}
