//! Memory on the way of a frame: none is taken for frames of flows that are known and have told
//! what they can. What takes some is bounded here by numbers: new flows, DNS messages, the
//! beginnings of conversations.

#![allow(unsafe_code, clippy::unwrap_used)]

mod common;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    io::Write,
    net::Ipv4Addr,
    ops::ControlFlow,
    sync::Arc,
    time::Duration,
};

use common::{
    OwnedFrame, cases, frames,
    packets::{self, ACK, End, PSH, SYN},
};
use egress_auditor::{
    base::Timestamp,
    decode::{Body, Decoder, FragmentLimits},
    scan::{Limits, Place, Scanner},
    source::Capture,
};

/// Counts what each thread asks for.
struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: Hands everything on to the system's allocator. Counting touches a thread-local integer
// that needs no memory of its own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count() {
    let _ = COUNT.try_with(|count| count.set(count.get() + 1));
}

/// Allocations, and growths of them, that `work` makes in this thread.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = COUNT.with(Cell::get);
    work();
    COUNT.with(Cell::get) - before
}

/// A scanner, and the frames that it has seen.
struct Scan {
    scanner: Scanner,
    number: u64,
}

impl Scan {
    fn new() -> Self {
        Self {
            scanner: Scanner::new(Place::Beginning, Limits::default(), Arc::from([])),
            number: 0,
        }
    }

    fn push(&mut self, frames: &[OwnedFrame]) -> u64 {
        allocations(|| {
            for frame in frames {
                self.number += 1;
                self.scanner.push(&frame.numbered(self.number), &mut ());
            }
        })
    }
}

/// Writes down a connection, a microsecond between its frames.
struct Connection {
    client: End,
    server: End,
    /// Next sequence numbers.
    next: [u32; 2],
    frames: Vec<OwnedFrame>,
}

const BEGIN: Timestamp = Timestamp::from_parts(1_800_000_000, 0);

impl Connection {
    fn open(port: u16, server_port: u16) -> Self {
        let client = (Ipv4Addr::new(10, 77, 1, 10), port);
        let server = (Ipv4Addr::new(203, 0, 113, 10), server_port);
        let mut new = Self { client, server, next: [1000, 5000], frames: Vec::new() };
        new.send(0, SYN, &[]);
        new.send(1, SYN | ACK, &[]);
        new.send(0, ACK, &[]);
        new
    }

    fn send(&mut self, side: usize, flags: u8, payload: &[u8]) {
        let ends = [(self.client, self.server), (self.server, self.client)][side];
        let at = BEGIN.plus(Duration::from_micros(self.frames.len() as u64));
        let (seq, ack) = (self.next[side], self.next[1 - side]);
        self.frames.push(packets::tcp(at, ends, flags, (seq, ack), payload));
        self.next[side] += payload.len() as u32 + u32::from(flags & SYN != 0);
    }

    /// Both directions' data, acknowledged.
    fn exchange(&mut self, times: usize, payload: &[u8]) {
        for _ in 0..times {
            self.send(1, PSH | ACK, payload);
            self.send(0, ACK, &[]);
            self.send(0, PSH | ACK, &payload[..payload.len() / 4]);
            self.send(1, ACK, &[]);
        }
    }

    /// Scans it; the frames after the first `warm` ones allocate what is returned.
    fn scanned(&self, warm: usize) -> u64 {
        let mut scan = Scan::new();
        scan.push(&self.frames[..warm]);
        scan.push(&self.frames[warm..])
    }
}

/// The payloads of a fixture's first connection to `port`, with the side that sent each.
fn dialogue(case: &str, port: u16) -> Vec<(usize, Vec<u8>)> {
    let mut decoder = Decoder::new(FragmentLimits::default());
    let mut said = Vec::new();
    let mut client_port = None;
    for frame in frames(&common::fixtures().join(case)) {
        let frame = frame.numbered(1);
        let Ok(packet) = decoder.decode(&frame) else { continue };
        let Body::Tcp(tcp) = packet.body else { continue };
        let (side, port) = match (tcp.dst_port == port, tcp.src_port == port) {
            (true, _) => (0, tcp.src_port),
            (_, true) => (1, tcp.dst_port),
            _ => continue,
        };
        if *client_port.get_or_insert(port) == port && !tcp.payload.is_empty() {
            said.push((side, tcp.payload.to_vec()));
        }
    }
    said
}

#[test]
fn established_tls_takes_nothing() {
    for case in ["reachable", "reachable-tls12", "hello-retry-request", "segmented-pq-clienthello"]
    {
        let mut connection = Connection::open(40_000, 443);
        for (side, payload) in dialogue(case, 443) {
            connection.send(side, PSH | ACK, &payload);
        }
        let warm = connection.frames.len();
        let mut record = vec![0x17, 3, 3, 0x05, 0x6f];
        record.resize(1400, 0xaa);
        connection.exchange(5000, &record);
        assert_eq!(connection.scanned(warm), 0, "{case}");
    }
}

#[test]
fn a_long_download_takes_nothing() {
    let mut connection = Connection::open(40_000, 80);
    connection.send(0, PSH | ACK, b"GET /file HTTP/1.1\r\nHost: azure.archive.ubuntu.com\r\n\r\n");
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n";
    connection.send(1, PSH | ACK, head);
    connection.send(1, PSH | ACK, &[b'x'; 1400]);
    let warm = connection.frames.len();
    for _ in 0..5000 {
        connection.send(1, PSH | ACK, &[b'x'; 1400]);
        connection.send(0, ACK, &[]);
    }
    assert_eq!(connection.scanned(warm), 0);
}

#[test]
fn an_unknown_protocol_takes_nothing() {
    let mut connection = Connection::open(40_000, 9000);
    connection.exchange(2, &[0xee; 1200]);
    let warm = connection.frames.len();
    connection.exchange(5000, &[0xee; 1200]);
    assert_eq!(connection.scanned(warm), 0);
}

#[test]
fn datagrams_of_a_known_flow_take_nothing() {
    let (client, server) =
        ((Ipv4Addr::new(10, 77, 1, 10), 500), (Ipv4Addr::new(203, 0, 113, 9), 4500));
    let mut scan = Scan::new();
    let datagrams = |from: u64| -> Vec<OwnedFrame> {
        let at = |n: u64| BEGIN.plus(Duration::from_micros(n));
        (from..from + 5000)
            .flat_map(|n| {
                let there = packets::udp(at(n), (client, server), &[0x45; 1200]);
                let back = packets::udp(at(n), (server, client), &[0x45; 1200]);
                [there, back]
            })
            .collect()
    };
    scan.push(&datagrams(0)[..2]);
    assert_eq!(scan.push(&datagrams(1)), 0);
}

#[test]
fn a_new_flow_takes_little() {
    // A SYN that nobody answers, from ever new ports and to ever new servers.
    let syn = |n: u32| {
        let client = (Ipv4Addr::new(10, 77, 1, 10), 1024 + (n % 60_000) as u16);
        let server = (Ipv4Addr::from(0xcb00_7100 + n / 60_000), 443);
        let at = BEGIN.plus(Duration::from_micros(u64::from(n)));
        packets::tcp(at, (client, server), SYN, (n, 0), &[])
    };
    let syns: Vec<_> = (0..50_000).map(syn).collect();
    let taken = Scan::new().push(&syns);
    // The table's index doubles now and then, and its entries come in chunks; a flow takes none.
    assert!(taken < syns.len() as u64 / 200, "{taken} allocations for {} flows", syns.len());
}

#[test]
fn a_tls_connection_takes_a_bounded_number() {
    let dialogue = dialogue("reachable", 443);
    let mut connections: Vec<_> = (0..500)
        .map(|n| {
            let mut connection = Connection::open(20_000 + n, 443);
            for (side, payload) in &dialogue {
                connection.send(*side, PSH | ACK, payload);
            }
            connection
        })
        .collect();
    let mut scan = Scan::new();
    scan.push(&connections.remove(0).frames);
    let taken: u64 = connections.iter().map(|connection| scan.push(&connection.frames)).sum();
    let each = taken as f64 / connections.len() as f64;
    println!("a TLS connection: {each:.1} allocations");
    assert!(each <= TLS_CONNECTION, "{each} allocations a connection");
}

/// The conversation, the parsed hello, its names and lists.
const TLS_CONNECTION: f64 = 12.0;

#[test]
fn a_dns_message_takes_a_bounded_number() {
    let mut messages = Vec::new();
    let mut decoder = Decoder::new(FragmentLimits::default());
    for frame in frames(&common::fixtures().join("reachable")) {
        let is_dns = decoder.decode(&frame.numbered(1)).is_ok_and(|packet| match packet.body {
            Body::Udp(udp) => udp.src_port == 53 || udp.dst_port == 53,
            _ => false,
        });
        if is_dns {
            messages.push(frame);
        }
    }
    let mut scan = Scan::new();
    scan.push(&messages);
    let taken: u64 = (0..100).map(|_| scan.push(&messages)).sum();
    let each = taken as f64 / (100 * messages.len()) as f64;
    println!("a DNS message about known names: {each:.1} allocations");
    assert!(each <= DNS_MESSAGE, "{each} allocations a message");
}

/// The message's names and records, as parsed, and the key to look them up.
const DNS_MESSAGE: f64 = 8.0;

#[test]
fn decoding_takes_nothing() {
    for case in cases() {
        let frames = frames(&case);
        // A datagram in fragments needs a buffer to be put together in.
        if common::name(&case) == "ip-fragments" {
            continue;
        }
        let mut decoder = Decoder::new(FragmentLimits::default());
        let taken = allocations(|| {
            for (number, frame) in (1..).zip(&frames) {
                let _ = decoder.decode(&frame.numbered(number));
            }
        });
        assert_eq!(taken, 0, "{}", common::name(&case));
    }
}

#[test]
fn reading_a_mapped_capture_takes_nothing() {
    let mut bytes = vec![0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0];
    bytes.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0]);
    for n in 0..20_000_u32 {
        for field in [1_800_000_000, n, 60, 60] {
            bytes.extend(u32::to_le_bytes(field));
        }
        bytes.extend([0; 60]);
    }
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&bytes).unwrap();
    let mut capture = Capture::open(file.path(), 0).unwrap();
    let mut count = 0;
    let mut read = |frames: u64| {
        allocations(|| {
            let end = capture.for_each(|_| {
                count += 1;
                if count == frames { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            end.unwrap();
        })
    };
    read(1);
    assert_eq!(read(0), 0);
    assert_eq!(count, 20_000);
}
