//! QUIC that fails while TCP to the same destination works: clients fall back (RFC 9308 section
//! 2.1), so that nothing is lost but speed.

use std::{net::IpAddr, time::Duration};

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::{
    base::Timestamp,
    decode::Transport,
    verdict::{
        Flag, Meaning, NamedBy, Outcome, Proof, Stage,
        attempt::{Attempt, Try},
    },
};

/// Between a QUIC attempt and the TCP connection that stands in for it. Browsers start TCP 300 ms
/// later; other clients wait until QUIC times out, which takes 10 s by default in some of them.
const WINDOW: Duration = Duration::from_secs(30);

/// Flags each failing QUIC attempt of which the client reached the same name (or the same address,
/// when it has no name) over TCP, before, meanwhile or soon after, and shows that connection.
///
/// Takes attempts with their destinations numbered, those on each next to each other. The TCP
/// connection may use the other address family, or go through a proxy.
pub(super) fn mark(all: &mut [&mut Attempt<'_>]) {
    debug_assert!(all.is_sorted_by_key(|one| one.subject), "destinations are mixed up");
    for same in all.chunk_by_mut(|a, b| a.subject == b.subject) {
        if same.iter().any(|one| is_failing_quic(one)) {
            mark_one(same);
        }
    }
}

/// The same, of the attempts on one destination.
fn mark_one(all: &mut [&mut Attempt<'_>]) {
    let proofs: Vec<_> = {
        let reached = Reached::new(all);
        let proof = |one: &&mut Attempt<'_>| {
            is_failing_quic(one).then(|| reached.instead_of(one)).flatten()
        };
        all.iter().map(proof).collect()
    };
    for (attempt, proof) in all.iter_mut().zip(proofs) {
        if let Some(proof) = proof {
            attempt.result.proof.push(proof);
            attempt.flags.add(Flag::TcpFallback);
        }
    }
}

fn is_failing_quic(attempt: &Attempt<'_>) -> bool {
    let Some((Transport::Udp, port)) = attempt.service else { return false };
    let quic = port == HTTPS
        || attempt.named_by == NamedBy::QuicSni
        || attempt.result.stage == Stage::Quic;
    quic && match attempt.result.outcome.meaning() {
        Meaning::Blocked => attempt.result.outcome != Outcome::DnsSinkhole,
        Meaning::Open | Meaning::Reached => false,
    }
}

/// Where QUIC is at home, also when its version is one that can't be read.
const HTTPS: u16 = 443;

/// TCP connections that reached their destination, by port, then by client.
#[derive(Default)]
struct Reached<'a> {
    of_client: HashMap<(u16, IpAddr), Series<'a>, RandomState>,
    /// The same by address family, IPv4 first.
    of_family: [HashMap<u16, Series<'a>, RandomState>; 2],
}

/// Connections in the order in which they began.
#[derive(Default)]
struct Series<'a>(Vec<Connection<'a>>);

#[derive(Clone, Copy)]
struct Connection<'a> {
    first: Timestamp,
    last: Timestamp,
    /// Which of the attempt's tries it is.
    attempt: &'a Attempt<'a>,
    place: usize,
    /// Position of the one that lasted longest, up to this one.
    longest: usize,
}

impl<'a> Reached<'a> {
    fn new(all: &'a [&mut Attempt<'_>]) -> Self {
        let mut reached = Self::default();
        let mut found = Vec::new();
        for attempt in all.iter().filter(|attempt| attempt.is_reached()) {
            let Some((Transport::Tcp, port)) = attempt.service else { continue };
            let tries = attempt.tries().enumerate();
            found.extend(tries.map(|(place, tried)| (port, attempt, place, tried)));
        }
        found.sort_by_key(|(.., tried)| (tried.first, tried.client));
        for (port, attempt, place, Try { first, client, last, .. }) in found {
            let connection = Connection { first: first.time, last, attempt, place, longest: 0 };
            let family = &mut reached.of_family[usize::from(client.is_ipv6())];
            family.entry(port).or_default().push(connection);
            reached.of_client.entry((port, client)).or_default().push(connection);
        }
        reached
    }

    fn instead_of(&self, attempt: &Attempt<'_>) -> Option<Proof> {
        let (_, port) = attempt.service?;
        let client = attempt.client;
        let own = self.of_client.get(&(port, client)).and_then(|series| series.near(attempt));
        let other_family = &self.of_family[usize::from(client.is_ipv4())];
        let other = || other_family.get(&port).and_then(|series| series.near(attempt));
        let connection = own.or_else(other)?;
        let shown = connection.attempt.proofs(connection.place).last()?;
        let detail = format!("reached over TCP: {}", shown.detail).into();
        Some(Proof { stamp: shown.stamp, detail })
    }
}

impl<'a> Series<'a> {
    fn push(&mut self, mut connection: Connection<'a>) {
        let index = self.0.len();
        let before = self.0.last().map(|last| last.longest);
        let longer = before.filter(|longest| self.0[*longest].last >= connection.last);
        connection.longest = longer.unwrap_or(index);
        self.0.push(connection);
    }

    /// The next connection, else one that was there before.
    fn near(&self, attempt: &Attempt<'_>) -> Option<&Connection<'a>> {
        let (first, last) = (attempt.first.time, attempt.last.time);
        let next = self.0.partition_point(|connection| connection.first < first);
        let soon = self.0.get(next).filter(|c| c.first.since(last) <= WINDOW);
        let before = || {
            let longest = self.0.get(next.checked_sub(1)?)?.longest;
            Some(&self.0[longest]).filter(|c| first.since(c.last) <= WINDOW)
        };
        soon.or_else(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::testing::{at, attempt, numbered};

    const CLIENT: &str = "10.0.0.1";

    fn quic(outcome: Outcome, span: (u64, u64)) -> Attempt<'static> {
        attempt(CLIENT, "a.example", Some((Transport::Udp, 443)), outcome, span)
    }

    fn tcp(client: &str, name: &str, outcome: Outcome, span: (u64, u64)) -> Attempt<'static> {
        attempt(client, name, Some((Transport::Tcp, 443)), outcome, span)
    }

    /// Whether QUIC that failed from second 100 to 105 fell back.
    fn falls_back(to: Attempt<'static>) -> bool {
        let mut all = vec![to, quic(Outcome::QuicNoAnswer, (100, 105))];
        all.sort_by_key(|attempt| attempt.first);
        mark(&mut numbered(&mut all));
        let marked = |a: &Attempt<'_>| a.flags.has(Flag::TcpFallback);
        assert!(all.iter().all(|a| !marked(a) || a.result.proof.len() == 2));
        all.iter().any(marked)
    }

    #[test]
    fn tcp_soon_after_meanwhile_or_before_stands_in() {
        for span in [(105, 106), (100, 400), (101, 102), (134, 135), (10, 71), (10, 500)] {
            assert!(falls_back(tcp(CLIENT, "a.example", Outcome::Established, span)), "{span:?}");
        }
        for span in [(136, 140), (10, 69)] {
            assert!(!falls_back(tcp(CLIENT, "a.example", Outcome::Established, span)), "{span:?}");
        }
    }

    #[test]
    fn tcp_over_the_other_family_stands_in() {
        assert!(falls_back(tcp("2001:db8::1", "a.example", Outcome::Established, (105, 106))));
    }

    #[test]
    fn only_what_reached_the_same_name_counts() {
        for (client, name, outcome) in [
            (CLIENT, "b.example", Outcome::Established),
            ("10.0.0.2", "a.example", Outcome::Established),
            (CLIENT, "a.example", Outcome::TransportOnly),
            (CLIENT, "a.example", Outcome::TlsReset),
            (CLIENT, "a.example", Outcome::Inconclusive),
        ] {
            assert!(!falls_back(tcp(client, name, outcome, (105, 106))));
        }
        let (service, span) = (Some((Transport::Tcp, 8443)), (105, 106));
        assert!(!falls_back(attempt(CLIENT, "a.example", service, Outcome::Established, span)));
    }

    #[test]
    fn a_long_connection_before_shorter_ones_is_found() {
        let reached = |span| tcp(CLIENT, "a.example", Outcome::Established, span);
        let failing = quic(Outcome::QuicNoAnswer, (100, 105));
        let mut all = vec![reached((1, 90)), reached((2, 3)), reached((4, 5)), failing];
        mark(&mut numbered(&mut all));
        assert_eq!(all[3].flags, Flag::TcpFallback.into());
        assert_eq!(all[3].result.proof[1].stamp, at(90));
    }

    #[test]
    fn only_failing_quic_is_marked() {
        let works = tcp(CLIENT, "a.example", Outcome::Established, (105, 106));
        for (outcome, marked) in [
            (Outcome::QuicNoAnswer, true),
            (Outcome::UdpNoAnswer, true),
            (Outcome::IcmpUnreachable, true),
            (Outcome::Established, false),
            (Outcome::Inconclusive, false),
            (Outcome::DnsSinkhole, false),
        ] {
            let mut all = vec![quic(outcome, (100, 105)), works.clone()];
            mark(&mut numbered(&mut all));
            assert_eq!(all[0].flags.has(Flag::TcpFallback), marked, "{outcome:?}");
        }
        let service = Some((Transport::Udp, 123));
        let ntp = attempt(CLIENT, "a.example", service, Outcome::UdpNoAnswer, (100, 105));
        let web = attempt(
            CLIENT,
            "a.example",
            Some((Transport::Tcp, 123)),
            Outcome::Established,
            (106, 107),
        );
        let mut all = vec![ntp, web];
        mark(&mut numbered(&mut all));
        assert!(!all[0].flags.has(Flag::TcpFallback));
    }
}
