//! Real captures: the names, answers and errors that are read off them, compared with a reference
//! reading. `docs/AGREEMENT.md` explains every row of [`EXPLAINED`].

#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::IpAddr,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
};

use egress_auditor::{
    decode::Transport,
    extract::{Ends, Fact, dns::rtype_name},
    scan::{Limits, Place, Scanner},
    source::Capture,
};
use serde_json::Value;

/// At least this much of what is read must be right, and of what is there must be read.
const LEAST_PERCENT: f64 = 99.5;

/// A row where this reading and the reference differ, and are known to.
struct Explained {
    /// End of the file's path.
    file: &'static str,
    category: Category,
    is: Disagreement,
    row: &'static str,
    /// Number of the frame that completes the row.
    frame: u64,
}

/// Every known disagreement. One that no longer shows fails the test.
const EXPLAINED: &[Explained] = &[
    extra("output-eve-ftp-data/input.pcap", "192.168.0.13 192.168.0.13 2869", 125),
    extra("afl_data/corner-cases.pcap", "nym1-ib.adnxs.com 68.67.178.138 80", 12),
];

/// A host that the reference doesn't have.
const fn extra(file: &'static str, row: &'static str, frame: u64) -> Explained {
    Explained { file, category: Category::HttpHost, is: Disagreement::Extra, row, frame }
}

#[test]
fn agrees_with_the_reference_reading() {
    let Some(folder) = corpus() else { return };
    let mut explained = BTreeSet::new();
    let mut low = Vec::new();
    for list in ["truth.jsonl", "truth-mutants.jsonl"] {
        let truths = truths(&folder.join(list));
        let bonus = bonus(&folder.join("bonus.jsonl"));
        println!("{list}: {} captures", truths.len());
        let mut scores = BTreeMap::<Category, Score>::new();
        for truth in &truths {
            let file = truth["file"].as_str().unwrap();
            let (expected, seen) = (expected(truth), seen(&folder.join(file)));
            for row in expected.keys().chain(seen.keys()).collect::<BTreeSet<_>>() {
                let score = scores.entry(row.0).or_default();
                let (is, frame) = match (expected.get(row), seen.get(row)) {
                    (Some((Need::Required, _)), Some(_)) => {
                        score.right += 1;
                        continue;
                    }
                    (Some((Need::Required, frame)), None) => (Disagreement::Missing, *frame),
                    (None, Some(frame)) if !is_bonus(&bonus, file, row) => {
                        (Disagreement::Extra, *frame)
                    }
                    _ => continue,
                };
                if let Some(at) = find_explained(file, row, is, frame) {
                    explained.insert(at);
                } else {
                    score.differ(is);
                    println!("  {is:?} {file} {row:?} frame {frame}");
                }
            }
        }
        for (category, score) in scores {
            let [precision, recall] = score.percent();
            println!("  {category:?} {} {precision:.2} {recall:.2}", score.right);
            if precision.min(recall) < LEAST_PERCENT {
                low.push((list, category, precision, recall));
            }
        }
    }
    let stale: Vec<_> = (0..EXPLAINED.len()).filter(|at| !explained.contains(at)).collect();
    let stale: Vec<_> = stale.iter().map(|&at| (EXPLAINED[at].file, EXPLAINED[at].row)).collect();
    assert!(low.is_empty(), "precision or recall below {LEAST_PERCENT} %: {low:?}");
    assert!(stale.is_empty(), "no longer disagreements: {stale:?}");
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Category {
    TlsSni,
    QuicSni,
    Dns,
    HttpHost,
    Connect,
    Icmp,
    DnsQuery,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disagreement {
    /// The reference has it.
    Missing,
    /// The reference doesn't have it.
    Extra,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Need {
    /// Neither right nor wrong, for the reference got it by other means than reading in order.
    Optional,
    Required,
}

/// Category, and the fields in one text.
type Row = (Category, String);

#[derive(Default)]
struct Score {
    right: u64,
    missing: u64,
    extra: u64,
}

impl Score {
    fn differ(&mut self, is: Disagreement) {
        match is {
            Disagreement::Missing => self.missing += 1,
            Disagreement::Extra => self.extra += 1,
        }
    }

    /// Precision and recall.
    fn percent(&self) -> [f64; 2] {
        [self.extra, self.missing].map(|wrong| match self.right + wrong {
            0 => 100.0,
            all => 100.0 * self.right as f64 / all as f64,
        })
    }
}

/// Folder of the captures, or `None` with a printed reason.
fn corpus() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no captures at {}", folder.display());
    None
}

fn json_lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn truths(path: &Path) -> Vec<Value> {
    json_lines(path).into_iter().filter(|truth| truth.get("fatal").is_none()).collect()
}

/// Names that are plainly in the bytes of a file, though the reference doesn't have them.
fn bonus(path: &Path) -> BTreeSet<(String, String, String)> {
    let text = |line: &Value, key| line[key].as_str().unwrap().to_owned();
    json_lines(path)
        .iter()
        .map(|line| (text(line, "file"), text(line, "cat"), text(line, "name")))
        .collect()
}

fn is_bonus(bonus: &BTreeSet<(String, String, String)>, file: &str, row: &Row) -> bool {
    let category = match row.0 {
        Category::TlsSni => "tls_sni",
        Category::HttpHost => "http_host",
        _ => return false,
    };
    let name = row.1.split(' ').next().unwrap_or_default();
    bonus.contains(&(file.to_owned(), category.to_owned(), name.to_owned()))
}

fn find_explained(file: &str, row: &Row, is: Disagreement, frame: u64) -> Option<usize> {
    EXPLAINED.iter().position(|known| {
        (known.category, known.row) == (row.0, &*row.1)
            && (known.is, known.frame) == (is, frame)
            && file.ends_with(known.file)
    })
}

/// What this reading gives for a capture, with the frames that completed the rows.
fn seen(path: &Path) -> BTreeMap<Row, u64> {
    let mut observations = Vec::new();
    let mut scanner = Scanner::new(Place::Beginning, Limits::default(), Arc::default());
    let mut capture = Capture::open(path, 0).unwrap();
    // A damaged capture is read up to the damage.
    let _ = capture.for_each(|frame| {
        scanner.push(&frame, &mut observations);
        ControlFlow::Continue(())
    });
    scanner.finish().conclude(&mut observations);
    let mut rows = BTreeMap::new();
    for observation in &observations {
        for row in rows_of(&observation.fact) {
            let frame = rows.entry(row).or_insert(observation.frame);
            *frame = observation.frame.min(*frame);
        }
    }
    rows
}

fn rows_of(fact: &Fact) -> Vec<Row> {
    use Category::{Connect, Dns, DnsQuery, HttpHost, Icmp, QuicSni, TlsSni};
    let sent_to = |category, name: String, ends: &Ends| {
        vec![(category, format!("{name} {} {}", ends.server, ends.server_port))]
    };
    match fact {
        Fact::TlsClientHello { ends, sni: Some(sni), .. } => sent_to(TlsSni, name(sni), ends),
        Fact::QuicInitial { ends, sni: Some(sni), .. } => sent_to(QuicSni, name(sni), ends),
        Fact::HttpRequest { ends, host: Some(sent), .. } => sent_to(HttpHost, host(sent), ends),
        Fact::HttpConnect { ends, target, .. } => sent_to(Connect, name(target), ends),
        Fact::Dns { qname, qtype, rcode: None, .. } => {
            vec![(DnsQuery, format!("{} {qtype}", name(qname)))]
        }
        Fact::Dns { answers, .. } => answers
            .iter()
            .filter_map(|a| Some((Dns, dns_row(&a.name, &a.rtype, &a.rdata)?)))
            .collect(),
        Fact::IcmpError { from, kind, quoted, .. }
            if matches!((from, kind), (IpAddr::V4(_), 3) | (IpAddr::V6(_), 1)) =>
        {
            let ends = &quoted.ends;
            let (src, dst) = (ends.client, ends.server);
            let (proto, src_port, dst_port) =
                (quoted.transport, ends.client_port, ends.server_port);
            vec![(Icmp, format!("{proto} {src} {src_port} {dst} {dst_port}"))]
        }
        _ => Vec::new(),
    }
}

/// What the reference gives, and the frame of each row.
fn expected(truth: &Value) -> BTreeMap<Row, (Need, u64)> {
    use Category::{Connect, Dns, DnsQuery, HttpHost, Icmp, QuicSni, TlsSni};
    let mut rows = BTreeMap::<Row, (Need, u64)>::new();
    let mut add = |table: &str, make: &dyn Fn(&Value) -> Option<(Row, bool)>| {
        for entry in truth[table].as_array().into_iter().flatten() {
            let Some((row, required)) = make(entry) else { continue };
            let need = if required { Need::Required } else { Need::Optional };
            let frame = entry["frame"].as_u64().unwrap_or_default();
            let known = rows.entry(row).or_insert((need, frame));
            *known = (known.0.max(need), known.1.min(frame));
        }
    };
    add("tls_sni", &|x| {
        let via = x["via"].as_str().unwrap_or("direct");
        let plain = via.split('+').all(|hop| matches!(hop, "direct" | "http" | "socks"));
        let sni = text(x, "name");
        Some((sent_to(TlsSni, name(sni), x), plain && in_order(x) && is_plain(sni)))
    });
    add("dtls_sni", &|x| Some((sent_to(TlsSni, name(text(x, "name")), x), false)));
    add("quic_sni", &|x| {
        let sni = text(x, "name");
        let required = in_order(x) && is_plain(sni) && is_known_quic(text(x, "version"));
        Some((sent_to(QuicSni, name(sni), x), required))
    });
    add("gquic_sni", &|x| Some((sent_to(QuicSni, name(text(x, "name")), x), false)));
    add("dns", &|x| {
        let (owner, rtype, rdata) = (text(x, "qname"), text(x, "rtype"), text(x, "rdata"));
        let standard = x["std"] == true && x["resp"] == true && rtype != "SVCB";
        let plain = is_plain_or_root(owner) && is_plain_or_root(rdata);
        Some(((Dns, dns_row(owner, rtype, rdata)?), in_order(x) && standard && plain))
    });
    add("dns_additional", &|x| {
        let row = dns_row(text(x, "qname"), text(x, "rtype"), text(x, "rdata"))?;
        Some(((Dns, row), false))
    });
    add("dns_query", &|x| {
        let qname = text(x, "qname");
        let qtype = rtype_name(u16::try_from(x["qtype"].as_u64()?).ok()?);
        let required = x["in"] == "query" && x["std"] == true;
        let row = (DnsQuery, format!("{} {qtype}", name(qname)));
        Some((row, required && in_order(x) && is_plain_or_root(qname)))
    });
    add("http_host", &|x| {
        let host = host(text(x, "host"));
        let required = in_order(x) && is_plain(&host);
        Some((sent_to(HttpHost, host, x), required))
    });
    for table in ["http_absolute_uri", "h2c_authority"] {
        add(table, &|x| Some((sent_to(HttpHost, host(text(x, "host")), x), false)));
    }
    add("connect", &|x| {
        let target = text(x, "target");
        Some((sent_to(Connect, name(target), x), in_order(x) && is_plain_or_root(target)))
    });
    add("connect", &|x| Some((sent_to(HttpHost, host(text(x, "target")), x), false)));
    add("icmp_unreachable", &|x| {
        let proto = [Transport::Tcp, Transport::Udp]
            .into_iter()
            .find(|proto| x["proto"] == proto.as_str())?;
        let (src, dst) = (addr(text(x, "src_ip")), addr(text(x, "dst_ip")));
        let (src_port, dst_port) = (x["src_port"].as_u64()?, x["dst_port"].as_u64()?);
        Some(((Icmp, format!("{proto} {src} {src_port} {dst} {dst_port}")), true))
    });
    rows
}

fn text<'v>(entry: &'v Value, key: &str) -> &'v str {
    entry[key].as_str().unwrap_or_default()
}

fn sent_to(category: Category, name: String, entry: &Value) -> Row {
    let (ip, port) = (addr(text(entry, "dst_ip")), &entry["dst_port"]);
    (category, format!("{name} {ip} {port}"))
}

/// True when a pass of the reference that reads streams in order has the row.
fn in_order(entry: &Value) -> bool {
    text(entry, "passes").contains(['1', '3', 'b'])
}

/// Versions 1 and 2 (RFC 9000, RFC 9369), and the drafts 23 to 34.
fn is_known_quic(version: &str) -> bool {
    let digits = version.trim_start_matches("0x");
    matches!(u32::from_str_radix(digits, 16), Ok(1 | 0x6b33_43cf | 0xff00_0017..=0xff00_0022))
}

/// False where the reference had to escape or replace bytes.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && is_plain_or_root(name)
}

fn is_plain_or_root(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_graphic() && b != b'\\')
}

fn name(text: &str) -> String {
    text.trim().to_lowercase().trim_end_matches('.').to_owned()
}

/// A name without the port.
fn host(text: &str) -> String {
    let name = name(text);
    if let Some(rest) = name.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default().to_owned();
    }
    match name.split_once(':') {
        Some((host, port)) if !port.contains(':') => host.to_owned(),
        _ => name,
    }
}

fn addr(text: &str) -> String {
    let number = text.split('%').next().unwrap_or_default();
    number.parse::<IpAddr>().map_or_else(|_| text.to_owned(), |ip| ip.to_string())
}

/// A record as a row; the data of HTTPS and SVCB isn't compared. `None` for other types.
fn dns_row(owner: &str, rtype: &str, rdata: &str) -> Option<String> {
    let data = match rtype {
        "A" | "AAAA" => addr(rdata),
        "CNAME" => name(rdata),
        "HTTPS" | "SVCB" => "*".to_owned(),
        _ => return None,
    };
    Some(format!("{} {rtype} {data}", name(owner)))
}
