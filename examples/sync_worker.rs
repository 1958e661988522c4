//! A pool that hands jobs to whichever peers are there, and goes on when one dies.
//!
//!     cargo run --example sync_worker -- work            # on as many machines as you like
//!     cargo run --example sync_worker -- pool 2000000    # on one: counts the primes below that
//!
//! Workers may start and end at any time, also in the middle of a job: the job then goes to
//! another one. Each job has one result in the end. `--jobs N` says into how many jobs the pool
//! divides its work, `--name NAME` what a worker is called; `--bind IP` and `--port N` say on which
//! network and discovery port they find each other.

use std::error::Error;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use lanpeer::crossbeam_channel::{Receiver, Sender, select, unbounded};
use lanpeer::{Connection, Peer, PeerBuilder, Raw, Request, Target};
use serde::{Deserialize, Serialize};

const USAGE: &str = "usage: sync_worker work [--name NAME] [--bind IP] [--port N]
       sync_worker pool LIMIT [--jobs N] [--bind IP] [--port N]";
/// By this, pools find their workers.
const SERVICE: &str = "sync_worker";
/// A worker that takes longer for a job is given up. One that dies is noticed without this.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Serialize, Deserialize)]
struct Job {
    number: u32,
    from: u64,
    to: u64,
}

/// A pool sends jobs, and gets how many primes there are; a worker has it the other way round.
type Worker = Raw<Job, u64>;
type Pool = Raw<u64, Job>;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    env_logger::init();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let (mut ip, mut jobs, mut words) = ("0.0.0.0".to_owned(), 20, Vec::new());
    let mut builder = Peer::builder();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match &*arg {
            "--bind" => ip = args.next().ok_or(USAGE)?,
            "--port" => builder = builder.discovery_port(args.next().ok_or(USAGE)?.parse()?),
            "--name" => builder = builder.name(args.next().ok_or(USAGE)?),
            "--jobs" => jobs = args.next().ok_or(USAGE)?.parse()?,
            _ => words.push(arg),
        }
    }
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["work"] => work(builder, &ip),
        ["pool", limit] => pool(builder, &ip, limit.parse()?, jobs),
        _ => Err(USAGE.into()),
    }
}

/// Does the jobs of every pool that connects, each pool's one after the other.
fn work(builder: PeerBuilder, ip: &str) -> Result<()> {
    let peer = builder.service(SERVICE).bind((ip, 0))?;
    println!("working at {}", peer.addrs()[0]);
    for offer in peer.incoming() {
        let pool = offer.peer_addr();
        // Called on the connection's own thread, for each job.
        let accepted = offer.accept_serving(move |request: Request<Pool>| {
            let Job { number, from, to } = *request.item();
            println!("job {number} of {pool}");
            let primes = (from..to).filter(|&n| is_prime(n)).count() as u64;
            // If the pool has gone, so has its interest in this.
            let _ = request.reply(&primes);
        });
        if let Err(error) = accepted {
            println!("{pool}: {error}");
        }
    }
    Ok(())
}

fn is_prime(n: u64) -> bool {
    n > 1 && (2..).take_while(|d| d * d <= n).all(|d| n % d != 0)
}

/// Has all jobs done by the workers that are there, and adds up what they found.
fn pool(builder: PeerBuilder, ip: &str, limit: u64, count: u32) -> Result<()> {
    let peer = builder.invisible(true).bind((ip, 0))?;
    let workers = peer.keep_connected::<Worker>(Target::service(SERVICE));

    // Jobs that wait for a worker; one whose worker dies comes back here.
    let (jobs_in, jobs) = unbounded();
    for number in 0..count {
        let border = |number| limit * u64::from(number) / u64::from(count);
        let (from, to) = (border(number), border(number + 1));
        jobs_in.send(Job { number, from, to })?;
    }
    let (results_in, results) = unbounded();

    let (mut done, mut primes) = (0, 0);
    while done < count {
        select! {
            // Each that is there, and again whenever its connection has ended.
            recv(workers.receiver()) -> conn => {
                let conn = conn?;
                let (jobs_in, jobs, results) = (jobs_in.clone(), jobs.clone(), results_in.clone());
                thread::spawn(move || employ(&conn, &jobs_in, &jobs, &results));
            }
            recv(results) -> found => (done, primes) = (done + 1, primes + found?),
        }
    }
    println!("{primes} primes below {limit}");
    Ok(())
}

/// Gives one worker a job after the other, until one is not done.
fn employ(
    conn: &Connection<Worker>,
    jobs_in: &Sender<Job>,
    jobs: &Receiver<Job>,
    results: &Sender<u64>,
) {
    let worker = conn.peer_addr();
    for job in jobs {
        let number = job.number;
        println!("job {number} to {worker}");
        // Fails at once where the connection ends, or has ended already.
        match conn.request(&job, PATIENCE) {
            Ok(primes) => {
                println!("job {number} done by {worker}: {primes} primes");
                let _ = results.send(primes); // fails only at the end
            }
            Err(error) => {
                println!("job {number} of {worker} comes back: {error}");
                let _ = jobs_in.send(job);
                return conn.abort(); // a worker that hangs is asked no more
            }
        }
    }
}
