use std::net::IpAddr;

use crate::{
    base::Stamp,
    decode::Transport,
    extract::{
        Answer, Ends, Fact, Listener, Observation,
        dns::{self, Message, RData},
    },
    flow::{Endpoint, FlowKey, Side},
    names::{Knowledge, LookupKey, Reply},
    scan::{Sink, talk::Chunk},
};

/// Where what is read goes: observations to the sink, DNS to the names.
pub(super) struct Out<'o, S> {
    pub(super) names: &'o mut Knowledge,
    pub(super) sink: &'o mut S,
    /// DNS servers on ports other than 53.
    pub(super) resolvers: &'o [Endpoint],
}

impl<S> Out<'_, S> {
    /// True when one end of the flow is a DNS server, by its port.
    pub(super) fn is_dns(&self, key: &FlowKey) -> bool {
        self.dns_server(key).is_some()
    }

    /// The side that is a DNS server. Between two of them, the message itself says who asks.
    fn dns_server(&self, key: &FlowKey) -> Option<Side> {
        let serves = |side: &Side| {
            let end = key.end(*side);
            end.port() == 53 || self.resolvers.contains(&end)
        };
        [Side::Low, Side::High].into_iter().find(serves)
    }
}

/// Where what is read of one flow goes.
pub(super) struct Outlet<'o, 'r, S> {
    key: &'o FlowKey,
    out: &'o mut Out<'r, S>,
}

/// Record types that lead to addresses (RFC 1035, RFC 3596, RFC 9460).
const A: u16 = 1;
const AAAA: u16 = 28;
const HTTPS: u16 = 65;

impl<'o, 'r, S: Sink> Outlet<'o, 'r, S> {
    pub(super) fn new(key: &'o FlowKey, out: &'o mut Out<'r, S>) -> Self {
        Self { key, out }
    }

    /// Reads a datagram to or from a DNS server. What isn't DNS teaches nothing.
    pub(super) fn dns_datagram(&mut self, chunk: &Chunk<&[u8]>) {
        if let Ok(message) = dns::parse(chunk.bytes) {
            self.dns(chunk.from, &message, chunk.stamp);
        }
    }

    fn ends(&self, client: Side) -> Ends {
        let (asks, answers) = (self.key.end(client), self.key.end(client.other()));
        Ends {
            client: asks.addr(),
            client_port: asks.port(),
            server: answers.addr(),
            server_port: answers.port(),
        }
    }

    /// Keeps what names need: questions for addresses, and their answers.
    fn learn(&mut self, ends: &Ends, message: &Message, stamp: Stamp) {
        let [question] = &message.questions[..] else { return };
        let v6 = match question.qtype {
            A => false,
            AAAA => true,
            HTTPS => return self.learn_hints(ends.client, &question.qname, message, stamp),
            _ => return,
        };
        let Some(name) = question.qname.host_name() else { return };
        let key = LookupKey { client: ends.client, name: name.clone(), v6 };
        if !message.is_response {
            return self.out.names.query(key, ends.server, stamp);
        }
        // The client asks again over TCP (RFC 7766 section 5); what it got so far is no answer.
        if message.truncated && message.rcode == 0 {
            return;
        }
        let addresses = addresses(message);
        let reply = match message.rcode {
            0 if addresses.is_empty() => Reply::NoData,
            0 => Reply::Addresses,
            2 => Reply::ServFail,
            3 => Reply::NxDomain,
            5 => Reply::Refused,
            other => Reply::Other(other),
        };
        self.out.names.reply(key, ends.server, stamp, reply, &addresses);
    }

    /// A browser may connect to a hint without asking for addresses (RFC 9460 section 7.3).
    fn learn_hints(&mut self, client: IpAddr, qname: &dns::Name, message: &Message, stamp: Stamp) {
        let Some(name) = qname.host_name() else { return };
        for record in &message.answers {
            let RData::Svcb(svcb) = &record.data else { continue };
            let v4 = svcb.ipv4hint.iter().map(|&addr| IpAddr::V4(addr));
            let v6 = svcb.ipv6hint.iter().map(|&addr| IpAddr::V6(addr));
            for addr in v4.chain(v6) {
                self.out.names.hint(client, name, addr, stamp, record.ttl);
            }
        }
    }
}

impl<S: Sink> Listener for Outlet<'_, '_, S> {
    fn observe(&mut self, client: Side, stamp: Stamp, make: impl FnOnce(Ends) -> Fact) {
        let ends = self.ends(client);
        self.out.sink.observe(|| Observation::new(stamp, make(ends)));
    }

    fn dns(&mut self, from: Side, message: &Message, stamp: Stamp) {
        if message.opcode != 0 {
            return;
        }
        let client = if message.is_response { from.other() } else { from };
        // A response that no server sent teaches nothing.
        let server_port = self.key.end(client.other()).port();
        if server_port != 53 && self.dns_server() == Some(client) {
            return;
        }
        let ends = self.ends(client);
        self.learn(&ends, message, stamp);
        let transport = self.key.transport();
        self.out.sink.observe(|| Observation::new(stamp, dns_fact(&ends, transport, message)));
    }

    fn dns_server(&self) -> Option<Side> {
        self.out.dns_server(self.key)
    }
}

/// The addresses of the name in question, through its CNAME chain, each with the lowest TTL on the
/// way. Records that the chain doesn't lead to are left out: they answer another question.
fn addresses(message: &Message) -> Vec<(IpAddr, u32)> {
    let Some(question) = message.questions.first() else { return Vec::new() };
    let mut owner = question.qname.as_str();
    let mut chain_ttl = u32::MAX;
    // A chain can't be longer than the records that make it.
    for _ in 0..message.answers.len() {
        let next = message.answers.iter().find_map(|record| match &record.data {
            RData::Cname(target) if record.owner.as_str() == owner => Some((target, record.ttl)),
            _ => None,
        });
        let Some((target, ttl)) = next else { break };
        owner = target.as_str();
        chain_ttl = chain_ttl.min(ttl);
    }
    let of_owner = message.answers.iter().filter(|record| record.owner.as_str() == owner);
    of_owner
        .filter_map(|record| match record.data {
            RData::A(addr) => Some((addr.into(), record.ttl.min(chain_ttl))),
            RData::Aaaa(addr) => Some((addr.into(), record.ttl.min(chain_ttl))),
            _ => None,
        })
        .collect()
}

fn dns_fact(ends: &Ends, transport: Transport, message: &Message) -> Fact {
    let question = message.questions.first();
    let rcode = message.is_response.then(|| dns::rcode_name(message.rcode).into_owned());
    Fact::Dns {
        client: ends.client,
        client_port: ends.client_port,
        server: ends.server,
        server_port: ends.server_port,
        transport,
        qname: question.map_or_else(String::new, |q| q.qname.as_str().to_owned()),
        qtype: question.map_or_else(String::new, |q| dns::rtype_name(q.qtype).into_owned()),
        rcode,
        answers: message.answers.iter().map(answer).collect(),
    }
}

fn answer(record: &dns::Record) -> Answer {
    Answer {
        name: record.owner.as_str().to_owned(),
        rtype: dns::rtype_name(record.rtype).into_owned(),
        rdata: rdata(&record.data),
        ttl: record.ttl,
    }
}

/// Record data as master files write it (RFC 1035 section 5.1); empty where it isn't read.
fn rdata(data: &RData) -> String {
    match data {
        RData::A(addr) => addr.to_string(),
        RData::Aaaa(addr) => addr.to_string(),
        RData::Cname(name) | RData::Dname(name) | RData::Ns(name) | RData::Ptr(name) => {
            name.as_str().to_owned()
        }
        RData::Mx(mx) => format!("{} {}", mx.preference, mx.exchange.as_str()),
        RData::Srv(srv) => {
            format!("{} {} {} {}", srv.priority, srv.weight, srv.port, srv.target.as_str())
        }
        RData::Svcb(svcb) => svcb_text(svcb),
        RData::Soa { .. } | RData::Other => String::new(),
    }
}

fn svcb_text(svcb: &dns::Svcb) -> String {
    let mut text = format!("{} {}", svcb.priority, svcb.target.as_str());
    let mut add = |key: &str, values: Vec<String>| {
        if !values.is_empty() {
            text.push_str(&format!(" {key}={}", values.join(",")));
        }
    };
    add("alpn", svcb.alpn.clone());
    add("port", svcb.port.iter().map(u16::to_string).collect());
    add("ipv4hint", svcb.ipv4hint.iter().map(ToString::to_string).collect());
    add("ipv6hint", svcb.ipv6hint.iter().map(ToString::to_string).collect());
    if svcb.ech {
        text.push_str(" ech");
    }
    text
}
