//! The values of a pickle, each there once however often it is used.

use std::ops::Range;

use super::error::{Error, Result};

/// Which value of the arena.
pub(super) type NodeId = u32;

/// No cell: the end of a chain.
const END: u32 = u32::MAX;

/// What Python's own pickles of plain data call, where a protocol has no opcode for a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    /// `_codecs.encode(text, 'latin1')`: bytes, in protocols 0 to 2.
    Encode,
    Bytes,
    ByteArray,
    Set,
    FrozenSet,
}

/// A part of the pickle, or of the arena's own text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    start: u32,
    len: u32,
}

impl Span {
    pub fn new(range: Range<usize>) -> Span {
        // A pickle of 4 GiB is refused before anything is read of it.
        let fits = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Span {
            start: fits(range.start),
            len: fits(range.end - range.start),
        }
    }

    fn range(self) -> Range<usize> {
        self.start as usize..self.start as usize + self.len as usize
    }
}

/// The items of a container, linked: a list can grow while others follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    first: u32,
    last: u32,
    pub len: u32,
}

impl Chain {
    pub const EMPTY: Chain = Chain {
        first: END,
        last: END,
        len: 0,
    };
}

/// A value. 16 bytes: a pickle may hold one for each of its bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Node {
    None,
    Bool(bool),
    Int(i64),
    /// Above `i64::MAX`.
    Large(u64),
    Float(f64),
    /// A text as it stands in the pickle.
    Text(Span),
    /// A text that had escapes, in the arena's own text.
    Unescaped(Span),
    Bytes(Span),
    /// Bytes that stand as a text, each as the character of its number: the text. Turned into bytes
    /// only where they are visited: a text of a megabyte can be named by 3 bytes, many times.
    Latin1(NodeId),
    List(Chain),
    Tuple(Chain),
    /// May get items by ADDITEMS.
    Set(Chain),
    /// A set that is complete; its chain may be another's.
    Frozen(Chain),
    /// Keys and values in turn.
    Dict(Chain),
    /// Not a value: it is called, or the pickle is refused.
    Function(Function),
}

impl Node {
    /// For the text of an error.
    pub fn what(self) -> &'static str {
        match self {
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
}

#[derive(Clone, Copy)]
struct Cell {
    item: NodeId,
    next: u32,
}

pub(super) struct Arena<'a> {
    pickle: &'a [u8],
    nodes: Vec<Node>,
    cells: Vec<Cell>,
    /// What texts with escapes say.
    text: String,
}

impl<'a> Arena<'a> {
    pub const NONE: NodeId = 0;
    pub const FALSE: NodeId = 1;
    pub const TRUE: NodeId = 2;
    pub const EMPTY_TUPLE: NodeId = 3;

    pub fn new(pickle: &'a [u8]) -> Arena<'a> {
        Arena {
            pickle,
            nodes: vec![
                Node::None,
                Node::Bool(false),
                Node::Bool(true),
                Node::Tuple(Chain::EMPTY),
            ],
            cells: Vec::new(),
            text: String::new(),
        }
    }

    pub fn node(&self, id: NodeId) -> Node {
        self.nodes[id as usize]
    }

    pub fn set(&mut self, id: NodeId, node: Node) {
        self.nodes[id as usize] = node;
    }

    pub fn add(&mut self, node: Node) -> NodeId {
        let id = self.nodes.len() as NodeId;
        push(&mut self.nodes, node, self.pickle.len());
        id
    }

    pub fn add_unescaped(&mut self, text: impl Iterator<Item = Result<char>>) -> Result<NodeId> {
        let start = self.text.len();
        for char in text {
            self.text.push(char?);
        }
        let span = Span::new(start..self.text.len());
        Ok(self.add(Node::Unescaped(span)))
    }

    /// Adds items to the end of a chain.
    pub fn extend(&mut self, mut chain: Chain, items: &[NodeId]) -> Chain {
        for &item in items {
            let cell = self.cells.len() as u32;
            push(&mut self.cells, Cell { item, next: END }, self.pickle.len());
            match self.cells.get_mut(chain.last as usize) {
                Some(last) => last.next = cell,
                None => chain.first = cell,
            }
            chain.last = cell;
            chain.len += 1;
        }
        chain
    }

    pub fn items(&self, chain: Chain) -> Items<'_> {
        Items {
            cells: &self.cells,
            next: chain.first,
            left: chain.len,
        }
    }

    /// The text of a node that is one.
    pub fn text(&self, node: Node) -> Option<&str> {
        match node {
            // It was UTF-8 when it was read; without unsafe code it has to be found so again.
            Node::Text(span) => std::str::from_utf8(self.bytes(span)).ok(),
            Node::Unescaped(span) => self.text.get(span.range()),
            _ => None,
        }
    }

    pub fn bytes(&self, span: Span) -> &'a [u8] {
        &self.pickle[span.range()]
    }

    #[cfg(any(test, fuzzing))]
    pub fn memory(&self) -> usize {
        let nodes = self.nodes.capacity() * size_of::<Node>();
        nodes + self.cells.capacity() * size_of::<Cell>() + self.text.capacity()
    }

    /// The bytes that stand as the characters of this text.
    pub fn latin1(&self, text: NodeId) -> Result<Vec<u8>> {
        let text = self.text(self.node(text)).unwrap_or_default();
        text.chars()
            .map(|char| u8::try_from(char).ok())
            .collect::<Option<_>>()
            .ok_or_else(|| Error::new("bytes with a character above 255"))
    }
}

/// A `push` that reserves for no more items than there can be.
pub(super) fn push<T>(items: &mut Vec<T>, item: T, pickle: usize) {
    /// What is there beside what the pickle's bytes make.
    const MORE: usize = 8;
    if items.len() == items.capacity() {
        let most = (pickle + MORE).saturating_sub(items.len());
        items.reserve_exact(items.len().max(MORE).min(most).max(1));
    }
    items.push(item);
}

/// Goes along a chain, but only as far as it was long when the container was complete.
#[derive(Clone)]
pub(super) struct Items<'r> {
    cells: &'r [Cell],
    next: u32,
    left: u32,
}

impl Iterator for Items<'_> {
    type Item = NodeId;

    fn next(&mut self) -> Option<NodeId> {
        self.left = self.left.checked_sub(1)?;
        let cell = self.cells.get(self.next as usize)?;
        self.next = cell.next;
        Some(cell.item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for Items<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sizes_that_the_stated_bound_counts_with() {
        assert_eq!((size_of::<Node>(), size_of::<Cell>()), (16, 8));
    }
}
