//! What the queues know of a message.

pub(crate) use crate::proto::data_type::DataType;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Frames,
    Headers,
    Peerpy,
}

#[derive(Clone, Copy)]
pub(crate) struct Encoded<'a> {
    pub data_type: DataType,
    pub payload: &'a [u8],
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodeError;

impl std::fmt::Display for EncodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("not encoded")
    }
}

impl std::error::Error for EncodeError {}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError;

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("not decoded")
    }
}

impl std::error::Error for DecodeError {}

#[derive(Debug)]
pub struct UnknownDataType;

impl std::fmt::Display for UnknownDataType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no data type")
    }
}

impl std::error::Error for UnknownDataType {}
