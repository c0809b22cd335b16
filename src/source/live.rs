use std::{
    io,
    net::IpAddr,
    time::{Duration, Instant},
};

use pcap::{Active, Capture, Device, Error, Packet, Precision};

use serde::{Deserialize, Serialize};

use super::{
    Cut, CutFlow, Cutoff, Frame, LinkType, SourceError,
    cutoff::{Attached, Counted},
    prefilter::prefilter,
    stats::Tally,
};
use crate::base::{FrameId, Stamp, Timestamp};

/// How to capture.
#[derive(Clone, Debug)]
pub struct LiveOptions {
    /// Bytes to keep of each frame.
    pub snap_len: u32,
    /// Bytes of the kernel's buffer.
    pub buffer: u32,
    /// Ask the interface for all frames on its wire, not just those for this host.
    pub promiscuous: bool,
    /// A filter in pcap-filter(7) syntax.
    pub filter: Option<String>,
    /// Let the kernel drop the bulk of downloads too: see [`prefilter`].
    pub prefilter: bool,
    /// Let the kernel count what comes late in flows, and not hand it over. In the place of any filter.
    pub cutoff: Option<Cutoff>,
}

impl Default for LiveOptions {
    /// Whole frames, a buffer of 64 MiB, this host's frames, no filter.
    fn default() -> Self {
        Self {
            snap_len: 262_144,
            buffer: 64 << 20,
            promiscuous: false,
            filter: None,
            prefilter: false,
            cutoff: None,
        }
    }
}

/// What the kernel says of a live capture, since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelStats {
    /// Frames that passed the filter.
    pub received: u64,
    /// Frames that were lost because the buffer was full.
    pub dropped: u64,
    /// Frames that the interface or its driver lost, as far as the system tells.
    pub if_dropped: u64,
}

/// An open interface. Reading never waits.
pub(super) struct Live {
    name: String,
    handle: Capture<Active>,
    link: LinkType,
    /// Nanoseconds in one unit of the timestamps' fraction.
    unit: u64,
    input: u32,
    tally: Tally,
    counted: [u32; 3],
    kernel: KernelStats,
    notes: Vec<String>,
    /// Frames before aren't handed out.
    since: Timestamp,
    /// When there are none before any more, but for a clock that was set back.
    settled: Instant,
    cutoff: Option<Attached>,
}

/// How long the kernel gathers frames before it hands them over. Immediate mode isn't used: it
/// selects libpcap's slower ring, and drops frames.
pub(super) const TIMEOUT_MS: u16 = 50;

/// Frames from before [`Live::begin`] have been read by then.
const SETTLED: Duration = Duration::from_secs(1);

impl Live {
    /// Starts to capture on an interface, or on all of them (`any`, on Linux). `input` is the index
    /// that the frames carry; their numbers go on after `before`.
    ///
    /// # Errors
    ///
    /// When there is no such interface, the right to capture is missing, or the filter is wrong.
    pub(super) fn open(
        name: &str,
        input: u32,
        before: Tally,
        options: &LiveOptions,
    ) -> Result<Self, SourceError> {
        let fail = |error: Error| SourceError::Interface {
            name: name.to_owned(),
            what: explain(error, name),
        };
        let nanoseconds = has_nanoseconds(name);
        let precision = match nanoseconds {
            true => Precision::Nano,
            false => Precision::Micro,
        };
        let mut notes = Vec::new();
        // libpcap warns of this, and the binding takes the warning for an error.
        if options.promiscuous && name == "any" {
            notes.push("`any` can't be promiscuous: frames to other hosts aren't seen".to_owned());
        }
        let size = |bytes: u32| i32::try_from(bytes).unwrap_or(i32::MAX);
        let mut handle = Capture::from_device(name)
            .map_err(fail)?
            .promisc(options.promiscuous && name != "any")
            .snaplen(size(options.snap_len))
            .buffer_size(size(options.buffer))
            .timeout(i32::from(TIMEOUT_MS))
            .precision(precision)
            .open()
            .and_then(Capture::setnonblock)
            .map_err(fail)?;
        let wanted = options.filter.as_deref();
        // On its own first, so that the message is about what the user wrote.
        if let Some(filter) = wanted {
            handle.filter(filter, true).map_err(|error| SourceError::Interface {
                name: name.to_owned(),
                what: format!("the filter \"{filter}\" isn't valid: {}", plain(error)),
            })?;
        }
        if options.prefilter {
            let both = wanted.map_or(prefilter(), |f| format!("({f}) and {}", prefilter()));
            if let Err(error) = handle.filter(&both, true) {
                notes.push(format!(
                    "no prefilter on this kind of interface ({}): every frame costs its time",
                    plain(error)
                ));
            }
        }
        let link = LinkType::from_header(handle.get_datalink().0.unsigned_abs());
        let cutoff = options.cutoff.as_ref().and_then(|cutoff| {
            let attached = cut_off(&handle, link, options.snap_len, cutoff);
            attached
                .inspect_err(|error| {
                    notes.push(format!(
                        "no cut-off ({error}): every frame is handed over, and costs its time"
                    ));
                })
                .ok()
        });
        let unit = if nanoseconds { 1 } else { 1000 };
        let (counted, kernel) = Default::default();
        let name = name.to_owned();
        let since = Timestamp::default();
        let tally = before;
        let settled = Instant::now();
        Ok(Self {
            name,
            handle,
            link,
            unit,
            input,
            tally,
            counted,
            kernel,
            notes,
            since,
            settled,
            cutoff,
        })
    }

    /// Hands out frames that the kernel has ready, about `max` of them at most, and tells how many
    /// they were.
    ///
    /// # Errors
    ///
    /// When the interface went away.
    pub(super) fn read(
        &mut self,
        max: usize,
        mut on_frame: impl FnMut(Frame<'_>),
    ) -> Result<usize, SourceError> {
        let Self { handle, link, unit, input, tally, since, .. } = self;
        let result = handle.dispatch(Some(max), |packet| {
            let frame = frame(&packet, *link, *unit, FrameId::new(*input, tally.frames + 1));
            if frame.stamp.time >= *since {
                tally.count(&frame);
                on_frame(frame);
            }
        });
        result.map_err(|error| self.ended(error))
    }

    /// The next frame, if the kernel has one ready. Whether it counts says [`Live::counts`].
    ///
    /// # Errors
    ///
    /// When the interface went away.
    pub(super) fn next(&mut self) -> Result<Option<Frame<'_>>, SourceError> {
        let Self { name, handle, link, unit, input, tally, since, .. } = self;
        match handle.next_packet() {
            Ok(packet) => {
                let frame = frame(&packet, *link, *unit, FrameId::new(*input, tally.frames + 1));
                if frame.stamp.time >= *since {
                    tally.count(&frame);
                }
                Ok(Some(frame))
            }
            Err(Error::TimeoutExpired | Error::NoMorePackets) => Ok(None),
            Err(error) => Err(ended(name, error)),
        }
    }

    /// What the kernel counted. To be asked now and then: libpcap's counters have 32 bits.
    ///
    /// # Errors
    ///
    /// When the interface went away.
    pub(super) fn kernel_stats(&mut self) -> Result<KernelStats, SourceError> {
        let stats = self.handle.stats().map_err(|error| self.ended(error))?;
        let now = [stats.received, stats.dropped, stats.if_dropped];
        let more = |at: usize| u64::from(now[at].wrapping_sub(self.counted[at]));
        self.kernel.received += more(0);
        self.kernel.dropped += more(1);
        self.kernel.if_dropped += more(2);
        self.counted = now;
        if self.has_begun() && Instant::now() >= self.settled {
            self.since = Timestamp::default();
        }
        Ok(self.kernel)
    }

    /// What was cut so far; `None` without a cut-off.
    ///
    /// # Errors
    ///
    /// When the system doesn't tell. Before Linux 5.19 it may be refused to who gave up the right to load a
    /// program.
    pub(super) fn read_cut(&mut self) -> io::Result<Option<Counted>> {
        self.cutoff.as_mut().map(Attached::read).transpose()
    }

    /// Tells what was cut of each flow since the last call.
    pub(super) fn tell_cut(&mut self, now: Counted, each: impl FnMut(CutFlow)) {
        if let Some(cutoff) = &mut self.cutoff {
            cutoff.tell(now, each);
        }
    }

    /// Notes that bytes which were cut belong to a flow that is known.
    pub(super) fn account(&mut self, bytes: u64) {
        if let Some(cutoff) = &mut self.cutoff {
            cutoff.account(bytes);
        }
    }

    /// What was cut; `None` without a cut-off.
    pub(super) fn cut(&self) -> Option<Cut> {
        self.cutoff.as_ref().map(Attached::cut)
    }

    /// Hands out nothing until [`Live::begin`].
    pub(super) fn hold(&mut self) {
        self.since = Timestamp::from_nanos(u64::MAX);
    }

    /// Hands out what is captured from now on, and forgets what the kernel counted before.
    pub(super) fn begin(&mut self, since: Timestamp) {
        if self.kernel_stats().is_ok() {
            self.kernel = KernelStats::default();
        }
        self.since = since;
        self.settled = Instant::now() + SETTLED;
    }

    /// False until [`Live::begin`].
    pub(super) fn has_begun(&self) -> bool {
        self.since < Timestamp::from_nanos(u64::MAX)
    }

    /// Whether a frame of a time is handed out.
    pub(super) fn counts(&self, time: Timestamp) -> bool {
        time >= self.since
    }

    /// What was asked for and can't be had, and what that costs.
    pub(super) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// How its frames begin.
    pub(super) fn link(&self) -> LinkType {
        self.link
    }

    /// What was handed out.
    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    #[cold]
    fn ended(&self, error: Error) -> SourceError {
        ended(&self.name, error)
    }
}

#[cfg(target_os = "linux")]
fn cut_off(
    handle: &Capture<Active>,
    link: LinkType,
    snap_len: u32,
    cutoff: &Cutoff,
) -> Result<Attached, String> {
    use std::os::fd::AsFd;
    Attached::new(handle.as_fd(), link, snap_len, cutoff).map_err(|error| {
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => {
                format!("it needs CAP_BPF, or CAP_SYS_ADMIN, to load a program: {error}")
            }
            _ => error.to_string(),
        }
    })
}

#[cfg(not(target_os = "linux"))]
fn cut_off(
    _: &Capture<Active>,
    link: LinkType,
    snap_len: u32,
    cutoff: &Cutoff,
) -> Result<Attached, String> {
    Attached::new((), link, snap_len, cutoff).map_err(|error| error.to_string())
}

#[cfg(unix)]
impl std::os::fd::AsFd for Live {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

#[cold]
fn ended(name: &str, error: Error) -> SourceError {
    let what = format!("capturing ended: {}", plain(error));
    SourceError::Interface { name: name.to_owned(), what }
}

#[inline(always)]
fn frame<'p>(packet: &Packet<'p>, link: LinkType, unit: u64, id: FrameId) -> Frame<'p> {
    let ts = packet.header.ts;
    let seconds = u64::try_from(ts.tv_sec).unwrap_or(0);
    let fraction = u64::try_from(ts.tv_usec).unwrap_or(0);
    let time = Timestamp::from_parts(seconds, fraction.saturating_mul(unit));
    let stamp = Stamp { time, frame: id };
    Frame { stamp, link, wire_len: packet.header.len, data: packet.data }
}

/// Addresses of an interface, or of all of them (`any`).
pub fn addresses(name: &str) -> Vec<IpAddr> {
    let devices = Device::list().unwrap_or_default().into_iter();
    let fitting = devices.filter(|device| name == "any" || device.name == name);
    fitting.flat_map(|device| device.addresses).map(|address| address.addr).collect()
}

/// Names of the interfaces that can be captured on; empty when the system doesn't tell.
pub fn interfaces() -> Vec<String> {
    let devices = Device::list().unwrap_or_default();
    devices.into_iter().map(|device| device.name).collect()
}

/// libpcap refuses nanoseconds without saying so here, and then reads microseconds: ask only where
/// they are known to work, which is on Linux for all that are network interfaces.
fn has_nanoseconds(name: &str) -> bool {
    const OTHERS: [&str; 6] = ["nflog", "nfqueue", "usbmon", "bluetooth", "dbus-", "dpdk:"];
    cfg!(target_os = "linux") && !OTHERS.iter().any(|prefix| name.starts_with(prefix))
}

fn explain(error: Error, name: &str) -> String {
    let said = plain(error);
    let lower = said.to_ascii_lowercase();
    if lower.contains("permission") || lower.contains("not permitted") {
        return format!(
            "no right to capture: run with sudo, or once grant the right to the program, as with \
             `sudo setcap cap_net_raw+ep \"$(command -v egress-auditor)\"` ({said})"
        );
    }
    if lower.contains("not up") || lower.contains("is down") {
        return format!("the interface is down: `ip link set {name} up` ({said})");
    }
    let known = interfaces();
    if known.iter().any(|interface| interface == name) || name == "any" || known.is_empty() {
        return said;
    }
    format!("no such interface; there are: {}", known.join(", "))
}

/// The message without the crate's prefix.
fn plain(error: Error) -> String {
    match error {
        Error::PcapError(message) => message,
        other => other.to_string(),
    }
}
