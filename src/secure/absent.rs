//! In place of the feature `secure`: types that have no value.

use std::convert::Infallible;
use std::sync::Arc;

use super::{Forged, Proof};
use crate::proto::header::Suite;

/// None.
#[derive(Clone, Debug, Default)]
pub(crate) struct Secrets {}

impl Secrets {
    pub fn own(&self) -> Option<&Infallible> {
        None
    }

    pub fn trouble(&self) -> Option<&'static str> {
        None
    }
}

pub(crate) struct Session {
    pub sealer: record::Sealer,
    pub opener: record::Opener,
    pub proof: Arc<Proof>,
}

pub(crate) fn preferred() -> Suite {
    Suite::ChaCha
}

pub(crate) fn agreed(theirs: Suite) -> Suite {
    theirs
}

pub(crate) mod handshake {
    use super::{Forged, Infallible, Secrets, Session, Suite};

    pub(crate) const MESSAGE: usize = 48;

    pub(crate) enum Asked {}

    impl Asked {
        pub fn begin(_: Suite, _: &[u8], _: &[u8]) -> Result<(Asked, [u8; MESSAGE]), Forged> {
            Err(Forged)
        }

        pub fn finish(self, _: &Secrets, _: &[u8; MESSAGE]) -> Result<Session, Forged> {
            match self {}
        }
    }

    pub(crate) fn join(
        _: Suite,
        secret: &Infallible,
        _: &[u8],
        _: &[u8],
        _: &[u8; MESSAGE],
    ) -> Result<([u8; MESSAGE], Session), Forged> {
        match *secret {}
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
