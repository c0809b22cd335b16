use std::{cmp::Reverse, net::IpAddr};

use ipnet::{IpNet, Ipv4Net};

/// Finds all address prefixes that hold an address.
///
/// `Id` is what stands for a prefix: a small number. Built once, then immutable. A look-up
/// allocates nothing: it finds the address's interval (the stretch up to where the next prefix
/// begins or ends) by its leading bits, and from there each prefix knows the next one around it.
///
/// IPv4-mapped IPv6 (`::ffff:0:0/96`, RFC 4291 section 2.5.5.2) is IPv4, for addresses and for
/// prefixes. So a mapped address is in no IPv6 prefix, not even in `::/0`.
#[derive(Clone, Debug)]
pub struct PrefixMatcher<Id> {
    v4: Family<u32, Id>,
    v6: Family<u128, Id>,
}

/// True when one of a few networks holds an address. IPv4-mapped IPv6 isn't IPv4 here.
pub(crate) fn holds(nets: &[IpNet], addr: IpAddr) -> bool {
    nets.iter().any(|net| match (net, addr) {
        (IpNet::V4(net), IpAddr::V4(addr)) => {
            let differing = net.addr().to_bits() ^ addr.to_bits();
            differing.leading_zeros() >= net.prefix_len().into()
        }
        (IpNet::V6(net), IpAddr::V6(addr)) => {
            let differing = net.addr().to_bits() ^ addr.to_bits();
            differing.leading_zeros() >= net.prefix_len().into()
        }
        _ => false,
    })
}

impl<Id: Copy + Ord> PrefixMatcher<Id> {
    /// Builds the matcher. Bits behind the prefix don't matter. A prefix may stand for several
    /// ids; a pair given twice counts once.
    ///
    /// # Panics
    ///
    /// When there are 2^31 prefixes.
    pub fn new(prefixes: impl IntoIterator<Item = (IpNet, Id)>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (prefix, id) in prefixes {
            match unmapped(prefix) {
                IpNet::V4(net) => {
                    let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
                    v4.push((first, Reverse(last), id));
                }
                IpNet::V6(net) => {
                    let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
                    v6.push((first, Reverse(last), id));
                }
            }
        }
        let (v4, v6) = (Family::new(v4), Family::new(v6));
        Self { v4, v6 }
    }

    /// Gives the ids of each prefix that holds `address`, longest prefix first, lower ids of the
    /// same prefix first.
    pub fn lookup(&self, address: IpAddr, found: &mut impl FnMut(Id)) {
        self.matches(address).for_each(found);
    }

    /// The id of the longest prefix that holds `address`; of several, the lowest.
    pub fn longest(&self, address: IpAddr) -> Option<Id> {
        self.matches(address).next()
    }

    /// What [`lookup`](Self::lookup) gives, as an iterator.
    pub fn matches(&self, address: IpAddr) -> impl Iterator<Item = Id> {
        let (v4, v6) = match address.to_canonical() {
            IpAddr::V4(address) => (Some(self.v4.matches(address.to_bits())), None),
            IpAddr::V6(address) => (None, Some(self.v6.matches(address.to_bits()))),
        };
        v4.into_iter().flatten().chain(v6.into_iter().flatten())
    }
}

/// An IPv4-mapped prefix as the IPv4 prefix it is.
fn unmapped(prefix: IpNet) -> IpNet {
    let IpNet::V6(net) = prefix else {
        return prefix;
    };
    let length = net.prefix_len().checked_sub(96);
    length
        .zip(net.network().to_ipv4_mapped())
        .and_then(|(length, address)| Ipv4Net::new(address, length).ok())
        .map_or(prefix, IpNet::V4)
}

/// An address as a number.
trait Bits: Copy + Ord {
    const MIN: Self;
    /// The leading bits that choose a block.
    fn block(self) -> u32;
    /// The `bits` bits that follow those.
    fn bucket(self, bits: u32) -> usize;
    fn next(self) -> Option<Self>;
}

impl Bits for u32 {
    const MIN: Self = 0;
    /// IPv4 prefixes are all over the space: one block.
    fn block(self) -> u32 {
        0
    }
    fn bucket(self, bits: u32) -> usize {
        self.checked_shr(32 - bits).unwrap_or(0) as usize
    }
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl Bits for u128 {
    const MIN: Self = 0;
    /// IPv6 prefixes are found in few allocations, each of which registries make a /32 or longer.
    fn block(self) -> u32 {
        (self >> 96) as u32
    }
    fn bucket(self, bits: u32) -> usize {
        (self << 32).checked_shr(128 - bits).unwrap_or(0) as usize
    }
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

/// The prefixes of one address family.
#[derive(Clone, Debug)]
struct Family<K, Id> {
    /// First address of each interval, ascending from zero.
    starts: Vec<K>,
    /// For each interval the longest prefix that holds it, or `NONE`.
    inmost: Vec<u32>,
    /// Those in which an interval begins, ascending from block zero.
    blocks: Vec<Block>,
    /// For each bucket of each block, how many intervals begin before it; for each block one more.
    buckets: Vec<u32>,
    /// One more than there are prefixes, as the next one's `ids` is the end.
    prefixes: Vec<Prefix>,
    ids: Vec<Id>,
}

/// Addresses with the same leading bits, divided into buckets by the bits that follow.
#[derive(Clone, Copy, Debug)]
struct Block {
    leading: u32,
    /// How many bits there are to a bucket.
    bits: u32,
    /// Index of its first bucket.
    buckets: usize,
}

#[derive(Clone, Copy, Debug)]
struct Prefix {
    /// Where its ids begin.
    ids: u32,
    /// The next longer prefix around it, or `NONE`.
    around: u32,
}

const NONE: u32 = u32::MAX;
/// A table of 64 Ki buckets still fits the second-level cache.
const MAX_BUCKET_BITS: u32 = 16;

impl<K: Bits, Id: Copy + Ord> Family<K, Id> {
    /// Takes first and last addresses.
    fn new(mut ranges: Vec<(K, Reverse<K>, Id)>) -> Self {
        // A prefix comes before those inside it.
        ranges.sort_unstable();
        ranges.dedup();
        assert!(ranges.len() < 1 << 31, "too many prefixes");
        let mut family = Self {
            starts: vec![K::MIN],
            inmost: vec![NONE],
            blocks: Vec::new(),
            buckets: Vec::new(),
            prefixes: Vec::new(),
            ids: Vec::with_capacity(ranges.len()),
        };
        // The prefixes around the current place, inmost last.
        let mut open: Vec<(K, u32)> = Vec::new();
        for range in ranges.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
            let (first, Reverse(last), _) = range[0];
            family.close(&mut open, |end| end < first);
            let prefix = family.prefixes.len() as u32;
            let around = open.last().map_or(NONE, |&(_, around)| around);
            let ids = family.ids.len() as u32;
            family.prefixes.push(Prefix { ids, around });
            family.ids.extend(range.iter().map(|&(_, _, id)| id));
            family.begin(first, prefix);
            open.push((last, prefix));
        }
        family.close(&mut open, |_| true);
        let ids = family.ids.len() as u32;
        family.prefixes.push(Prefix { ids, around: NONE });
        family.fill_buckets();
        family
    }

    /// Ends the innermost prefixes whose last address satisfies `ended`.
    fn close(&mut self, open: &mut Vec<(K, u32)>, ended: impl Fn(K) -> bool) {
        while let Some((last, _)) = open.pop_if(|&mut (last, _)| ended(last)) {
            if let Some(after) = last.next() {
                self.begin(after, open.last().map_or(NONE, |&(_, around)| around));
            }
        }
    }

    /// From `start` on, `inmost` is the longest prefix.
    fn begin(&mut self, start: K, inmost: u32) {
        if self.starts.last() == Some(&start) {
            self.starts.pop();
            self.inmost.pop();
        }
        if self.inmost.last() != Some(&inmost) {
            self.starts.push(start);
            self.inmost.push(inmost);
        }
    }

    fn fill_buckets(&mut self) {
        let mut before = 0;
        for starts in self.starts.chunk_by(|a, b| a.block() == b.block()) {
            let bits = starts.len().ilog2().min(MAX_BUCKET_BITS);
            let (leading, buckets) = (starts[0].block(), self.buckets.len());
            self.blocks.push(Block { leading, bits, buckets });
            for bucket in 0..=1 << bits {
                let within = starts.partition_point(|start| start.bucket(bits) < bucket);
                self.buckets.push(before + within as u32);
            }
            before += starts.len() as u32;
        }
    }

    fn matches(&self, address: K) -> impl Iterator<Item = Id> {
        let mut prefix = self.inmost(address);
        let prefixes = std::iter::from_fn(move || {
            let ids = self.prefixes.get(prefix as usize)?.ids as usize;
            let end = self.prefixes[prefix as usize + 1].ids as usize;
            prefix = self.prefixes[prefix as usize].around;
            Some(&self.ids[ids..end])
        });
        prefixes.flatten().copied()
    }

    fn inmost(&self, address: K) -> u32 {
        let leading = address.block();
        // The first interval begins at zero, so there is a block and an interval before.
        let block = self.blocks.partition_point(|block| block.leading <= leading) - 1;
        let block = self.blocks[block];
        let bucket = match block.leading == leading {
            true => address.bucket(block.bits),
            // Behind all that begins in the block.
            false => (1 << block.bits) - 1,
        };
        let at = block.buckets + bucket;
        let (from, to) = (self.buckets[at] as usize, self.buckets[at + 1] as usize);
        let after = from + self.starts[from..to].partition_point(|&start| start <= address);
        self.inmost[after - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn matcher(prefixes: &[&str]) -> PrefixMatcher<u32> {
        let parsed = prefixes.iter().map(|text| text.parse().unwrap());
        PrefixMatcher::new(parsed.zip(0..))
    }

    fn found(matcher: &PrefixMatcher<u32>, address: &str) -> Vec<u32> {
        matcher.matches(address.parse().unwrap()).collect()
    }

    #[test]
    fn a_network_holds_what_has_its_leading_bits() {
        let nets = ["10.1.2.3/8", "192.0.2.0/25", "203.0.113.7/32", "2001:db8::/33", "fe80::1/128"];
        let nets = nets.map(|net| net.parse::<IpNet>().unwrap());
        for addr in [
            "10.0.0.0",
            "10.255.255.255",
            "11.0.0.0",
            "192.0.2.127",
            "192.0.2.128",
            "203.0.113.7",
            "203.0.113.6",
            "2001:db8:7fff:ffff::",
            "2001:db8:8000::",
            "fe80::1",
            "fe80::2",
            "::ffff:10.0.0.1",
        ] {
            let addr: IpAddr = addr.parse().unwrap();
            assert_eq!(holds(&nets, addr), nets.iter().any(|net| net.contains(&addr)), "{addr}");
        }
        let everything = ["0.0.0.0/0", "::/0"].map(|net| net.parse::<IpNet>().unwrap());
        assert!(holds(&everything[..1], IpAddr::from([198, 51, 100, 1])));
        assert!(!holds(&everything[1..], IpAddr::from([198, 51, 100, 1])));
        assert!(!holds(&[], IpAddr::from([198, 51, 100, 1])));
    }

    #[test]
    fn longest_first() {
        let m = matcher(&[
            "0.0.0.0/0",
            "10.0.0.0/8",
            "10.1.0.0/16",
            "10.1.0.0/16",
            "255.255.255.255/32",
            "2001:db8::/32",
            "::/0",
        ]);
        assert_eq!(found(&m, "10.1.2.3"), [2, 3, 1, 0]);
        assert_eq!(found(&m, "10.2.0.0"), [1, 0]);
        assert_eq!(found(&m, "9.255.255.255"), [0]);
        assert_eq!(found(&m, "255.255.255.255"), [4, 0]);
        assert_eq!(found(&m, "2001:db8::1"), [5, 6]);
        assert_eq!(m.longest("2001:db9::".parse().unwrap()), Some(6));
        assert!(found(&matcher(&[]), "10.0.0.1").is_empty());
    }

    #[test]
    fn mapped_addresses_are_ipv4() {
        let m = matcher(&["10.0.0.0/8", "::ffff:10.0.0.0/112", "::/0", "::ffff:0:0/95"]);
        assert_eq!(found(&m, "::ffff:10.0.0.1"), [1, 0]);
        assert_eq!(found(&m, "10.0.0.1"), [1, 0]);
        assert_eq!(found(&m, "::1"), [2]);
    }

    #[test]
    fn host_bits_do_not_matter() {
        assert_eq!(found(&matcher(&["10.1.2.3/8"]), "10.9.9.9"), [0]);
    }

    fn addresses() -> impl Strategy<Value = IpAddr> {
        // Few values, so that prefixes nest and touch.
        let v4 = (prop::sample::select(vec![0_u32, 0x0a00_0000, 0xffff_ff00]), 0..256_u32);
        let v6 = (prop::sample::select(vec![0_u128, 0xffff_0000_0000, 0x2001 << 112]), 0..256_u128);
        prop_oneof![
            v4.prop_map(|(a, b)| Ipv4Addr::from_bits(a | b).into()),
            v6.prop_map(|(a, b)| Ipv6Addr::from_bits(a | b | (b << 100)).into()),
            v6_low().prop_map(|bits| Ipv6Addr::from_bits(bits).into()),
        ]
    }

    fn v6_low() -> impl Strategy<Value = u128> {
        prop_oneof![0..64_u128, (0..64_u128).prop_map(|n| u128::MAX - n)]
    }

    fn prefixes() -> impl Strategy<Value = IpNet> {
        (addresses(), any::<u8>()).prop_map(|(address, n)| {
            let width = if address.is_ipv4() { 32 } else { 128 };
            // Long and short ones.
            let length = if n % 2 == 0 { width - n % 20 } else { n % (width + 1) };
            IpNet::new(address, length).unwrap()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        #[test]
        fn equals_trying_every_prefix(
            nets in prop::collection::vec(prefixes(), 0..80),
            addresses in prop::collection::vec(addresses(), 60),
        ) {
            let matcher = PrefixMatcher::new(nets.iter().copied().zip(0_u32..));
            for address in addresses {
                let mut expected: Vec<(Reverse<u8>, u32)> = nets.iter().zip(0..)
                    .map(|(&net, id)| (unmapped(net), id))
                    .filter(|(net, _)| net.contains(&address.to_canonical()))
                    .map(|(net, id)| (Reverse(net.prefix_len()), id))
                    .collect();
                expected.sort_unstable();
                let expected: Vec<u32> = expected.into_iter().map(|(_, id)| id).collect();
                prop_assert_eq!(matcher.longest(address), expected.first().copied());
                let mut ids = Vec::new();
                matcher.lookup(address, &mut |id| ids.push(id));
                prop_assert_eq!(ids, expected);
            }
        }
    }
}
