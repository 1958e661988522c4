//! From the stack into lists, tuples, dicts and sets.

use super::arena::{Arena, Chain, Node};
use super::error::{Error, Result};
use super::read::Reader;

impl Reader<'_> {
    /// Everything above the last MARK becomes one container.
    pub(super) fn collect(&mut self, container: impl FnOnce(Chain) -> Node) -> Result<()> {
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

    pub(super) fn tuple(&mut self, items: usize) -> Result<()> {
        match self.stack.len().checked_sub(items) {
            Some(height) if height >= self.fence() => {
                self.collect_from(height, Node::Tuple);
                Ok(())
            }
            _ => Err(Error::new("a tuple of more than is on the stack")),
        }
    }

    pub(super) fn are_pairs(&self, opcode: &str) -> Result<()> {
        if (self.stack.len() - self.fence()) % 2 == 1 {
            return Err(Error::new(format_args!("{opcode}: a key without a value")));
        }
        Ok(())
    }

    /// Adds so many values from the top of the stack, or all above the last MARK, to the container
    /// below them.
    pub(super) fn fill(&mut self, opcode: &str, count: Option<usize>) -> Result<()> {
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
                let what = node.what();
                return Err(Error::new(format_args!("{opcode} to {what}")));
            }
        };
        self.arena.set(container, node);
        self.stack.truncate(height);
        Ok(())
    }
}
