//! What a program under test has to do, and the payloads.

use std::any::Any;
use std::net::SocketAddr;
use std::time::Duration;

use lanpeer::{Bytes, Encode, Format, Json, Raw};
use serde::{Deserialize, Serialize};

/// The receivers of a broadcast.
pub const RECEIVERS: usize = 16;

/// One way of sending messages between two threads of this process. `None`: it cannot do that.
pub trait Program {
    fn name(&self) -> &'static str;

    /// `count` messages from one thread to another over one connection: the time from the first
    /// `send` until the last message was consumed. The connection is there before.
    fn one_way(&self, what: What, count: usize) -> Option<Duration>;

    /// `count` messages to each of [`RECEIVERS`] connections: the time until all were consumed.
    fn broadcast(&self, size: usize, count: usize) -> Option<Duration>;

    /// The seconds of each of `count` requests and replies of 64 bytes.
    fn round_trip(&self, count: usize) -> Option<Vec<f64>>;

    /// The same by threads that spin, where a program can ask for that.
    fn spinning(&self, _count: usize) -> Option<Vec<f64>> {
        None
    }

    /// The seconds of each of `count` connections, until both sides know of it, and their ends.
    fn connect(&self, count: usize) -> Option<Vec<f64>>;

    /// Receives `count` messages of `size` bytes at this address, which it tells with its port: the
    /// seconds from the first message to the last.
    fn link_receive(
        &self,
        _ip: &str,
        _size: usize,
        _count: usize,
        _tell: &mut dyn FnMut(SocketAddr),
    ) -> Option<f64> {
        None
    }

    /// Sends these messages to one who does so.
    fn link_send(&self, _addr: SocketAddr, _size: usize, _count: usize) {}

    /// Listens, for [`dial`](Program::dial) in another process.
    fn serve(&self) -> Option<Served> {
        None
    }

    /// Makes so many connections, each with one message of 64 bytes, which live as long as what is
    /// returned.
    fn dial(&self, _addr: SocketAddr, _count: usize) -> Box<dyn Any> {
        Box::new(())
    }
}

pub struct Served {
    pub addr: SocketAddr,
    /// Waits until so many connections are there, and the message of each.
    pub wait: Box<dyn FnMut(usize)>,
}

#[derive(Clone, Copy)]
pub enum What {
    /// So many bytes.
    Bytes(usize),
    MessagePack,
    Json,
}

/// How a hand-written program encodes and decodes a message, and lanpeer's format for it.
pub trait Form: 'static {
    type Format: Format;
    type Item: Encode<Self::Format> + Send + 'static;

    fn encode(item: &Self::Item, out: &mut Vec<u8>);
    /// Decodes, and keeps the compiler from leaving it out.
    fn consume(payload: &[u8]);
    /// The same, as a value that does not borrow from the payload.
    fn consume_own(payload: &[u8]) {
        Self::consume(payload);
    }
}

pub struct Blob;

impl Form for Blob {
    type Format = Bytes;
    type Item = Vec<u8>;

    fn encode(item: &Vec<u8>, out: &mut Vec<u8>) {
        out.extend_from_slice(item);
    }

    fn consume(payload: &[u8]) {
        std::hint::black_box(payload);
    }

    fn consume_own(payload: &[u8]) {
        std::hint::black_box(payload.to_vec());
    }
}

pub struct MessagePack;

impl Form for MessagePack {
    type Format = Raw<Reading>;
    type Item = Reading;

    fn encode(item: &Reading, out: &mut Vec<u8>) {
        let mut serializer = rmp_serde::Serializer::new(out).with_struct_map();
        item.serialize(&mut serializer).expect("encoded");
    }

    fn consume(payload: &[u8]) {
        std::hint::black_box(rmp_serde::from_slice::<Reading>(payload).expect("decoded"));
    }
}

pub struct JsonText;

impl Form for JsonText {
    type Format = Json<Reading>;
    type Item = Reading;

    fn encode(item: &Reading, out: &mut Vec<u8>) {
        serde_json::to_writer(out, item).expect("encoded");
    }

    fn consume(payload: &[u8]) {
        std::hint::black_box(serde_json::from_slice::<Reading>(payload).expect("decoded"));
    }
}

/// The small struct of the rows that encode and decode.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reading {
    pub sensor: u32,
    pub celsius: f64,
    pub place: String,
    pub valid: bool,
}

impl Reading {
    pub fn example() -> Reading {
        Reading {
            sensor: 70_000,
            celsius: 21.625,
            place: String::from("roof"),
            valid: true,
        }
    }
}
