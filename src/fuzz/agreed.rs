//! What the two readings of messages have in common, of text and of frames: what was agreed on, how the
//! bytes are cut, and what a message is made of.

use std::fmt::Debug;

use super::dice::Dice;
use super::plan::Plan;
use crate::proto::data_type::DataType;
use crate::proto::frame::Rules;

/// What a handshake agreed on, and what this side has done since.
#[derive(Clone, Copy, Debug)]
pub(super) struct Agreed {
    pub rules: Rules,
    /// The size of a stream's messages that HELLO named.
    pub named: Option<usize>,
    /// The size that our own first message gave the stream.
    pub sent: Option<usize>,
}

impl Agreed {
    /// `lanpeer`: is the other side one, where that is not for the plan to say?
    pub fn new(plan: &mut Plan<'_>, lanpeer: Option<bool>) -> Agreed {
        let flags = plan.byte();
        let is = |bit: u8| flags >> bit & 1 == 1;
        let max_size = plan.pick(&[300, 1, 127, 128, 129, 2000, 70_000, usize::MAX]);
        let rules = Rules {
            data_type: plan.pick(&[DataType::Bytes, DataType::Json, DataType::Raw]),
            strict: is(0),
            streaming: is(1),
            lanpeer: lanpeer.unwrap_or(is(2)),
            max_size,
        };
        let size = Some(plan.up_to(299).min(max_size - 1) + 1);
        Agreed {
            rules,
            named: size.filter(|_| is(1) && is(3)),
            sent: size.filter(|_| is(1) && is(4)),
        }
    }

    /// The size and the type of a message that the rules allow. `stream` is the stream's size, as far
    /// as it is known.
    pub fn some_message(&self, plan: &mut Plan<'_>, stream: Option<usize>) -> (usize, DataType) {
        let rules = self.rules;
        let size = stream.unwrap_or(plan.up_to(299).min(rules.max_size));
        let data_type = match rules.strict || rules.streaming {
            true => rules.data_type,
            false => plan.pick(&[DataType::Bytes, DataType::Json, DataType::Raw]),
        };
        let may_be_empty = data_type == DataType::Bytes && !rules.streaming;
        let size = if may_be_empty { size } else { size.max(1) };
        (size, data_type)
    }
}

pub(super) fn some_payload(plan: &mut Plan<'_>, size: usize) -> Vec<u8> {
    let seed = plan.byte();
    let payload = (0..size).map(|at| seed.wrapping_add((at * 7) as u8));
    payload.collect()
}

/// Where a reading ends.
#[derive(Debug, PartialEq)]
pub(super) enum End<E> {
    /// Between two messages, or so many bytes after that.
    Input {
        left: usize,
    },
    /// In a payload that lacks so many bytes.
    Payload {
        missing: usize,
    },
    Error(E),
}

/// Reads the same bytes one by one, and in pieces. `read` is told where they end.
pub(super) fn is_the_same_in_pieces<T: Debug + PartialEq>(
    wire: &[u8],
    seed: u8,
    whole: &T,
    read: impl Fn(Vec<usize>) -> T,
) {
    let one_by_one = read((0..wire.len()).collect());
    assert_eq!(&one_by_one, whole, "one by one");
    let (mut dice, mut end) = (Dice::new(seed.into()), 0);
    let pieces = std::iter::from_fn(|| {
        end += dice.below(150);
        (end < wire.len()).then_some(end)
    });
    let pieces: Vec<usize> = pieces.collect();
    let in_pieces = read(pieces.clone());
    assert_eq!(&in_pieces, whole, "cut at {pieces:?}");
}
