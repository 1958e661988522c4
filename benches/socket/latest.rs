//! How old is what a viewer sees? A camera films 30 pictures a second of 1 MB for five viewers, each a
//! process of its own, of which one takes 200 ms for each picture: on this machine, over a link of
//! 1 Gbit/s to each viewer, and over one that all share, which is more than it carries. Links need root
//! and the programs `ip` and `tc`; where they are not to be had, their rows are left out.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::thread::{self, sleep};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lanpeer::{Bytes, ConnectOptions, Connection, Peer, SendError};

use crate::link::run;
use crate::measure::percentile;

const PICTURE: usize = 1_000_000;
const PAUSE: Duration = Duration::from_nanos(1_000_000_000 / 30);
const FILM: Duration = Duration::from_secs(8);
const VIEWERS: usize = 5;
/// The last of the viewers takes so long for a picture.
const SLOW: Duration = Duration::from_millis(200);

/// What the processes are called with.
pub const CAMERA: &str = "latest-camera";
pub const VIEWER: &str = "latest-viewer";

/// How pictures are sent and received.
pub const WAYS: [(&str, &str); 4] = [
    ("latest", "send_latest, latest()"),
    ("latest-here", "send_latest alone"),
    ("short", "try_send, queues of 1 and 2 pictures"),
    ("plain", "try_send"),
];

/// Makes it, where this machine can.
type MakePlace = fn() -> Option<Place>;

/// Where the processes run.
pub const PLACES: [(&str, MakePlace); 3] = [
    ("loopback", || Some(Place::loopback())),
    ("1 Gbit/s each", || Place::links(VIEWERS)),
    ("1 Gbit/s for all", || Place::links(1)),
];

/// Network namespaces, taken away when this is dropped: the camera's first. None for loopback.
pub struct Place {
    names: Vec<String>,
}

impl Place {
    fn loopback() -> Place {
        Place { names: Vec::new() }
    }

    /// So many links.
    fn links(count: usize) -> Option<Place> {
        let name = |i| format!("lanpeer-latest-{i}-{}", std::process::id());
        let place = Place {
            names: (0..=count).map(name).collect(),
        };
        let ip = |args: &str| run("ip", args);
        for name in &place.names {
            ip(&format!("netns add {name}"))?;
        }
        let (camera, others) = place.names.split_first()?;
        for (i, other) in others.iter().enumerate() {
            ip(&format!(
                "-n {camera} link add link{i} type veth peer name link{i} netns {other}"
            ))?;
            for (name, end) in [(camera, 1), (other, 2)] {
                ip(&format!(
                    "-n {name} addr add 10.79.{i}.{end}/24 dev link{i}"
                ))?;
                ip(&format!("-n {name} link set link{i} up"))?;
                let qdisc = "root tbf rate 1gbit burst 64kb latency 50ms";
                ip(&format!(
                    "netns exec {name} tc qdisc add dev link{i} {qdisc}"
                ))?;
            }
        }
        Some(place)
    }

    /// A process of the camera's, or of a viewer's.
    fn start(&self, namespace: usize, args: &[&str]) -> Child {
        let exe = std::env::current_exe().expect("this program");
        let mut command = match self.names.get(namespace) {
            None => Command::new(exe),
            Some(name) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", name]).arg(exe);
                command
            }
        };
        command.args(args).stdout(Stdio::piped());
        command.spawn().expect("a process")
    }

    /// The address of the camera for a viewer, and the namespace of that.
    fn viewer(&self, viewer: usize, port: u16) -> (SocketAddr, usize) {
        let link = match self.names.len() {
            0 => return (SocketAddr::from(([127, 0, 0, 1], port)), 0),
            names => viewer % (names - 1),
        };
        let addr = SocketAddr::from(([10, 79, link as u8, 1], port));
        (addr, link + 1)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for name in &self.names {
            run("ip", &format!("netns del {name}"));
        }
    }
}

/// What viewers have seen.
#[derive(Default)]
pub struct Seen {
    /// How old each picture was when it was taken, in seconds.
    pub ages: Vec<f64>,
    /// How many there were from the first to the last.
    pub filmed: f64,
}

impl Seen {
    pub fn age(&self, part: f64) -> f64 {
        percentile(&self.ages, part)
    }
}

/// Those who are fast, together; the slow one; and for how long the camera was in a call at most.
pub fn measure(place: &Place, way: &str) -> (Seen, Seen, f64) {
    let mut camera = place.start(0, &[CAMERA, way]);
    let mut lines = BufReader::new(camera.stdout.take().expect("its output")).lines();
    let mut line = || lines.next().expect("a line").expect("readable");
    let port = line().parse().expect("a port");
    let viewers: Vec<Child> = (0..VIEWERS)
        .map(|viewer| {
            let (addr, namespace) = place.viewer(viewer, port);
            let pause = match viewer {
                4 => SLOW.as_millis().to_string(),
                _ => "0".to_owned(),
            };
            place.start(namespace, &[VIEWER, way, &addr.to_string(), &pause])
        })
        .collect();
    let (mut fast, mut slow) = (Seen::default(), Seen::default());
    for (i, viewer) in viewers.into_iter().enumerate() {
        let output = viewer.wait_with_output().expect("its output");
        let numbers = String::from_utf8(output.stdout).expect("text");
        let mut numbers = numbers.split_whitespace().map(|n| n.parse::<f64>());
        let mut number = || numbers.next().map(|number| number.expect("a number"));
        let seen = if i == 4 { &mut slow } else { &mut fast };
        seen.filmed += number().expect("a number");
        seen.ages.extend(std::iter::from_fn(number));
    }
    let longest = line().parse().expect("seconds");
    camera.wait().expect("an end");
    (fast, slow, longest)
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("after 1970").as_nanos() as u64
}

/// The camera's process. Says at which port it is, and then how long the longest call took.
pub fn film(way: &str) {
    let builder = Peer::builder().invisible(true);
    let builder = match way {
        "short" => builder.send_queue(PICTURE),
        _ => builder,
    };
    let peer = builder.bind("0.0.0.0:0").expect("bound");
    println!("{}", peer.local_addr().port());
    let viewers: Vec<Connection<Bytes>> = (0..VIEWERS)
        .map(|_| peer.accept().expect("a viewer"))
        .collect();
    let is_latest = way.starts_with("latest");
    let mut picture = vec![7; PICTURE];
    let mut longest = Duration::ZERO;
    let begin = Instant::now();
    for number in 0.. {
        let due = PAUSE * number;
        if due > FILM + Duration::from_millis(500) {
            break;
        }
        sleep(due.saturating_sub(begin.elapsed()));
        picture[..8].copy_from_slice(&u64::from(number).to_le_bytes());
        picture[8..16].copy_from_slice(&now().to_le_bytes());
        for viewer in &viewers {
            let call = Instant::now();
            // An error: it has gone, or there is no room.
            let _: Result<(), SendError> = match is_latest {
                true => viewer.send_latest(&picture),
                false => viewer.try_send(&picture),
            };
            longest = longest.max(call.elapsed());
        }
    }
    println!("{}", longest.as_secs_f64());
    viewers.iter().for_each(Connection::abort);
}

/// A viewer's process. Says how many pictures there were from the first to the last that it saw, and
/// how old each of them was, in seconds.
pub fn view(way: &str, addr: SocketAddr, pause: Duration) {
    let builder = Peer::builder().invisible(true);
    let builder = match way {
        "short" => builder.receive_queue(2),
        _ => builder,
    };
    let peer = builder.bind("0.0.0.0:0").expect("bound");
    let options = match way {
        "latest" => ConnectOptions::new().latest(),
        _ => ConnectOptions::new(),
    };
    let options = options.timeout(Duration::from_secs(20));
    let conn = options.connect::<Bytes>(&peer, addr).expect("connected");
    let mut ages = Vec::new();
    let (mut begun, mut first, mut last) = (None, 0, 0);
    for picture in &conn {
        let part = |at: usize| u64::from_le_bytes(picture[at..at + 8].try_into().expect("8"));
        let (number, made) = (part(0), part(8));
        let (now, begin) = (now(), *begun.get_or_insert(made));
        if now > begin + FILM.as_nanos() as u64 {
            break;
        }
        if ages.is_empty() {
            first = number;
        }
        last = number;
        ages.push(now.saturating_sub(made) as f64 / 1e9);
        thread::sleep(pause);
    }
    println!("{}", last + 1 - first);
    ages.iter().for_each(|age| println!("{age}"));
    conn.abort();
}
