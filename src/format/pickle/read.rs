//! The stack machine: one pass over a pickle, an explicit stack, nothing looked up and nothing run.
//!
//! Opcodes are those of CPython's pickletools, with its names.

use super::arena::{Arena, Chain, Function, Node, NodeId, Span, push};
use super::error::{Error, Result};
use super::lines::{self, Number, shown, too_large};

/// The values of a pickle, and which of them it stands for.
pub(super) fn read(pickle: &[u8]) -> Result<(Arena<'_>, NodeId)> {
    if u32::try_from(pickle.len()).is_err() {
        return Err(Error::new("a pickle of 4 GiB or more"));
    }
    let mut reader = Reader {
        pickle,
        at: 0,
        arena: Arena::new(pickle),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: Vec::new(),
        memoized: 0,
    };
    loop {
        let at = reader.at;
        if let Some(root) = reader.step().map_err(|error| error.at(at))? {
            return Ok((reader.arena, root));
        }
    }
}

struct Reader<'a> {
    pickle: &'a [u8],
    at: usize,
    arena: Arena<'a>,
    stack: Vec<NodeId>,
    /// How high the stack was at each MARK that is still open.
    marks: Vec<u32>,
    memo: Vec<Option<Memo>>,
    /// Entries of the memo that are taken: MEMOIZE takes the one of that number.
    memoized: usize,
}

/// A node plus one, so that an entry that is not taken needs no room.
type Memo = std::num::NonZeroU32;

impl<'a> Reader<'a> {
    /// Runs one opcode. `Some`: the last one, and the value that the pickle stands for.
    fn step(&mut self) -> Result<Option<NodeId>> {
        let [opcode] = self.array()?;
        match opcode {
            b'.' /* STOP */ => return self.stop().map(Some),
            0x80 /* PROTO */ => self.protocol()?,
            0x95 /* FRAME */ => self.frame()?,

            b'N' /* NONE */ => self.push(Arena::NONE),
            0x88 /* NEWTRUE */ => self.push(Arena::TRUE),
            0x89 /* NEWFALSE */ => self.push(Arena::FALSE),
            b'I' /* INT */ => {
                match lines::int(self.line()?)? {
                    Number::Bool(value) => self.push(if value { Arena::TRUE } else { Arena::FALSE }),
                    Number::Int(value) => self.push_int(value)?,
                }
            }
            b'L' /* LONG */ => {
                let value = lines::long(self.line()?)?;
                self.push_int(value)?;
            }
            b'J' /* BININT */ => {
                let value = i32::from_le_bytes(self.array()?);
                self.add(Node::Int(value.into()));
            }
            b'K' /* BININT1 */ => {
                let value = u8::from_le_bytes(self.array()?);
                self.add(Node::Int(value.into()));
            }
            b'M' /* BININT2 */ => {
                let value = u16::from_le_bytes(self.array()?);
                self.add(Node::Int(value.into()));
            }
            0x8a /* LONG1 */ => {
                let size = self.size1()?;
                self.long(size)?;
            }
            0x8b /* LONG4 */ => {
                let size = i32::from_le_bytes(self.array()?);
                self.long(usize::try_from(size).map_err(|_| Error::new("LONG4 of a negative size"))?)?;
            }
            b'F' /* FLOAT */ => {
                let value = lines::float(self.line()?)?;
                self.add(Node::Float(value));
            }
            b'G' /* BINFLOAT */ => {
                let value = f64::from_be_bytes(self.array()?);
                self.add(Node::Float(value));
            }

            b'V' /* UNICODE */ => {
                let text = lines::unescaped(self.line()?);
                let text = self.arena.add_unescaped(text)?;
                self.push(text);
            }
            0x8c /* SHORT_BINUNICODE */ => { let size = self.size1()?; self.text(size)?; }
            b'X' /* BINUNICODE */ => { let size = self.size4()?; self.text(size)?; }
            0x8d /* BINUNICODE8 */ => { let size = self.size8()?; self.text(size)?; }
            b'C' /* SHORT_BINBYTES */ => { let size = self.size1()?; self.bytes(size)?; }
            b'B' /* BINBYTES */ => { let size = self.size4()?; self.bytes(size)?; }
            0x8e /* BINBYTES8 */ | 0x96 /* BYTEARRAY8 */ => {
                let size = self.size8()?;
                self.bytes(size)?;
            }

            b']' /* EMPTY_LIST */ => self.add(Node::List(Chain::EMPTY)),
            b'}' /* EMPTY_DICT */ => self.add(Node::Dict(Chain::EMPTY)),
            0x8f /* EMPTY_SET */ => self.add(Node::Set(Chain::EMPTY)),
            b')' /* EMPTY_TUPLE */ => self.push(Arena::EMPTY_TUPLE),
            b'(' /* MARK */ => {
                let height = self.stack.len() as u32;
                push(&mut self.marks, height, self.pickle.len());
            }
            b'l' /* LIST */ => self.collect(Node::List)?,
            b't' /* TUPLE */ => self.collect(Node::Tuple)?,
            0x91 /* FROZENSET */ => self.collect(Node::Frozen)?,
            b'd' /* DICT */ => {
                self.are_pairs("DICT")?;
                self.collect(Node::Dict)?;
            }
            0x85 /* TUPLE1 */ => self.tuple(1)?,
            0x86 /* TUPLE2 */ => self.tuple(2)?,
            0x87 /* TUPLE3 */ => self.tuple(3)?,
            b'a' /* APPEND */ => self.fill("APPEND", Some(1))?,
            b'e' /* APPENDS */ => self.fill("APPENDS", None)?,
            b's' /* SETITEM */ => self.fill("SETITEM", Some(2))?,
            b'u' /* SETITEMS */ => {
                self.are_pairs("SETITEMS")?;
                self.fill("SETITEMS", None)?;
            }
            0x90 /* ADDITEMS */ => self.fill("ADDITEMS", None)?,

            b'0' /* POP */ => self.discard()?,
            b'1' /* POP_MARK */ => {
                let height = self.mark()?;
                self.stack.truncate(height);
            }
            b'2' /* DUP */ => {
                let top = self.top()?;
                self.push(top);
            }
            b'p' /* PUT */ => { let index = lines::index(self.line()?)?; self.put(index)?; }
            b'q' /* BINPUT */ => { let index = self.size1()?; self.put(index)?; }
            b'r' /* LONG_BINPUT */ => { let index = self.size4()?; self.put(index)?; }
            0x94 /* MEMOIZE */ => self.put(self.memoized)?,
            b'g' /* GET */ => { let index = lines::index(self.line()?)?; self.get(index)?; }
            b'h' /* BINGET */ => { let index = self.size1()?; self.get(index)?; }
            b'j' /* LONG_BINGET */ => { let index = self.size4()?; self.get(index)?; }

            b'c' /* GLOBAL */ => {
                let (module, name) = (self.line()?, self.line()?);
                self.function("GLOBAL", module, name)?;
            }
            0x93 /* STACK_GLOBAL */ => self.stack_global()?,
            b'R' /* REDUCE */ => self.reduce()?,
            opcode => return Err(self.refuse(opcode)),
        }
        Ok(None)
    }

    // Bytes of the pickle

    fn take(&mut self, size: usize) -> Result<&'a [u8]> {
        let bytes = self.pickle.get(self.at..).and_then(|rest| rest.get(..size));
        let bytes = bytes.ok_or_else(|| Error::new("the pickle is cut"))?;
        self.at += size;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn size1(&mut self) -> Result<usize> {
        self.array().map(|[size]| size.into())
    }

    fn size4(&mut self) -> Result<usize> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    fn size8(&mut self) -> Result<usize> {
        let size = u64::from_le_bytes(self.array()?);
        Ok(usize::try_from(size).unwrap_or(usize::MAX))
    }

    /// Up to the next newline, which is taken too.
    fn line(&mut self) -> Result<&'a [u8]> {
        let rest = &self.pickle[self.at..];
        let end = rest.iter().position(|&byte| byte == b'\n');
        let end = end.ok_or_else(|| Error::new("the pickle is cut"))?;
        self.at += end + 1;
        Ok(&rest[..end])
    }

    /// The same bytes as a part of the pickle; they were the last to be taken.
    fn span(&mut self, size: usize) -> Result<Span> {
        self.take(size)?;
        Ok(Span::new(self.at - size..self.at))
    }

    // Values

    fn push(&mut self, node: NodeId) {
        push(&mut self.stack, node, self.pickle.len());
    }

    fn add(&mut self, node: Node) {
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
        let bytes = self.take(size)?;
        let sign = bytes.last().map_or(0, |&last| if last < 0x80 { 0 } else { 0xff });
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
        let span = self.span(size)?;
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
        let span = self.span(size)?;
        self.add(Node::Bytes(span));
        Ok(())
    }

    // The stack

    /// How high the stack was at the last MARK, which is now closed.
    fn mark(&mut self) -> Result<usize> {
        let mark = self.marks.pop().ok_or_else(|| Error::new("no MARK"))?;
        Ok(mark as usize)
    }

    /// What nothing below the last MARK may be taken from.
    fn fence(&self) -> usize {
        self.marks.last().map_or(0, |&mark| mark as usize)
    }

    fn top(&self) -> Result<NodeId> {
        match self.stack.last() {
            Some(&top) if self.stack.len() > self.fence() => Ok(top),
            _ => Err(Error::new("nothing is on the stack")),
        }
    }

    fn pop(&mut self) -> Result<NodeId> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    /// POP also takes a MARK.
    fn discard(&mut self) -> Result<()> {
        if self.marks.last().is_some_and(|&mark| mark as usize == self.stack.len()) {
            self.marks.pop();
            return Ok(());
        }
        self.pop().map(|_| ())
    }

    // Containers

    /// Everything above the last MARK becomes one container.
    fn collect(&mut self, container: impl FnOnce(Chain) -> Node) -> Result<()> {
        let height = self.mark()?;
        self.collect_from(height, container);
        Ok(())
    }

    fn collect_from(&mut self, height: usize, container: impl FnOnce(Chain) -> Node) {
        let chain = self.arena.extend(Chain::EMPTY, &self.stack[height..]);
        self.stack.truncate(height);
        // One of several empty tuples is all of them, as in Python.
        match container(chain) {
            Node::Tuple(Chain::EMPTY) => self.push(Arena::EMPTY_TUPLE),
            node => self.add(node),
        }
    }

    fn tuple(&mut self, items: usize) -> Result<()> {
        match self.stack.len().checked_sub(items) {
            Some(height) if height >= self.fence() => {
                self.collect_from(height, Node::Tuple);
                Ok(())
            }
            _ => Err(Error::new("a tuple of more than is on the stack")),
        }
    }

    fn are_pairs(&self, opcode: &str) -> Result<()> {
        if (self.stack.len() - self.fence()) % 2 == 1 {
            return Err(Error::new(format_args!("{opcode}: a key without a value")));
        }
        Ok(())
    }

    /// Adds so many values from the top of the stack, or all above the last MARK, to the container
    /// below them.
    fn fill(&mut self, opcode: &str, count: Option<usize>) -> Result<()> {
        let height = match count {
            None => self.mark()?,
            Some(count) => self.stack.len().saturating_sub(count),
        };
        let nothing = || Error::new(format_args!("{opcode}: nothing to add it to"));
        if height <= self.fence() {
            return Err(nothing());
        }
        let &container = self.stack.get(height - 1).ok_or_else(nothing)?;
        let items = &self.stack[height..];
        let node = match (self.arena.node(container), opcode) {
            (Node::List(chain), "APPEND" | "APPENDS") => {
                Node::List(self.arena.extend(chain, items))
            }
            (Node::Dict(chain), "SETITEM" | "SETITEMS") => {
                Node::Dict(self.arena.extend(chain, items))
            }
            (Node::Set(chain), "ADDITEMS") => Node::Set(self.arena.extend(chain, items)),
            (node, _) => {
                let what = what(node);
                return Err(Error::new(format_args!("{opcode} to {what}")));
            }
        };
        self.arena.set(container, node);
        self.stack.truncate(height);
        Ok(())
    }

    // The memo

    fn put(&mut self, index: usize) -> Result<()> {
        let top = self.top()?;
        // A pickle's own bytes bound its memo: each entry takes at least one.
        if index > self.pickle.len() {
            return Err(Error::new(format_args!("entry {index} of the memo, of a pickle of fewer bytes")));
        }
        while self.memo.len() <= index {
            push(&mut self.memo, None, self.pickle.len());
        }
        let entry = self.memo[index].replace(Memo::MIN.saturating_add(top));
        self.memoized += usize::from(entry.is_none());
        Ok(())
    }

    fn get(&mut self, index: usize) -> Result<()> {
        let Some(&Some(entry)) = self.memo.get(index) else {
            return Err(Error::new(format_args!("nothing is in entry {index} of the memo")));
        };
        self.push(entry.get() - 1);
        Ok(())
    }

    // What Python's own pickles of plain data call

    fn function(&mut self, opcode: &str, module: &[u8], name: &[u8]) -> Result<()> {
        let function = match (module, name) {
            (b"_codecs", b"encode") => Function::Encode,
            (b"builtins" | b"__builtin__", b"bytes") => Function::Bytes,
            (b"builtins" | b"__builtin__", b"bytearray") => Function::ByteArray,
            (b"builtins" | b"__builtin__", b"set") => Function::Set,
            (b"builtins" | b"__builtin__", b"frozenset") => Function::FrozenSet,
            _ => {
                let (module, name) = (shown(module), shown(name));
                return Err(Error::new(format_args!(
                    "{opcode} would look up {name} of Python's module {module}: only plain data is read"
                )));
            }
        };
        self.add(Node::Function(function));
        Ok(())
    }

    fn stack_global(&mut self) -> Result<()> {
        let (name, module) = (self.pop()?, self.pop()?);
        let text = |id| self.arena.text(self.arena.node(id)).map(str::as_bytes);
        let (Some(name), Some(module)) = (text(name), text(module)) else {
            return Err(Error::new("STACK_GLOBAL of what is no text"));
        };
        // Names of functions are short; what is compared and shown is too.
        let cut = |text: &[u8]| text[..text.len().min(100)].to_vec();
        let (module, name) = (cut(module), cut(name));
        self.function("STACK_GLOBAL", &module, &name)
    }

    fn reduce(&mut self) -> Result<()> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let Node::Function(function) = self.arena.node(function) else {
            return Err(Error::new("REDUCE calls what is no function"));
        };
        let Node::Tuple(arguments) = self.arena.node(arguments) else {
            return Err(Error::new("REDUCE with arguments that are no tuple"));
        };
        let mut items = self.arena.items(arguments);
        let arguments = (arguments.len, items.next(), items.next());
        let node = |id| self.arena.node(id);
        let value = match (function, arguments) {
            (Function::Encode, (2, Some(text), Some(codec))) => {
                match (node(text), self.arena.text(node(codec))) {
                    (Node::Text(_) | Node::Unescaped(_), Some("latin1" | "latin-1")) => {
                        Some(Node::Latin1(text))
                    }
                    _ => None,
                }
            }
            (Function::Bytes | Function::ByteArray, (0, ..)) => Some(Node::Bytes(Span::new(0..0))),
            (Function::ByteArray, (1, Some(bytes), _)) => match node(bytes) {
                bytes @ (Node::Bytes(_) | Node::Latin1(_)) => Some(bytes),
                _ => None,
            },
            (Function::Set | Function::FrozenSet, (0, ..)) => Some(Node::Frozen(Chain::EMPTY)),
            (Function::Set | Function::FrozenSet, (1, Some(list), _)) => match node(list) {
                Node::List(chain) => Some(Node::Frozen(chain)),
                _ => None,
            },
            _ => None,
        };
        let value = value.ok_or_else(|| {
            Error::new(format_args!(
                "REDUCE would call {function:?} in another way than Python's own pickles of plain data"
            ))
        })?;
        self.add(value);
        Ok(())
    }

    // The ends

    fn protocol(&mut self) -> Result<()> {
        let [version] = self.array()?;
        if version > 5 {
            return Err(Error::new(format_args!("a pickle of protocol {version}: 5 is the highest")));
        }
        Ok(())
    }

    fn frame(&mut self) -> Result<()> {
        let size = self.size8()?;
        if size > self.pickle.len() - self.at {
            return Err(Error::new("the pickle is cut: a FRAME that ends after it"));
        }
        Ok(())
    }

    fn stop(&mut self) -> Result<NodeId> {
        let root = self.pop()?;
        if !self.stack.is_empty() || !self.marks.is_empty() {
            return Err(Error::new("STOP with more than one value on the stack"));
        }
        if self.at != self.pickle.len() {
            return Err(Error::new("bytes left over after STOP"));
        }
        Ok(root)
    }

    /// Everything that has to do with objects, and what is no opcode.
    fn refuse(&mut self, opcode: u8) -> Error {
        let (name, would) = match opcode {
            b'b' => ("BUILD", "set the state of an object"),
            b'i' => match (self.line(), self.line()) {
                (Ok(module), Ok(name)) => {
                    let (module, name) = (shown(module), shown(name));
                    return Error::new(format_args!(
                        "INST would make {name} of Python's module {module}: only plain data is read"
                    ));
                }
                _ => ("INST", "make an object"),
            },
            b'o' => ("OBJ", "make an object"),
            0x81 => ("NEWOBJ", "make an object"),
            0x92 => ("NEWOBJ_EX", "make an object"),
            0x82 => ("EXT1", "make a registered object"),
            0x83 => ("EXT2", "make a registered object"),
            0x84 => ("EXT4", "make a registered object"),
            b'P' => ("PERSID", "ask the program for an object"),
            b'Q' => ("BINPERSID", "ask the program for an object"),
            0x97 => ("NEXT_BUFFER", "take a buffer that is not in the pickle"),
            0x98 => ("READONLY_BUFFER", "take a buffer that is not in the pickle"),
            b'S' => ("STRING", "make a text of Python 2, whose encoding is unknown"),
            b'T' => ("BINSTRING", "make a text of Python 2, whose encoding is unknown"),
            b'U' => ("SHORT_BINSTRING", "make a text of Python 2, whose encoding is unknown"),
            _ => return Error::new(format_args!("the unknown opcode 0x{opcode:02x}")),
        };
        Error::new(format_args!("{name} would {would}: only plain data is read"))
    }
}

fn what(node: Node) -> &'static str {
    match node {
        Node::None => "None",
        Node::Bool(_) => "a bool",
        Node::Int(_) | Node::Large(_) => "an int",
        Node::Float(_) => "a float",
        Node::Text(_) | Node::Unescaped(_) => "a str",
        Node::Bytes(_) | Node::Latin1(_) => "bytes",
        Node::List(_) => "a list",
        Node::Tuple(_) => "a tuple",
        Node::Set(_) | Node::Frozen(_) => "a set",
        Node::Dict(_) => "a dict",
        Node::Function(_) => "a function",
    }
}
