//! Pictures over the network, many a second.
//!
//!     cargo run --example camera -- watch     # in one terminal
//!     cargo run --example camera -- film      # in another, or on another machine
//!
//! Any number may watch, and each sees the newest frame there is. The camera is a moving test picture;
//! replace `paint` by what yours sees. In a terminal, `watch`
//! draws the frames in colour, `s` saves the one that is seen as `frame-NUMBER.png`, and `q` or
//! Ctrl-C ends; elsewhere it prints a line each second. `watch --save FILE` saves the first frame,
//! `--frames N` ends after so many; `film --fps N` sends N a second, 30 if it is not given.
//! `--bind IP` and `--port N` say on which network and discovery port the two find each other.

use std::error::Error;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{self, Event, KeyCode, KeyModifiers};
use crossterm::execute;
use crossterm::terminal::{self, EnterAlternateScreen, LeaveAlternateScreen};
use lanpeer::crossbeam_channel::{bounded, never, select, tick};
use lanpeer::{Bytes, ConnectOptions, Connection, Peer, PeerBuilder, Receiver, StreamSize, Target};

const USAGE: &str = "usage: camera watch [--save FILE] [--frames N] [--bind IP] [--port N]
       camera film [--fps N] [--bind IP] [--port N]";
/// By this, a camera finds who watches.
const SERVICE: &str = "camera";

const WIDTH: usize = 160;
const HEIGHT: usize = 90;
/// A frame is its number in four bytes, and then three bytes for each pixel. All frames have this
/// size, and so they can be a stream: nothing but frames is on the wire.
const FRAME: usize = 4 + 3 * WIDTH * HEIGHT;

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
        let frame = paint(number as u32);
        filmed.retain(|conn| conn.send_latest(&frame).is_ok());
    }
    Ok(())
}

/// The test picture: eight bars, and a white ball that moves before them.
fn paint(number: u32) -> Vec<u8> {
    let mut frame = number.to_be_bytes().to_vec();
    let time = f64::from(number) / 30.0;
    let ball_x = (0.5 + 0.4 * time.sin()) * WIDTH as f64;
    let ball_y = (0.5 + 0.3 * (1.7 * time).cos()) * HEIGHT as f64;
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            let bar = 7 - 8 * x / WIDTH; // its three bits are the three colours
            let distance = (x as f64 - ball_x).hypot(y as f64 - ball_y);
            frame.extend(match distance < HEIGHT as f64 / 8.0 {
                true => [255, 255, 255],
                false => [2, 4, 1].map(|colour| if bar & colour != 0 { 191 } else { 0 }),
            });
        }
    }
    frame
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
                        save_png(&frame, &path)?;
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
                    let number = u32::from_be_bytes(seen[..4].try_into()?);
                    let path = format!("frame-{number}.png");
                    save_png(&seen, &path)?;
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

fn save_png(frame: &[u8], path: &str) -> Result<()> {
    let file = BufWriter::new(File::create(path)?);
    let mut png = png::Encoder::new(file, WIDTH as u32, HEIGHT as u32);
    png.set_color(png::ColorType::Rgb);
    let mut writer = png.write_header()?;
    writer.write_image_data(&frame[4..])?;
    Ok(writer.finish()?)
}

/// Pictures in a terminal, lines elsewhere. The terminal is left as it was.
struct Screen {
    terminal: bool,
}

impl Screen {
    fn new() -> io::Result<Screen> {
        let terminal = io::stdout().is_terminal() && io::stdin().is_terminal();
        let screen = Screen { terminal };
        if terminal {
            terminal::enable_raw_mode()?; // keys come at once, Ctrl-C as one of them
            execute!(io::stdout(), EnterAlternateScreen, Hide)?;
        }
        Ok(screen)
    }

    /// `s`, and `q` for what ends the program.
    fn keys(&self) -> Receiver<char> {
        if !self.terminal {
            return never();
        }
        let (sender, receiver) = bounded(1);
        thread::spawn(move || {
            while let Ok(event) = event::read() {
                let Event::Key(key) = event else { continue };
                let control = key.modifiers == KeyModifiers::CONTROL;
                let _ = match key.code {
                    KeyCode::Char(c @ ('s' | 'q')) => sender.send(c),
                    KeyCode::Char('c') if control => sender.send('q'),
                    _ => continue,
                };
            }
        });
        receiver
    }

    /// Below the picture.
    fn say(&self, line: String) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if !self.terminal {
            return writeln!(out, "{line}");
        }
        let (columns, rows) = terminal::size()?;
        let line: String = line.chars().take(usize::from(columns)).collect();
        write!(out, "{}{line}\x1b[K", MoveTo(0, rows.saturating_sub(1)))?;
        out.flush()
    }

    /// Two pixels in each place: the upper half of a block is one, what is behind it the other.
    fn draw(&self, frame: &[u8]) -> io::Result<()> {
        if !self.terminal {
            return Ok(());
        }
        let (columns, rows) = terminal::size()?;
        let (columns, rows) = (
            usize::from(columns),
            2 * usize::from(rows.saturating_sub(1)),
        );
        // As wide or as high as the terminal, whichever is reached first.
        let width = columns.min(rows * WIDTH / HEIGHT);
        let height = width * HEIGHT / WIDTH / 2 * 2;
        let pixel = |x, y| {
            let (x, y) = (x * WIDTH / width, y * HEIGHT / height);
            <[u8; 3]>::try_from(&frame[4 + 3 * (y * WIDTH + x)..][..3]).expect("three bytes")
        };
        let mut text = String::new();
        for y in (0..height).step_by(2) {
            let _ = write!(text, "{}", MoveTo(0, y as u16 / 2));
            let mut last = None;
            for x in 0..width {
                let both = (pixel(x, y), pixel(x, y + 1));
                if last.replace(both) != Some(both) {
                    let ([r, g, b], [r2, g2, b2]) = both;
                    let _ = write!(text, "\x1b[38;2;{r};{g};{b};48;2;{r2};{g2};{b2}m");
                }
                text.push('▀');
            }
            text.push_str("\x1b[0m");
        }
        let mut out = io::stdout().lock(); // in one piece, so that nothing flickers
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.terminal {
            let _ = execute!(io::stdout(), Show, LeaveAlternateScreen);
            let _ = terminal::disable_raw_mode();
        }
    }
}
