//! Sets of numbers as ranges: ports and addresses.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};

use crate::catalog::PortRange;

/// A set of numbers as ascending ranges, ends included, that neither overlap nor touch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Intervals<T>(Vec<(T, T)>);

/// Destination ports.
pub type Ports = Intervals<u16>;

/// Addresses. IPv4 is held as IPv4-mapped IPv6 (RFC 4291 section 2.5.5.2), and a mapped address is
/// in no IPv6 prefix, not even in `::/0`.
pub type Nets = Intervals<u128>;

/// Numbers that have neighbours.
pub trait Step: Copy + Ord {
    /// The next number.
    fn next(self) -> Option<Self>;
    /// The number before.
    fn before(self) -> Option<Self>;
}

impl Step for u16 {
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
    fn before(self) -> Option<Self> {
        self.checked_sub(1)
    }
}

impl Step for u128 {
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
    fn before(self) -> Option<Self> {
        self.checked_sub(1)
    }
}

impl<T: Step> Intervals<T> {
    /// The union of ranges in any order. Ranges whose end is before their start are empty.
    pub fn new(ranges: impl IntoIterator<Item = (T, T)>) -> Self {
        let mut ranges: Vec<_> = ranges.into_iter().filter(|(a, b)| a <= b).collect();
        ranges.sort_unstable();
        let mut merged: Vec<(T, T)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(open) if open.1.next().is_none_or(|after| first <= after) => {
                    open.1 = open.1.max(last);
                }
                _ => merged.push((first, last)),
            }
        }
        Self(merged)
    }

    /// The empty set.
    pub const fn empty() -> Self {
        Self(Vec::new())
    }

    /// True when nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranges, ascending, ends included.
    pub fn ranges(&self) -> &[(T, T)] {
        &self.0
    }

    /// The lowest number.
    pub fn first(&self) -> Option<T> {
        self.0.first().map(|&(first, _)| first)
    }

    /// True when `number` is in it.
    pub fn has(&self, number: T) -> bool {
        let at = self.0.partition_point(|&(_, last)| last < number);
        self.0.get(at).is_some_and(|&(first, _)| first <= number)
    }

    /// True when all of `other` is in it.
    pub fn contains(&self, other: &Self) -> bool {
        other.0.iter().all(|&(first, last)| {
            let at = self.0.partition_point(|&(_, end)| end < first);
            self.0.get(at).is_some_and(|&(start, end)| start <= first && last <= end)
        })
    }

    /// True when some number is in both.
    pub fn intersects(&self, other: &Self) -> bool {
        let (small, large) =
            if self.0.len() < other.0.len() { (self, other) } else { (other, self) };
        small.0.iter().any(|&(first, last)| {
            let at = large.0.partition_point(|&(_, end)| end < first);
            large.0.get(at).is_some_and(|&(start, _)| start <= last)
        })
    }

    /// What is in either.
    pub fn union(&self, other: &Self) -> Self {
        Self::new(self.0.iter().chain(&other.0).copied())
    }

    /// What is in both.
    pub fn intersection(&self, other: &Self) -> Self {
        let (mut a, mut b) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut common = Vec::new();
        while let (Some(&&(s, e)), Some(&&(t, f))) = (a.peek(), b.peek()) {
            if s.max(t) <= e.min(f) {
                common.push((s.max(t), e.min(f)));
            }
            if e < f {
                a.next()
            } else {
                b.next()
            };
        }
        Self(common)
    }

    /// What is in `self` and not in `other`.
    pub fn minus(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        for &(first, last) in &self.0 {
            let mut from = Some(first);
            let at = other.0.partition_point(|&(_, end)| end < first);
            for &(start, end) in other.0[at..].iter().take_while(|&&(start, _)| start <= last) {
                if let (Some(open), Some(before)) = (from, start.before())
                    && open <= before
                {
                    left.push((open, before));
                }
                from = end.next();
            }
            if let Some(open) = from.filter(|&open| open <= last) {
                left.push((open, last));
            }
        }
        Self(left)
    }
}

/// A set that numbers are taken out of, range by range.
pub(super) struct Left<T>(BTreeMap<T, T>);

impl<T: Step> Left<T> {
    pub(super) fn of(all: &Intervals<T>) -> Self {
        Self(all.0.iter().copied().collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes what is in `gone`; gives the lowest number of it that was there. Costs what is taken,
    /// not what is left.
    pub(super) fn take(&mut self, gone: &Intervals<T>) -> Option<T> {
        let mut lowest = None;
        for &(start, end) in &gone.0 {
            // A range that begins before, and those that begin inside.
            let over = self.0.range(..start).next_back().map(|(&a, &b)| (a, b));
            let mut hit: Vec<(T, T)> =
                over.into_iter().filter(|&(_, last)| last >= start).collect();
            hit.extend(self.0.range(start..=end).map(|(&a, &b)| (a, b)));
            for (first, last) in hit {
                lowest = lowest.or(Some(first.max(start)));
                self.0.remove(&first);
                if let Some(before) = start.before().filter(|&before| first <= before) {
                    self.0.insert(first, before);
                }
                if let Some(after) = end.next().filter(|&after| after <= last) {
                    self.0.insert(after, last);
                }
            }
        }
        lowest
    }

    pub(super) fn lowest(&self) -> Option<T> {
        self.0.first_key_value().map(|(&first, _)| first)
    }
}

impl Ports {
    /// Every port.
    pub fn all() -> Self {
        Self(vec![(1, u16::MAX)])
    }

    /// One port.
    pub fn one(port: u16) -> Self {
        Self(vec![(port, port)])
    }

    /// Of a rule's ranges.
    pub fn of(ranges: &[PortRange]) -> Self {
        Self::new(ranges.iter().map(|range| (range.first(), range.last())))
    }

    /// `443`, `80,443`, `8000-8001`; `*` for all.
    pub fn text(&self) -> String {
        if *self == Self::all() {
            return "*".into();
        }
        let range = |&(first, last): &(u16, u16)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        };
        self.0.iter().map(range).collect::<Vec<_>>().join(",")
    }
}

/// The block of IPv4-mapped addresses.
const MAPPED: (u128, u128) = (0xffff_0000_0000, 0xffff_ffff_ffff);

impl Nets {
    /// Of prefixes; bits behind the prefix don't matter.
    pub fn of(nets: impl IntoIterator<Item = IpNet>) -> Self {
        let mut ranges = Vec::new();
        for net in nets {
            let (first, last) = (number(net.network()), number(net.broadcast()));
            if matches!(net, IpNet::V6(_)) && first < MAPPED.0 && MAPPED.1 < last {
                ranges.extend([(first, MAPPED.0 - 1), (MAPPED.1 + 1, last)]);
            } else {
                ranges.push((first, last));
            }
        }
        Self::new(ranges)
    }

    /// Every IPv4 address.
    pub fn all_v4() -> Self {
        Self(vec![MAPPED])
    }

    /// Every address.
    pub fn all() -> Self {
        Self(vec![(0, u128::MAX)])
    }

    /// True when `addr` is in it.
    pub fn has_addr(&self, addr: IpAddr) -> bool {
        self.has(number(addr.to_canonical()))
    }

    /// True when it holds every IPv4 address.
    pub fn is_everywhere(&self) -> bool {
        self.contains(&Self(vec![MAPPED]))
    }

    /// The lowest address in it.
    pub fn example(&self) -> Option<IpAddr> {
        self.first().map(address)
    }

    /// As few prefixes as hold exactly this set.
    pub fn prefixes(&self) -> Vec<IpNet> {
        let mut nets = Vec::new();
        for &(first, last) in &self.0 {
            // A range may run over an end of the IPv4 block.
            let parts = [
                (first, last.min(MAPPED.0 - 1)),
                (first.max(MAPPED.0), last.min(MAPPED.1)),
                (first.max(MAPPED.1 + 1), last),
            ];
            for (first, last) in parts.into_iter().filter(|(first, last)| first <= last) {
                match (address(first), address(last)) {
                    (IpAddr::V4(a), IpAddr::V4(b)) => {
                        nets.extend(Ipv4Subnets::new(a, b, 0).map(IpNet::V4));
                    }
                    _ => nets.extend(
                        Ipv6Subnets::new(Ipv6Addr::from_bits(first), Ipv6Addr::from_bits(last), 0)
                            .map(IpNet::V6),
                    ),
                }
            }
        }
        nets
    }
}

/// An address as its number in [`Nets`].
pub(super) fn number(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(addr) => addr.to_ipv6_mapped().to_bits(),
        IpAddr::V6(addr) => addr.to_bits(),
    }
}

pub(super) fn address(number: u128) -> IpAddr {
    if (MAPPED.0..=MAPPED.1).contains(&number) {
        return Ipv4Addr::from_bits(number as u32).into();
    }
    Ipv6Addr::from_bits(number).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sets() -> impl Strategy<Value = Vec<(u16, u16)>> {
        let edge = prop_oneof![0..12_u16, (0..4_u16).prop_map(|n| u16::MAX - n)];
        prop::collection::vec((edge.clone(), edge), 0..6)
    }

    fn naive(ranges: &[(u16, u16)], n: u16) -> bool {
        ranges.iter().any(|&(a, b)| a <= n && n <= b)
    }

    fn numbers() -> impl Iterator<Item = u16> {
        (0..20).chain(u16::MAX - 6..=u16::MAX)
    }

    proptest! {
        #[test]
        fn are_sets(a in sets(), b in sets()) {
            let (x, y) = (Intervals::new(a.clone()), Intervals::new(b.clone()));
            let (union, both, minus) = (x.union(&y), x.intersection(&y), x.minus(&y));
            for n in numbers() {
                let (p, q) = (naive(&a, n), naive(&b, n));
                prop_assert_eq!(x.has(n), p);
                prop_assert_eq!(union.has(n), p || q);
                prop_assert_eq!(both.has(n), p && q);
                prop_assert_eq!(minus.has(n), p && !q);
            }
            prop_assert_eq!(x.intersects(&y), !both.is_empty());
            prop_assert_eq!(x.contains(&y), y.minus(&x).is_empty());
            let mut left = Left::of(&x);
            prop_assert_eq!(left.take(&y), both.first());
            prop_assert_eq!(left.0.into_iter().collect::<Vec<_>>(), minus.ranges());
            // One set, one form.
            prop_assert_eq!(Intervals::new(union.ranges().iter().copied()), union);
        }
    }

    #[test]
    fn addresses() {
        let nets = |list: &[&str]| Nets::of(list.iter().map(|n| n.parse().unwrap()));
        let set = nets(&["10.0.0.0/9", "10.128.0.0/9", "::/0"]);
        assert!(set.has_addr("10.1.2.3".parse().unwrap()));
        assert!(!set.has_addr("11.0.0.0".parse().unwrap()));
        assert!(set.has_addr("2001:db8::1".parse().unwrap()));
        assert!(set.has_addr("::ffff:10.0.0.1".parse().unwrap()));
        let v4 = |n: &IpNet| n.addr().is_ipv4();
        assert_eq!(
            set.prefixes().iter().find(|n| v4(n)).map(ToString::to_string).as_deref(),
            Some("10.0.0.0/8")
        );
        assert!(nets(&["0.0.0.0/0"]).is_everywhere() && !set.is_everywhere());
        assert_eq!(Nets::of(Nets::all().prefixes()), Nets::all());
    }
}
