//! The calls that Python's own pickles of plain data make where their protocol has no opcode for a
//! type: what they give is known, so that nothing has to be looked up or run.

use super::arena::{Chain, Function, Node, Span};
use super::error::{Error, Result};
use super::lines::shown;
use super::read::Reader;

impl Reader<'_> {
    pub(super) fn function(&mut self, opcode: &str, module: &[u8], name: &[u8]) -> Result<()> {
        let function = match (module, name) {
            (b"_codecs", b"encode") => Function::Encode,
            (b"builtins" | b"__builtin__", b"bytes") => Function::Bytes,
            (b"builtins" | b"__builtin__", b"bytearray") => Function::ByteArray,
            (b"builtins" | b"__builtin__", b"set") => Function::Set,
            (b"builtins" | b"__builtin__", b"frozenset") => Function::FrozenSet,
            _ => return Err(lookup(opcode, module, name)),
        };
        self.add(Node::Function(function));
        Ok(())
    }

    pub(super) fn stack_global(&mut self) -> Result<()> {
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

    pub(super) fn reduce(&mut self) -> Result<()> {
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
                "REDUCE would call {function:?} as no pickle of plain data does"
            ))
        })?;
        self.add(value);
        Ok(())
    }
}

pub(super) fn lookup(opcode: &str, module: &[u8], name: &[u8]) -> Error {
    let (module, name) = (shown(module), shown(name));
    Error::new(format_args!(
        "{opcode} would look up {name} of Python's module {module}: only plain data is read"
    ))
}
