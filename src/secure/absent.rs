//! In place of the feature `secure`: types that have no value.

use std::convert::Infallible;
use std::sync::Arc;

use super::{Allowed, Distrust, Forged, Keys, Proof};
use crate::proto::header::Suite;
use crate::proto::tag::{Nonce, Tag};

/// None.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trust {
    allowed: Allowed,
}

impl Trust {
    pub fn own(&self) -> Option<&Infallible> {
        None
    }

    pub fn asks_with_passphrase(&self) -> bool {
        false
    }

    pub fn count(&self, _: bool) -> usize {
        0
    }

    pub fn identity(&self) -> Option<&Infallible> {
        None
    }

    pub fn allowed(&self) -> &Allowed {
        &self.allowed
    }

    pub fn admits(&self, _: &Proof) -> Result<(), Distrust> {
        Ok(())
    }

    pub fn tag_keys(&self) -> Result<TagKeys, &'static str> {
        Err("needs the feature `secure`")
    }

    pub fn trouble(&self) -> Option<(&'static str, &'static str)> {
        None
    }
}

pub(crate) struct Session {
    pub sealer: record::Sealer,
    pub opener: record::Opener,
    pub first: Vec<u8>,
    pub proof: Arc<Proof>,
}

pub(crate) enum TagKeys {}

impl TagKeys {
    pub fn tag(&self, _: &[u8]) -> Tag {
        match *self {}
    }

    pub fn check(&self, _: &[u8], _: &Tag) -> bool {
        match *self {}
    }
}

pub(crate) fn nonce() -> Option<Nonce> {
    None
}

pub(crate) fn first_count() -> u64 {
    0
}

pub(crate) fn preferred() -> Suite {
    Suite::ChaCha
}

pub(crate) fn agreed(theirs: Suite) -> Suite {
    theirs
}

pub(crate) mod handshake {
    use super::{Forged, Infallible, Keys, Session, Suite, Trust};
    use crate::secure::Broken;

    pub(crate) const THIRD: usize = 66;

    pub(crate) fn first_len(_: usize) -> usize {
        0
    }

    pub(crate) fn second_len(_: usize, _: Keys, _: usize) -> usize {
        0
    }

    pub(crate) enum Asked {}

    #[allow(dead_code)]
    pub(crate) struct Beginning<'a> {
        pub suite: Suite,
        pub keys: Keys,
        pub passphrase: bool,
        pub hello: &'a [u8],
        pub accept: &'a [u8],
    }

    impl Beginning<'_> {
        pub fn begin(&self, _: &Trust) -> Result<(Asked, Vec<u8>), Forged> {
            Err(Forged)
        }
    }

    impl Asked {
        pub fn finish(self, _: &Trust, _: &[u8]) -> Result<(Session, Vec<u8>), Broken> {
            match self {}
        }
    }

    #[allow(dead_code)]
    pub(crate) enum Joined {
        Whole(Session),
        Waits(Box<Waiting>),
    }

    pub(crate) enum Waiting {}

    impl Waiting {
        pub fn finish(self, _: &[u8; THIRD]) -> Result<Session, Forged> {
            match self {}
        }
    }

    #[allow(dead_code)]
    pub(crate) struct Joining<'a> {
        pub suite: Suite,
        pub keys: Keys,
        pub secret: &'a Infallible,
        pub identity: Option<&'a Infallible>,
        pub hello: &'a [u8],
        pub accept: &'a [u8],
        pub shares: usize,
    }

    impl Joining<'_> {
        pub fn answer(&self, _: &[u8], _: &[u8]) -> Result<(Vec<u8>, Joined), Broken> {
            match *self.secret {}
        }
    }
}

pub(crate) mod record {
    use super::Forged;

    pub(crate) const TAG: usize = 16;
    pub(crate) const PREFIX: usize = 2;
    pub(crate) const MAX_PLAIN: usize = u16::MAX as usize - TAG;

    pub(crate) enum Sealer {}

    impl Sealer {
        pub fn seal(&mut self, _: &[u8], _: &[u8], _: &mut Vec<u8>) -> Result<(), Forged> {
            match *self {}
        }

        pub fn end(&mut self, _: &mut Vec<u8>) -> Result<(), Forged> {
            match *self {}
        }

        pub fn has_ended(&self) -> bool {
            match *self {}
        }
    }

    pub(crate) enum Opener {}

    impl Opener {
        pub fn record_len(_: &[u8]) -> Result<Option<usize>, Forged> {
            Err(Forged)
        }

        pub fn open<'a>(&mut self, _: &'a mut [u8]) -> Result<&'a [u8], Forged> {
            match *self {}
        }
    }
}
