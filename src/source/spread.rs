//! The program by which the kernel spreads packets over rings: classic BPF, which needs no rights.
//!
//! `PACKET_FANOUT_HASH` would do without one, but sends the two directions of a tunnelled connection
//! to different rings, as tunnels hide them behind source ports of their own, and ICMP errors
//! elsewhere than the connections that they quote.

use libc::sock_filter;

/// Destination ports, or source ports, of tunnels in UDP. What is inside may be inside others too, so
/// all of it stays together.
const TUNNELS: [u32; 6] = [4789, 8472, 4790, 6081, 2152, 3544];

/// Where loads relative to the network header begin, and those of what the kernel knows of a packet.
const NET: u32 = libc::SKF_NET_OFF as u32;
const AD: u32 = libc::SKF_AD_OFF as u32;
const PROTOCOL: u32 = AD + libc::SKF_AD_PROTOCOL as u32;
const PKTTYPE: u32 = AD + libc::SKF_AD_PKTTYPE as u32;
const OUTGOING: u32 = 4;

const TCP: u32 = 6;
const UDP: u32 = 17;
const ICMP: u32 = 1;
const ICMP_V6: u32 = 58;

/// Destination unreachable, source quench, redirect, time exceeded, parameter problem (RFC 792).
const ERRORS: [u32; 5] = [3, 4, 5, 11, 12];

/// Scratch memory: sum of the addresses, another value, place of the IP header.
const SUM: u32 = 0;
const OTHER: u32 = 1;
const HEADER: u32 = 2;

/// Gives a number of which the remainder by the number of rings is taken: of TCP and UDP the same for
/// both directions and for ICMP errors that quote them; 0 for all else, which fragments are too, and
/// tunnels.
pub(super) fn program() -> Vec<sock_filter> {
    let mut code = Assembler::default();
    code.load(LDW_ABS, PKTTYPE);
    let [far, outgoing, incoming] = std::array::from_fn(|_| code.label());
    code.jump(JEQ, OUTGOING, far, incoming);
    code.place(far);
    code.goto(outgoing);
    // What comes in begins with its network header, wherever that lies in memory; what goes out,
    // with a link header of unknown length, and its headers lie together.
    for (label, base) in [(incoming, 0), (outgoing, NET)] {
        code.place(label);
        whole(&mut code, base);
    }
    code.finish()
}

fn whole(code: &mut Assembler, base: u32) {
    let [v4, not_v4, far, v6, other] = std::array::from_fn(|_| code.label());
    code.load(LDX_IMM, 0);
    code.load(LDW_ABS, PROTOCOL);
    code.jump(JEQ, 0x0800, v4, not_v4);
    code.place(not_v4);
    code.jump(JEQ, 0x86dd, far, other);
    code.place(other);
    code.load(RET_IMM, 0);
    code.place(far);
    code.goto(v6);
    code.place(v4);
    ipv4(code, base, true);
    code.place(v6);
    ipv6(code, base, true);
}

/// An IPv4 header (RFC 791) at `base` + X; `outer` ones may lead to another that an error quotes.
fn ipv4(code: &mut Assembler, base: u32, outer: bool) {
    let (whole, other) = (code.label(), code.label());
    code.load(LDH_IND, base + 6);
    code.jump(JSET, 0x3fff, other, whole);
    code.place(whole);
    sum(code, base, &[12, 16]);
    code.load(LDB_IND, base + 9);
    let (ports, error) = (code.label(), code.label());
    code.one_of(&[TCP, UDP], ports);
    code.jump(JEQ, ICMP, if outer { error } else { other }, other);
    if outer {
        code.place(error);
        skip_ipv4(code, base);
        code.load(LDB_IND, base);
        let quoted = code.label();
        code.one_of(&ERRORS, quoted);
        code.load(RET_IMM, 0);
        code.place(quoted);
        skip(code, 8);
        ipv4(code, base, false);
    }
    code.place(ports);
    skip_ipv4(code, base);
    hash(code, base, other);
    code.place(other);
    code.load(RET_IMM, 0);
}

/// An IPv6 header (RFC 8200) at `base` + X. Extension headers aren't read.
fn ipv6(code: &mut Assembler, base: u32, outer: bool) {
    let other = code.label();
    sum(code, base, &[8, 12, 16, 20, 24, 28, 32, 36]);
    code.load(LDB_IND, base + 6);
    let (ports, error) = (code.label(), code.label());
    code.one_of(&[TCP, UDP], ports);
    code.jump(JEQ, ICMP_V6, if outer { error } else { other }, other);
    if outer {
        code.place(error);
        skip(code, 40);
        code.load(LDB_IND, base);
        let quoted = code.label();
        // Below 128 are errors (RFC 4443 section 2.1).
        code.jump(JSET, 0x80, other, quoted);
        code.place(quoted);
        skip(code, 8);
        ipv6(code, base, false);
    }
    code.place(ports);
    skip(code, 40);
    hash(code, base, other);
    code.place(other);
    code.load(RET_IMM, 0);
}

/// Adds up words of the header, which is the same for both directions. Keeps X.
fn sum(code: &mut Assembler, base: u32, words: &[u32]) {
    code.load(STX, HEADER);
    for (n, at) in words.iter().enumerate() {
        code.load(LDW_IND, base + at);
        if n > 0 {
            code.load(LDX_MEM, SUM);
            code.load(ADD_X, 0);
        }
        code.load(ST, SUM);
        code.load(LDX_MEM, HEADER);
    }
}

fn skip_ipv4(code: &mut Assembler, base: u32) {
    code.load(LDB_IND, base);
    code.load(AND_IMM, 15);
    code.load(LSH_IMM, 2);
    code.load(ADD_X, 0);
    code.load(TAX, 0);
}

fn skip(code: &mut Assembler, len: u32) {
    code.load(TXA, 0);
    code.load(ADD_IMM, len);
    code.load(TAX, 0);
}

/// Ports are at `base` + X.
fn hash(code: &mut Assembler, base: u32, other: Label) {
    code.load(LDH_IND, base + 2);
    code.one_of(&TUNNELS, other);
    code.load(ST, OTHER);
    code.load(LDH_IND, base);
    code.one_of(&TUNNELS, other);
    code.load(LDX_MEM, OTHER);
    code.load(ADD_X, 0);
    code.load(ST, OTHER);
    code.load(LD_MEM, SUM);
    code.load(MUL_IMM, 0x9e37_79b1);
    code.load(LDX_MEM, OTHER);
    code.load(ADD_X, 0);
    code.load(MUL_IMM, 0x85eb_ca6b);
    code.load(RSH_IMM, 16);
    code.load(RET_A, 0);
}

// Instructions (bpf(4) has the classes, sizes and modes that they are made of).
const LDW_ABS: u16 = 0x20;
const LDW_IND: u16 = 0x40;
const LDH_IND: u16 = 0x48;
const LDB_IND: u16 = 0x50;
const LD_MEM: u16 = 0x60;
const LDX_IMM: u16 = 0x01;
const LDX_MEM: u16 = 0x61;
const ST: u16 = 0x02;
const STX: u16 = 0x03;
const ADD_IMM: u16 = 0x04;
const ADD_X: u16 = 0x0c;
const MUL_IMM: u16 = 0x24;
const AND_IMM: u16 = 0x54;
const LSH_IMM: u16 = 0x64;
const RSH_IMM: u16 = 0x74;
const JA: u16 = 0x05;
const JEQ: u16 = 0x15;
const JSET: u16 = 0x45;
const RET_IMM: u16 = 0x06;
const RET_A: u16 = 0x16;
const TAX: u16 = 0x07;
const TXA: u16 = 0x87;

/// A place to jump to.
#[derive(Clone, Copy)]
struct Label(usize);

#[derive(Default)]
struct Assembler {
    code: Vec<sock_filter>,
    /// Jumps, with where they lead.
    jumps: Vec<(usize, [Label; 2])>,
    gotos: Vec<(usize, Label)>,
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

    fn load(&mut self, code: u16, k: u32) {
        self.code.push(sock_filter { code, jt: 0, jf: 0, k });
    }

    fn jump(&mut self, code: u16, k: u32, yes: Label, no: Label) {
        self.jumps.push((self.code.len(), [yes, no]));
        self.load(code, k);
    }

    fn goto(&mut self, label: Label) {
        self.gotos.push((self.code.len(), label));
        self.load(JA, 0);
    }

    fn one_of(&mut self, values: &[u32], yes: Label) {
        for &value in values {
            let next = self.label();
            self.jump(JEQ, value, yes, next);
            self.place(next);
        }
    }

    /// Those that depend on something have eight bits, which the program is short enough for.
    fn finish(mut self) -> Vec<sock_filter> {
        for (at, label) in self.gotos {
            self.code[at].k = (self.places[label.0] - at - 1) as u32;
        }
        for (at, labels) in self.jumps {
            let [yes, no] = labels.map(|label| {
                let distance = self.places[label.0].checked_sub(at + 1);
                debug_assert!(distance.is_some_and(|distance| distance < 256), "{distance:?}");
                distance.unwrap_or_default() as u8
            });
            (self.code[at].jt, self.code[at].jf) = (yes, no);
        }
        self.code
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would make of a packet that begins with its network header.
    fn run(code: &[sock_filter], protocol: u16, packet: &[u8], outgoing: bool) -> Option<u32> {
        let (mut a, mut x, mut memory, mut at) = (0u32, 0u32, [0u32; 16], 0usize);
        let load = |at: u32, len: usize| {
            let begin = if outgoing { at.wrapping_sub(NET) } else { at } as usize;
            let bytes = packet.get(begin..begin.checked_add(len)?)?;
            Some(bytes.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)))
        };
        loop {
            let sock_filter { code, jt, jf, k } = *code.get(at)?;
            at += 1;
            let mut jump = |yes: bool| at += usize::from(if yes { jt } else { jf });
            match code {
                LDW_ABS if k == PROTOCOL => a = u32::from(protocol),
                LDW_ABS if k == PKTTYPE => a = if outgoing { OUTGOING } else { 0 },
                LDW_IND => a = load(k.wrapping_add(x), 4)?,
                LDH_IND => a = load(k.wrapping_add(x), 2)?,
                LDB_IND => a = load(k.wrapping_add(x), 1)?,
                LD_MEM => a = memory[k as usize],
                LDX_IMM => x = k,
                LDX_MEM => x = memory[k as usize],
                ST => memory[k as usize] = a,
                STX => memory[k as usize] = x,
                ADD_IMM => a = a.wrapping_add(k),
                ADD_X => a = a.wrapping_add(x),
                MUL_IMM => a = a.wrapping_mul(k),
                AND_IMM => a &= k,
                LSH_IMM => a <<= k,
                RSH_IMM => a >>= k,
                JA => at += k as usize,
                JEQ => jump(a == k),
                JSET => jump(a & k != 0),
                TAX => x = a,
                TXA => a = x,
                RET_IMM => return Some(k),
                RET_A => return Some(a),
                _ => panic!("{code:#x}"),
            }
        }
    }

    fn ipv4(protocol: u8, ends: [[u8; 4]; 2], fragment: u16, payload: &[u8]) -> Vec<u8> {
        let mut header = vec![0x46, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0];
        header[6..8].copy_from_slice(&fragment.to_be_bytes());
        [&header[..], &ends[0], &ends[1], &[0; 4], payload].concat()
    }

    fn ipv6(protocol: u8, ends: [u8; 2], payload: &[u8]) -> Vec<u8> {
        let end = |last: u8| [[0x20, 1, 0xd, 0xb8].as_slice(), &[7; 11], &[last]].concat();
        [&[0x60, 0, 0, 0, 0, 0, protocol, 64][..], &end(ends[0]), &end(ends[1]), payload].concat()
    }

    fn ports(from: u16, to: u16) -> Vec<u8> {
        [&from.to_be_bytes()[..], &to.to_be_bytes(), &[0; 4]].concat()
    }

    fn ring(protocol: u16, packet: &[u8]) -> Option<u32> {
        let code = program();
        let [coming, going] = [false, true].map(|going| run(&code, protocol, packet, going));
        assert_eq!(coming, going);
        coming
    }

    const A: [u8; 4] = [10, 77, 1, 10];
    const B: [u8; 4] = [203, 0, 113, 20];
    const C: [u8; 4] = [10, 77, 1, 1];

    #[test]
    fn both_directions_and_errors_about_them_go_the_same_way() {
        let there = ipv4(6, [A, B], 0x4000, &ports(40_000, 443));
        let back = ipv4(6, [B, A], 0, &ports(443, 40_000));
        let way = ring(0x0800, &there).filter(|way| *way > 0);
        assert!(way.is_some());
        assert_eq!(ring(0x0800, &back), way);
        let error = ipv4(1, [C, A], 0, &[&[3, 13, 0, 0, 0, 0, 0, 0][..], &there].concat());
        assert_eq!(ring(0x0800, &error), way);
        // The kernel quotes no more than it must (RFC 792), and a reply is no error.
        assert_eq!(ring(0x0800, &error[..24 + 8 + 24 + 8]), way);
        let echo = ipv4(1, [C, A], 0, &[&[0; 8][..], &there].concat());
        assert_eq!(ring(0x0800, &echo), Some(0));

        let there = ipv6(17, [1, 2], &ports(40_000, 53));
        let way = ring(0x86dd, &there).filter(|way| *way > 0);
        assert!(way.is_some());
        assert_eq!(ring(0x86dd, &ipv6(17, [2, 1], &ports(53, 40_000))), way);
        let error = ipv6(58, [3, 1], &[&[1, 0, 0, 0, 0, 0, 0, 0][..], &there].concat());
        assert_eq!(ring(0x86dd, &error), way);
        assert_eq!(ring(0x86dd, &ipv6(58, [3, 1], &[0x87; 64])), Some(0));
    }

    #[test]
    fn all_else_goes_to_the_first_ring() {
        for packet in [
            ipv4(6, [A, B], 0x2000, &ports(40_000, 443)),
            ipv4(6, [A, B], 0x0001, &ports(40_000, 443)),
            ipv4(17, [A, B], 0, &ports(40_000, 4789)),
            ipv4(17, [A, B], 0, &ports(2152, 40_000)),
            ipv4(47, [A, B], 0, &ports(40_000, 443)),
            ipv4(4, [A, B], 0, &ipv4(6, [A, B], 0, &ports(40_000, 443))),
        ] {
            assert_eq!(ring(0x0800, &packet), Some(0), "{packet:x?}");
        }
        assert_eq!(ring(0x86dd, &ipv6(44, [1, 2], &ports(6 << 8, 0))), Some(0));
        assert_eq!(ring(0x0806, &[0; 28]), Some(0));
        // A load beyond the end ends the program with 0.
        assert_eq!(ring(0x0800, &ipv4(6, [A, B], 0, &[])), None);
    }

    #[test]
    fn flows_are_spread_evenly() {
        for rings in [2, 3, 4, 8] {
            let mut counts = vec![0; rings as usize];
            for client in 0..8 {
                for port in 0..500 {
                    let ends = [[10, 77, 1, client], B];
                    let packet = ipv4(6, ends, 0, &ports(32_768 + 2 * port, 443));
                    counts[(ring(0x0800, &packet).unwrap() % rings) as usize] += 1;
                }
            }
            let fair = 4000 / rings as i32;
            assert!(counts.iter().all(|count: &i32| (count - fair).abs() < fair / 5), "{counts:?}");
        }
    }
}
