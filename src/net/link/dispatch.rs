//! From what was read and is no message, to those who wait for it. Whoever reads the socket calls this: the
//! reader thread, or a thread of the program with the lease. It never waits.

use std::sync::Arc;

use super::Link;
use super::serving::{Request, Serve, Server};
use crate::format::{DataType, Format, Payload, Reading};
use crate::net::panics::unless_it_panics;
use crate::proto::frames::{Call, Failure};

/// What is no message, kept for a moment in which the program's code may run. Its order among messages does
/// not matter.
pub(super) enum Other {
    Call(Call, DataType, Vec<u8>),
    Failed(u32, Failure, String),
}

/// Where requests and replies go.
pub(super) struct Dispatcher<F: Format> {
    pub link: Arc<Link>,
    pub reading: Reading,
    pub server: Arc<Server<F>>,
    /// What the program does with each request, on the reader thread.
    pub serve: Option<Serve<F>>,
}

impl<F: Format> Dispatcher<F> {
    /// Takes a request or a reply that was read. Runs code of the program, to decode and to serve.
    pub fn take(&mut self, call: Call, data_type: DataType, payload: Payload<'_>) {
        let id = match call {
            Call::Reply(id) => return self.link.take_reply(id, data_type, payload),
            Call::Request(id) => id,
        };
        let Some(unreplied) = self.link.admit_request(id, payload.len()) else {
            return;
        };
        let mut item = None;
        // A panic of the program's `Deserialize` fails the request, and ends nothing else.
        let decoded = unless_it_panics(|| {
            let decoded = F::decode(data_type, self.reading, payload, &mut item);
            Ok(decoded.map_err(|error| error.to_string()))
        });
        let request = match decoded {
            Ok(Ok(_)) => item.map(|item| Request::new(item, unreplied)),
            Ok(Err(why)) => return unreplied.fail(Failure::Refused, &why),
            Err(_) => return unreplied.fail(Failure::Panicked, ""),
        };
        let Some(request) = request else { return };
        match &mut self.serve {
            // The other side is told of a panic by the drop of the request.
            Some(serve) => drop(unless_it_panics(|| {
                serve(request);
                Ok(())
            })),
            None => {
                self.server.deliver(request, &self.link.context);
                self.link.tell_waiters();
            }
        }
    }

    /// Takes what was kept.
    pub fn take_other(&mut self, other: Other) {
        match other {
            Other::Call(call, data_type, payload) => {
                self.take(call, data_type, Payload::Owned(payload));
            }
            Other::Failed(id, why, words) => self.link.take_failure(id, why, words),
        }
    }
}
