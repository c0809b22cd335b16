//! Messages recorded from dnsmasq, messages bent from them, and hostile ones.

use super::*;
use crate::extract::Probe;

#[test]
fn reads_a_query() {
    let message = read(A_QUERY);
    assert!(!message.is_response && message.complete);
    assert_eq!((message.id, message.opcode, message.rcode), (0x6e15, 0, 0));
    assert_eq!(message.questions.len(), 1);
    let question = &message.questions[0];
    assert_eq!(question.qname.as_str(), "edge.example.net");
    assert_eq!((question.qtype, question.qclass), (rtype::A, 1));
    assert!(message.additional.is_empty(), "OPT isn't a record");
}

#[test]
fn reads_addresses_and_shares_their_owner() {
    let message = read(A_ANSWER);
    assert!(message.is_response);
    assert_eq!(
        lines(&message.answers),
        ["edge.example.net A 203.0.113.7", "edge.example.net A 203.0.113.8"]
    );
    let owner = |i: usize| message.answers[i].owner.as_str().as_ptr();
    assert_eq!(owner(0), message.questions[0].qname.as_str().as_ptr());
    assert_eq!(owner(0), owner(1));
}

#[test]
fn follows_a_chain_of_aliases_and_folds_case() {
    let message = read(CHAIN);
    assert_eq!(message.questions[0].qname.as_str(), "www.contoso.example");
    assert_eq!(
        lines(&message.answers),
        [
            "www.contoso.example CNAME b.example.net",
            "b.example.net CNAME c.example.net",
            "c.example.net CNAME d.example.net",
            "d.example.net CNAME edge.example.net",
            "edge.example.net AAAA 2001:db8::7",
        ]
    );
}

#[test]
fn reads_https_parameters() {
    let message = read(HTTPS);
    let RData::Svcb(svcb) = &message.answers[0].data else {
        panic!("{message:?}");
    };
    assert_eq!((svcb.priority, svcb.target.as_str()), (1, "."));
    assert_eq!(svcb.alpn, ["h2", "h3"]);
    assert_eq!(svcb.port, Some(0x20fb));
    assert_eq!(svcb.ipv4hint, [Ipv4Addr::new(203, 0, 113, 7)]);
    assert_eq!(svcb.ipv6hint, ["2001:db8::7".parse::<Ipv6Addr>().unwrap()]);
    assert!(svcb.ech);
}

#[test]
fn https_data_with_one_bad_parameter_says_nothing() {
    // The port's key 3 becomes 0, below the alpn's: not ascending.
    let mut wire = hex(HTTPS);
    let port = wire.windows(4).position(|w| w == [0, 3, 0, 2]).unwrap();
    wire[port + 1] = 0;
    let message = parse(&wire).unwrap();
    assert!(message.complete);
    assert_eq!(message.answers[0].data, RData::Other);
}

#[test]
fn reads_failures() {
    let nxdomain = read(NXDOMAIN);
    assert_eq!(rcode_name(nxdomain.rcode), "NXDOMAIN");
    assert!(nxdomain.answers.is_empty() && !nxdomain.has_soa());
    assert_eq!(rcode_name(read(REFUSED).rcode), "REFUSED");
}

#[test]
fn reads_mail_service_and_reverse_names() {
    assert_eq!(lines(&read(MX).answers), ["contoso.example MX 10 mail.contoso.example"]);
    assert_eq!(
        lines(&read(SRV).answers),
        ["_ldap._tcp.contoso.example SRV 0 0 389 dc1.contoso.example"]
    );
    assert_eq!(lines(&read(PTR).answers), ["7.113.0.203.in-addr.arpa PTR edge.example.net"]);
}

#[test]
fn a_dot_in_a_label_stays_in_the_label() {
    let message = read(DOT_IN_LABEL);
    assert_eq!(message.questions[0].qname.as_str(), "a\\.b.example.net");
    assert!(message.questions[0].qname.host_name().is_none());
    let odd = message_of(&[], &[b"\\", b"A b\0", "\u{fc}".as_bytes()]);
    let odd = parse(&odd).unwrap();
    assert_eq!(odd.questions[0].qname.as_str(), "\\\\.a\\032b\\000.\\195\\188");
}

#[test]
fn a_pointer_to_a_root_ends_a_name() {
    let mut wire = message_of(&[0, 1], &[b"a"]);
    wire.extend([1, b'B', 0xc0, 14, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 192, 0, 2, 1]);
    assert!(guard::check(&wire).unwrap().plain);
    assert_eq!(lines(&parse(&wire).unwrap().answers), ["b A 192.0.2.1"]);
}

#[test]
fn an_address_as_a_name_is_no_host_name() {
    let message = parse(&message_of(&[], &[b"10", b"0", b"0", b"1"])).unwrap();
    assert_eq!(message.questions[0].qname.as_str(), "10.0.0.1");
    assert!(message.questions[0].qname.host_name().is_none());
    let root = parse(&message_of(&[], &[])).unwrap();
    assert_eq!(root.questions[0].qname.as_str(), ".");
}

#[test]
fn records_beside_unknown_ones_are_kept() {
    // The first address of A_ANSWER becomes a type that dns-parser doesn't know.
    let mut wire = hex(A_ANSWER);
    let first = wire.windows(4).position(|w| w == [0xc0, 0x0c, 0, 1]).unwrap();
    wire[first + 3] = 46;
    assert!(dns_parser_refuses(&wire));
    let message = parse(&wire).unwrap();
    assert_eq!(
        lines(&message.answers),
        ["edge.example.net RRSIG other", "edge.example.net A 203.0.113.8"]
    );
}

#[test]
fn the_reserved_bit_and_a_second_opt_are_no_obstacle() {
    let mut wire = hex(A_ANSWER);
    wire[3] |= 0x40;
    assert_eq!(parse(&wire).unwrap().answers, read(A_ANSWER).answers);

    let mut wire = hex(A_ANSWER);
    let opt = wire[wire.len() - 11..].to_vec();
    wire.extend(opt);
    wire[11] = 2;
    assert_eq!(parse(&wire), Ok(read(A_ANSWER)));
}

#[test]
fn edns_extends_the_rcode() {
    let mut wire = hex(A_ANSWER);
    let extended = wire.len() - 6;
    wire[extended] = 1;
    assert_eq!(rcode_name(parse(&wire).unwrap().rcode), "BADVERS");
    wire[3] |= 0x40;
    assert_eq!(rcode_name(parse(&wire).unwrap().rcode), "BADVERS");
}

#[test]
fn a_cut_message_keeps_its_first_records() {
    let wire = hex(A_ANSWER);
    let message = parse(&wire[..wire.len() - 12]).unwrap();
    assert!(!message.complete && !message.truncated);
    assert_eq!(lines(&message.answers), ["edge.example.net A 203.0.113.7"]);
    assert_eq!(parse(&wire[..20]), Err(Malformed::Cut));
    assert_eq!(parse(&wire[..11]), Err(Malformed::Header));
}

#[test]
fn a_pointer_in_an_owner_that_goes_nowhere_ends_the_reading() {
    let mut wire = hex(A_ANSWER);
    let second = wire.len() - 11 - 16;
    for target in [second as u8, 0xff, 0, 11] {
        wire[second + 1] = target;
        let message = parse(&wire).unwrap();
        assert!(!message.complete, "to {target}");
        assert_eq!(message.answers.len(), 1);
    }
}

#[test]
fn forged_counts_ask_for_no_memory() {
    let header = [0, 1, 0x81, 0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    assert_eq!(parse(&header), Err(Malformed::Cut));
    let mut wire = hex(A_QUERY);
    wire[6..12].fill(0xff);
    let message = parse(&wire).unwrap();
    assert!(!message.complete);
    assert_eq!((message.answers.capacity(), message.authority.capacity()), (1, 0));
}

#[test]
fn chains_of_pointers_cost_no_more_than_the_message() {
    // A record of type NULL with a name and a chain of pointers, then owners that point to its end:
    // two ends by turns, so that no owner is like the one before.
    let mut wire = message_of(&[0xff, 0xff], &[]);
    wire.extend([0, 0, 10, 0, 1, 0, 0, 0, 0, 0, 243]);
    let mut last = wire.len() as u16;
    wire.extend([1, b'a', 0]);
    for _ in 0..120 {
        let here = wire.len() as u16;
        wire.extend((0xc000 | last).to_be_bytes());
        last = here;
    }
    for turn in 0..5_000 {
        wire.extend((0xc000 | (last - 2 * (turn % 2))).to_be_bytes());
        wire.extend([0, 99, 0, 1, 0, 0, 0, 0, 0, 0]);
    }
    let message = parse(&wire).unwrap();
    assert!(!message.complete);
    let work = 8 * 120 * message.answers.len();
    assert!((1..=1024 + 8 * wire.len()).contains(&work), "{work}");
}

#[test]
fn a_loop_of_pointers_is_refused() {
    for name in [&[0xc0, 12][..], &[1, b'a', 0xc0, 12], &[1, b'a', 0xc0, 14], &[0xc0, 0]] {
        let mut wire = message_of(&[], &[]);
        wire.truncate(12);
        wire.extend(name);
        wire.extend([0, 1, 0, 1]);
        assert_eq!(parse(&wire), Err(Malformed::Pointer), "{name:?}");
    }
}

#[test]
fn names_end_at_255_octets() {
    let longest: [&[u8]; 4] = [&[b'a'; 63], &[b'b'; 63], &[b'c'; 63], &[b'd'; 61]];
    assert!(parse(&message_of(&[], &longest)).is_ok());
    let longer: [&[u8]; 4] = [&[b'a'; 63], &[b'b'; 63], &[b'c'; 63], &[b'd'; 62]];
    assert_eq!(parse(&message_of(&[], &longer)), Err(Malformed::NameTooLong));
}

#[test]
fn records_of_another_class_name_no_address() {
    let mut wire = hex(A_ANSWER);
    let first = wire.windows(4).position(|w| w == [0xc0, 0x0c, 0, 1]).unwrap();
    for class in [[0, 3], [0, 254], [0x80, 1]] {
        wire[first + 4..first + 6].copy_from_slice(&class);
        assert_eq!(parse(&wire).unwrap().answers[0].data, RData::Other);
    }
}

#[test]
fn finds_two_messages_in_one_stream() {
    let stream = [hex(TCP_QUERY), hex(TCP_QUERY)].concat();
    let Probe::Found(first) = tcp_message(&stream) else {
        panic!();
    };
    assert_eq!(parse(&stream[first.clone()]).unwrap().id, 0x9bb1);
    let rest = &stream[first.end..];
    assert_eq!(tcp_message(rest), Probe::Found(2..rest.len()));
    assert_eq!(tcp_message(&rest[..20]), Probe::More(rest.len()));
    assert_eq!(tcp_message(&[]), Probe::More(14));
}

#[test]
fn other_protocols_are_not_dns() {
    let others: [&[u8]; 8] = [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT a.example:443 HTTP/1.1\r\n",
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03abcdefgh",
        b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03abcdefgh",
        b"220 mail.example ESMTP\r\n",
        &[0; 64],
        &[0xff; 64],
    ];
    for other in others {
        assert_eq!(tcp_message(other), Probe::Not, "{other:?}");
    }
}

#[test]
fn names_of_codes() {
    assert_eq!(rtype_name(65), "HTTPS");
    assert_eq!(rtype_name(1234), "TYPE1234");
    assert_eq!(rcode_name(4000), "RCODE4000");
}

fn hex(text: &str) -> Vec<u8> {
    let digit = |i: usize| u8::from_str_radix(&text[i..i + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

/// Reads a recorded message, and sees that both readers say the same where both can.
fn read(text: &str) -> Message {
    let wire = hex(text);
    let shape = guard::check(&wire).unwrap();
    let message = parse(&wire).unwrap();
    assert_eq!(lenient::read(&wire, &shape), Ok(message.clone()));
    message
}

fn dns_parser_refuses(wire: &[u8]) -> bool {
    plain::read(wire).is_none()
}

/// A header with these octets of answer count, and a question of type A.
fn message_of(answers: &[u8], labels: &[&[u8]]) -> Vec<u8> {
    let mut wire = vec![0, 1, 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0];
    wire[6..6 + answers.len()].copy_from_slice(answers);
    for label in labels {
        wire.push(label.len() as u8);
        wire.extend(*label);
    }
    wire.extend([0, 0, 1, 0, 1]);
    wire
}

fn lines(records: &[Record]) -> Vec<String> {
    records.iter().map(line).collect()
}

fn line(record: &Record) -> String {
    let data = match &record.data {
        RData::A(a) => a.to_string(),
        RData::Aaaa(a) => a.to_string(),
        RData::Cname(n) | RData::Ptr(n) => n.to_string(),
        RData::Mx(mx) => format!("{} {}", mx.preference, mx.exchange),
        RData::Srv(s) => format!("{} {} {} {}", s.priority, s.weight, s.port, s.target),
        _ => "other".into(),
    };
    format!("{} {} {data}", record.owner, rtype_name(record.rtype))
}

// Asked with dig, answered by dnsmasq 2.90, on a loopback interface.
const A_QUERY: &str = "6e15012000010000000000010465646765076578616d706c65036e65740000010001\
    00002904d0000000000000";
const A_ANSWER: &str = "6e15858000010002000000010465646765076578616d706c65036e65740000010001\
    c00c00010001000000000004cb007107c00c00010001000000000004cb00710800002904d0000000000000";
const CHAIN: &str = "7b20858000010005000000010357775707634f6e546f536f076578616d706c6500001c0001\
    c00c0005000100000000000f0162076578616d706c65036e657400c0310005000100000000000f01630765\
    78616d706c65036e657400c04c0005000100000000000f0164076578616d706c65036e657400c067000500\
    010000000000120465646765076578616d706c65036e657400c082001c000100000000001020010db80000\
    0000000000000000000700002904d0000000000000";
const HTTPS: &str = "e1438580000100010000000103737663076578616d706c65036e65740000410001c00c0041\
    0001000000000037000100000100060268320268330003000220fb00040004cb0071070005000400010203\
    0006001020010db800000000000000000000000700002904d0000000000000";
const NXDOMAIN: &str = "d32c81830001000000000001046e6f7065076578616d706c650000010001\
    00002904d0000000000000";
const REFUSED: &str = "25a28185000100000000000107756e6b6e6f776e036f72670000010001\
    00002904d0000000000006000f0002000e";
const MX: &str = "50968580000100010000000107636f6e746f736f076578616d706c6500000f0001c00c000f0001\
    000000000018000a046d61696c07636f6e746f736f076578616d706c650000002904d0000000000000";
const SRV: &str = "ceea85800001000100000001055f6c646170045f74637007636f6e746f736f076578616d706c65\
    0000210001c00c0021000100000000001b0000000001850364633107636f6e746f736f076578616d706c65\
    0000002904d0000000000000";
const PTR: &str = "86a18580000100010000000101370331313301300332303307696e2d61646472046172706100\
    000c0001c00c000c00010000000000120465646765076578616d706c65036e65740000002904d000000000\
    0000";
const DOT_IN_LABEL: &str = "13d40120000100000000000103612e62076578616d706c65036e65740000010001\
    00002904d0000000000000";
const TCP_QUERY: &str = "002d9bb1012000010000000000010465646765076578616d706c65036e6574000001\
    000100002904d0000000000000";
