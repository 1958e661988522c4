//! Threads of the system, each of which is one simulated thread after the other: to start one costs more
//! than what most of them do.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::Thread;

use crate::local;
use crate::world::{self, World};

/// A flag that one thread waits for.
#[derive(Clone)]
pub struct Go(Arc<Flag>);

struct Flag {
    is_set: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Default for Go {
    fn default() -> Go {
        Go::new()
    }
}

impl Go {
    /// For the current thread to wait for.
    pub fn new() -> Go {
        let go = Go::unowned();
        let _ = go.0.thread.set(std::thread::current());
        go
    }

    fn unowned() -> Go {
        Go(Arc::new(Flag {
            is_set: AtomicBool::new(false),
            thread: OnceLock::new(),
        }))
    }

    pub fn set(&self) {
        self.0.is_set.store(true, Ordering::Release);
        if let Some(thread) = self.0.thread.get() {
            thread.unpark();
        }
    }

    pub fn wait(&self) {
        while !self.0.is_set.swap(false, Ordering::Acquire) {
            std::thread::park();
        }
    }
}

struct Job {
    world: Arc<World>,
    id: usize,
    work: Box<dyn FnOnce() + Send>,
}

struct Worker {
    job: Arc<Mutex<Option<Job>>>,
    go: Go,
}

static IDLE: Mutex<Vec<Worker>> = Mutex::new(Vec::new());

/// How many threads of the system were started.
pub static STARTED: AtomicUsize = AtomicUsize::new(0);

/// Gives the work to a thread, which begins when its `Go` is set.
pub(crate) fn assign(world: Arc<World>, id: usize, work: Box<dyn FnOnce() + Send>) -> Go {
    let idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let worker = idle.unwrap_or_else(start);
    let job = Job { world, id, work };
    *worker.job.lock().unwrap_or_else(PoisonError::into_inner) = Some(job);
    worker.go
}

fn start() -> Worker {
    STARTED.fetch_add(1, Ordering::Relaxed);
    let job = Arc::<Mutex<Option<Job>>>::default();
    let go = Go::unowned();
    let (own_job, own_go) = (Arc::clone(&job), go.clone());
    let thread = std::thread::Builder::new()
        .stack_size(1 << 20)
        .spawn(move || work_on(&own_job, &own_go))
        .expect("a thread of the system");
    let _ = go.0.thread.set(thread.thread().clone());
    Worker { job, go }
}

fn work_on(job: &Arc<Mutex<Option<Job>>>, go: &Go) {
    loop {
        go.wait();
        let given = job.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Job { world, id, work }) = given else {
            continue;
        };
        world::set_current(Some((Arc::clone(&world), id)));
        let run = AssertUnwindSafe(|| {
            let done = catch_unwind(AssertUnwindSafe(work));
            local::end_thread();
            done
        });
        let panicked = match catch_unwind(run) {
            Ok(Ok(())) => None,
            Ok(Err(panic)) | Err(panic) => Some(crate::panic_message(&*panic)),
        };
        world::set_current(None);
        // Before the next thread of the run is told to go: it may need one.
        let worker = Worker {
            job: Arc::clone(job),
            go: go.clone(),
        };
        IDLE.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(worker);
        world::finish(&world, id, panicked);
    }
}
