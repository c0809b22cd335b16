use std::{
    fmt, io,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::live::Live;
use crate::base::Timestamp;

/// The captures on one interface over which the kernel spreads its frames, each to one of them
/// (`PACKET_FANOUT`, packet(7)).
///
/// All frames of a flow come to the same capture, as long as all of them are there: they join in the
/// order of their numbers, and what comes before the last has joined isn't handed out.
#[derive(Debug)]
pub(super) struct Fanout {
    rings: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    members: usize,
    /// The kernel's name for the group.
    id: u16,
    /// From when on all captures share the frames; `None` while some are missing.
    since: Option<Timestamp>,
}

/// Why frames can't be spread.
#[derive(Debug)]
pub(super) struct NoFanout(pub(super) io::Error);

impl fmt::Display for NoFanout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the kernel can't spread frames over several rings ({}): one ring, and so one core, \
             reads all of them, and frames are lost when that isn't enough",
            self.0
        )
    }
}

impl Fanout {
    pub(super) fn new(rings: usize) -> Self {
        Self { rings, state: Mutex::default() }
    }

    /// True when all that come before this capture have joined, and none after it.
    pub(super) fn is_turn_of(&self, ring: usize) -> bool {
        self.state().members == ring
    }

    /// Adds the next capture.
    pub(super) fn join(
        &self,
        live: &Live,
        now: impl FnOnce() -> Timestamp,
    ) -> Result<(), NoFanout> {
        let mut state = self.state();
        let first = state.members == 0;
        state.id = join(live, (!first).then_some(state.id)).map_err(NoFanout)?;
        state.members += 1;
        if state.members == self.rings {
            state.since = Some(now());
        }
        Ok(())
    }

    /// One has been closed.
    pub(super) fn leave(&self) {
        let mut state = self.state();
        state.members = state.members.saturating_sub(1);
        state.since = None;
    }

    pub(super) fn since(&self) -> Option<Timestamp> {
        self.state().since
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Joins a group, or makes one, whose name the kernel gives: one that is ours alone, whatever other
/// programs share the network namespace.
#[cfg(target_os = "linux")]
fn join(live: &Live, id: Option<u16>) -> io::Result<u16> {
    use std::os::fd::AsFd;

    use libc::{
        PACKET_FANOUT, PACKET_FANOUT_CBPF, PACKET_FANOUT_DATA, PACKET_FANOUT_FLAG_UNIQUEID,
    };

    use super::{kernel, spread};

    let fd = live.as_fd();
    // No PACKET_FANOUT_FLAG_ROLLOVER: a full ring loses frames, which shows. Elsewhere they would be
    // torn from their flows, which doesn't. No PACKET_FANOUT_FLAG_DEFRAG: frames are counted, and
    // fragments put together, as they were on the wire.
    let how = |flags: u32| (PACKET_FANOUT_CBPF | flags) << 16;
    match id {
        Some(id) => kernel::set(fd, PACKET_FANOUT, (how(0) | u32::from(id)) as i32)?,
        None => {
            kernel::set(fd, PACKET_FANOUT, how(PACKET_FANOUT_FLAG_UNIQUEID) as i32)?;
            kernel::set_program(fd, PACKET_FANOUT_DATA, &spread::program())?;
        }
    }
    Ok(kernel::get(fd, PACKET_FANOUT)? as u16)
}

#[cfg(not(target_os = "linux"))]
fn join(_: &Live, _: Option<u16>) -> io::Result<u16> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "only Linux can"))
}
