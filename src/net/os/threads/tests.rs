use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

const SOON: Duration = Duration::from_secs(20);

fn group() -> Arc<Threads> {
    Threads::new("127.0.0.1:1".parse().unwrap())
}

#[test]
fn a_thread_is_waited_for_and_joined() {
    let threads = group();
    let (go, wait) = crossbeam_channel::bounded::<()>(0);
    let work = move || {
        let _ = wait.recv();
    };
    threads.spawn("lanpeer-test".to_owned(), work).unwrap();
    assert_eq!(threads.running(), 1);
    assert!(!threads.wait(Instant::now()));
    drop(go);
    threads.close();
    assert!(threads.wait(Instant::now() + SOON));
    assert!(threads.join(Instant::now() + SOON));
    assert!(threads.hold().is_none());
}

/// What a thread was that did this: its number in the system.
fn of(threads: &Arc<Threads>, retires: bool) -> std::thread::ThreadId {
    let (tell, told) = crossbeam_channel::bounded(1);
    let work = move || {
        if retires {
            retire();
        }
        let _ = tell.send(std::thread::current().id());
    };
    threads.run("lanpeer-test".to_owned(), work).unwrap();
    told.recv_timeout(SOON).unwrap()
}

/// Nobody works.
fn rests(threads: &Arc<Threads>) {
    let begin = Instant::now();
    while threads.running() > 0 {
        assert!(begin.elapsed() < SOON, "{} threads work", threads.running());
        std::thread::yield_now();
    }
}

#[test]
fn a_thread_that_has_done_its_work_takes_more() {
    let threads = group();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..100 {
        seen.insert(of(&threads, false));
        rests(&threads);
    }
    // One, unless this thread was kept from its work for a second.
    assert!(seen.len() < 10, "{} threads for 100 works", seen.len());
    // Had, and then not needed.
    drop(threads.spawn_waiting("lanpeer-test".to_owned()).unwrap());
    rests(&threads);
    let retired = of(&threads, true);
    rests(&threads);
    assert!(lock(&threads.state).idle.is_empty());
    assert_ne!(of(&threads, false), retired);
    rests(&threads);
    threads.close();
    assert!(threads.wait(Instant::now() + SOON));
    assert!(threads.join(Instant::now() + SOON));
    // It is closed: nobody stays.
    of(&threads, false);
    assert!(threads.wait(Instant::now() + SOON));
    assert!(lock(&threads.state).threads.is_empty());
}

#[test]
fn no_more_threads_wait_for_work_than_a_few_and_not_for_long() {
    let threads = group();
    let waiting: Vec<_> = (0..IDLE_MAX + 4)
        .map(|_| threads.spawn_waiting("lanpeer-test".to_owned()).unwrap())
        .collect();
    assert_eq!(threads.running(), IDLE_MAX + 4);
    drop(waiting);
    let begin = Instant::now();
    loop {
        let state = lock(&threads.state);
        assert!(state.idle.len() <= IDLE_MAX);
        if state.threads.is_empty() {
            break;
        }
        drop(state);
        assert!(begin.elapsed() < SOON, "they wait on and on");
        std::thread::yield_now();
    }
}

/// From many threads at once, with work that is given, given up and refused, in any order.
#[test]
fn each_work_is_done_once() {
    let threads = group();
    let done = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let given = 400;
    std::thread::scope(|scope| {
        for caller in 0..4 {
            let (threads, done) = (&threads, &done);
            scope.spawn(move || {
                for round in 0..given {
                    let thread = threads.spawn_waiting("lanpeer-test".to_owned()).unwrap();
                    if (caller + round) % 3 == 0 {
                        continue;
                    }
                    let done = Arc::clone(done);
                    thread.run(Box::new(move || {
                        done.fetch_add(1, Ordering::SeqCst);
                    }));
                }
            });
        }
    });
    threads.close();
    assert!(threads.wait(Instant::now() + SOON));
    let expected = (0..4).flat_map(|caller| (0..given).map(move |round| caller + round));
    let expected = expected.filter(|sum| sum % 3 != 0).count();
    assert_eq!(done.load(Ordering::SeqCst), expected);
    assert!(lock(&threads.state).threads.is_empty());
}

/// Its work is done, and what it does afterwards is the program's.
#[test]
fn a_slow_destructor_of_a_thread_local_delays_nobody_beyond_the_deadline() {
    struct Slow(Arc<AtomicBool>, crossbeam_channel::Receiver<()>);
    impl Drop for Slow {
        fn drop(&mut self) {
            let _ = self.1.recv_timeout(SOON);
            self.0.store(true, Ordering::SeqCst);
        }
    }
    thread_local! {
        static KEPT: std::cell::RefCell<Option<Slow>> = const { std::cell::RefCell::new(None) };
    }
    let threads = group();
    threads.close();
    let gone = Arc::new(AtomicBool::new(false));
    let (go, wait) = crossbeam_channel::bounded::<()>(0);
    let slow = Slow(Arc::clone(&gone), wait);
    let work = move || KEPT.with(|kept| drop(kept.replace(Some(slow))));
    threads.spawn("lanpeer-test".to_owned(), work).unwrap();
    assert!(threads.wait(Instant::now() + SOON));
    assert!(!threads.join(Instant::now() + Duration::from_millis(1)));
    assert!(!gone.load(Ordering::SeqCst));
    drop(go);
}
