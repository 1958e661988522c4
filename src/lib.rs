//! lanpeer

mod builder;
mod connection;
mod error;
mod event;
mod format;
mod net;
mod offer;
mod options;
mod peer;
mod proto;

pub use builder::PeerBuilder;
pub use connection::{Connection, ConnectionInfo, Iter, Stats, TryIter};
pub use crossbeam_channel::{self, Receiver, RecvError, RecvTimeoutError, TryRecvError};
pub use error::{CloseError, CloseReason, Error, Result, SendError};
pub use event::Event;
pub use format::{
    Bytes, DataType, DecodeError, Dynamic, Encode, EncodeError, Format, Json, Message, Raw,
    UnknownDataType,
};
pub use offer::{Incoming, Offer};
pub use options::{ConnectOptions, StreamSize};
pub use peer::{Broadcast, Peer};
