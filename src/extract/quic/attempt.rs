use std::sync::Arc;

use super::{
    crypto_stream::CryptoStream,
    frame::{Frame, frames},
    packet::{Long, MAX_CID, Negotiation},
    protection::{Keys, Payload, Secret, Secrets},
    version::Version,
};
use crate::{
    base::Stamp,
    extract::{
        Probe,
        tls::{ClientHello, client_hello_message, partial_client_hello_message},
    },
};

/// A client's attempt to connect: the Initial packets that one pair of keys protects.
///
/// After a Retry, and after a Version Negotiation, the client makes another one.
#[derive(Clone, Debug)]
pub(in crate::extract) struct Attempt {
    version: Version,
    /// The keys come from it.
    dcid: ConnectionId,
    server_secret: Secret,
    client_cid: ConnectionId,
    /// The server's choice, once it has answered: what the client sends to from then on.
    server_cid: Option<ConnectionId>,
    /// True when the server has closed the connection.
    closed: bool,
    /// `None` when the hello is read, or never will be.
    reading: Option<Box<Reading>>,
}

/// A ClientHello on its way.
#[derive(Clone, Debug)]
struct Reading {
    keys: Arc<Keys>,
    stream: CryptoStream,
    /// The hello can't be whole before it has this many bytes.
    need: usize,
    progress: Progress,
}

/// What the bytes of a ClientHello came in.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::extract) struct Progress {
    /// Datagrams that brought new bytes.
    pub(in crate::extract) datagrams: u32,
    /// The last of them.
    pub(in crate::extract) stamp: Stamp,
}

impl Attempt {
    /// Begins with an Initial of a client whose own Destination Connection ID makes the keys, and
    /// gives its payload.
    pub(in crate::extract) fn begin(packet: &Long<'_>) -> Option<(Self, Payload)> {
        let secrets = Secrets::new(packet.version, packet.dcid)?;
        let keys = secrets.client.keys()?;
        let payload = keys.open(packet)?;
        let (stream, progress) = (CryptoStream::default(), Progress::default());
        let attempt = Self {
            version: packet.version,
            dcid: ConnectionId::new(packet.dcid),
            server_secret: secrets.server,
            client_cid: ConnectionId::new(packet.scid),
            server_cid: None,
            closed: false,
            reading: Some(Box::new(Reading { keys: Arc::new(keys), stream, need: 0, progress })),
        };
        Some((attempt, payload))
    }

    pub(in crate::extract) fn version(&self) -> Version {
        self.version
    }

    /// True when a packet of the client continues this attempt for sure.
    pub(in crate::extract) fn is_continued_by(&self, packet: &Long<'_>) -> bool {
        let to_server = self.server_cid.as_ref().is_some_and(|cid| cid.is(packet.dcid));
        to_server || (self.version == packet.version && self.dcid.is(packet.dcid))
    }

    /// True when a packet of the server goes to this attempt's client.
    pub(in crate::extract) fn is_answered_by(&self, packet: &Long<'_>) -> bool {
        self.client_cid.is(packet.dcid)
    }

    /// True when a server turns this attempt away, since it speaks other versions only.
    pub(in crate::extract) fn is_turned_away_by(&self, packet: &Negotiation<'_>) -> bool {
        self.client_cid.is(packet.dcid) && self.dcid.is(packet.scid) && !packet.lists(self.version)
    }

    /// True when a short header, whose connection ID has no length, names this attempt's client.
    pub(in crate::extract) fn is_named_by(&self, short: &[u8]) -> bool {
        let cid = self.client_cid.bytes();
        !cid.is_empty() && short.get(1..).is_some_and(|rest| rest.starts_with(cid))
    }

    pub(in crate::extract) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(in crate::extract) fn close(&mut self) {
        self.closed = true;
    }

    /// True while the ClientHello isn't whole.
    pub(in crate::extract) fn is_reading(&self) -> bool {
        self.reading.is_some()
    }

    /// Bytes of memory that the hello takes on its way.
    pub(in crate::extract) fn footprint(&self) -> usize {
        self.reading.as_ref().map_or(0, |reading| reading.stream.footprint())
    }

    /// Opens a further Initial of the client.
    pub(in crate::extract) fn open(&self, packet: &Long<'_>) -> Option<Payload> {
        let reading = self.reading.as_ref()?;
        if packet.version == self.version {
            return reading.keys.open(packet);
        }
        self.secrets_of(packet.version)?.client.keys()?.open(packet)
    }

    /// Opens an Initial of the server.
    pub(in crate::extract) fn open_answer(&mut self, packet: &Long<'_>) -> Option<Payload> {
        let keys = match packet.version == self.version {
            true => self.server_secret.keys()?,
            false => self.secrets_of(packet.version)?.server.keys()?,
        };
        let payload = keys.open(packet)?;
        self.server_cid = Some(ConnectionId::new(packet.scid));
        Some(payload)
    }

    /// Takes the payload of a client's Initial; gives the hello once it is whole.
    pub(in crate::extract) fn feed(
        &mut self,
        payload: &[u8],
        stamp: Stamp,
    ) -> Option<(ClientHello, Progress)> {
        let reading = self.reading.as_mut()?;
        reading.take(payload, stamp);
        let prefix = reading.stream.prefix();
        if prefix.len() < reading.need.max(1) {
            return None;
        }
        match client_hello_message(prefix) {
            Probe::Found(hello) => {
                let progress = reading.progress;
                self.reading = None;
                Some((hello, progress))
            }
            Probe::More(need) => {
                reading.need = need;
                None
            }
            Probe::Not => {
                self.reading = None;
                None
            }
        }
    }

    /// Reads what is there of a hello that will never be whole.
    pub(in crate::extract) fn partial_hello(&self) -> Option<(ClientHello, Progress)> {
        let reading = self.reading.as_ref()?;
        let hello = partial_client_hello_message(reading.stream.prefix())?;
        Some((hello, reading.progress))
    }

    /// The server may choose another version (RFC 9368 section 2.1): the same ID makes other keys.
    fn secrets_of(&self, version: Version) -> Option<Secrets> {
        Secrets::new(version, self.dcid.bytes())
    }
}

impl Reading {
    fn take(&mut self, payload: &[u8], stamp: Stamp) {
        let mut grew = false;
        for frame in frames(payload) {
            if let Frame::Crypto { offset, data } = frame {
                grew |= self.stream.insert(offset, data);
            }
        }
        // Packets of one datagram have one stamp.
        if grew && (self.progress.datagrams == 0 || self.progress.stamp != stamp) {
            self.progress.datagrams += 1;
            self.progress.stamp = self.progress.stamp.max(stamp);
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct ConnectionId {
    len: u8,
    bytes: [u8; MAX_CID],
}

impl ConnectionId {
    /// Of at most [`MAX_CID`] bytes.
    fn new(cid: &[u8]) -> Self {
        let cid = &cid[..cid.len().min(MAX_CID)];
        let mut bytes = [0; MAX_CID];
        bytes[..cid.len()].copy_from_slice(cid);
        Self { len: cid.len() as u8, bytes }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len.into()]
    }

    fn is(&self, cid: &[u8]) -> bool {
        self.bytes() == cid
    }
}
