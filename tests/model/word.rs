//! Messages that say who sent them, as the how manyth, and whether they arrived whole.

use lanpeer::{Bytes, DataType, Dynamic, Encode, Format, Json, Message, Raw};

use super::dice::mix;

/// The thread that sends: of one end of a link, or a peer's broadcaster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    End { end: usize, thread: u8 },
    Broadcast { peer: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Word {
    pub source: Source,
    pub number: u32,
    pub size: usize,
    /// Whoever takes it shall answer.
    pub ping: bool,
}

/// What says all this stands at the beginning of each message.
pub const HEAD: usize = 24;

impl Word {
    pub fn write(&self) -> Vec<u8> {
        let size = self.size.max(HEAD);
        let (kind, end, thread) = match self.source {
            Source::End { end, thread } => (0, end, thread),
            Source::Broadcast { peer } => (1, peer, 0),
        };
        let mut bytes = Vec::with_capacity(size + 8);
        bytes.extend_from_slice(&(end as u32).to_le_bytes());
        bytes.extend_from_slice(&[kind, thread, u8::from(self.ping), 0]);
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&(size as u32).to_le_bytes());
        let mut state = bytes[..16].chunks(8).fold(0, |sum, chunk| {
            mix(sum ^ u64::from_le_bytes(chunk.try_into().expect("eight bytes")))
        });
        while bytes.len() < size {
            bytes.extend_from_slice(&state.to_le_bytes());
            state = state.rotate_left(7).wrapping_add(0x9e37_79b9_7f4a_7c15);
        }
        bytes.truncate(size);
        bytes
    }

    pub fn read(bytes: &[u8]) -> Result<Word, String> {
        if bytes.len() < HEAD {
            return Err(format!(
                "a message of {} bytes that nobody sent",
                bytes.len()
            ));
        }
        let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four"));
        let (end, thread) = (number(0) as usize, bytes[5]);
        let word = Word {
            source: match bytes[4] {
                0 => Source::End { end, thread },
                _ => Source::Broadcast { peer: end },
            },
            number: number(8),
            size: bytes.len(),
            ping: bytes[6] == 1,
        };
        if word.write() != bytes {
            return Err(format!("altered: {word:?}, begins {:?}", &bytes[..HEAD]));
        }
        Ok(word)
    }
}

/// A format that can carry words.
pub trait Carry: Format<Item: Encode<Self>> {
    fn wrap(word: &Word) -> Self::Item;
    fn unwrap(item: Self::Item) -> Result<Vec<u8>, String>;
}

impl Carry for Bytes {
    fn wrap(word: &Word) -> Vec<u8> {
        word.write()
    }

    fn unwrap(item: Vec<u8>) -> Result<Vec<u8>, String> {
        Ok(item)
    }
}

impl Carry for Json<String> {
    fn wrap(word: &Word) -> String {
        word.write().into_iter().map(char::from).collect()
    }

    fn unwrap(item: String) -> Result<Vec<u8>, String> {
        let bytes = item.chars().map(u8::try_from).collect::<Result<_, _>>();
        bytes.map_err(|_| format!("a text that nobody sent: {item:?}"))
    }
}

impl Carry for Raw<Vec<u16>> {
    fn wrap(word: &Word) -> Vec<u16> {
        word.write().into_iter().map(u16::from).collect()
    }

    fn unwrap(item: Vec<u16>) -> Result<Vec<u8>, String> {
        let bytes = item
            .iter()
            .map(|n| u8::try_from(*n))
            .collect::<Result<_, _>>();
        bytes.map_err(|_| format!("numbers that nobody sent: {item:?}"))
    }
}

/// Messages of two types on one connection, which is not strict.
impl Carry for Dynamic {
    fn wrap(word: &Word) -> Message {
        if word.number % 2 == 0 {
            Message::bytes(word.write())
        } else {
            Message::json(&Json::<String>::wrap(word)).expect("a text")
        }
    }

    fn unwrap(item: Message) -> Result<Vec<u8>, String> {
        match item.data_type() {
            DataType::Bytes => Ok(item.into_payload()),
            _ => {
                let text = item.decode::<String>().map_err(|error| error.to_string())?;
                Json::<String>::unwrap(text)
            }
        }
    }
}
