//! The program of the cut-off: eBPF, put together here so that a build needs no compiler for it.

use super::kernel::Map;

/// How much of a key says what.
pub(super) mod key {
    pub(in super::super) const LEN: usize = 44;
    /// Four bytes: the interface.
    pub(super) const INTERFACE: i16 = 0;
    /// The IP protocol's number.
    pub(in super::super) const PROTOCOL: i16 = 4;
    /// 1 of what goes out: the loopback shows each packet twice.
    pub(super) const OUTGOING: i16 = 5;
    /// Source and destination, as on the wire.
    pub(in super::super) const PORTS: i16 = 8;
    /// Source and destination; IPv4 mapped (RFC 4291 section 2.5.5.2).
    pub(in super::super) const ADDRESSES: i16 = 12;
}

/// What is counted of one direction of a flow, eight bytes each.
pub(super) mod value {
    pub(in super::super) const LEN: usize = 48;
    /// Payload bytes since the SYN.
    pub(super) const PAYLOAD: i16 = 0;
    /// Packets without payload since the SYN.
    pub(super) const BARE: i16 = 8;
    /// When the last packet with payload was let through, in nanoseconds of the kernel's clock; or how
    /// many were since the other side said something.
    pub(super) const PASSED: i16 = 16;
    /// The same of those without.
    pub(super) const BARE_PASSED: i16 = 40;
    /// Packets that weren't, and the payload bytes in them.
    pub(in super::super) const CUT_PACKETS: i16 = 24;
    pub(in super::super) const CUT_BYTES: i16 = 32;
}

/// Of the totals: packets, bytes.
pub(super) const TOTALS: usize = 2;

/// What the program goes by.
pub(super) struct Rule<'r> {
    /// Bytes before the network header.
    pub(super) link_len: u8,
    /// Payload bytes to let through of each direction.
    pub(super) limit: u32,
    /// Bytes to keep of each frame.
    pub(super) snap_len: u32,
    /// Ports of which all is let through.
    pub(super) whole: &'r [u16],
}

/// Packets without payload that are let through of each direction.
const BARE: i32 = 256;

/// Packets that are let through, and one more, after the other side said something that is: they may be
/// the answer, and silence would mean that there is none. Several, as one that another processor is
/// busy with may be older than the question.
const ANSWERS: i32 = 4;

/// After so long, in nanoseconds, a packet is let through for all that: a flow that goes on must not
/// seem to be over.
const ALIVE: i32 = 2_000_000_000;

/// Lets through all but what comes late in TCP and UDP flows, which it counts.
pub(super) fn program(flows: &Map, totals: &Map, rule: &Rule<'_>) -> Vec<u64> {
    let mut code = Assembler::default();
    let [v4, v6, l4, tcp, udp, ports, known, bare, late, late_bare, cut, mark, answer, pass] =
        std::array::from_fn(|_| code.label());
    let link = i32::from(rule.link_len);
    code.mov(CTX, R1);
    code.load(W, R1, CTX, skb::PROTOCOL);
    code.jump_if(EQ, R1, i32::from(0x0800_u16.to_be()), v4);
    code.jump_if(EQ, R1, i32::from(0x86dd_u16.to_be()), v6);
    code.goto(pass);

    code.place(v4);
    code.header(CTX, link, None, 20, pass);
    code.load(B, R1, FP, HEADER);
    code.mov(HERE, R1);
    code.alu_imm(RSH, R1, 4);
    code.jump_if(NE, R1, 4, pass);
    code.alu_imm(AND, HERE, 15);
    code.alu_imm(LSH, HERE, 2);
    code.load(H, R1, FP, HEADER + 6);
    // Fragments.
    code.jump_if(SET, R1, i32::from(0x3fff_u16.to_be()), pass);
    code.load(B, OTHER, FP, HEADER + 9);
    code.load(H, LEN, FP, HEADER + 2);
    code.big_endian(LEN);
    code.len_or_rest(link);
    code.alu(SUB, LEN, HERE);
    code.alu_imm(ADD, HERE, link);
    code.clear_key();
    for (to, from) in [(key::ADDRESSES, 12), (key::ADDRESSES + 16, 16)] {
        code.store_imm(W, FP, KEY + to + 8, 0x0000_ffff_u32.to_be() as i32);
        code.load(W, R1, FP, HEADER + from);
        code.store(W, FP, KEY + to + 12, R1);
    }
    code.goto(l4);

    code.place(v6);
    code.header(CTX, link, None, 40, pass);
    code.load(B, OTHER, FP, HEADER + 6);
    code.load(H, LEN, FP, HEADER + 4);
    code.big_endian(LEN);
    let sized = code.label();
    code.jump_if(NE, LEN, 0, sized);
    code.len_or_rest(link + 40);
    code.place(sized);
    code.clear_key();
    for word in 0..8 {
        code.load(W, R1, FP, HEADER + 8 + 4 * word);
        code.store(W, FP, KEY + key::ADDRESSES + 4 * word, R1);
    }
    code.mov_imm(HERE, link + 40);

    code.place(l4);
    code.store(B, FP, KEY + key::PROTOCOL, OTHER);
    code.jump_if(EQ, OTHER, 6, tcp);
    code.jump_if(EQ, OTHER, 17, udp);
    code.goto(pass);

    // From here on HERE are the flags that end or open a connection.
    code.place(tcp);
    code.header(CTX, 0, Some(HERE), 20, pass);
    code.load(B, R1, FP, HEADER + 12);
    code.alu_imm(RSH, R1, 4);
    code.alu_imm(LSH, R1, 2);
    code.alu(SUB, LEN, R1);
    code.load(B, HERE, FP, HEADER + 13);
    code.alu_imm(AND, HERE, 7);
    code.goto(ports);
    code.place(udp);
    code.header(CTX, 0, Some(HERE), 8, pass);
    code.alu_imm(SUB, LEN, 8);
    code.mov_imm(HERE, 0);

    code.place(ports);
    let sound = code.label();
    code.jump_if(SIGNED_GE, LEN, 0, sound);
    code.goto(pass);
    code.place(sound);
    for at in [0, 2] {
        code.load(H, R1, FP, HEADER + at);
        for port in rule.whole {
            code.jump_if(EQ, R1, i32::from(port.to_be()), pass);
        }
    }
    code.load(W, R1, FP, HEADER);
    code.store(W, FP, KEY + key::PORTS, R1);
    code.load(W, R1, CTX, skb::INTERFACE);
    code.store(W, FP, KEY + key::INTERFACE, R1);
    code.load(W, R1, CTX, skb::TYPE);
    let incoming = code.label();
    code.jump_if(NE, R1, 4, incoming);
    code.store_imm(B, FP, KEY + key::OUTGOING, 1);
    code.place(incoming);
    code.look_up(flows, KEY);
    code.jump_if(NE, R0, 0, known);

    code.call(KTIME);
    for at in [value::BARE, value::CUT_PACKETS, value::CUT_BYTES] {
        code.store_imm(DW, FP, VALUE + at, 0);
    }
    code.store(DW, FP, VALUE + value::PAYLOAD, LEN);
    code.store(DW, FP, VALUE + value::PASSED, R0);
    code.store(DW, FP, VALUE + value::BARE_PASSED, R0);
    code.load_map(R1, flows);
    code.address(R2, KEY);
    code.address(R3, VALUE);
    code.mov_imm(R4, 0);
    code.call(UPDATE);
    code.goto(answer);

    // From here on OTHER is what is known of the flow.
    code.place(known);
    code.mov(OTHER, R0);
    let going_on = code.label();
    code.mov(R1, HERE);
    code.alu_imm(AND, R1, 2);
    code.jump_if(EQ, R1, 0, going_on);
    // A SYN: another connection may begin.
    code.store(DW, OTHER, value::PAYLOAD, LEN);
    code.store_imm(DW, OTHER, value::BARE, 0);
    code.goto(mark);
    code.place(going_on);
    code.load(DW, R1, OTHER, value::PAYLOAD);
    code.add_to(OTHER, value::PAYLOAD, LEN);
    code.jump_if(NE, HERE, 0, mark);
    code.jump_if(EQ, LEN, 0, bare);
    code.jump_if(LT, R1, i32::try_from(rule.limit).unwrap_or(i32::MAX), mark);
    code.goto(late);
    code.place(bare);
    code.load(DW, R1, OTHER, value::BARE);
    code.mov_imm(R2, 1);
    code.add_to(OTHER, value::BARE, R2);
    code.jump_if(GE, R1, BARE, late_bare);
    code.call(KTIME);
    code.store(DW, OTHER, value::BARE_PASSED, R0);
    code.goto(pass);
    for (label, last) in [(late, value::PASSED), (late_bare, value::BARE_PASSED)] {
        code.place(label);
        code.load(DW, R1, OTHER, last);
        let timed = code.label();
        code.jump_if(GE, R1, ANSWERS, timed);
        code.alu_imm(ADD, R1, 1);
        code.store(DW, OTHER, last, R1);
        code.goto(pass);
        code.place(timed);
        code.call(KTIME);
        code.load(DW, R1, OTHER, last);
        code.mov(R2, R0);
        code.alu(SUB, R2, R1);
        code.jump_if(LT, R2, ALIVE, cut);
        code.store(DW, OTHER, last, R0);
        code.goto(pass);
    }
    code.place(mark);
    code.call(KTIME);
    code.store(DW, OTHER, value::PASSED, R0);

    code.place(answer);
    code.jump_if(EQ, LEN, 0, pass);
    code.reverse_key();
    for outgoing in [0, 1] {
        code.store_imm(B, FP, REVERSE + key::OUTGOING, outgoing);
        code.look_up(flows, REVERSE);
        let none = code.label();
        code.jump_if(EQ, R0, 0, none);
        code.store_imm(DW, R0, value::PASSED, 0);
        code.store_imm(DW, R0, value::BARE_PASSED, 0);
        code.place(none);
    }
    code.goto(pass);

    code.place(cut);
    code.mov_imm(R2, 1);
    code.add_to(OTHER, value::CUT_PACKETS, R2);
    code.add_to(OTHER, value::CUT_BYTES, LEN);
    code.store_imm(W, FP, HEADER, 0);
    code.look_up(totals, HEADER);
    let uncounted = code.label();
    code.jump_if(EQ, R0, 0, uncounted);
    code.mov_imm(R2, 1);
    code.add_to(R0, 0, R2);
    code.add_to(R0, 8, LEN);
    code.place(uncounted);
    code.mov_imm(R0, 0);
    code.exit();

    code.place(pass);
    code.mov_imm(R0, i32::try_from(rule.snap_len).unwrap_or(i32::MAX));
    code.exit();
    code.finish()
}

/// Fields of the context (`struct __sk_buff` of linux/bpf.h).
mod skb {
    pub(super) const LEN: i16 = 0;
    pub(super) const TYPE: i16 = 4;
    pub(super) const PROTOCOL: i16 = 16;
    pub(super) const INTERFACE: i16 = 40;
}

// Places below the frame pointer.
const KEY: i16 = -48;
const HEADER: i16 = -96;
const VALUE: i16 = -144;
const REVERSE: i16 = -192;

// Registers. Calls keep those from 6 on.
const R0: u8 = 0;
const R1: u8 = 1;
const R2: u8 = 2;
const R3: u8 = 3;
const R4: u8 = 4;
const CTX: u8 = 6;
/// Where the next header begins; then flags.
const HERE: u8 = 7;
/// The protocol; then what is known of the flow.
const OTHER: u8 = 8;
/// Bytes from there on; then payload bytes.
const LEN: u8 = 9;
const FP: u8 = 10;

// Sizes (RFC 9669 section 5.1).
const W: u8 = 0x00;
const H: u8 = 0x08;
const B: u8 = 0x10;
const DW: u8 = 0x18;

// Arithmetic on 64 bits (RFC 9669 section 4.1).
const ADD: u8 = 0x00;
const SUB: u8 = 0x10;
const AND: u8 = 0x50;
const LSH: u8 = 0x60;
const RSH: u8 = 0x70;
const MOV: u8 = 0xb0;

// Conditions (RFC 9669 section 4.3).
const EQ: u8 = 0x10;
const SET: u8 = 0x40;
const NE: u8 = 0x50;
const SIGNED_GE: u8 = 0x70;
const GE: u8 = 0x30;
const LT: u8 = 0xa0;

// Functions of the kernel (bpf-helpers(7)).
const LOOKUP: i32 = 1;
const UPDATE: i32 = 2;
const KTIME: i32 = 5;
const LOAD_BYTES: i32 = 26;

#[derive(Clone, Copy)]
struct Label(usize);

#[derive(Default)]
struct Assembler {
    code: Vec<u64>,
    jumps: Vec<(usize, Label)>,
    places: Vec<usize>,
}

impl Assembler {
    fn label(&mut self) -> Label {
        self.places.push(0);
        Label(self.places.len() - 1)
    }

    fn place(&mut self, label: Label) {
        self.places[label.0] = self.code.len();
    }

    fn put(&mut self, op: u8, dst: u8, src: u8, offset: i16, imm: i32) {
        let [low, high] = offset.to_ne_bytes();
        let [a, b, c, d] = imm.to_ne_bytes();
        // The first four bits are the lower ones of the byte on little-endian machines alone.
        let registers =
            if cfg!(target_endian = "little") { src << 4 | dst } else { dst << 4 | src };
        self.code.push(u64::from_ne_bytes([op, registers, low, high, a, b, c, d]));
    }

    fn mov(&mut self, to: u8, from: u8) {
        self.alu(MOV, to, from);
    }

    fn mov_imm(&mut self, to: u8, value: i32) {
        self.alu_imm(MOV, to, value);
    }

    fn alu(&mut self, what: u8, to: u8, with: u8) {
        self.put(0x0f | what, to, with, 0, 0);
    }

    fn alu_imm(&mut self, what: u8, to: u8, value: i32) {
        self.put(0x07 | what, to, 0, 0, value);
    }

    /// From 16 bits as on the wire.
    fn big_endian(&mut self, register: u8) {
        self.put(0xdc, register, 0, 0, 16);
    }

    fn load(&mut self, size: u8, to: u8, base: u8, at: i16) {
        self.put(0x61 | size, to, base, at, 0);
    }

    fn store(&mut self, size: u8, base: u8, at: i16, from: u8) {
        self.put(0x63 | size, base, from, at, 0);
    }

    fn store_imm(&mut self, size: u8, base: u8, at: i16, value: i32) {
        self.put(0x62 | size, base, 0, at, value);
    }

    /// Adds to eight bytes of a map, whoever else does.
    fn add_to(&mut self, base: u8, at: i16, value: u8) {
        self.put(0xdb, base, value, at, 0);
    }

    fn jump_if(&mut self, condition: u8, register: u8, value: i32, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.put(0x05 | condition, register, 0, 0, value);
    }

    fn goto(&mut self, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.put(0x05, 0, 0, 0, 0);
    }

    fn call(&mut self, function: i32) {
        self.put(0x85, 0, 0, 0, function);
    }

    fn exit(&mut self) {
        self.put(0x95, 0, 0, 0, 0);
    }

    fn load_map(&mut self, to: u8, map: &Map) {
        // BPF_PSEUDO_MAP_FD: the kernel puts the map's address there.
        self.put(0x18, to, 1, 0, map.number());
        self.put(0, 0, 0, 0, 0);
    }

    fn address(&mut self, to: u8, at: i16) {
        self.mov(to, FP);
        self.alu_imm(ADD, to, i32::from(at));
    }

    fn look_up(&mut self, map: &Map, key: i16) {
        self.load_map(R1, map);
        self.address(R2, key);
        self.call(LOOKUP);
    }

    /// Copies so many bytes of the packet, from `at` on or from what a register says.
    fn header(&mut self, ctx: u8, at: i32, register: Option<u8>, len: i32, otherwise: Label) {
        self.mov(R1, ctx);
        match register {
            Some(register) => self.mov(R2, register),
            None => self.mov_imm(R2, at),
        }
        self.address(R3, HEADER);
        self.mov_imm(R4, len);
        self.call(LOAD_BYTES);
        self.jump_if(NE, R0, 0, otherwise);
    }

    /// Where the length is 0, as of packets that the NIC is going to cut into segments, what there is
    /// from `start` on.
    fn len_or_rest(&mut self, start: i32) {
        let sized = self.label();
        self.jump_if(NE, LEN, 0, sized);
        self.load(W, LEN, CTX, skb::LEN);
        self.alu_imm(SUB, LEN, start);
        self.place(sized);
    }

    fn clear_key(&mut self) {
        for at in 0..6 {
            self.store_imm(DW, FP, KEY + 8 * at, 0);
        }
    }

    /// The key of the other direction.
    fn reverse_key(&mut self) {
        let ports = [(H, key::PORTS, key::PORTS + 2), (H, key::PORTS + 2, key::PORTS)];
        let addresses = (0..8)
            .map(|word| (W, key::ADDRESSES + 4 * word, key::ADDRESSES + 4 * ((word + 4) % 8)));
        let same = [(W, key::INTERFACE, key::INTERFACE), (W, key::PROTOCOL, key::PROTOCOL)];
        for (size, from, to) in same.into_iter().chain(ports).chain(addresses) {
            self.load(size, R1, FP, KEY + from);
            self.store(size, FP, REVERSE + to, R1);
        }
    }

    fn finish(mut self) -> Vec<u64> {
        for (at, label) in self.jumps {
            let offset = (self.places[label.0] as i64 - at as i64 - 1) as i16;
            let mut bytes = self.code[at].to_ne_bytes();
            bytes[2..4].copy_from_slice(&offset.to_ne_bytes());
            self.code[at] = u64::from_ne_bytes(bytes);
        }
        self.code
    }
}
