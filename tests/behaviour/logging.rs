//! Log lines are a contract, and docs/logging.md is its text: each line of the sources is there
//! with its level and target, each line that can be provoked comes as it says, and no line ever
//! holds a payload.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use lanpeer::{Bytes, CloseReason, Error, Json, Peer, Target};
use log::{LevelFilter, Log, Metadata, Record};

use crate::peers::*;

/// Rows that need what a test cannot have: a system out of threads or sockets, an interface that
/// vanishes or does not send, a datagram from another network, a thousand neighbours, tags, a defect.
const NOT_PROVOKED: [&str; 15] = [
    "connection {} with {}: no writer thread: {}",
    "{}: UDP port {}: {}",
    "{}: the responder thread panicked",
    "{}: {} no longer has the address {}",
    "{}: cannot list the network interfaces: {}",
    "{}: the responder thread is not woken: {}",
    "nothing sent to {} on {}: {}",
    "search: {}",
    "datagram from {} ignored: not of this network",
    "datagram from {} ignored: not of a member",
    "datagram from {} ignored: said before, or of another address",
    "no answer to {}: {}",
    "{} not listed: enough neighbours are known",
    "{}: UDP port {} can still not be had: {}",
    "{} not used: the choice of interfaces panicked",
];

/// In a process of its own, below: it takes all file descriptors.
const CANNOT_ACCEPT: &str = "{}: cannot accept: {}";

/// With the feature `secure` alone, and where files have modes.
const OPEN_SECRET: &str = "other users can read the secret in {}: chmod 600 {}";

/// With the feature `secure` alone.
const GUESSES: &str = "{}: wrong proofs of a secret from {}: {} a second are looked at";

/// Part of everything here that is a payload, or that stands where a header should.
const SECRET: &str = "hunter2";

/// One row of the page, or one line of the log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    level: String,
    target: String,
    text: String,
}

static LINES: Mutex<Vec<Line>> = Mutex::new(Vec::new());

struct Capture;

impl Log for Capture {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        // Of the crates below lanpeer, none logs; if one does, it is not our contract.
        if record.target().starts_with("lanpeer") {
            LINES.lock().unwrap().push(Line {
                level: record.level().to_string().to_lowercase(),
                target: record.target().to_owned(),
                text: record.args().to_string(),
            });
        }
    }

    fn flush(&self) {}
}

fn capture() {
    log::set_logger(&Capture).expect("each test that captures has a process of its own");
    log::set_max_level(LevelFilter::Trace);
}

/// Waits for this line.
#[track_caller]
fn logged(level: &str, target: &str, text: &str) {
    eventually(&format!("the line `{text}`"), || {
        let lines = LINES.lock().unwrap();
        let mut found = lines.iter().filter(|line| line.text == text);
        found.any(|line| line.level == level && line.target == target)
    });
}

/// Waits for a line that begins and ends so, and returns what is between.
#[track_caller]
fn between(start: &str, end: &str) -> String {
    let mut found = None;
    eventually(&format!("the line `{start}…{end}`"), || {
        let lines = LINES.lock().unwrap();
        found = lines.iter().find_map(|line| {
            let rest = line.text.strip_prefix(start)?.strip_suffix(end)?;
            Some(rest.to_owned())
        });
        found.is_some()
    });
    found.unwrap()
}

/// A text whose placeholders have lost their names.
fn nameless(text: &str) -> String {
    let mut parts = text.split('{');
    let mut nameless = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        nameless += "{}";
        nameless += part.split_once('}').expect("its end").1;
    }
    nameless
}

/// Can this line have come of this template?
fn fits(template: &str, text: &str) -> bool {
    let mut parts = template.split("{}");
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    for (index, part) in parts.iter().enumerate() {
        let end = match index + 1 == parts.len() {
            true if part.is_empty() => return true,
            true => return rest.ends_with(part),
            false => rest.find(part),
        };
        let Some(end) = end else { return false };
        rest = &rest[end + part.len()..];
    }
    rest.is_empty()
}

/// The rows of the page's tables of lines, of which each target has one below its name.
fn page() -> Vec<Line> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/logging.md")).expect("the page");
    let tables = page.split("\n## Every line").nth(1).expect("the tables");
    let mut lines = Vec::new();
    for table in tables.split("\n### `").skip(1) {
        let (target, table) = table.split_once('`').expect("a target");
        for row in table.lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<&str> = row.split('|').map(|cell| cell.trim()).collect();
            let bare = |cell: &str| cell.trim_matches('`').to_owned();
            lines.push(Line {
                level: bare(cells[1]),
                target: target.to_owned(),
                text: nameless(&bare(cells[2])),
            });
        }
    }
    lines
}

fn sources(folder: &Path, all: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("its entry").path();
        if path.is_dir() {
            sources(&path, all);
        } else {
            let text = fs::read_to_string(&path).expect("a source");
            all.push((path.display().to_string(), text));
        }
    }
}

#[test]
fn every_line_of_the_sources_is_on_the_page() {
    let mut files = Vec::new();
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    sources(&src, &mut files);
    let mut lines = BTreeSet::new();
    for (file, text) in &files {
        let module = if file.contains("discovery") {
            "lanpeer::discovery"
        } else {
            "lanpeer"
        };
        for level in ["error", "warn", "info", "debug", "trace"] {
            for call in text.split(&format!("{level}!(")).skip(1) {
                let call = call.trim_start();
                let rest = call
                    .strip_prefix("target: LOG,")
                    .or(call.strip_prefix("target: super::LOG,"))
                    .unwrap_or_else(|| panic!("{file}: a {level} line without our target"));
                let text = rest.split('"').nth(1).expect("its text");
                lines.insert(Line {
                    level: level.to_owned(),
                    target: module.to_owned(),
                    text: nameless(text),
                });
            }
        }
    }
    let rows: BTreeSet<Line> = page().into_iter().collect();
    assert_eq!(rows.len(), page().len(), "a row twice");
    assert_eq!(lines, rows);
}

#[test]
fn lines_come_as_the_page_says_and_never_hold_a_payload() {
    alone(
        "logging::lines_come_as_the_page_says_and_never_hold_a_payload",
        || {
            capture();
            connections_and_their_ends();
            malformed_messages();
            a_handler_that_panics();
            denials();
            handshakes_that_fail();
            connects_that_fail();
            connections_that_are_kept();
            a_thread_that_does_not_end();
            discovery();
            #[cfg(all(feature = "secure", unix))]
            a_secret_that_others_can_read();
            #[cfg(feature = "secure")]
            guesses_at_a_secret();

            let rows = page();
            let mut seen = BTreeSet::new();
            for line in LINES.lock().unwrap().iter() {
                assert!(!line.text.contains(SECRET), "{line:?}");
                let fitting = rows.iter().filter(|row| {
                    (&row.level, &row.target) == (&line.level, &line.target)
                        && fits(&row.text, &line.text)
                });
                // Of several, the one that says most.
                let row = fitting.max_by_key(|row| row.text.len());
                let row = row.unwrap_or_else(|| panic!("no row: {line:?}"));
                seen.insert(row.text.clone());
            }
            for row in &rows {
                let text = row.text.as_str();
                if !seen.contains(text) {
                    assert!(
                        NOT_PROVOKED.contains(&text)
                            || text == CANNOT_ACCEPT
                            || text == GUESSES && !cfg!(feature = "secure")
                            || text == OPEN_SECRET && !cfg!(all(feature = "secure", unix)),
                        "never logged: {text}"
                    );
                }
            }
            for text in NOT_PROVOKED {
                assert!(rows.iter().any(|row| row.text == text), "no row: {text}");
            }
        },
    );
}

#[test]
#[cfg(unix)]
fn a_peer_without_file_descriptors_says_so() {
    use lanpeer::Event;

    const VARIABLE: &str = "LANPEER_TEST_FEW_FILES";
    if std::env::var_os(VARIABLE).is_none() {
        let output = this_program_after(&["sh", "-c", "ulimit -n 64 && exec \"$0\" \"$@\""])
            .args([
                "logging::a_peer_without_file_descriptors_says_so",
                "--exact",
            ])
            .args(["--nocapture", "--test-threads=1"])
            .env(VARIABLE, "1")
            .output()
            .expect("a shell");
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        let passed = output.status.success() && said.contains("1 passed");
        return assert!(passed, "{said}\n{errors}");
    }
    test(|| {
        capture();
        let bob = peer();
        let events = bob.events();
        let client = || TcpStream::connect(bob.local_addr());
        let mut files: Vec<_> = std::iter::from_fn(|| fs::File::open("/dev/null").ok()).collect();
        assert!(files.len() < 64);
        // One for the client's own end; what the listener then wants, it does not get. Where a thread that has
        // just begun had one for a moment, another client comes.
        let mut clients = Vec::new();
        eventually("the listener gets none", || {
            match client() {
                Ok(client) => clients.push(client),
                Err(_) => drop(files.pop()),
            }
            let lines = LINES.lock().unwrap();
            lines.iter().any(|line| fits(CANNOT_ACCEPT, &line.text))
        });
        let local = bob.local_addr();
        let error = between(&format!("{local}: cannot accept: "), "");
        logged(
            "warn",
            "lanpeer",
            &format!("{local}: cannot accept: {error}"),
        );
        eventually("an event says so too", || {
            let event = events.try_recv();
            matches!(event, Ok(Event::ListenerTrouble { reason }) if reason == error)
        });
        drop(files);
        // It goes on, and has told it once.
        raw_offer(&bob);
        assert!(bob.offers().recv_timeout(SOON).is_ok());
        let lines = LINES.lock().unwrap();
        let told = lines.iter().filter(|line| fits(CANNOT_ACCEPT, &line.text));
        assert_eq!(told.count(), 1);
    });
}

fn connections_and_their_ends() {
    let (alice, bob) = (peer(), peer());
    let (a, b) = (alice.local_addr(), bob.local_addr());
    logged("debug", "lanpeer", &format!("{a}: listening"));
    let (to_bob, to_alice) = link::<Json<String>>(&alice, &bob);
    to_bob.send(SECRET).unwrap();
    assert_eq!(to_alice.recv_timeout(SOON).unwrap(), SECRET);
    to_bob.close().unwrap();
    for (id, other, who) in [(to_bob.id(), b, "this"), (to_alice.id(), a, "the other")] {
        let connection = format!("connection {id} with {other}");
        logged("debug", "lanpeer", &format!("{connection} opened: json"));
        let ended = format!("{connection} ended: closed by {who} side");
        logged("debug", "lanpeer", &ended);
    }
    alice.stop();
    logged("debug", "lanpeer", &format!("{a}: stopping"));
    logged("debug", "lanpeer", &format!("{a}: stopped"));
    alice.stop();
    let lines = LINES.lock().unwrap();
    for what in ["stopping", "stopped"] {
        let text = format!("{a}: {what}");
        assert_eq!(lines.iter().filter(|line| line.text == text).count(), 1);
    }
}

/// A HELLO for this data type from a bare socket, and how the connection ended that followed it
/// with these bytes.
fn sends(data_type: &str, bytes: &[u8]) -> String {
    let bob = peer();
    let mut socket = TcpStream::connect(bob.local_addr()).unwrap();
    let own = socket.local_addr().unwrap();
    let hello = format!("HELLO|peer_name={own}&data_type={data_type}&strict=1&v=1");
    socket
        .write_all(format!("{hello:|<128}").as_bytes())
        .unwrap();
    let conn = bob.accept::<Json<u32>>().unwrap();
    socket.write_all(bytes).unwrap();
    assert!(conn.recv_timeout(SOON).is_err());
    assert!(matches!(
        conn.close_reason(),
        Some(CloseReason::Malformed(_))
    ));
    between(&format!("connection {} with {own} ended: ", conn.id()), "")
}

fn malformed_messages() {
    let text = format!("{{\"data\":\"{SECRET}\"}}");
    let broken = format!("{SECRET} is no JSON");
    for payload in [text, broken] {
        let head = format!("DATA|data_size={}&data_type=json", payload.len());
        let ended = sends("json", format!("{head:|<128}{payload}").as_bytes());
        assert!(ended.contains("JSON") || ended.contains("json"), "{ended}");
    }
    let no_header = format!("{SECRET} {SECRET}|and no header");
    assert_eq!(
        sends("json", format!("{no_header:|<128}").as_bytes()),
        "malformed"
    );
}

fn a_handler_that_panics() {
    let (alice, bob) = (peer(), peer());
    let offers = bob.offers();
    let accepting = Call::start("accept", move || {
        let offer = offers.recv().unwrap();
        offer.accept_with::<Json<String>>(|_, text| panic!("{text}"))
    });
    let to_bob = alice.connect::<Json<String>>(bob.local_addr()).unwrap();
    let id = accepting.finish().unwrap().id();
    to_bob.send(SECRET).unwrap();
    let ended = format!(
        "connection {id} with {} ended: the handler panicked",
        alice.local_addr()
    );
    logged("debug", "lanpeer", &ended);
}

fn denials() {
    let (alice, bob) = (peer(), peer());
    let (a, b) = (alice.local_addr(), bob.local_addr());
    let asking = Call::start("connect", move || {
        let denied = alice.connect::<Bytes>(b).map(|_| ());
        assert!(matches!(denied, Err(Error::Denied { .. })));
        alice
    });
    let offer = bob.offers().recv_timeout(SOON).unwrap();
    offer.deny("not-today").unwrap();
    let _alice = asking.finish();
    let denied = format!("offer of {a} denied: not-today");
    logged("debug", "lanpeer", &denied);
    let failed = format!("no connection to {b}: {b} denied the connection: not-today");
    logged("debug", "lanpeer", &failed);
    // By the library itself.
    let own = sends_hello(
        &bob,
        "HELLO|peer_name={own}&data_type=bytes&stream=1&data_size=99999999",
    );
    logged("debug", "lanpeer", &format!("offer of {own} denied: size"));
}

/// Sends this as a padded header, with its own address in it, and reads the answer.
fn sends_hello(bob: &Peer, header: &str) -> SocketAddr {
    let mut socket = TcpStream::connect(bob.local_addr()).unwrap();
    let own = socket.local_addr().unwrap();
    let header = header.replace("{own}", &own.to_string());
    socket
        .write_all(format!("{header:|<128}").as_bytes())
        .unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer);
    own
}

fn handshakes_that_fail() {
    let bob = peer();
    let failed = |remote: SocketAddr| between(&format!("handshake with {remote} failed: "), "");

    let remote = sends_hello(&bob, &format!("GET /?password={SECRET} HTTP/1.1"));
    assert!(failed(remote).contains('…'), "{}", failed(remote));
    let remote = sends_hello(&bob, "HELLO|data_type=json&strict=1");
    assert!(failed(remote).contains("without"), "{}", failed(remote));

    let hasty = bind(builder().timeout(Duration::from_millis(200)));
    let silent = TcpStream::connect(hasty.local_addr()).unwrap();
    let remote = silent.local_addr().unwrap();
    assert_eq!(failed(remote), "no HELLO within 200ms");

    let gone = TcpStream::connect(bob.local_addr()).unwrap();
    let remote = gone.local_addr().unwrap();
    drop(gone);
    assert_eq!(failed(remote), "it hung up before HELLO");

    let undecided = raw_offer(&bob);
    let remote = undecided.local_addr().unwrap();
    let offer = bob.offers().recv_timeout(SOON).unwrap();
    drop(undecided);
    assert_eq!(failed(remote), "it hung up before it had an answer");
    drop(offer);
}

#[cfg(all(feature = "secure", unix))]
fn a_secret_that_others_can_read() {
    use std::os::unix::fs::PermissionsExt;

    let secret = lanpeer::Secret::random().unwrap();
    let path = std::env::temp_dir().join(format!("lanpeer-logging-{}", std::process::id()));
    let _ = fs::remove_file(&path);
    secret.save(&path).unwrap();
    assert!(lanpeer::Secret::from_file(&path).is_ok());
    let name = path.display().to_string();
    let is_about_it = |line: &Line| line.text.contains(&name);
    assert!(!LINES.lock().unwrap().iter().any(is_about_it));

    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(lanpeer::Secret::from_file(&path).is_ok());
    fs::remove_file(&path).unwrap();
    let warning = format!("other users can read the secret in {name}: chmod 600 {name}");
    logged("warn", "lanpeer", &warning);
    let lines = LINES.lock().unwrap();
    assert!(
        !lines
            .iter()
            .any(|line| line.text.contains(&secret.reveal()))
    );
}

#[cfg(feature = "secure")]
fn guesses_at_a_secret() {
    let secret = lanpeer::Secret::random().unwrap();
    let bob = builder().secret(secret).bind("127.0.0.1:0").unwrap();
    for _ in 0..12 {
        let mut socket = TcpStream::connect(bob.local_addr()).unwrap();
        let hello = "HELLO|peer_name=127.0.0.1:9&data_type=bytes&strict=1&v=1&secure=chacha";
        socket
            .write_all(format!("{hello:|<128}").as_bytes())
            .unwrap();
        socket.read_exact(&mut [0; 176]).unwrap();
        socket.write_all(&[7; 48]).unwrap();
        socket.read_exact(&mut [0; 128]).unwrap();
    }
    let local = bob.local_addr();
    let line =
        format!("{local}: wrong proofs of a secret from 127.0.0.1: 10 a second are looked at");
    logged("warn", "lanpeer", &line);
    let lines = LINES.lock().unwrap();
    let told = lines.iter().filter(|told| told.text == line);
    assert_eq!(told.count(), 1, "once a minute");
}

fn connects_that_fail() {
    let alice = peer();
    let (_socket, nobody) = refusing();
    assert!(alice.connect::<Bytes>(nobody).is_err());
    let line = between(&format!("no connection to {nobody}: "), "");
    assert!(line.contains("refused"), "{line}");

    // Strangers that speak something else.
    for said in [format!("220 {SECRET}"), format!("DENY|reason=not {SECRET}")] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stranger = listener.local_addr().unwrap();
        let answering = Call::start("the stranger", move || {
            let (mut socket, _) = listener.accept().unwrap();
            socket.read_exact(&mut [0; 128]).unwrap();
            socket
                .write_all(format!("{said:|<128}").as_bytes())
                .unwrap();
            socket
        });
        let error = alice.connect::<Bytes>(stranger).map(|_| ()).unwrap_err();
        let expected = matches!(error, Error::Handshake { .. } | Error::Denied { .. });
        assert!(expected && error.to_string().contains(SECRET), "{error}");
        drop(answering.finish());
        let line = between(&format!("no connection to {stranger}: "), "");
        assert!(line.ends_with('…') || line.contains("… where"), "{line}");
    }
}

fn connections_that_are_kept() {
    let (alice, bob) = (peer(), peer());
    let kept = alice.keep_connected::<Bytes>(bob.local_addr());
    let offer = bob.offers().recv_timeout(SOON).unwrap();
    offer.deny("never").unwrap();
    assert_eq!(kept.count(), 0);
    let line = format!("{} is not to be asked again", bob.local_addr());
    logged("debug", "lanpeer", &line);

    // Of one that has another secret, or so it says: once.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stranger = listener.local_addr().unwrap();
    let kept = alice.keep_connected::<Bytes>(stranger);
    for _ in 0..2 {
        let (mut socket, _) = listener.accept().unwrap();
        socket.read_exact(&mut [0; 128]).unwrap();
        let denial = format!("{:|<128}", "DENY|reason=secret");
        socket.write_all(denial.as_bytes()).unwrap();
    }
    let begin = format!("not connected to {stranger}, and trying on slowly: ");
    assert!(between(&begin, "").ends_with("denied the connection: secret"));
    drop(kept);
    let lines = LINES.lock().unwrap();
    let told = lines.iter().filter(|line| line.text.starts_with(&begin));
    assert_eq!(told.count(), 1);
    drop(lines);

    // Nobody else is ever there.
    let local = alice.local_addr();
    let kept = alice.keep_connected::<Bytes>(local);
    let begin = format!("not connected to {local}, and trying on slowly: ");
    assert!(between(&begin, "").contains("is this peer itself"));
    drop(kept);

    alice.stop();
    assert_eq!(alice.keep_connected::<Bytes>(Target::any()).count(), 0);
    let line = format!("{local}: any peer is not kept connected: the peer is stopped");
    logged("warn", "lanpeer", &line);
}

fn a_thread_that_does_not_end() {
    let bob = bind(builder().close_timeout(Duration::from_millis(50)));
    let alice = peer();
    let offers = bob.offers();
    let (release, released) = lanpeer::crossbeam_channel::bounded::<()>(0);
    let accepting = Call::start("accept", move || {
        let offer = offers.recv().unwrap();
        offer.accept_with::<Bytes>(move |_, _| assert!(released.recv().is_err()))
    });
    let to_bob = alice.connect::<Bytes>(bob.local_addr()).unwrap();
    let in_bob = accepting.finish().unwrap();
    to_bob.send("stay").unwrap();
    eventually("the handler runs", || in_bob.stats().messages_received == 1);
    bob.stop();
    let line = format!(
        "{}: 1 threads did not end: does a handler not return?",
        bob.local_addr()
    );
    logged("warn", "lanpeer", &line);
    drop(release);
}

fn discovery() {
    // A port that somebody else holds and does not share.
    let holder = UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    let unseen = bind(builder().discovery_port(port));
    let line = between(&format!("{}: not discoverable: ", unseen.local_addr()), "");
    assert!(line.starts_with(&format!("UDP port {port}")), "{line}");
    logged_as("warn", "lanpeer::discovery", &line);

    // A port of our own, so that what is sent to it reaches this peer and no other.
    drop(holder);
    between(
        &format!(
            "{}: discoverable: UDP port {port} is free",
            unseen.local_addr()
        ),
        "",
    );
    drop(unseen);
    let bob = bind(builder().discovery_port(port));
    between(
        &format!("{}: ", bob.local_addr()),
        " has the address 127.0.0.1",
    );
    let watch = bob.watch();
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let own = stranger.local_addr().unwrap();
    let nonsense = format!("{SECRET}|{SECRET}");
    // The watch has begun when what it ignores is told.
    let told = || {
        let lines = LINES.lock().unwrap();
        let claims = format!("datagram from {own} ignored: it claims to be at 224.0.0.1:5");
        lines.iter().any(|line| line.text == claims)
    };
    eventually("a false claim is told", || {
        let pong = format!("{:|<128}", "PONG 224.0.0.1:5|ponger=224.0.0.1:5");
        stranger
            .send_to(pong.as_bytes(), ("127.0.0.1", port))
            .unwrap();
        stranger
            .send_to(nonsense.as_bytes(), ("127.0.0.1", port))
            .unwrap();
        told()
    });
    let ignored = between(&format!("datagram from {own} ignored: "), "");
    assert!(!ignored.is_empty());
    stranger.send_to(b"PING", ("127.0.0.1", port)).unwrap();
    between(&format!("no answer to {own}: it names no address"), "");
    drop(watch);
}

/// Some line at this level and target ends so.
#[track_caller]
fn logged_as(level: &str, target: &str, end: &str) {
    let lines = LINES.lock().unwrap();
    let mut found = lines.iter().filter(|line| line.text.ends_with(end));
    assert!(found.any(|line| line.level == level && line.target == target));
}
