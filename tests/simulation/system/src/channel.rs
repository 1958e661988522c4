//! Channels, as crossbeam's.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::sync::Instant;
use crate::world::{self, step};

pub use crossbeam_channel::{
    RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError,
};

struct Channel<T> {
    state: Mutex<State<T>>,
    /// `None`: it takes everything.
    capacity: Option<usize>,
    key: usize,
}

struct State<T> {
    items: VecDeque<T>,
    senders: usize,
    receivers: usize,
}

pub struct Sender<T>(Arc<Channel<T>>);

pub struct Receiver<T>(Arc<Channel<T>>);

fn channel<T>(capacity: Option<usize>) -> (Sender<T>, Receiver<T>) {
    let state = Mutex::new(State {
        items: VecDeque::new(),
        senders: 1,
        receivers: 1,
    });
    let key = world::fresh_key();
    let channel = Arc::new(Channel {
        state,
        capacity,
        key,
    });
    (Sender(Arc::clone(&channel)), Receiver(channel))
}

/// One without any room is there for its end alone: nothing can be sent.
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    // crossbeam's has the memory for all of it from the beginning.
    assert!(capacity < 1 << 30, "capacity overflow");
    channel(Some(capacity))
}

pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    channel(None)
}

pub fn never<T>() -> Receiver<T> {
    let (sender, receiver) = unbounded();
    std::mem::forget(sender);
    receiver
}

impl<T> Channel<T> {
    /// Held without a step, so nobody waits for it.
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        if world::is_inside() {
            world::wake_all(self.key);
        }
    }
}

impl<T> Sender<T> {
    pub fn len(&self) -> usize {
        self.0.state().items.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn capacity(&self) -> Option<usize> {
        self.0.capacity
    }

    pub fn try_send(&self, item: T) -> Result<(), TrySendError<T>> {
        step();
        self.put(item)
    }

    fn put(&self, item: T) -> Result<(), TrySendError<T>> {
        let mut state = self.0.state();
        if state.receivers == 0 {
            return Err(TrySendError::Disconnected(item));
        }
        if self
            .0
            .capacity
            .is_some_and(|most| state.items.len() >= most)
        {
            return Err(TrySendError::Full(item));
        }
        state.items.push_back(item);
        drop(state);
        self.0.tell();
        Ok(())
    }

    pub fn send(&self, mut item: T) -> Result<(), SendError<T>> {
        step();
        loop {
            item = match self.put(item) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Disconnected(item)) => return Err(SendError(item)),
                Err(TrySendError::Full(item)) => item,
            };
            world::wait(&[self.0.key], None, "a full channel");
        }
    }
}

impl<T> Receiver<T> {
    pub fn len(&self) -> usize {
        self.0.state().items.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn capacity(&self) -> Option<usize> {
        self.0.capacity
    }

    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        step();
        self.take()
    }

    fn take(&self) -> Result<T, TryRecvError> {
        let mut state = self.0.state();
        let item = state.items.pop_front();
        let is_over = state.senders == 0;
        drop(state);
        match item {
            Some(item) => {
                self.0.tell();
                Ok(item)
            }
            None if is_over => Err(TryRecvError::Disconnected),
            None => Err(TryRecvError::Empty),
        }
    }

    fn recv_until(&self, deadline: Option<world::Time>) -> Result<T, RecvTimeoutError> {
        step();
        loop {
            match self.take() {
                Ok(item) => return Ok(item),
                Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
                Err(TryRecvError::Empty) => {}
            }
            if deadline.is_some_and(|deadline| world::now() >= deadline) {
                return Err(RecvTimeoutError::Timeout);
            }
            world::wait(&[self.0.key], deadline, "a channel");
        }
    }

    pub fn recv(&self) -> Result<T, RecvError> {
        self.recv_until(None).map_err(|_| RecvError)
    }

    pub fn recv_timeout(&self, time: Duration) -> Result<T, RecvTimeoutError> {
        self.recv_until(Some(world::now() + world::nanos(time)))
    }

    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        self.recv_timeout(deadline.duration_since(Instant::now()))
    }

    pub fn iter(&self) -> Iter<'_, T> {
        Iter(self)
    }

    pub fn try_iter(&self) -> impl Iterator<Item = T> + '_ {
        std::iter::from_fn(|| self.try_recv().ok())
    }

    /// For `select!`.
    pub fn selected(&self) -> &dyn Selected
    where
        T: 'static,
    {
        self
    }

    pub fn take_selected(&self) -> Result<T, RecvError> {
        self.take().map_err(|_| RecvError)
    }
}

pub struct Iter<'a, T>(&'a Receiver<T>);

impl<T> Iterator for Iter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.0.recv().ok()
    }
}

impl<'a, T> IntoIterator for &'a Receiver<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        self.0.state().senders += 1;
        Sender(Arc::clone(&self.0))
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Receiver<T> {
        self.0.state().receivers += 1;
        Receiver(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.senders -= 1;
        let is_last = state.senders == 0;
        drop(state);
        if is_last {
            self.0.tell();
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.receivers -= 1;
        if state.receivers > 0 {
            return;
        }
        // What waits goes with the last receiver; each drop may be the program's.
        let items = std::mem::take(&mut state.items);
        drop(state);
        drop(items);
        self.0.tell();
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("Sender { .. }")
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("Receiver { .. }")
    }
}

// Several at once

pub trait Selected {
    /// Is there an item, or the end?
    fn is_ready(&self) -> bool;

    fn key(&self) -> usize;
}

impl<T> Selected for Receiver<T> {
    fn is_ready(&self) -> bool {
        let state = self.0.state();
        !state.items.is_empty() || state.senders == 0
    }

    fn key(&self) -> usize {
        self.0.key
    }
}

/// Waits until one of them is ready; `None`: none was in time.
pub fn select_one(all: &[&dyn Selected], time: Option<Duration>) -> Option<usize> {
    step();
    let deadline = time.map(|time| world::now() + world::nanos(time));
    let keys: Vec<usize> = all.iter().map(|one| one.key()).collect();
    loop {
        let ready = (0..all.len()).filter(|&index| all[index].is_ready());
        let ready: Vec<usize> = ready.collect();
        if !ready.is_empty() {
            return Some(ready[world::below(ready.len() as u64) as usize]);
        }
        if deadline.is_some_and(|deadline| world::now() >= deadline) {
            return None;
        }
        world::wait(&keys, deadline, "a select");
    }
}

/// Waits until there is room, or nobody to send to: `true`. Or until the other channel ends: `false`.
pub fn has_room_or_end<T>(sender: &Sender<T>, other: &Receiver<Infallible>) -> bool {
    step();
    loop {
        let is_over = other.is_ready();
        let has_room = {
            let state = sender.0.state();
            let most = sender.0.capacity;
            state.receivers == 0 || most.is_none_or(|most| state.items.len() < most)
        };
        match (has_room, is_over) {
            (true, true) => return world::one_in(2),
            (true, false) => return true,
            (false, true) => return false,
            (false, false) => world::wait(&[sender.0.key, other.0.key], None, "a select"),
        };
    }
}

/// Sends what there is room for: nobody else runs between the two.
pub fn send_at_once<T>(sender: &Sender<T>, item: T) -> Result<(), SendError<T>> {
    match sender.put(item) {
        Ok(()) => Ok(()),
        Err(TrySendError::Disconnected(item)) => Err(SendError(item)),
        Err(TrySendError::Full(_)) => unreachable!("there was room"),
    }
}

#[macro_export]
macro_rules! simulated_select {
    // Of one alone: an expression that is evaluated once.
    (recv($from:expr) -> $got:pat => $then:expr) => {{
        let $got = $from.recv();
        $then
    }};
    (send($sender:expr, $item:expr) -> $sent:pat => $then:block recv($other:expr) -> $got:pat => $else:block) => {
        if $crate::channel::has_room_or_end(&$sender, &$other) {
            let $sent = $crate::channel::send_at_once(&$sender, $item);
            $then
        } else {
            let $got = $other.take_selected();
            $else
        }
    };
    (@arms [$($done:tt)*] recv($from:expr) -> $got:pat => $then:block $(,)? $($rest:tt)*) => {
        $crate::simulated_select!(@arms [$($done)* {($from) ($got) ($then)}] $($rest)*)
    };
    (@arms [$($done:tt)*] recv($from:expr) -> $got:pat => $then:expr, $($rest:tt)*) => {
        $crate::simulated_select!(@arms [$($done)* {($from) ($got) ($then)}] $($rest)*)
    };
    (@arms [$($done:tt)*] recv($from:expr) -> $got:pat => $then:expr) => {
        $crate::simulated_select!(@arms [$($done)* {($from) ($got) ($then)}])
    };
    (@arms [$({($from:expr) $got:tt $then:tt})+]) => {{
        let chosen = $crate::channel::select_one(&[$($from.selected()),+], None);
        $crate::simulated_select!(@chosen chosen, 0, unreachable!("it waits"), $({($from) $got $then})+)
    }};
    (@arms [$({($from:expr) $got:tt $then:tt})+] default($time:expr) => $late:expr $(,)?) => {{
        let chosen = $crate::channel::select_one(&[$($from.selected()),+], Some($time));
        $crate::simulated_select!(@chosen chosen, 0, $late, $({($from) $got $then})+)
    }};
    (@chosen $chosen:ident, $index:expr, $late:expr, {($from:expr) ($got:pat) ($then:expr)} $($rest:tt)*) => {
        if $chosen == Some($index) {
            let $got = $from.take_selected();
            $then
        } else {
            $crate::simulated_select!(@chosen $chosen, $index + 1, $late, $($rest)*)
        }
    };
    (@chosen $chosen:ident, $index:expr, $late:expr,) => { $late };
    (recv $($rest:tt)*) => { $crate::simulated_select!(@arms [] recv $($rest)*) };
}
