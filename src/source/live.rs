use std::{
    ops::ControlFlow,
    sync::atomic::{AtomicBool, Ordering},
};

use pcap::{Active, Capture, Device, Error, Precision};

use super::{End, Frame, LinkType, SourceError, stats::Tally};
use crate::base::{FrameId, Stamp, Timestamp};

/// How to capture.
#[derive(Clone, Debug)]
pub struct LiveOptions {
    /// Bytes to keep of each frame.
    pub snap_len: u32,
    /// Bytes of the kernel's buffer.
    pub buffer: u32,
    /// A filter in pcap-filter(7) syntax.
    pub filter: Option<String>,
}

impl Default for LiveOptions {
    /// Whole frames, a buffer of 64 MiB, no filter.
    fn default() -> Self {
        Self { snap_len: 262_144, buffer: 64 << 20, filter: None }
    }
}

/// What the kernel says of a live capture, since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelStats {
    /// Frames that passed the filter.
    pub received: u64,
    /// Frames that were lost because the buffer was full.
    pub dropped: u64,
    /// Frames that the interface or its driver lost.
    pub if_dropped: u64,
}

/// An open interface.
pub struct Live {
    name: String,
    handle: Capture<Active>,
    link: LinkType,
    /// Nanoseconds in one unit of the timestamps' fraction.
    unit: u64,
    input: u32,
    tally: Tally,
}

/// Ends a live capture from another thread.
pub struct Breaker(pcap::BreakLoop);

impl Breaker {
    /// Ends [`Live::for_each`].
    pub fn stop(&self) {
        self.0.breakloop();
    }
}

/// How long the kernel gathers frames before it hands them over. Immediate mode isn't used: it
/// selects libpcap's slower ring, and drops frames.
const TIMEOUT_MS: i32 = 100;

impl Live {
    /// Starts to capture on an interface, or on all of them (`any`, on Linux), not promiscuously.
    /// `input` is the index that the frames carry.
    ///
    /// # Errors
    ///
    /// When there is no such interface, the right to capture is missing, or the filter is wrong.
    pub fn open(name: &str, input: u32, options: &LiveOptions) -> Result<Self, SourceError> {
        let fail = |error: Error| SourceError::Interface {
            name: name.to_owned(),
            what: explain(error, name),
        };
        let nanoseconds = has_nanoseconds(name);
        let precision = match nanoseconds {
            true => Precision::Nano,
            false => Precision::Micro,
        };
        let size = |bytes: u32| i32::try_from(bytes).unwrap_or(i32::MAX);
        let mut handle = Capture::from_device(name)
            .map_err(fail)?
            .promisc(false)
            .snaplen(size(options.snap_len))
            .buffer_size(size(options.buffer))
            .timeout(TIMEOUT_MS)
            .precision(precision)
            .open()
            .map_err(fail)?;
        if let Some(filter) = &options.filter {
            handle.filter(filter, true).map_err(|error| SourceError::Interface {
                name: name.to_owned(),
                what: format!("the filter \"{filter}\" isn't valid: {}", plain(error)),
            })?;
        }
        let link = handle.get_datalink().0;
        Ok(Self {
            name: name.to_owned(),
            handle,
            link: LinkType::from_header(link.unsigned_abs()),
            unit: if nanoseconds { 1 } else { 1000 },
            input,
            tally: Tally::default(),
        })
    }

    /// What ends [`Self::for_each`] from another thread, also while no frame comes: the kernel's
    /// time-out only runs when there is one.
    pub fn breaker(&mut self) -> Breaker {
        Breaker(self.handle.breakloop_handle())
    }

    /// Hands every frame to `on_frame` until it breaks off, or `stop` is set and a [`Breaker`] used.
    /// Called again, goes on.
    ///
    /// # Errors
    ///
    /// When the interface goes away.
    pub fn for_each<F>(&mut self, stop: &AtomicBool, mut on_frame: F) -> Result<End, SourceError>
    where
        F: FnMut(Frame<'_>) -> ControlFlow<()>,
    {
        while !stop.load(Ordering::Relaxed) {
            let packet = match self.handle.next_packet() {
                Ok(packet) => packet,
                Err(Error::TimeoutExpired) => continue,
                Err(Error::NoMorePackets) => return Ok(End::Complete),
                Err(error) => {
                    return Err(SourceError::Interface {
                        name: self.name.clone(),
                        what: format!("capturing ended: {}", plain(error)),
                    });
                }
            };
            let ts = packet.header.ts;
            let seconds = u64::try_from(ts.tv_sec).unwrap_or(0);
            let fraction = u64::try_from(ts.tv_usec).unwrap_or(0);
            let frame = Frame {
                stamp: Stamp {
                    time: Timestamp::from_parts(seconds, fraction.saturating_mul(self.unit)),
                    frame: FrameId::new(self.input, self.tally.frames + 1),
                },
                link: self.link,
                wire_len: packet.header.len,
                data: packet.data,
            };
            self.tally.count(&frame);
            if on_frame(frame).is_break() {
                break;
            }
        }
        Ok(End::Stopped)
    }

    /// What the kernel counted.
    ///
    /// # Errors
    ///
    /// When the interface went away.
    pub fn kernel_stats(&mut self) -> Result<KernelStats, SourceError> {
        match self.handle.stats() {
            Ok(stats) => Ok(KernelStats {
                received: u64::from(stats.received),
                dropped: u64::from(stats.dropped),
                if_dropped: u64::from(stats.if_dropped),
            }),
            Err(error) => Err(SourceError::Interface {
                name: self.name.clone(),
                what: format!("no statistics: {}", plain(error)),
            }),
        }
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How its frames begin.
    pub fn link(&self) -> LinkType {
        self.link
    }

    /// Frames handed out, and the sum of their lengths on the wire in bytes.
    pub fn counted(&self) -> (u64, u64) {
        (self.tally.frames, self.tally.bytes)
    }
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
            "no right to capture; run as root, or grant CAP_NET_RAW with \
             `setcap cap_net_raw+ep` on this program ({said})"
        );
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_interface_is_answered_with_those_there_are() {
        let error = match Live::open("no-such-if0", 0, &LiveOptions::default()) {
            Ok(_) => panic!("opened an interface that can't exist"),
            Err(error) => error.to_string(),
        };
        assert!(error.starts_with("interface no-such-if0: "), "{error}");
    }

    #[test]
    fn captures_on_loopback() {
        let options = LiveOptions { filter: Some("udp".to_owned()), ..LiveOptions::default() };
        let mut live = match Live::open("lo", 3, &options) {
            Ok(live) => live,
            Err(error) => return eprintln!("skipped: {error}"),
        };
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = socket.local_addr().unwrap();
        socket.send_to(b"seen on the wire", to).unwrap();
        let mut found = false;
        let stop = AtomicBool::new(false);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while std::time::Instant::now() < deadline && !stop.load(Ordering::Relaxed) {
                    std::thread::sleep(std::time::Duration::from_millis(20));
                }
                stop.store(true, Ordering::Relaxed);
            });
            live.for_each(&stop, |frame| {
                found |= frame.data.ends_with(b"seen on the wire");
                assert_eq!(frame.stamp.frame.input(), 3);
                assert!(frame.stamp.time > Timestamp::from_parts(1_700_000_000, 0));
                match found {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            })
            .unwrap();
            stop.store(true, Ordering::Relaxed);
        });
        assert!(found);
        assert!(live.kernel_stats().unwrap().received >= 1);
    }
}
