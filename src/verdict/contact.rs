//! What all flows have, on their way to attempts, and how those get their names.

use std::{net::IpAddr, sync::Arc};

use crate::{
    base::{HostName, Stamp},
    decode::Transport,
    extract::{Ech, Exchange, Hello},
    flow::Endpoint,
    names::Candidates,
    scan::Repeats,
    verdict::{
        Flag, Flags, NamedBy,
        attempt::{Attempt, Viewpoint},
        finding::Bytes,
        transport::Result,
    },
};

/// A client that was in touch with a server.
pub(super) struct Contact<'v> {
    pub(super) viewpoint: &'v Viewpoint<'v>,
    pub(super) client: IpAddr,
    pub(super) server: Endpoint,
    pub(super) transport: Transport,
    pub(super) first: Stamp,
    pub(super) last: Stamp,
    pub(super) bytes: Bytes,
    pub(super) repeats: Repeats,
    /// True when it began before the capture.
    pub(super) is_midstream: bool,
}

impl Contact<'_> {
    /// The client itself connects to the destination.
    pub(super) fn direct(
        &self,
        result: Result,
        hello: Option<Hello>,
        candidates: Candidates,
    ) -> Attempt<'static> {
        let Candidates { names, other_client } = candidates;
        let mut attempt = self.attempt(result, names);
        let says_hello = hello.is_some();
        if let Some(Hello { sni: Some(sni), ech, quic, .. }) = hello {
            attempt.name = Some(sni);
            attempt.named_by = if quic { NamedBy::QuicSni } else { NamedBy::Sni };
            if ech == Ech::Outer {
                attempt.flags.add(Flag::EchOuter);
            }
            self.corroborate(&mut attempt);
        } else {
            guess(&mut attempt, other_client);
        }
        if says_hello {
            self.note_bypass(&mut attempt);
        }
        attempt
    }

    /// An HTTP request to the server itself.
    pub(super) fn request(
        &self,
        result: Result,
        exchange: &Exchange,
        candidates: Candidates,
    ) -> Attempt<'static> {
        let Candidates { names, other_client } = candidates;
        let mut attempt = self.asking(result, exchange, names);
        if attempt.name.is_some() {
            self.corroborate(&mut attempt);
        } else {
            guess(&mut attempt, other_client);
        }
        self.note_bypass(&mut attempt);
        attempt
    }

    /// An HTTP request, whoever does the connecting.
    pub(super) fn asking(
        &self,
        result: Result,
        exchange: &Exchange,
        candidates: Arc<[HostName]>,
    ) -> Attempt<'static> {
        let mut attempt = self.attempt(result, candidates);
        attempt.first = exchange.stamp;
        if let Some(host) = &exchange.host {
            attempt.name = Some(host.clone());
            attempt.named_by = NamedBy::HttpHost;
        }
        attempt
    }

    /// One that has no name yet.
    pub(super) fn attempt(&self, result: Result, candidates: Arc<[HostName]>) -> Attempt<'static> {
        let Self { client, server, transport, first, last, bytes, repeats, .. } = *self;
        let mut flags = Flags::default();
        if self.is_midstream {
            flags.add(Flag::Midstream);
        }
        Attempt {
            client,
            name: None,
            lot: 0,
            subject: 0,
            named_by: NamedBy::Address,
            candidates,
            addr: Some(server.addr()),
            service: Some((transport, server.port())),
            result,
            bytes,
            first,
            last,
            flags,
            repeats,
            made_good: false,
            again: None,
        }
    }

    /// Flags web traffic that leaves the site past the profile's proxy.
    fn note_bypass(&self, attempt: &mut Attempt<'_>) {
        let network = &self.viewpoint.profile.network;
        if !network.proxies.is_empty() && !network.is_inside(self.server.addr()) {
            attempt.flags.add(Flag::ProxyBypass);
        }
    }

    /// Flags a name that the client, whose DNS is visible, never resolved to this address.
    fn corroborate(&self, attempt: &mut Attempt<'_>) {
        let Some(name) = &attempt.name else { return };
        let Self { viewpoint, client, first, is_midstream, .. } = *self;
        let candidates = &attempt.candidates;
        if !is_midstream && viewpoint.is_uncorroborated(name, candidates, client, first.time) {
            attempt.flags.add(Flag::NameUncorroborated);
        }
    }
}

/// For want of a better name, one that DNS makes possible.
fn guess(attempt: &mut Attempt<'_>, other_client: bool) {
    if let Some(first) = attempt.candidates.first() {
        attempt.name = Some(first.clone());
        attempt.named_by = if other_client { NamedBy::DnsOtherClient } else { NamedBy::Dns };
    }
}
