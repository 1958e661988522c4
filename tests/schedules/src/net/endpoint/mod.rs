//! A peer as far as its connections know it.

#[path = "../../../../../src/net/endpoint/dead_remotes.rs"]
pub(crate) mod dead_remotes;
pub(crate) mod noticing;

use std::net::SocketAddrV4;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use dead_remotes::DeadRemotes;

use super::context::Context;
use super::link::{HERE, Link};
use super::os::lock;
use super::os::socket::TcpStream;
use super::os::sync::Mutex;
use super::os::threads::refuse;
use super::wire::record::RecordWriter;
use crate::format::Dialect;
use crate::options::Settings;

pub(crate) struct Endpoint {
    context: Arc<Context>,
    dead_remotes: Arc<DeadRemotes>,
    links: Mutex<Vec<Arc<Link>>>,
}

impl Deref for Endpoint {
    type Target = Context;

    fn deref(&self) -> &Context {
        &self.context
    }
}

impl Endpoint {
    pub fn new(
        send_queue: usize,
        spin: Duration,
        keepalive: Option<Duration>,
        refused: Vec<&'static str>,
    ) -> Arc<Endpoint> {
        refuse(refused);
        let settings = Settings {
            send_queue,
            max_message_size: usize::MAX,
            keepalive: None,
            spin,
        };
        let local_addr: SocketAddrV4 = HERE;
        let context = Arc::new(Context::new(settings, local_addr));
        let endpoint = Arc::new_cyclic(|endpoint| Endpoint {
            dead_remotes: DeadRemotes::new(endpoint, keepalive),
            context,
            links: Mutex::default(),
        });
        endpoint.dead_remotes.begin(&endpoint.context);
        endpoint
    }

    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }

    pub fn link(&self, socket: TcpStream, records: Option<RecordWriter>) -> Arc<Link> {
        self.link_in(Dialect::Headers, socket, records)
    }

    pub fn link_in(
        &self,
        dialect: Dialect,
        socket: TcpStream,
        records: Option<RecordWriter>,
    ) -> Arc<Link> {
        self.start_watchdog().expect("a timer thread");
        let link = Link::new(&self.context, socket, records, dialect);
        lock(&self.links).push(Arc::clone(&link));
        link
    }

    pub fn links(&self) -> Vec<Arc<Link>> {
        lock(&self.links).clone()
    }

    /// Every thread ends.
    pub fn stop(&self) {
        self.watchdog.stop();
        self.flusher.stop();
        self.threads.join();
        lock(&self.links).clear();
    }
}
