//! Every other error becomes an [`Error`] with `?`.

use crossbeam_channel::{RecvError, RecvTimeoutError, TryRecvError};

use crate::error::{CloseError, Error, RequestError, SendError};
use crate::format::{DecodeError, EncodeError, UnknownDataType};
use crate::secure::KeyError;
#[cfg(feature = "secure")]
use crate::secure::{IdentityError, SecretError};

impl From<SendError> for Error {
    fn from(error: SendError) -> Error {
        Error::Send(error)
    }
}

impl From<EncodeError> for Error {
    fn from(error: EncodeError) -> Error {
        Error::Send(error.into())
    }
}

impl From<CloseError> for Error {
    fn from(error: CloseError) -> Error {
        Error::Close(error)
    }
}

impl From<RequestError> for Error {
    fn from(error: RequestError) -> Error {
        Error::Request(error)
    }
}

impl From<RecvError> for Error {
    fn from(_: RecvError) -> Error {
        Error::Ended
    }
}

impl From<TryRecvError> for Error {
    fn from(error: TryRecvError) -> Error {
        match error {
            TryRecvError::Empty => Error::NothingReceived,
            TryRecvError::Disconnected => Error::Ended,
        }
    }
}

impl From<RecvTimeoutError> for Error {
    fn from(error: RecvTimeoutError) -> Error {
        match error {
            RecvTimeoutError::Timeout => Error::NothingReceived,
            RecvTimeoutError::Disconnected => Error::Ended,
        }
    }
}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Error {
        Error::Decode(error)
    }
}

impl From<UnknownDataType> for Error {
    fn from(error: UnknownDataType) -> Error {
        Error::DataType(error)
    }
}

impl From<KeyError> for Error {
    fn from(error: KeyError) -> Error {
        Error::Key(error)
    }
}

#[cfg(feature = "secure")]
impl From<IdentityError> for Error {
    fn from(error: IdentityError) -> Error {
        Error::Identity(error)
    }
}

#[cfg(feature = "secure")]
impl From<SecretError> for Error {
    fn from(error: SecretError) -> Error {
        Error::Secret(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{CloseReason, Result};

    fn text(error: impl Into<Error>) -> String {
        error.into().to_string()
    }

    #[test]
    fn each_keeps_its_words() {
        let closed = SendError::Closed(CloseReason::Reset);
        assert_eq!(text(closed.clone()), closed.to_string());
        let incomplete = CloseError::Incomplete(CloseReason::Reset);
        assert_eq!(text(incomplete.clone()), incomplete.to_string());
        let unanswered = RequestError::Closed(CloseReason::Reset);
        assert_eq!(text(unanswered.clone()), unanswered.to_string());
        let unknown = "jason".parse::<crate::DataType>().unwrap_err();
        assert_eq!(text(unknown.clone()), unknown.to_string());
        let encode = EncodeError::new(crate::DataType::Json, "no");
        assert_eq!(text(encode.clone()), encode.to_string());
        let decode = DecodeError::new(crate::DataType::Json, "no");
        assert_eq!(text(decode.clone()), decode.to_string());
    }

    #[test]
    fn receiving_knows_an_end_from_a_pause() {
        fn received(result: Result<(), impl Into<Error>>) -> Error {
            result.map_err(Into::into).unwrap_err()
        }
        for ended in [
            received(Err(RecvError)),
            received(Err(TryRecvError::Disconnected)),
            received(Err(RecvTimeoutError::Disconnected)),
        ] {
            assert!(matches!(ended, Error::Ended), "{ended:?}");
        }
        for pause in [
            received(Err(TryRecvError::Empty)),
            received(Err(RecvTimeoutError::Timeout)),
        ] {
            assert!(matches!(pause, Error::NothingReceived), "{pause:?}");
        }
    }

    #[cfg(feature = "secure")]
    #[test]
    fn a_secret_keeps_its_source() {
        let error = crate::Secret::from_file("/nonexistent/secret").unwrap_err();
        let error = Error::from(error);
        assert!(matches!(error, Error::Secret(SecretError::File { .. })));
        assert!(std::error::Error::source(&error).is_some());
    }
}
