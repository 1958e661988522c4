use crossbeam_channel::{Receiver, Sender, unbounded};

use super::*;

const SOON: Duration = Duration::from_secs(20);

/// Tells its name each time that it is run, and asks for some more runs.
struct Told {
    name: &'static str,
    told: Sender<&'static str>,
    again: Mutex<u32>,
}

impl Task for Told {
    fn run(&self, now: Instant) -> Option<Instant> {
        let _ = self.told.send(self.name);
        let mut again = lock(&self.again);
        *again = again.checked_sub(1)?;
        Some(now)
    }
}

struct Bench {
    threads: Arc<Threads>,
    timer: Arc<Timer>,
    told: Sender<&'static str>,
    heard: Receiver<&'static str>,
}

fn bench(retire: Option<Duration>) -> Bench {
    with_slack(retire, Duration::ZERO)
}

fn with_slack(retire: Option<Duration>, slack: Duration) -> Bench {
    let (told, heard) = unbounded();
    Bench {
        threads: Threads::new("127.0.0.1:1".parse().unwrap()),
        timer: Arc::new(Timer::new("lanpeer-test", retire, slack)),
        told,
        heard,
    }
}

impl Bench {
    fn schedule(&self, at: Instant, name: &'static str, again: u32) {
        let (told, again) = (self.told.clone(), Mutex::new(again));
        let task = Arc::new(Told { name, told, again });
        self.timer.schedule(&self.threads, at, task).unwrap();
    }

    /// The timer's thread runs nothing until what this returns is dropped.
    fn hold(&self) -> Sender<()> {
        let (open, closed) = unbounded();
        let (entered, inside) = unbounded();
        let gate = Arc::new(Gate { entered, closed });
        let scheduled = self.timer.schedule(&self.threads, Instant::now(), gate);
        scheduled.unwrap();
        inside.recv_timeout(SOON).unwrap();
        open
    }

    fn stop(&self) {
        self.timer.stop();
        assert!(self.threads.wait(Instant::now() + SOON));
    }
}

#[test]
fn tasks_run_when_they_are_due_the_earliest_first() {
    let bench = bench(None);
    let open = bench.hold();
    let now = Instant::now();
    bench.schedule(now + 20 * SOON, "never", 0);
    bench.schedule(now + Duration::from_millis(20), "second", 0);
    bench.schedule(now + Duration::from_millis(10), "first", 0);
    drop(open);
    for expected in ["first", "second"] {
        assert_eq!(bench.heard.recv_timeout(SOON), Ok(expected));
    }
    assert!(now.elapsed() >= Duration::from_millis(20));
    bench.schedule(now, "twice", 1);
    for expected in ["twice", "twice"] {
        assert_eq!(bench.heard.recv_timeout(SOON), Ok(expected));
    }
    bench.stop();
    assert!(bench.heard.try_recv().is_err());
}

/// Keeps the thread until the other end is dropped, and tells when it has it.
struct Gate {
    entered: Sender<()>,
    closed: Receiver<()>,
}

impl Task for Gate {
    fn run(&self, _: Instant) -> Option<Instant> {
        let _ = self.entered.send(());
        let _ = self.closed.recv_timeout(SOON);
        None
    }
}

#[test]
fn tasks_within_the_slack_run_with_the_first_of_them() {
    let bench = with_slack(None, 2 * SOON);
    let open = bench.hold();
    let now = Instant::now();
    // Awake behind the gate, the thread finds both of them when it looks next.
    bench.schedule(now + SOON, "later", 0);
    bench.schedule(now, "now", 0);
    drop(open);
    for expected in ["now", "later"] {
        assert_eq!(bench.heard.recv_timeout(SOON / 2), Ok(expected));
    }
    bench.stop();
}

/// Asks to be run again after a pause, and takes longer than that.
struct Slow {
    ended: Mutex<Option<Instant>>,
    paused: Sender<Duration>,
}

const PAUSE: Duration = Duration::from_millis(5);

impl Task for Slow {
    fn run(&self, now: Instant) -> Option<Instant> {
        let mut ended = lock(&self.ended);
        let paused = ended.map(|ended| Instant::now().duration_since(ended));
        let _ = paused.map(|paused| self.paused.send(paused));
        std::thread::sleep(4 * PAUSE);
        *ended = Some(Instant::now());
        Some(now + PAUSE)
    }
}

#[test]
fn a_round_that_takes_long_is_followed_by_a_pause_all_the_same() {
    let bench = with_slack(None, PAUSE);
    let (paused, pauses) = unbounded();
    let ended = Mutex::new(None);
    let slow = Arc::new(Slow { ended, paused });
    let now = Instant::now();
    bench.timer.schedule(&bench.threads, now, slow).unwrap();
    for _ in 0..3 {
        assert!(pauses.recv_timeout(SOON).unwrap() >= PAUSE);
    }
    bench.stop();
}

#[test]
fn a_thread_without_tasks_retires_and_another_takes_its_place() {
    let bench = bench(Some(Duration::from_millis(1)));
    for _ in 0..3 {
        bench.schedule(Instant::now(), "task", 0);
        assert_eq!(bench.heard.recv_timeout(SOON), Ok("task"));
        assert!(bench.threads.wait(Instant::now() + SOON), "it retires");
    }
    bench.stop();
}

#[test]
fn a_thread_is_woken_only_for_what_is_due_before_it_wakes() {
    let now = Instant::now();
    let after = |seconds| now + Duration::from_secs(seconds);
    let asleep = Thread::Asleep {
        next: Some(after(5)),
    };
    assert!(asleep.is_late_for(after(4)));
    assert!(!asleep.is_late_for(after(5)) && !asleep.is_late_for(after(6)));
    assert!(Thread::Asleep { next: None }.is_late_for(after(60)));
    assert!(!Thread::Awake.is_late_for(now), "it looks before it sleeps");
}

/// Panics when it runs, or when it is dropped.
struct Panics(&'static str);

impl Task for Panics {
    fn run(&self, _: Instant) -> Option<Instant> {
        assert_ne!(self.0, "run", "a task's own panic");
        None
    }
}

impl Drop for Panics {
    fn drop(&mut self) {
        assert_ne!(self.0, "drop", "a panic of what a task holds");
    }
}

#[test]
fn a_task_that_panics_ends_nothing_but_itself() {
    let bench = bench(None);
    for at in ["run", "drop"] {
        let now = Instant::now();
        let task = Arc::new(Panics(at));
        bench.timer.schedule(&bench.threads, now, task).unwrap();
        bench.schedule(now, "the next", 0);
        assert_eq!(bench.heard.recv_timeout(SOON), Ok("the next"));
    }
    for at in ["drop", "drop"] {
        let task = Arc::new(Panics(at));
        let never = Instant::now() + SOON;
        bench.timer.schedule(&bench.threads, never, task).unwrap();
    }
    bench.stop();
}

/// What a task belongs to, which is gone.
struct Pointless(#[expect(dead_code, reason = "only its drop matters")] Arc<()>);

impl Task for Pointless {
    fn run(&self, _: Instant) -> Option<Instant> {
        None
    }

    fn is_pointless(&self) -> bool {
        true
    }
}

#[test]
fn what_has_become_pointless_does_not_stay_until_it_is_due() {
    let bench = bench(None);
    let held = Arc::new(());
    for _ in 0..1000 {
        let (at, task) = (Instant::now() + SOON, Pointless(Arc::clone(&held)));
        let task = Arc::new(task);
        bench.timer.schedule(&bench.threads, at, task).unwrap();
        let left = Arc::strong_count(&held);
        assert!(left <= CLEAN + 1, "{left} wait");
    }
    bench.stop();
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn a_timer_that_was_never_started_takes_no_task_without_a_thread() {
    let bench = bench(None);
    let (told, again) = (bench.told.clone(), Mutex::new(0));
    let name = "task";
    let task = Arc::new(Told { name, told, again });
    let now = Instant::now();
    assert!(bench.timer.schedule_started(now, task.clone()).is_err());
    bench.timer.start(&bench.threads).unwrap();
    assert!(bench.timer.schedule_started(now, task).is_ok());
    assert_eq!(bench.heard.recv_timeout(SOON), Ok("task"));
    bench.stop();
}

#[test]
fn a_stopped_timer_takes_no_task_and_keeps_none() {
    let bench = bench(None);
    bench.timer.start(&bench.threads).unwrap();
    let task = Arc::new(Told {
        name: "late",
        told: bench.told.clone(),
        again: Mutex::new(0),
    });
    let at = Instant::now() + SOON;
    let scheduled = bench.timer.schedule(&bench.threads, at, task.clone());
    assert!(scheduled.is_ok() && Arc::strong_count(&task) == 2);
    bench.stop();
    assert_eq!(Arc::strong_count(&task), 1);
    let scheduled = bench.timer.schedule(&bench.threads, at, task.clone());
    assert!(scheduled.is_err() && Arc::strong_count(&task) == 1);
}
