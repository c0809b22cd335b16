//! Folded connections as attempts: one stands for all that went alike and have the same name.

use std::{net::IpAddr, sync::Arc};

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::{
    base::HostName,
    names::Recall,
    scan::{Kind, Visit},
    verdict::attempt::{
        Again, Attempts, Viewpoint, is_local, is_proxy, is_sinkhole, likely_client,
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
        let is_special = kind.is_tunnelled()
            || is_proxy(kind.server, profile)
            || is_sinkhole(kind.server.addr(), profile)
            || kind.certificate().is_some_and(is_resigned);
        Self { kind, viewpoint, naming, is_special }
    }

    pub(super) fn attempts(&self, visits: &'c [Visit], found: &mut Attempts<'c>) {
        // Most have just one.
        let is_single = visits.len() == 1;
        let mut alike = Alike::default();
        let serves = !is_single && is_local(self.kind.server.addr(), self.viewpoint.profile);
        for visit in visits {
            if self.is_special || is_single || self.is_reversed(visit) {
                self.viewpoint.attempts(&self.kind.connection(visit), self.naming, found);
            } else if serves && !is_local(visit.client.addr(), self.viewpoint.profile) {
                found.inbound_flows += u64::from(visit.repeats.connections);
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

    fn add(&self, visit: &'c Visit, alike: &mut Alike, found: &mut Attempts<'c>) {
        let client = visit.client.addr();
        let server = self.kind.server.addr();
        let candidates = self.naming.candidates(client, server, visit.first.time);
        let traits = self.traits(visit, client, &candidates.names, candidates.other_client);
        let Some(at) = alike.find(&traits) else {
            alike.note(traits, found.all.len());
            return self.viewpoint.attempts(&self.kind.connection(visit), self.naming, found);
        };
        let attempt = &mut found.all[at];
        attempt.bytes.out += visit.bytes[0];
        attempt.bytes.inward += visit.bytes[1];
        attempt.again.push(Again { kind: self.kind, visit, candidates: candidates.names });
    }

    fn traits(
        &self,
        visit: &Visit,
        client: IpAddr,
        candidates: &Arc<[HostName]>,
        other_client: bool,
    ) -> Traits {
        let Viewpoint { census, profile, each_client, .. } = self.viewpoint;
        let roles = profile.roles.values().enumerate();
        let has = |nets: &[ipnet::IpNet]| nets.iter().any(|net| net.contains(&client));
        let roles = roles.filter(|(_, nets)| has(nets)).map(|(at, _)| at).collect();
        let (by_dns, is_uncorroborated) = match self.kind.name() {
            None => (Some((Arc::clone(candidates), other_client)), false),
            Some(name) => {
                let told = candidates.binary_search(name).is_ok();
                (None, !told && census.names.is_visible(client, visit.first.time))
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
