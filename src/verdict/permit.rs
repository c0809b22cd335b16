//! What the firewall's allowlist says of destinations that no rule explains.

use crate::{
    allowlist::{Action, Origin, Policy},
    base::HostName,
    catalog,
    decode::Transport,
    verdict::{Class, attempt::Attempt},
};

/// Entries shown for one destination.
const MAX_SHOWN: usize = 5;

/// The allowlist, when there is one.
#[derive(Clone, Copy)]
pub(super) struct Permits<'p>(pub(super) Option<&'p Policy<'p>>);

/// What an allowlist says of one destination. Numbers are places in the list.
pub(super) struct Permit {
    /// The entry that lets it pass.
    by: Option<usize>,
    /// Entries before the decision that can't be compared, and would decide otherwise.
    undecided: Vec<usize>,
}

impl Permits<'_> {
    /// What the allowlist says of an attempt, if that was for this name. `None` without a list.
    pub(super) fn of(self, attempt: &Attempt<'_>, name: Option<&HostName>) -> Option<Permit> {
        Some(Permit::new(self.0?, attempt, name))
    }

    /// The entries that made these attempts what they are: those that allow, and those that can't
    /// be compared.
    pub(super) fn shown<'m>(
        self,
        permits: impl Iterator<Item = &'m Permit> + Clone,
    ) -> (Vec<Origin>, Vec<Origin>) {
        let Some(policy) = self.0 else { return Default::default() };
        let origins = |mut numbers: Vec<usize>| {
            numbers.sort_unstable();
            numbers.dedup();
            let shown = numbers.into_iter().take(MAX_SHOWN);
            shown.map(|number| policy.list().entries[number].origin()).collect()
        };
        let by = permits.clone().filter_map(|permit| permit.by).collect();
        let undecided = permits.flat_map(|permit| permit.undecided.iter().copied()).collect();
        (origins(by), origins(undecided))
    }
}

impl Permit {
    fn new(policy: &Policy<'_>, attempt: &Attempt<'_>, name: Option<&HostName>) -> Self {
        let client = attempt.client;
        let (entry, maybe) = match (attempt.service, name) {
            (Some((transport, port)), name) => {
                let service = (rule_transport(transport), port);
                policy.decide_one(name.map(|name| &**name), attempt.addr, service, Some(client))
            }
            (None, Some(name)) => policy.decide_lookup(name, client),
            (None, None) => (None, Vec::new()),
        };
        let action = |entry: usize| policy.list().entries[entry].action;
        let by = entry.filter(|&entry| action(entry) == Action::Allow);
        let otherwise = if by.is_some() { Action::Deny } else { Action::Allow };
        let undecided = maybe.into_iter().filter(|&entry| action(entry) == otherwise).collect();
        Self { by, undecided }
    }

    pub(super) fn class(&self) -> Class {
        if self.by.is_some() { Class::Allowed } else { Class::Unexpected }
    }
}

pub(super) fn rule_transport(transport: Transport) -> catalog::Transport {
    match transport {
        Transport::Tcp => catalog::Transport::Tcp,
        Transport::Udp => catalog::Transport::Udp,
    }
}
