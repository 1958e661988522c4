//! Remotes that die without a word, losses that heal, and receivers that are merely slow.
//!
//! The links that die are between network namespaces that each test makes for itself: that needs
//! root and iproute2 on Linux, and elsewhere these tests say that they are skipped. The programs on
//! the two hosts are this one in another role. `--nocapture` shows what is measured.
//!
//! A long file, because the tests, the programs and the network are one thing.

use std::fmt::Display;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use lanpeer::crossbeam_channel::{Receiver, RecvTimeoutError, select, unbounded};
use lanpeer::{
    Bytes, CloseError, CloseReason, ConnectOptions, Connection, Error, Peer, PeerBuilder, SendError,
};

use crate::peers::*;

/// The shortest that can be set.
const KEEPALIVE: Duration = Duration::from_secs(4);

/// A dead remote is noticed within this time: after about the keepalive, once two attempts to send
/// have failed where data is on its way. Where the window is full, the attempts come the later the
/// longer it has been full, which here is not long. The rest is for machines that are busy with other
/// things.
const BOUND: Duration = Duration::from_secs(10);

const LATE_KEEPALIVE: Duration = Duration::from_secs(8);

/// Between the messages of a steady sender.
const PACE: Duration = Duration::from_millis(100);

/// A message on a connection that is to be full.
const SIZE: usize = 16 << 10;

/// Small queues, soon full.
fn settings() -> PeerBuilder {
    builder()
        .keepalive(Some(KEEPALIVE))
        .send_queue(64 << 10)
        .receive_queue(4)
}

/// For one who begins to speak late, the silence before has to be longer than what is left.
fn settings_of(what: &str) -> PeerBuilder {
    match what {
        "late" => settings().keepalive(Some(LATE_KEEPALIVE)),
        _ => settings(),
    }
}

// ------------------------------------------------------------------ tests

/// The other host, or the cable to it, is gone: nothing comes back, not even an error.
#[test]
fn a_silent_death_is_noticed() {
    death("silent", Network::cut);
}

/// The system itself says that there is no way to the other host any more.
#[test]
fn a_death_is_noticed_when_the_interface_goes_down() {
    death("down", |network| network.ip('a', "link set dev eth0 down"));
}

/// The system does not even find the other host any more ("no route to host").
#[test]
fn a_death_is_noticed_when_the_neighbour_is_forgotten() {
    death("neigh", |network| {
        network.cut();
        for host in ['a', 'b'] {
            // It asks three times, 0.1 s apart (usually 1 s), and gives up.
            network.ip(host, "ntable change name arp_cache dev eth0 retrans 100");
            network.ip(host, "neigh flush dev eth0");
        }
    });
}

/// Three connections over one link, which dies.
fn death(case: &str, cut: fn(&Network)) {
    let Some(network) = Network::new(case) else {
        return;
    };
    let pairs = ["idle", "steady", "full"].map(|what| (what, connect(&network, what)));
    let begin = Instant::now();
    cut(&network);
    for (what, (speaker, listener)) in pairs {
        for (who, program) in [("speaker", speaker), ("listener", listener)] {
            if (what, who) == ("full", "listener") {
                // It hears of the end when it has taken what arrived before.
                program.tell("take");
            }
            let (reason, count, at) = program.end();
            let after = at.duration_since(begin);
            println!("    {case}, {what}: the {who} ends after {after:.1?}: {reason}");
            assert_eq!(reason, "TimedOut", "{case}, {what}: the {who}");
            assert!(after < BOUND, "{case}, {what}: the {who} took {after:?}");
            assert_eq!(count == 0, what == "idle", "messages, {what}: the {who}");
        }
    }
}

/// The silence before a message counts, though the system's probes end where data is on its way.
#[test]
fn a_death_is_noticed_in_time_by_one_who_begins_to_speak() {
    let Some(network) = Network::new("late") else {
        return;
    };
    let (speaker, listener) = connect(&network, "late");
    let begin = Instant::now();
    network.cut();
    // The silence itself. The keepalive would end it a second later.
    thread::sleep(LATE_KEEPALIVE - Duration::from_secs(1));
    speaker.tell("say");
    // Counted from the message, it would be 15 s.
    both_time_out("late", begin, Duration::from_secs(13), speaker, listener);
}

/// Both notice the death in less than this time.
fn both_time_out(case: &str, begin: Instant, bound: Duration, speaker: Program, listener: Program) {
    for (who, program) in [("speaker", speaker), ("listener", listener)] {
        let (reason, _, at) = program.end();
        let after = at.duration_since(begin);
        println!("    {case}: the {who} ends after {after:.1?}: {reason}");
        assert_eq!(reason, "TimedOut", "the {who}");
        assert!(after < bound, "the {who} took {after:?}");
    }
}

/// Nothing is lost, nothing is doubled, and no side learns that anything was wrong.
#[test]
fn a_short_loss_heals() {
    let Some(network) = Network::new("heals") else {
        return;
    };
    let (speaker, listener) = connect(&network, "steady");
    network.cut();
    // The loss itself: long enough for several retransmissions, and for several messages.
    thread::sleep(Duration::from_secs(1));
    eventually("a loss", || speaker.count() > listener.count() + 2);
    let (sent, taken) = (speaker.count(), listener.count());
    network.heal();
    eventually("more messages", || listener.count() > sent + 5);
    speaker.tell("close");
    // Also says that the close was Ok.
    let (here, all, _) = speaker.end();
    let (there, in_order, _) = listener.end();
    assert_eq!([&here[..], &there], ["ClosedHere", "ClosedThere"]);
    assert_eq!(in_order, all);
    println!("    heals: {all} messages sent, {taken} to {sent} of them into the loss");
}

/// It neither waits for ever nor says Ok: the messages may be lost.
#[test]
fn a_close_over_a_dead_link_is_incomplete() {
    let Some(network) = Network::new("close") else {
        return;
    };
    let (speaker, listener) = connect(&network, "steady");
    network.cut();
    let begin = Instant::now();
    speaker.tell("close");
    both_time_out("close", begin, BOUND, speaker, listener);
}

#[test]
fn a_connect_over_a_dead_link_ends_in_its_time() {
    let Some(network) = Network::new("connect") else {
        return;
    };
    let listener = Program::start(&network.host('b'), "listen nobody");
    let (addr, _) = listener.hear("at");
    network.cut();
    let asker = Program::start(&network.host('a'), &format!("ask {addr}"));
    assert_eq!(asker.end().0, "TimedOut");
}

/// A full window is probed, and each probe is answered: the remote lives.
#[test]
fn a_slow_receiver_is_not_taken_for_dead() {
    test(|| {
        let (_alice, _bob, to_bob, to_alice) = pair_of::<Bytes>(settings(), settings());
        let count = fill(&to_bob, 0, SIZE);
        let blocked = blocked_send(&to_bob, count);
        // The time that must not matter.
        thread::sleep(KEEPALIVE * 2 + Duration::from_secs(1));
        assert!(blocked.is_waiting(), "the send ended while nothing moved");
        assert_eq!(to_bob.close_reason(), None);
        assert_eq!(to_alice.close_reason(), None);
        take(&to_alice, 0, count + 1);
        blocked.finish().expect("sent");
        to_bob.close().expect("everything taken in");
    });
}

/// A `send` that waits because the connection is full.
fn blocked_send(connection: &Connection<Bytes>, number: u64) -> Call<Result<(), SendError>> {
    let connection = connection.clone();
    let call = Call::start("send", move || connection.send(&numbered(number, SIZE)));
    call.wait_until_blocked();
    call
}

// -------------------------------------------- the programs on the two hosts

/// What a program is to do, in its environment.
const ROLE: &str = "LANPEER_TEST_ROLE";

#[test]
fn role() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    test(move || {
        let (reason, count) = match role.split(' ').collect::<Vec<_>>()[..] {
            ["listen", what] => {
                let peer = settings_of(what).bind((LISTENER, 0)).expect("an address");
                say("at", peer.local_addr());
                listen(what, &peer.accept().expect("accepted"))
            }
            ["speak", what, addr] => {
                let peer = settings_of(what).bind((SPEAKER, 0)).expect("an address");
                speak(what, &peer.connect(addr).expect("connected"))
            }
            ["ask", addr] => {
                let peer = settings().bind((SPEAKER, 0)).expect("an address");
                ask(&peer, addr)
            }
            _ => panic!("what is {role}?"),
        };
        say("ended", format!("{reason:?} {count}"));
    });
}

/// Takes numbered messages to the end.
fn listen(what: &str, connection: &Connection<Bytes>) -> (CloseReason, u64) {
    let commands = lines(io::stdin());
    say("ready", what);
    if what == "full" {
        commands.recv().expect("the test lives");
    }
    let mut taken = 0;
    loop {
        select! {
            recv(connection.receiver()) -> message => {
                let Ok(message) = message else { break };
                assert_eq!(number_of(&message), taken);
                taken += 1;
            }
            recv(commands) -> command => say("count", command.map(|_| taken).expect("a command")),
        }
    }
    (connection.close_reason().expect("it has ended"), taken)
}

/// Asks someone who is not there.
fn ask(peer: &Peer, addr: &str) -> (CloseReason, u64) {
    let time = Duration::from_secs(1);
    let begin = Instant::now();
    match ConnectOptions::new()
        .timeout(time)
        .connect::<Bytes>(peer, addr)
    {
        Err(Error::TimedOut { after, .. }) if after == time => {}
        other => panic!("{other:?}"),
    }
    let took = begin.elapsed();
    println!("    connect gives up after {took:.1?}");
    assert!(took >= time && took < BOUND, "{took:?}");
    (CloseReason::TimedOut, 0)
}

fn speak(what: &str, connection: &Connection<Bytes>) -> (CloseReason, u64) {
    match what {
        "idle" => listen(what, connection),
        "steady" => speak_steadily(connection),
        "late" => {
            let commands = lines(io::stdin());
            say("ready", what);
            commands.recv().expect("the test lives");
            let sent = connection.send(&numbered(0, SIZE));
            let _ = connection.recv().expect_err("the end");
            let reason = connection.close_reason().expect("it has ended");
            (reason, sent.is_ok().into())
        }
        "full" => {
            let count = fill(connection, 0, SIZE);
            let blocked = blocked_send(connection, count);
            say("ready", what);
            match blocked.finish() {
                Err(SendError::Closed(reason)) => (reason, count),
                other => panic!("{other:?} of a send to a dead remote"),
            }
        }
        _ => panic!("what is {what}?"),
    }
}

/// Sends ten messages a second, until told to close or unable to.
fn speak_steadily(connection: &Connection<Bytes>) -> (CloseReason, u64) {
    let commands = lines(io::stdin());
    let mut sent = 0;
    loop {
        match connection.send(&numbered(sent, 1000)) {
            Ok(()) => sent += 1,
            Err(SendError::Closed(reason)) => return (reason, sent),
            Err(error) => panic!("message {sent}: {error}"),
        }
        if sent == 5 {
            say("ready", "steady");
        }
        match commands.recv_timeout(PACE) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok((command, _)) if command == "close" => match connection.close() {
                Ok(()) => {}
                Err(CloseError::Incomplete(reason)) => return (reason, sent),
                Err(error) => panic!("{error}"),
            },
            command => say("count", command.map(|_| sent).expect("a command")),
        }
    }
}

/// A line for the test. The harness may have begun a line of its own.
fn say(word: &str, value: impl Display) {
    println!("\n@ {word} {value}");
}

/// The lines that one process says to another, and when they came.
fn lines(input: impl Read + Send + 'static) -> Receiver<(String, Instant)> {
    let (sender, lines) = unbounded();
    thread::spawn(move || {
        for line in BufReader::new(input).lines().map_while(Result::ok) {
            if let Some(line) = line.strip_prefix("@ ") {
                let _ = sender.send((line.to_owned(), Instant::now()));
            }
        }
    });
    lines
}

// ----------------------------------------------- what the test has of them

/// The speaker and the listener of a connection, each on its own host, when it does what it is to.
fn connect(network: &Network, what: &str) -> (Program, Program) {
    let listener = Program::start(&network.host('b'), &format!("listen {what}"));
    let (addr, _) = listener.hear("at");
    let speaker = Program::start(&network.host('a'), &format!("speak {what} {addr}"));
    listener.hear("ready");
    speaker.hear("ready");
    (speaker, listener)
}

/// This test program in a role; ended when dropped.
struct Program {
    role: String,
    child: Child,
    /// What it says, and when.
    lines: Receiver<(String, Instant)>,
}

impl Program {
    fn start(namespace: &str, role: &str) -> Program {
        let mut child = Command::new("ip")
            .args(["netns", "exec", namespace])
            .arg(std::env::current_exe().expect("this program"))
            .args([
                "dead_remotes::role",
                "--exact",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(ROLE, role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("ip");
        let lines = lines(child.stdout.take().expect("a pipe"));
        let role = role.to_owned();
        Program { role, child, lines }
    }

    fn tell(&self, command: &str) {
        let mut input = self.child.stdin.as_ref().expect("a pipe");
        writeln!(input, "@ {command}").expect("it reads");
    }

    /// The next thing that it says, which must begin with this word, and when it said so.
    #[track_caller]
    fn hear(&self, word: &str) -> (String, Instant) {
        let said = self.lines.recv_timeout(SOON);
        match &said {
            Ok((line, at)) if line.starts_with(word) => (line[word.len()..].trim().into(), *at),
            _ => panic!("{}: {said:?} instead of \"{word}\"", self.role),
        }
    }

    /// How many messages it has sent or taken.
    #[track_caller]
    fn count(&self) -> u64 {
        self.tell("count");
        self.hear("count").0.parse().expect("a number")
    }

    /// Why its connection ended, after how many messages, and when it said so.
    #[track_caller]
    fn end(&self) -> (String, u64, Instant) {
        let (line, at) = self.hear("ended");
        let (reason, count) = line.rsplit_once(' ').expect("two words");
        (reason.to_owned(), count.parse().expect("a number"), at)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// ------------------------------------------------------------- the network

const SPEAKER: &str = "10.99.0.1";
const LISTENER: &str = "10.99.0.2";

/// Hosts `a` and `b` at a switch `s`, each a namespace; removed when dropped.
struct Network(String);

impl Network {
    /// `None`, after a notice, where there can be none.
    fn new(case: &str) -> Option<Network> {
        let network = Network(format!("lpdead{}-{case}", std::process::id()));
        let Err(why) = network.build() else {
            return Some(network);
        };
        let notice = format!("no network namespaces, which need root and iproute2: {why}");
        assert!(std::env::var_os("LANPEER_CI").is_none(), "{notice}");
        // Past the harness, which keeps what tests that pass have printed.
        let _ = writeln!(io::stderr(), "SKIPPED, {case}: {notice}");
        None
    }

    fn build(&self) -> Result<(), String> {
        for host in ['s', 'a', 'b'] {
            ip(&format!("netns add {}", self.host(host)))?;
        }
        let on = |host, arguments: &str| ip(&format!("-n {} {arguments}", self.host(host)));
        on('s', "link add name switch type bridge")?;
        on('s', "link set dev switch up")?;
        for (host, address) in [('a', SPEAKER), ('b', LISTENER)] {
            let other_end = format!("peer name eth0 netns {}", self.host(host));
            on('s', &format!("link add name {host} type veth {other_end}"))?;
            on('s', &format!("link set dev {host} master switch up"))?;
            on(host, &format!("address add {address}/24 dev eth0"))?;
            on(host, "link set dev eth0 up")?;
            on(host, "link set dev lo up")?;
        }
        Ok(())
    }

    fn host(&self, host: char) -> String {
        format!("{}-{host}", self.0)
    }

    /// From now on the switch drops everything. The hosts' own ends of the cables stay up.
    fn cut(&self) {
        self.ip('s', "link set dev switch down");
    }

    fn heal(&self) {
        self.ip('s', "link set dev switch up");
    }

    fn ip(&self, host: char, arguments: &str) {
        ip(&format!("-n {} {arguments}", self.host(host))).expect(arguments);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for host in ['a', 'b', 's'] {
            // Those that a failure left unmade are not there to be removed.
            let _ = ip(&format!("netns del {}", self.host(host)));
        }
    }
}

fn ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
