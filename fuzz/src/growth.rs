use std::fmt::Debug;

use egress_auditor::extract::Probe;

/// Checks what [`Probe`] promises, with a prefix that grows by `step` bytes: `More` asks for more
/// than there is and not for more than it takes to find it; what is decided stays so.
pub fn grow<T: Clone + Debug + PartialEq>(
    bytes: &[u8],
    step: usize,
    probe: impl Fn(&[u8]) -> Probe<T>,
) {
    grow_to_whole(bytes, step, probe, |_| true);
}

/// As [`grow`], where fewer bytes may show that the thing will never be whole.
pub fn grow_to_whole<T: Clone + Debug + PartialEq>(
    bytes: &[u8],
    step: usize,
    probe: impl Fn(&[u8]) -> Probe<T>,
    is_whole: impl Fn(&T) -> bool,
) {
    let mut checker = Checker::default();
    for end in ends(bytes.len(), step) {
        checker.check(end, probe(&bytes[..end]), &is_whole);
    }
}

/// As [`grow`], for a parser of both directions, which take turns in growing. What isn't the
/// protocol may become it: a server can't have answered what isn't there yet.
pub fn grow_both<T: Clone + Debug + PartialEq>(
    [client, server]: [&[u8]; 2],
    step: usize,
    probe: impl Fn(&[u8], &[u8]) -> Probe<T>,
) {
    let mut checker = Checker::default();
    for end in ends(client.len().max(server.len()), step) {
        let (c, s) = (&client[..end.min(client.len())], &server[..end.min(server.len())]);
        match probe(c, s) {
            Probe::Not if checker.decided.is_none() => {}
            probe => checker.check(c.len() + s.len(), probe, |_| true),
        }
    }
}

/// At most 64 lengths of a growing prefix, the last one being all.
fn ends(len: usize, step: usize) -> impl Iterator<Item = usize> {
    let step = step.max(len / 64).max(1);
    (0..len).step_by(step).chain([len])
}

struct Checker<T> {
    need: usize,
    decided: Option<Probe<T>>,
}

impl<T> Default for Checker<T> {
    fn default() -> Self {
        Self { need: 0, decided: None }
    }
}

impl<T: Clone + Debug + PartialEq> Checker<T> {
    fn check(&mut self, len: usize, probe: Probe<T>, is_whole: impl Fn(&T) -> bool) {
        if let Some(decided) = &self.decided {
            assert_eq!(*decided, probe, "changed its mind at {len} bytes");
        }
        match &probe {
            Probe::More(need) => {
                assert!(*need > len, "wants {need} bytes, has {len}");
                self.need = self.need.max(*need);
                return;
            }
            Probe::Found(thing) => {
                let early = len < self.need && is_whole(thing);
                assert!(!early, "wanted {} bytes, {len} were enough", self.need);
            }
            Probe::Not => {}
        }
        self.decided = Some(probe);
    }
}
