//! `bytes`: payloads as they are.

use super::{
    DataType, DecodeError, Dialect, Encode, EncodeError, Encoded, Format, Payload, Reading,
};

/// Messages are bytes as they are; the item is `Vec<u8>`.
///
/// `send` takes everything that is `AsRef<[u8]>`. An empty message is a message. On a connection
/// that is not strict, a message of another data type arrives as its undecoded payload.
///
/// ```
/// use lanpeer::{Bytes, Peer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (bob, alice) = (Peer::bind("127.0.0.1:0")?, Peer::bind("127.0.0.1:0")?);
/// let bob_addr = bob.local_addr();
/// let asking = std::thread::spawn(move || alice.connect::<Bytes>(bob_addr).map(|c| (alice, c)));
/// let from_alice = bob.accept::<Bytes>()?;
/// let (_alice, to_bob) = asking.join().unwrap()?;
/// to_bob.send(b"any bytes")?;
/// assert_eq!(from_alice.recv()?, b"any bytes");
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Bytes(());

impl Format for Bytes {
    type Item = Vec<u8>;
    const DATA_TYPE: Option<DataType> = Some(DataType::Bytes);
    const PLAIN: Option<fn(&[u8]) -> Vec<u8>> = Some(<[u8]>::to_vec);

    fn decode(
        _: DataType,
        _: Reading,
        payload: Payload<'_>,
        item: &mut Option<Vec<u8>>,
    ) -> Result<usize, DecodeError> {
        let size = payload.len();
        *item = Some(payload.into_owned());
        Ok(size)
    }
}

#[diagnostic::do_not_recommend]
impl<Q: AsRef<[u8]> + ?Sized> Encode<Bytes> for Q {
    fn plain(&self) -> Option<Encoded<'_>> {
        Some(Encoded::new(DataType::Bytes, self.as_ref()))
    }

    fn encode<'a>(&'a self, _: Dialect, _: &'a mut Vec<u8>) -> Result<Encoded<'a>, EncodeError> {
        Ok(Encoded::new(DataType::Bytes, self.as_ref()))
    }
}
