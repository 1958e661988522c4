//! The three data types that a HELLO or DATA header can name.

use std::fmt;
use std::str::FromStr;

/// How the payload of a message is encoded.
///
/// A connection agrees on one data type in its handshake; the format of the connection
/// ([`Json`](crate::Json), [`Raw`](crate::Raw), [`Bytes`](crate::Bytes)) decides which.
///
/// ```
/// use lanpeer::DataType;
///
/// assert_eq!(DataType::Json.to_string(), "json");
/// assert_eq!("raw".parse(), Ok(DataType::Raw));
/// assert!("xml".parse::<DataType>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DataType {
    /// MessagePack between two lanpeers, Python's pickle on peerpy's side.
    Raw,
    /// JSON, wrapped as `{"data": VALUE}`.
    Json,
    /// Bytes as they are.
    Bytes,
}

impl DataType {
    /// The name on the wire: `raw`, `json` or `bytes`. `Display` and `FromStr` use the same.
    ///
    /// ```
    /// use lanpeer::DataType;
    ///
    /// assert_eq!(DataType::Bytes.as_str(), "bytes");
    /// assert_eq!(DataType::Bytes.as_str().parse(), Ok(DataType::Bytes));
    /// ```
    pub const fn as_str(self) -> &'static str {
        match self {
            DataType::Raw => "raw",
            DataType::Json => "json",
            DataType::Bytes => "bytes",
        }
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text is not the name of a [`DataType`].
///
/// ```
/// use lanpeer::DataType;
///
/// let error = "xml".parse::<DataType>().unwrap_err();
/// assert_eq!(error.to_string(), "unknown data type `xml`: use raw, json or bytes");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownDataType(pub(crate) String);

impl fmt::Display for UnknownDataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "unknown data type `{}`: use raw, json or bytes",
            self.0.escape_debug()
        )
    }
}

impl std::error::Error for UnknownDataType {}

impl FromStr for DataType {
    type Err = UnknownDataType;

    fn from_str(text: &str) -> Result<DataType, UnknownDataType> {
        match text {
            "raw" => Ok(DataType::Raw),
            "json" => Ok(DataType::Json),
            "bytes" => Ok(DataType::Bytes),
            other => Err(UnknownDataType(other.to_owned())),
        }
    }
}
