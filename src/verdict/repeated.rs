//! Folded connections as attempts: one stands for all that went alike and have the same name.

use std::{net::IpAddr, sync::Arc};

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::{
    base::HostName,
    catalog::holds,
    decode::Transport,
    names::{Candidates, Recall},
    scan::{Kind, Visit},
    verdict::{
        attempt::{Attempt, Attempts, Viewpoint, is_local, is_proxy, is_sinkhole, likely_client},
        contact::Contact,
        finding::Bytes,
        transport::Result,
    },
};

/// The connections of a kind, on their way to attempts.
pub(super) struct Repeated<'r, 'c> {
    kind: &'c Kind,
    viewpoint: &'r Viewpoint<'r>,
    naming: &'r Recall<'c>,
    /// True when each has to be looked at by itself.
    is_special: bool,
}

/// What else decides whether two connections of a kind make the same attempt.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Traits {
    /// For want of a better name: the candidates, and whether they are another client's.
    by_dns: Option<(Arc<[HostName]>, bool)>,
    is_uncorroborated: bool,
    /// The client's: rules may ask for them.
    roles: Vec<usize>,
    /// Where an allowlist may ask for it.
    client: Option<IpAddr>,
}

/// Which attempts, by their position, stand for connections of these traits.
#[derive(Default)]
struct Alike {
    /// The latest that was new: mostly the same again.
    last: Option<(Traits, usize)>,
    /// Those before it.
    others: HashMap<Traits, usize, RandomState>,
}

impl<'r, 'c> Repeated<'r, 'c> {
    pub(super) fn new(
        kind: &'c Kind,
        viewpoint: &'r Viewpoint<'r>,
        naming: &'r Recall<'c>,
    ) -> Self {
        let profile = viewpoint.profile;
        let is_resigned = |(issuer, _): (&str, bool)| viewpoint.inspection.is_resigned(issuer);
        let is_midstream = kind.transport == Transport::Tcp && !kind.is_client_known;
        let is_special = is_midstream
            || kind.is_tunnelled()
            || is_proxy(kind.server, profile)
            || is_sinkhole(kind.server.addr(), profile)
            || kind.certificate().is_some_and(is_resigned);
        Self { kind, viewpoint, naming, is_special }
    }

    pub(super) fn attempts(&self, visits: &'c [Visit], found: &mut Attempts<'c>) {
        // Most have just one.
        let is_single = visits.len() == 1;
        let mut alike = Alike::default();
        let serves = is_local(self.kind.server.addr(), self.viewpoint.profile);
        for visit in visits {
            if self.is_special || self.is_reversed(visit) {
                self.viewpoint.attempts(&self.kind.connection(visit), self.naming, found);
            } else if serves && !is_local(visit.client.addr(), self.viewpoint.profile) {
                found.inbound_flows += u64::from(visit.repeats.connections);
            } else if is_single {
                found.all.push(self.attempt(visit, self.candidates(visit)));
            } else {
                self.add(visit, &mut alike, found);
            }
        }
    }

    /// True when the client is the end that was taken for the server.
    fn is_reversed(&self, visit: &Visit) -> bool {
        !self.kind.is_client_known && {
            let key = visit.key(self.kind);
            key.end(likely_client(&key, self.viewpoint.profile)) != visit.client
        }
    }

    fn candidates(&self, visit: &Visit) -> Candidates {
        let (client, server) = (visit.client.addr(), self.kind.server.addr());
        self.naming.candidates(client, server, visit.first.time)
    }

    /// What [`Viewpoint::attempts`] makes of it, as far as it depends on what a visit tells: the same
    /// decisions in the same order.
    fn attempt(&self, visit: &Visit, candidates: Candidates) -> Attempt<'static> {
        let Self { kind, viewpoint, .. } = *self;
        let Visit { first, last, client, bytes: [out, inward], repeats, .. } = *visit;
        let contact = Contact {
            viewpoint,
            client: client.addr(),
            server: kind.server,
            transport: kind.transport,
            first,
            last,
            bytes: Bytes { out, inward },
            repeats,
            is_midstream: false,
        };
        if let Some(exchange) = kind.exchange(visit)
            && let Some(answer) = exchange.status
        {
            return contact.request(Result::answered(&exchange, answer), &exchange, candidates);
        }
        let hello = kind.hello(visit);
        let shown = visit.proof(kind)[0].unwrap_or(first);
        let result = match &hello {
            Some(hello) => Result::encrypted(hello, shown),
            None => Result::data(kind.transport, shown),
        };
        contact.direct(result, hello, candidates)
    }

    fn add(&self, visit: &'c Visit, alike: &mut Alike, found: &mut Attempts<'c>) {
        let candidates = self.candidates(visit);
        let traits = self.traits(visit, &candidates);
        match alike.find(&traits) {
            Some(at) => found.all[at].add(self.kind, visit, candidates.names),
            None => {
                alike.note(traits, found.all.len());
                found.all.push(self.attempt(visit, candidates));
            }
        }
    }

    fn traits(&self, visit: &Visit, candidates: &Candidates) -> Traits {
        let Viewpoint { profile, each_client, .. } = self.viewpoint;
        let client = visit.client.addr();
        let roles = profile.roles.values().enumerate();
        let roles = roles.filter(|(_, nets)| holds(nets, client)).map(|(at, _)| at).collect();
        let (by_dns, is_uncorroborated) = match self.kind.name() {
            None => (Some((Arc::clone(&candidates.names), candidates.other_client)), false),
            Some(name) => {
                let (names, at) = (&candidates.names, visit.first.time);
                (None, self.viewpoint.is_uncorroborated(name, names, client, at))
            }
        };
        Traits { by_dns, is_uncorroborated, roles, client: each_client.then_some(client) }
    }
}

impl Alike {
    fn find(&self, traits: &Traits) -> Option<usize> {
        match &self.last {
            Some((last, at)) if last == traits => Some(*at),
            _ => self.others.get(traits).copied(),
        }
    }

    fn note(&mut self, traits: Traits, at: usize) {
        if let Some((before, its)) = self.last.replace((traits, at)) {
            self.others.insert(before, its);
        }
    }
}
