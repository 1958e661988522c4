//! Starts the processes, kills and stops them, watches the one that lives, and counts at the end.

use std::collections::HashSet;
use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::dice::Dice;
use crate::ledger::{self, Field, process};
use crate::usage::{self, Usage};
use crate::verdict::Verdict;

/// Besides the one that lives all the time.
const MORTALS: u64 = 5;

/// One that lived for so long must have been found, and have talked.
const FOUND: Duration = Duration::from_secs(10);

/// How long a stopped process may take to end: its connections close within 10 s.
const PATIENCE: Duration = Duration::from_secs(30);

pub fn run(time: Duration, seed: u64) -> Outcome<bool> {
    println!("{} seconds, seed {seed}", time.as_secs());
    let home = std::env::temp_dir().join(format!("lanpeer-soak-{}", std::process::id()));
    fs::create_dir(&home)?;
    let mut soak = Soak {
        home,
        port: free_port()?,
        seed,
        killed: HashSet::new(),
        lived: Vec::new(),
        stopped: 0,
        samples: Vec::new(),
    };
    let held = soak.run(time);
    let _ = fs::remove_dir_all(&soak.home);
    held
}

/// A discovery port of our own, so that the soak meets nobody else.
fn free_port() -> std::io::Result<u16> {
    Ok(UdpSocket::bind("0.0.0.0:0")?.local_addr()?.port())
}

/// An address for each place, and one for relays: who still calls a process that has died shall
/// not get to another one that has been given its port.
fn ip(place: u8) -> Ipv4Addr {
    if cfg!(target_os = "linux") {
        let [.., high, low] = std::process::id().to_be_bytes();
        Ipv4Addr::new(127, 1 + high % 250, low, 1 + place)
    } else {
        Ipv4Addr::LOCALHOST
    }
}

struct Soak {
    /// Where the ledgers are.
    home: PathBuf,
    port: u16,
    seed: u64,
    killed: HashSet<u64>,
    /// Each process, and for how long it lived.
    lived: Vec<(u64, Duration)>,
    stopped: u64,
    /// What the first process used, once a second.
    samples: Vec<Usage>,
}

struct Running {
    index: u64,
    generation: u64,
    child: Child,
    since: Instant,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Soak {
    fn run(&mut self, time: Duration) -> Outcome<bool> {
        let end = Instant::now() + time;
        let mut dice = Dice::new(self.seed);
        let mut running = Vec::new();
        for index in 0..=MORTALS {
            running.push(self.start(index, 0)?);
        }
        let mut next_sample = Instant::now();
        let mut next_death = Instant::now() + Duration::from_secs(1);
        while Instant::now() < end {
            thread::sleep(Duration::from_millis(50));
            for worker in &mut running {
                if let Some(status) = worker.child.try_wait()? {
                    return Err(
                        format!("process {} ended by itself: {status}", worker.index).into(),
                    );
                }
            }
            if Instant::now() >= next_sample {
                next_sample += Duration::from_secs(1);
                self.samples.extend(usage::of(running[0].child.id()));
            }
            if Instant::now() >= next_death {
                next_death = Instant::now() + Duration::from_millis(300 + dice.number_below(1200));
                let place = 1 + dice.number_below(MORTALS) as usize;
                let generation = running[place].generation + 1;
                if self.lived.len() % 4 == 3 {
                    self.stop(&mut running[place])?;
                } else {
                    self.kill(&mut running[place])?;
                }
                // At times long enough for the others to notice.
                thread::sleep(Duration::from_millis(dice.number_below(400)));
                running[place] = self.start(place as u64, generation)?;
            }
        }
        for worker in &mut running {
            // All at once: they close their connections with each other.
            drop(worker.child.stdin.take());
        }
        for worker in &mut running {
            self.stop(worker)?;
        }
        self.report()
    }

    fn start(&self, index: u64, generation: u64) -> Outcome<Running> {
        let child = Command::new(std::env::current_exe()?)
            .arg("--worker")
            .args([index, generation, u64::from(self.port), self.seed].map(|n| n.to_string()))
            .args([index + 1, 0].map(|n| ip(n as u8).to_string()))
            .arg(self.ledger(index, generation))
            // With glibc each thread has one of up to 16 heaps, and each takes many minutes to become
            // as large as it gets. With one heap it can be seen sooner that nothing grows.
            .env("MALLOC_ARENA_MAX", "1")
            .stdin(Stdio::piped())
            .spawn()?;
        Ok(Running {
            index,
            generation,
            child,
            since: Instant::now(),
        })
    }

    fn ledger(&self, index: u64, generation: u64) -> PathBuf {
        self.home.join(format!("{index}.{generation}"))
    }

    fn kill(&mut self, worker: &mut Running) -> Outcome<()> {
        worker.child.kill()?;
        worker.child.wait()?;
        let who = process(worker.index, worker.generation);
        self.killed.insert(who);
        self.lived.push((who, worker.since.elapsed()));
        Ok(())
    }

    /// Lets it end by itself.
    fn stop(&mut self, worker: &mut Running) -> Outcome<()> {
        drop(worker.child.stdin.take());
        self.stopped += 1;
        let lived = worker.since.elapsed();
        self.lived
            .push((process(worker.index, worker.generation), lived));
        match ended(&mut worker.child)? {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(format!("process {} ended with {status}", worker.index).into()),
            None => {
                Err(format!("process {} did not stop within {PATIENCE:?}", worker.index).into())
            }
        }
    }

    fn report(&self) -> Outcome<bool> {
        let mut records = Vec::new();
        let mut lonely = Vec::new();
        let mut found = 0;
        for &(who, lived) in &self.lived {
            let (index, generation) = (who >> 32, who & 0xFFFF_FFFF);
            let mut own = read_if_there(&self.ledger(index, generation))?;
            for page in &mut own {
                page.0[Field::Killed as usize] = u64::from(self.killed.contains(&who));
            }
            let talked = own.iter().any(|page| page.get(Field::Received) > 0);
            if lived >= FOUND && talked {
                found += 1;
            } else if lived >= FOUND {
                lonely.push(format!("{index}.{generation}"));
            }
            records.extend(own);
        }
        let verdict = Verdict::of(records, &self.killed);
        println!(
            "processes   {:>12}, {} of them killed, {} stopped",
            self.lived.len(),
            self.killed.len(),
            self.stopped
        );
        println!("{verdict}");
        println!(
            "of the processes that lived for {} s or more, {found} found others and talked, {} did not {lonely:?}",
            FOUND.as_secs(),
            lonely.len()
        );
        let flat = self.is_flat();
        let held = verdict.holds() && lonely.is_empty() && flat;
        println!("{}", if held { "all held" } else { "NOT all held" });
        Ok(held)
    }

    /// Prints what the first process used over time. In the last third it may use no more than in
    /// the one before, but for some slack: how many connections are open at a moment is chance.
    fn is_flat(&self) -> bool {
        let third = self.samples.len() / 3;
        if third < 7 {
            println!("what the first process uses is not known here, or not in so short a time");
            return true;
        }
        println!(
            "the first process, on average:\n  from second    kB of memory    threads    files"
        );
        let rows = 9.min(self.samples.len());
        for row in 0..rows {
            let range = self.samples.len() * row / rows..self.samples.len() * (row + 1) / rows;
            let from = range.start;
            let Usage {
                memory,
                threads,
                files,
            } = average(&self.samples[range]);
            println!("  {from:>11}    {memory:>12}    {threads:>7}    {files:>5}");
        }
        let before = average(&self.samples[third..2 * third]);
        let last = average(&self.samples[2 * third..]);
        let within = |now: u64, then: u64, slack: u64| now <= then + then / 4 + slack;
        within(last.memory, before.memory, 6 << 10)
            && within(last.threads, before.threads, 20)
            && within(last.files, before.files, 20)
    }
}

fn read_if_there(path: &Path) -> Outcome<Vec<ledger::Record>> {
    // One that was killed at once had not begun it.
    if path.exists() {
        ledger::read(path)
    } else {
        Ok(Vec::new())
    }
}

fn average(samples: &[Usage]) -> Usage {
    let count = samples.len().max(1) as u64;
    let sum = |what: fn(&Usage) -> u64| samples.iter().map(what).sum::<u64>() / count;
    Usage {
        memory: sum(|usage| usage.memory),
        threads: sum(|usage| usage.threads),
        files: sum(|usage| usage.files),
    }
}

fn ended(child: &mut Child) -> Outcome<Option<ExitStatus>> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(None)
}
