//! Pictures over the network, many a second.
//!
//!     cargo run --example camera -- watch     # in one terminal
//!     cargo run --example camera -- film      # in another, or on another machine
//!
//! Any number may watch, and each sees the newest frame there is. The camera is a moving test picture;
//! replace `paint`, in `camera/picture.rs`, by what yours sees. In a terminal, `watch`
//! draws the frames in colour, `s` saves the one that is seen as `frame-NUMBER.png`, and `q` or
//! Ctrl-C ends; elsewhere it prints a line each second. `watch --save FILE` saves the first frame,
//! `--frames N` ends after so many; `film --fps N` sends N a second, 30 if it is not given.
//! `--bind IP` and `--port N` say on which network and discovery port the two find each other.

#[path = "camera/picture.rs"]
mod picture;
#[path = "camera/screen.rs"]
mod screen;

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use lanpeer::crossbeam_channel::{never, select, tick};
use lanpeer::{Bytes, ConnectOptions, Connection, Peer, PeerBuilder, StreamSize, Target};

use picture::FRAME;
use screen::Screen;

const USAGE: &str = "usage: camera watch [--save FILE] [--frames N] [--bind IP] [--port N]
       camera film [--fps N] [--bind IP] [--port N]";
/// By this, a camera finds who watches.
const SERVICE: &str = "camera";
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
    let (mut ip, mut fps, mut words) = ("0.0.0.0".to_owned(), 30.0, Vec::new());
    let (mut save, mut frames) = (None, u64::MAX);
    let mut builder = Peer::builder();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(USAGE);
        match &*arg {
            "--bind" => ip = value()?,
            "--port" => builder = builder.discovery_port(value()?.parse()?),
            "--fps" => fps = value()?.parse()?,
            "--save" => save = Some(value()?),
            "--frames" => frames = value()?.parse()?,
            _ => words.push(arg),
        }
    }
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["film"] => film(builder, &ip, Duration::try_from_secs_f64(1.0 / fps)?),
        ["watch"] => watch(builder, &ip, save, frames),
        _ => Err(USAGE.into()),
    }
}

/// Sends each frame to all who watch, for ever. Nobody waits for one who is slow: that one sees fewer.
fn film(builder: PeerBuilder, ip: &str, pause: Duration) -> Result<()> {
    let peer = builder.invisible(true).bind((ip, 0))?;
    println!("looking for those who watch");
    let options = ConnectOptions::new().stream_of(FRAME);
    let watchers = options.keep_connected::<Bytes>(&peer, Target::service(SERVICE))?;
    let mut filmed: Vec<Connection<Bytes>> = Vec::new();
    for (number, _) in tick(pause).iter().enumerate() {
        for conn in watchers.receiver().try_iter() {
            let watcher = conn.peer_addr();
            println!("filming for {watcher}");
            conn.on_end(move |reason| println!("{watcher} has gone; {reason}"));
            filmed.push(conn);
        }
        let frame = picture::paint(number as u32);
        filmed.retain(|conn| conn.send_latest(&frame).is_ok());
    }
    Ok(())
}

/// Shows what cameras film, of one after the other.
fn watch(builder: PeerBuilder, ip: &str, mut save: Option<String>, frames: u64) -> Result<()> {
    let peer = builder.service(SERVICE).bind((ip, 0))?;
    let screen = Screen::new()?;
    screen.say(format!("watching at {}", peer.addrs()[0]))?;
    let (offers, keys, second) = (peer.offers(), screen.keys(), tick(Duration::from_secs(1)));
    let mut camera: Option<Connection<Bytes>> = None;
    let (mut seen, mut count, mut before) = (Vec::new(), 0, (0, Instant::now()));
    loop {
        let pictures = camera
            .as_ref()
            .map_or_else(never, |conn| conn.receiver().clone());
        select! {
            recv(offers) -> offer => {
                let offer = offer?;
                let _ = match (&camera, offer.stream()) {
                    (Some(_), _) => offer.deny("busy"),
                    // Of frames that come while one is drawn, only the newest.
                    (None, Some(StreamSize::Of(FRAME))) => offer.accept_latest().map(|conn| camera = Some(conn)),
                    (None, _) => offer.deny("not-my-size"),
                }; // an error: the camera has gone meanwhile
            }
            recv(pictures) -> frame => match (frame, &camera) {
                (Ok(frame), _) => {
                    screen.draw(&frame)?;
                    if let Some(path) = save.take() {
                        picture::save_png(&frame, &path)?;
                        screen.say(format!("saved {path}"))?;
                    }
                    (seen, count) = (frame, count + 1);
                    if count >= frames {
                        return Ok(());
                    }
                }
                (Err(_), conn) => {
                    let reason = conn.as_ref().and_then(Connection::close_reason);
                    screen.say(reason.map_or_else(String::new, |reason| reason.to_string()))?;
                    (camera, seen) = (None, Vec::new());
                }
            },
            recv(keys) -> key => match key? {
                's' if seen.is_empty() => {}
                's' => {
                    let path = format!("frame-{}.png", picture::number(&seen));
                    picture::save_png(&seen, &path)?;
                    screen.say(format!("saved {path}"))?;
                }
                _ => return Ok(()),
            },
            recv(second) -> _ => {
                let rate = (count - before.0) as f64 / before.1.elapsed().as_secs_f64();
                let megabytes = rate * FRAME as f64 / 1e6;
                before = (count, Instant::now());
                if let Some(stats) = camera.as_ref().map(Connection::stats) {
                    let replaced = stats.receive_replaced;
                    screen.say(format!("{rate:.1} frames/s, {megabytes:.2} MB/s, {replaced} replaced"))?;
                }
            }
        }
    }
}
