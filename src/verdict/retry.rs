//! Failures that a success of the same client makes good: a retry, another address, the other
//! address family.

use std::net::IpAddr;

use crate::{
    base::Timestamp,
    decode::Transport,
    scan::{RETRY_WINDOW, SIDE_BY_SIDE},
    verdict::attempt::{Attempt, Try},
};

/// Flags (`made_good`) each failing attempt of which the client reached the same destination by a
/// connection that began side by side with it or soon after. One that began long before says
/// nothing about what a firewall lets through now.
///
/// Takes attempts with their destinations numbered, those on each next to each other.
pub(super) fn mark(all: &mut [&mut Attempt<'_>]) {
    debug_assert!(all.is_sorted_by_key(|one| one.subject), "destinations are mixed up");
    for same in all.chunk_by_mut(|a, b| a.subject == b.subject) {
        if same.iter().any(|one| one.is_blocked()) && same.iter().any(|one| one.is_reached()) {
            mark_one(same);
        }
    }
}

/// The same, of the attempts on one destination.
fn mark_one(all: &mut [&mut Attempt<'_>]) {
    let successes = Successes::new(all);
    for attempt in all.iter_mut().filter(|attempt| attempt.is_blocked()) {
        attempt.made_good = successes.make_good(attempt);
    }
}

/// On which service (`None` stands for any, since a lookup is for all), and by whom.
type Key = (Option<(Transport, u16)>, Who);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Client(IpAddr),
    /// Any client of this address family: true for IPv6.
    Family(bool),
}

/// When connections that reached their destination began, in order. Only those that a failing
/// attempt asks for.
struct Successes {
    began: Vec<(Key, Timestamp)>,
}

impl Successes {
    fn new(all: &[&mut Attempt<'_>]) -> Self {
        let failing = || all.iter().filter(|attempt| attempt.is_blocked());
        let mut services: Vec<_> = failing().map(|attempt| attempt.service).collect();
        services.sort_unstable();
        services.dedup();
        let asks = |v6: bool| failing().any(|attempt| attempt.client.is_ipv6() != v6);
        let asked = [asks(false), asks(true)];
        let mut began = Vec::new();
        for attempt in all.iter().filter(|attempt| attempt.is_reached()) {
            let wanted = |service: &Option<_>| services.binary_search(service).is_ok();
            for service in [attempt.service, None].into_iter().filter(wanted) {
                for Try { first, client, .. } in attempt.tries() {
                    began.push(((service, Who::Client(client)), first.time));
                    if asked[usize::from(client.is_ipv6())] {
                        began.push(((service, Who::Family(client.is_ipv6())), first.time));
                    }
                }
            }
        }
        began.sort_unstable();
        Self { began }
    }

    fn make_good(&self, failing: &Attempt<'_>) -> bool {
        let (first, last) = (failing.first.time, failing.last.time);
        let own = Who::Client(failing.client);
        // A client of two families has two addresses: here they must be close to belong together.
        let other_family = Who::Family(failing.client.is_ipv4());
        self.within((failing.service, own), first, last.plus(RETRY_WINDOW))
            || self.within((failing.service, other_family), first, first.plus(SIDE_BY_SIDE))
    }

    /// Whether one began in the span, or side by side with its beginning.
    fn within(&self, key: Key, from: Timestamp, to: Timestamp) -> bool {
        let at = self.began.partition_point(|one| *one < (key, from.minus(SIDE_BY_SIDE)));
        self.began.get(at).is_some_and(|(whose, time)| *whose == key && *time <= to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::HostName,
        verdict::{
            Outcome::{self, *},
            testing::{at, attempt, numbered},
        },
    };

    const TLS: Option<(Transport, u16)> = Some((Transport::Tcp, 443));

    /// Whether a TLS attempt that failed from second 100 to 110 is made good by another one.
    fn made_good(by: Attempt<'static>) -> bool {
        let failing = attempt("10.0.0.1", "a.example", TLS, TlsReset, (100, 110));
        let mut all = vec![by, failing];
        all.sort_by_key(|attempt| attempt.first);
        mark(&mut numbered(&mut all));
        assert!(all.iter().all(|attempt| !attempt.made_good || attempt.is_blocked()));
        all.iter().any(|attempt| attempt.made_good)
    }

    fn tls(client: &str, outcome: Outcome, span: (u64, u64)) -> Attempt<'static> {
        attempt(client, "a.example", TLS, outcome, span)
    }

    #[test]
    fn a_retry_or_a_try_at_the_same_time_makes_good() {
        for span in [(97, 98), (97, 5000), (100, 101), (105, 106), (140, 141)] {
            assert!(made_good(tls("10.0.0.1", Established, span)), "{span:?}");
        }
    }

    #[test]
    fn what_began_long_before_or_after_makes_nothing_good() {
        for span in [(1, 2), (96, 120), (1, 5000), (141, 142)] {
            assert!(!made_good(tls("10.0.0.1", Established, span)), "{span:?}");
        }
    }

    #[test]
    fn the_other_address_family_makes_good_side_by_side_only() {
        assert!(made_good(tls("2001:db8::1", Established, (97, 98))));
        assert!(made_good(tls("2001:db8::1", Established, (103, 108))));
        assert!(!made_good(tls("2001:db8::1", Established, (104, 108))));
    }

    #[test]
    fn only_the_same_clients_success_at_the_same_service_counts() {
        assert!(!made_good(tls("10.0.0.2", Established, (105, 106))));
        for outcome in [TransportOnly, Inconclusive, TlsReset] {
            assert!(!made_good(tls("10.0.0.1", outcome, (105, 106))));
        }
        let other_name = attempt("10.0.0.1", "b.example", TLS, Established, (105, 106));
        assert!(!made_good(other_name));
        let other_port = Some((Transport::Tcp, 80));
        assert!(!made_good(attempt("10.0.0.1", "a.example", other_port, Established, (105, 106))));
    }

    #[test]
    fn any_service_makes_a_lookup_good() {
        let lookup = attempt("10.0.0.1", "a.example", None, DnsServfail, (100, 101));
        let mut all = vec![lookup, tls("10.0.0.1", Established, (102, 103))];
        mark(&mut numbered(&mut all));
        assert!(all[0].made_good);
        let name = HostName::parse(b"a.example");
        assert!(all.iter().all(|attempt| attempt.name == name && attempt.first >= at(100)));
    }
}
