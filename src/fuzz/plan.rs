//! A fuzzer's bytes as decisions.

/// Takes bytes from the front; where there are none left, they are zero.
pub(super) struct Plan<'a>(&'a [u8]);

impl<'a> Plan<'a> {
    pub fn new(bytes: &'a [u8]) -> Plan<'a> {
        Plan(bytes)
    }

    pub fn is_done(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        first
    }

    /// With odds of one half.
    pub fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::from(self.byte()) % of.len()]
    }

    /// At most 65,535.
    pub fn up_to(&mut self, most: usize) -> usize {
        let number = usize::from(u16::from_le_bytes(self.array()));
        number % (most + 1)
    }

    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte())
    }

    /// So many bytes, or as many as are left.
    pub fn bytes(&mut self, most: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    pub fn text(&mut self, most: usize) -> String {
        String::from_utf8_lossy(self.bytes(most)).into_owned()
    }

    pub fn rest(self) -> &'a [u8] {
        self.0
    }
}
