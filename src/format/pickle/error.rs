//! What is wrong with a pickle, or with a value that should become one.

use std::fmt;

#[derive(Debug)]
pub(super) struct Error(String);

pub(super) type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub fn new(what: impl fmt::Display) -> Error {
        Error(what.to_string())
    }

    /// Says at which byte of the pickle.
    pub fn at(self, position: usize) -> Error {
        Error(format!("{}, at byte {position} of the pickle", self.0))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl serde::ser::Error for Error {
    fn custom<T: fmt::Display>(what: T) -> Error {
        Error::new(what)
    }
}

impl serde::de::Error for Error {
    fn custom<T: fmt::Display>(what: T) -> Error {
        Error::new(what)
    }
}
