//! The stack machine: one pass over a pickle, an explicit stack, nothing looked up and nothing run.
//!
//! Opcodes are those of CPython's pickletools, with its names.

use super::arena::{Arena, Chain, Node, NodeId, push};
use super::calls::lookup;
use super::error::{Error, Result};
use super::input::{Input, cut};
use super::lines::{self, Number, too_large};
use super::opcode as op;

/// The values of a pickle, and which of them it stands for.
pub(super) fn read(pickle: &[u8]) -> Result<(Arena<'_>, NodeId)> {
    if u32::try_from(pickle.len()).is_err() {
        return Err(Error::new("a pickle of 4 GiB or more"));
    }
    let mut reader = Reader::new(pickle);
    loop {
        let at = reader.input.at();
        if let Some(root) = reader.step().map_err(|error| error.at(at))? {
            return Ok((reader.arena, root));
        }
    }
}

pub(super) struct Reader<'a> {
    input: Input<'a>,
    pub(super) arena: Arena<'a>,
    pub(super) stack: Vec<NodeId>,
    /// How high the stack was at each MARK that is still open.
    marks: Vec<u32>,
    memo: Vec<Option<Memo>>,
    /// Entries of the memo that are taken: MEMOIZE takes the one of that number.
    memoized: usize,
}

/// A node plus one, so that an entry that is not taken needs no room.
type Memo = std::num::NonZeroU32;

impl<'a> Reader<'a> {
    fn new(pickle: &'a [u8]) -> Reader<'a> {
        Reader {
            input: Input::new(pickle),
            arena: Arena::new(pickle),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: Vec::new(),
            memoized: 0,
        }
    }

    /// Runs one opcode. `Some`: the last one, and the value that the pickle stands for.
    fn step(&mut self) -> Result<Option<NodeId>> {
        let [opcode] = self.input.array()?;
        match opcode {
            op::STOP => return self.stop().map(Some),
            op::PROTO => self.protocol()?,
            op::FRAME => self.frame()?,

            op::NONE => self.push(Arena::NONE),
            op::NEWTRUE => self.push(Arena::TRUE),
            op::NEWFALSE => self.push(Arena::FALSE),
            op::INT => match lines::int(self.input.line()?)? {
                Number::Bool(value) => self.push(if value { Arena::TRUE } else { Arena::FALSE }),
                Number::Int(value) => self.push_int(value)?,
            },
            op::LONG => {
                let value = lines::long(self.input.line()?)?;
                self.push_int(value)?;
            }
            op::BININT => {
                let value = i32::from_le_bytes(self.input.array()?);
                self.add(Node::Int(value.into()));
            }
            op::BININT1 => {
                let value = u8::from_le_bytes(self.input.array()?);
                self.add(Node::Int(value.into()));
            }
            op::BININT2 => {
                let value = u16::from_le_bytes(self.input.array()?);
                self.add(Node::Int(value.into()));
            }
            op::LONG1 => {
                let size = self.input.size1()?;
                self.long(size)?;
            }
            op::LONG4 => {
                let size = self.input.size_signed()?;
                self.long(size)?;
            }
            op::FLOAT => {
                let value = lines::float(self.input.line()?)?;
                self.add(Node::Float(value));
            }
            op::BINFLOAT => {
                let value = f64::from_be_bytes(self.input.array()?);
                self.add(Node::Float(value));
            }

            op::UNICODE => {
                let text = lines::unescaped(self.input.line()?);
                let text = self.arena.add_unescaped(text)?;
                self.push(text);
            }
            op::SHORT_BINUNICODE => {
                let size = self.input.size1()?;
                self.text(size)?;
            }
            op::BINUNICODE => {
                let size = self.input.size4()?;
                self.text(size)?;
            }
            op::BINUNICODE8 => {
                let size = self.input.size8()?;
                self.text(size)?;
            }
            op::SHORT_BINBYTES => {
                let size = self.input.size1()?;
                self.bytes(size)?;
            }
            op::BINBYTES => {
                let size = self.input.size4()?;
                self.bytes(size)?;
            }
            op::BINBYTES8 | op::BYTEARRAY8 => {
                let size = self.input.size8()?;
                self.bytes(size)?;
            }

            op::EMPTY_LIST => self.add(Node::List(Chain::EMPTY)),
            op::EMPTY_DICT => self.add(Node::Dict(Chain::EMPTY)),
            op::EMPTY_SET => self.add(Node::Set(Chain::EMPTY)),
            op::EMPTY_TUPLE => self.push(Arena::EMPTY_TUPLE),
            op::MARK => {
                let height = self.stack.len() as u32;
                push(&mut self.marks, height, self.input.len());
            }
            op::LIST => self.collect(Node::List)?,
            op::TUPLE => self.collect(Node::Tuple)?,
            op::FROZENSET => self.collect(Node::Frozen)?,
            op::DICT => {
                self.are_pairs("DICT")?;
                self.collect(Node::Dict)?;
            }
            op::TUPLE1 => self.tuple(1)?,
            op::TUPLE2 => self.tuple(2)?,
            op::TUPLE3 => self.tuple(3)?,
            op::APPEND => self.fill("APPEND", Some(1))?,
            op::APPENDS => self.fill("APPENDS", None)?,
            op::SETITEM => self.fill("SETITEM", Some(2))?,
            op::SETITEMS => {
                self.are_pairs("SETITEMS")?;
                self.fill("SETITEMS", None)?;
            }
            op::ADDITEMS => self.fill("ADDITEMS", None)?,

            op::POP => self.discard()?,
            op::POP_MARK => {
                let height = self.mark()?;
                self.stack.truncate(height);
            }
            op::DUP => {
                let top = self.top()?;
                self.push(top);
            }
            op::PUT => {
                let index = lines::index(self.input.line()?)?;
                self.put(index)?;
            }
            op::BINPUT => {
                let index = self.input.size1()?;
                self.put(index)?;
            }
            op::LONG_BINPUT => {
                let index = self.input.size4()?;
                self.put(index)?;
            }
            op::MEMOIZE => self.put(self.memoized)?,
            op::GET => {
                let index = lines::index(self.input.line()?)?;
                self.get(index)?;
            }
            op::BINGET => {
                let index = self.input.size1()?;
                self.get(index)?;
            }
            op::LONG_BINGET => {
                let index = self.input.size4()?;
                self.get(index)?;
            }

            op::GLOBAL => {
                let (module, name) = (self.input.line()?, self.input.line()?);
                self.function("GLOBAL", module, name)?;
            }
            op::STACK_GLOBAL => self.stack_global()?,
            op::REDUCE => self.reduce()?,
            opcode => return Err(self.refuse(opcode)),
        }
        Ok(None)
    }

    // Values

    pub(super) fn push(&mut self, node: NodeId) {
        push(&mut self.stack, node, self.input.len());
    }

    pub(super) fn add(&mut self, node: Node) {
        let id = self.arena.add(node);
        self.push(id);
    }

    fn push_int(&mut self, value: i128) -> Result<()> {
        let node = match (i64::try_from(value), u64::try_from(value)) {
            (Ok(value), _) => Node::Int(value),
            (_, Ok(value)) => Node::Large(value),
            _ => return Err(too_large()),
        };
        self.add(node);
        Ok(())
    }

    /// Two's complement, the lowest byte first.
    fn long(&mut self, size: usize) -> Result<()> {
        let bytes = self.input.take(size)?;
        let sign = bytes
            .last()
            .map_or(0, |&last| if last < 0x80 { 0 } else { 0xff });
        let mut wide = [sign; 16];
        let (low, high) = bytes.split_at(size.min(wide.len()));
        // Longer than it need be, perhaps.
        if high.iter().any(|&byte| byte != sign) {
            return Err(too_large());
        }
        wide[..low.len()].copy_from_slice(low);
        self.push_int(i128::from_le_bytes(wide))
    }

    fn text(&mut self, size: usize) -> Result<()> {
        let span = self.input.span(size)?;
        if let Err(error) = std::str::from_utf8(self.arena.bytes(span)) {
            let rest = &self.arena.bytes(span)[error.valid_up_to()..];
            // How Python writes a half of a surrogate pair.
            return Err(match rest {
                [0xed, 0xa0..=0xbf, ..] => lines::half(),
                _ => Error::new("a text that is not UTF-8"),
            });
        }
        self.add(Node::Text(span));
        Ok(())
    }

    fn bytes(&mut self, size: usize) -> Result<()> {
        let span = self.input.span(size)?;
        self.add(Node::Bytes(span));
        Ok(())
    }

    // The stack

    /// How high the stack was at the last MARK, which is now closed.
    pub(super) fn mark(&mut self) -> Result<usize> {
        let mark = self.marks.pop().ok_or_else(|| Error::new("no MARK"))?;
        Ok(mark as usize)
    }

    /// What nothing below the last MARK may be taken from.
    pub(super) fn fence(&self) -> usize {
        self.marks.last().map_or(0, |&mark| mark as usize)
    }

    fn top(&self) -> Result<NodeId> {
        match self.stack.last() {
            Some(&top) if self.stack.len() > self.fence() => Ok(top),
            _ => Err(Error::new("nothing is on the stack")),
        }
    }

    pub(super) fn pop(&mut self) -> Result<NodeId> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    /// POP also takes a MARK.
    fn discard(&mut self) -> Result<()> {
        if self
            .marks
            .last()
            .is_some_and(|&mark| mark as usize == self.stack.len())
        {
            self.marks.pop();
            return Ok(());
        }
        self.pop().map(|_| ())
    }

    // The memo

    fn put(&mut self, index: usize) -> Result<()> {
        let top = self.top()?;
        // A pickle's own bytes bound its memo: each entry takes at least one.
        if index > self.input.len() {
            return Err(Error::new(format_args!(
                "entry {index} of the memo, of a pickle of fewer bytes"
            )));
        }
        while self.memo.len() <= index {
            push(&mut self.memo, None, self.input.len());
        }
        let entry = self.memo[index].replace(Memo::MIN.saturating_add(top));
        self.memoized += usize::from(entry.is_none());
        Ok(())
    }

    fn get(&mut self, index: usize) -> Result<()> {
        let Some(&Some(entry)) = self.memo.get(index) else {
            return Err(Error::new(format_args!(
                "nothing is in entry {index} of the memo"
            )));
        };
        self.push(entry.get() - 1);
        Ok(())
    }

    // The ends

    fn protocol(&mut self) -> Result<()> {
        let [version] = self.input.array()?;
        if version > 5 {
            return Err(Error::new(format_args!(
                "a pickle of protocol {version}: 5 is the highest"
            )));
        }
        Ok(())
    }

    fn frame(&mut self) -> Result<()> {
        let size = self.input.size8()?;
        if size > self.input.left() {
            return Err(cut());
        }
        Ok(())
    }

    fn stop(&mut self) -> Result<NodeId> {
        let root = self.pop()?;
        if !self.stack.is_empty() || !self.marks.is_empty() {
            return Err(Error::new("STOP with more than one value on the stack"));
        }
        if self.input.left() > 0 {
            return Err(Error::new("bytes left over after STOP"));
        }
        Ok(root)
    }

    /// Everything that has to do with objects, and what is no opcode.
    fn refuse(&mut self, opcode: u8) -> Error {
        if opcode == op::INST {
            if let (Ok(module), Ok(name)) = (self.input.line(), self.input.line()) {
                return lookup("INST", module, name);
            }
        }
        match op::refused(opcode) {
            Some((name, would)) => Error::new(format_args!(
                "{name} would {would}: only plain data is read"
            )),
            None => Error::new(format_args!("the unknown opcode 0x{opcode:02x}")),
        }
    }
}

/// What the reader has reserved when it has read as far as it can.
#[cfg(any(test, fuzzing))]
pub(super) fn memory(pickle: &[u8]) -> usize {
    let mut reader = Reader::new(pickle);
    while let Ok(None) = reader.step() {}
    let (stack, marks) = (reader.stack.capacity(), reader.marks.capacity());
    reader.arena.memory() + 4 * (stack + marks + reader.memo.capacity())
}
