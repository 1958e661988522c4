//! message-io with its framed TCP: messages come to a callback on the node's thread.

use std::any::Any;
use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use message_io::network::{Endpoint, NetEvent, Transport};
use message_io::node::{NodeHandler, NodeTask, split};

use crate::program::{
    Blob, Form, JsonText, MessagePack, Program, RECEIVERS, Reading, Served, What,
};

pub struct MessageIo;

const FRAMED: Transport = Transport::FramedTcp;

/// A node and its thread, which end together.
struct Node {
    handler: NodeHandler<()>,
    _task: NodeTask,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.handler.stop();
    }
}

impl Node {
    fn new(mut on_event: impl FnMut(&NodeHandler<()>, NetEvent<'_>) + Send + 'static) -> Node {
        let (handler, listener) = split();
        let own = handler.clone();
        let _task = listener.for_each_async(move |event| on_event(&own, event.network()));
        Node { handler, _task }
    }

    fn listen(&self) -> SocketAddr {
        let (_, addr) = self
            .handler
            .network()
            .listen(FRAMED, "127.0.0.1:0")
            .expect("a port");
        addr
    }

    fn connect(&self, addr: SocketAddr) -> Endpoint {
        self.handler
            .network()
            .connect_sync(FRAMED, addr)
            .expect("connected")
            .0
    }
}

/// A node that consumes, and tells after so many messages.
fn consumer<F: Form>(count: usize) -> (Node, SocketAddr, Receiver<()>) {
    let (told, done) = channel();
    let mut seen = 0;
    let node = Node::new(move |_, event| {
        if let NetEvent::Message(_, payload) = event {
            F::consume(payload);
            seen += 1;
            if seen == count {
                let _ = told.send(());
            }
        }
    });
    let addr = node.listen();
    (node, addr, done)
}

fn one_way<F: Form>(item: &F::Item, count: usize) -> Duration {
    let (_bob, addr, done) = consumer::<F>(count);
    let alice = Node::new(|_, _| ());
    let to_bob = alice.connect(addr);
    let begin = Instant::now();
    let mut payload = Vec::new();
    for _ in 0..count {
        payload.clear();
        F::encode(black_box(item), &mut payload);
        alice.handler.network().send(to_bob, &payload);
    }
    done.recv().expect("done");
    begin.elapsed()
}

/// Sends, on the node's thread, a message for each that comes; tells when all have come.
fn pinging(count: usize, told: Sender<Vec<f64>>) -> Node {
    let mut times = Vec::with_capacity(count);
    let mut begin = None::<Instant>;
    Node::new(move |handler, event| {
        let endpoint = match event {
            NetEvent::Connected(endpoint, true) => endpoint,
            NetEvent::Message(endpoint, _) => endpoint,
            _ => return,
        };
        times.extend(begin.take().map(|begin| begin.elapsed().as_secs_f64()));
        if times.len() == count {
            let _ = told.send(std::mem::take(&mut times));
        } else {
            begin = Some(Instant::now());
            handler.network().send(endpoint, &[7; 64]);
        }
    })
}

impl Program for MessageIo {
    fn name(&self) -> &'static str {
        "message-io"
    }

    fn one_way(&self, what: What, count: usize) -> Option<Duration> {
        Some(match what {
            What::Bytes(size) => one_way::<Blob>(&vec![7; size], count),
            What::MessagePack => one_way::<MessagePack>(&Reading::example(), count),
            What::Json => one_way::<JsonText>(&Reading::example(), count),
        })
    }

    fn broadcast(&self, size: usize, count: usize) -> Option<Duration> {
        let (_bob, addr, done) = consumer::<Blob>(count * RECEIVERS);
        let alice = Node::new(|_, _| ());
        let all: Vec<_> = (0..RECEIVERS).map(|_| alice.connect(addr)).collect();
        let payload = vec![7; size];
        let begin = Instant::now();
        for _ in 0..count {
            for endpoint in &all {
                alice.handler.network().send(*endpoint, &payload);
            }
        }
        done.recv().expect("done");
        Some(begin.elapsed())
    }

    fn round_trip(&self, count: usize) -> Option<Vec<f64>> {
        let bob = Node::new(|handler, event| {
            if let NetEvent::Message(endpoint, payload) = event {
                handler.network().send(endpoint, payload);
            }
        });
        let (told, done) = channel();
        let alice = pinging(count, told);
        alice
            .handler
            .network()
            .connect(FRAMED, bob.listen())
            .expect("connecting");
        Some(done.recv().expect("the times"))
    }

    fn connect(&self, count: usize) -> Option<Vec<f64>> {
        let bob = Node::new(|handler, event| {
            if let NetEvent::Accepted(endpoint, _) = event {
                handler.network().send(endpoint, b"hello");
            }
        });
        let addr = bob.listen();
        let (told, greeted) = channel();
        let alice = Node::new(move |_, event| {
            if let NetEvent::Message(endpoint, _) = event {
                let _ = told.send(endpoint);
            }
        });
        let times = (0..count).map(|_| {
            let begin = Instant::now();
            alice
                .handler
                .network()
                .connect(FRAMED, addr)
                .expect("connecting");
            let endpoint: Endpoint = greeted.recv().expect("a message");
            alice.handler.network().remove(endpoint.resource_id());
            begin.elapsed().as_secs_f64()
        });
        Some(times.collect())
    }

    fn serve(&self) -> Option<Served> {
        let (told, messages) = channel();
        let bob = Node::new(move |_, event| {
            if let NetEvent::Message(..) = event {
                let _ = told.send(());
            }
        });
        let addr = bob.listen();
        let wait = move |count: usize| {
            let _ = &bob;
            for _ in 0..count {
                messages.recv().expect("a message");
            }
        };
        Some(Served {
            addr,
            wait: Box::new(wait),
        })
    }

    fn dial(&self, addr: SocketAddr, count: usize) -> Box<dyn Any> {
        let alice = Node::new(|_, _| ());
        for _ in 0..count {
            let endpoint = alice.connect(addr);
            alice.handler.network().send(endpoint, &[7; 64]);
        }
        Box::new(alice)
    }
}
