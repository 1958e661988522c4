//! Imports go one way, only `net` blocks, it does so through `net/os` alone, and no clock can jump: see
//! docs/contributing.md.
//!
//! The sources are read as tokens, without comments, strings and test modules. Then every path
//! that starts with `crate`, `self` or `super` must lead to the same layer or to a lower one, and
//! inside `net` to the same room or to one before it. An `impl` of a type of `net` must stand in
//! the type's own room, or its methods would be a way around that.

mod paths;
mod system;
mod tokens;

use std::fmt;
use std::path::{Path, PathBuf};

use paths::paths;
use tokens::{Kind, is_separator, tokens, without_tests};

/// The layers, lowest first, and the modules directly below the crate root that belong to each.
const LAYERS: &[&[&str]] = &[
    // For tests alone.
    &["emulated"],
    &["proto"],
    &["secure"],
    &["format"],
    &[
        "error",
        "convert",
        "options",
        "event",
        "neighbour",
        "target",
    ],
    &["net"],
    &["connection", "offer", "info"],
    &["peer", "builder", "broadcast", "discover", "keep"],
    &["fuzz"],
    &["lib"],
];

/// The rooms of `net`, each of which may use those before it. What has one line uses nothing of its
/// own line but itself.
const ROOMS: &[&[&str]] = &[
    &["os"],
    &["burst", "context", "life", "panics"],
    &["wire"],
    &["recv", "send"],
    &["link"],
    &["handshake"],
    &["endpoint"],
    &["keep"],
];

/// A room beside the others, which uses the first alone.
const BESIDE: &str = "discovery";

/// What only `net` may name, and `fuzz`, which is the network that a peer talks to.
const BLOCKING: &[&str] = &["TcpStream", "UdpSocket", "thread", "socket2"];

/// What `proto` may not name either: it is a function of bytes.
const IMPURE: &[&str] = &[
    "TcpListener",
    "Instant",
    "sleep",
    "crossbeam_channel",
    "Mutex",
    "Condvar",
    "RwLock",
];

/// What nothing may name: a clock that someone can set. Deadlines are of the monotonic one, and so no
/// jump of the other ends a connection, or keeps a dead one.
const SETTABLE: &[&str] = &["SystemTime", "UNIX_EPOCH"];
/// But for a number that is to be higher than at an earlier run of the same program. No deadline is of it.
const MAY_NAME_IT: &str = "secure/tag.rs";

#[test]
fn the_sources_keep_the_layers() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&src, &mut files);
    assert!(
        files.iter().any(|file| file.ends_with("lib.rs")),
        "no sources found"
    );

    let texts: Vec<(PathBuf, String)> = files
        .into_iter()
        .map(|file| {
            let text = std::fs::read_to_string(&file).expect("read a source file");
            (file.strip_prefix(&src).expect("below src").to_owned(), text)
        })
        .collect();
    let mut violations = foreign_impls(&texts);
    for (file, text) in &texts {
        violations.extend(check(file, text));
    }
    let violations: Vec<_> = violations.iter().map(Violation::to_string).collect();
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("read a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

// The rules.

struct Violation {
    file: String,
    line: usize,
    what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "src/{}:{}: {}", self.file, self.line, self.what)
    }
}

/// Checks one file; `file` is its path below `src`.
fn check(file: &Path, text: &str) -> Vec<Violation> {
    let module = module_of(file);
    let name = module.first().map_or("lib", String::as_str);
    let tokens = without_tests(tokens(text));
    let mut violations = Vec::new();
    let mut violation = |line: usize, what: String| {
        violations.push(Violation {
            file: file.display().to_string(),
            line,
            what,
        });
    };

    let Some(layer) = layer_of(name) else {
        violation(
            1,
            format!("`{name}` is in no layer: give it one in tests/docs/layering"),
        );
        return violations;
    };
    for (line, path) in paths(&tokens, &module) {
        let shown = path.join("::");
        match path.first().and_then(|first| layer_of(first)) {
            _ if name == "lib" => {}
            None => violation(
                line,
                format!("`crate::{shown}` goes through the crate root"),
            ),
            Some(target) if target > layer => {
                violation(
                    line,
                    format!("`{name}` imports `crate::{shown}`, which is above it"),
                );
            }
            Some(_) => {}
        }
        if let Some(what) = room_violation(&module, &path) {
            violation(line, what);
        }
    }
    if layer >= layer_of("net").expect("a layer") && !matches!(name, "fuzz" | "lib") {
        for (line, what) in system::named(&module, &tokens) {
            violation(line, what);
        }
    }
    for (index, token) in tokens.iter().enumerate() {
        let Kind::Word(word) = &token.kind else {
            continue;
        };
        let word = word.as_str();
        // A field may be called thread; the module is followed or preceded by `::`, or imported.
        let in_path = is_separator(tokens.get(index + 1))
            || index
                .checked_sub(1)
                .is_some_and(|i| is_separator(tokens.get(i)))
            || word != "thread";
        if !matches!(name, "net" | "fuzz") && in_path && BLOCKING.contains(&word) {
            violation(
                token.line,
                format!("`{name}` names {word}, which only `net` may"),
            );
        }
        if SETTABLE.contains(&word) && !file.ends_with(MAY_NAME_IT) {
            violation(
                token.line,
                format!("{word} is a clock that can jump: use Instant"),
            );
        }
        if name == "proto" && IMPURE.contains(&word) {
            violation(
                token.line,
                format!("`proto` names {word}, but is a function of bytes"),
            );
        }
    }
    violations
}

/// What is wrong with a path from one room of `net` to another.
fn room_violation(module: &[String], path: &[String]) -> Option<String> {
    let (["net", own, ..], ["net", other, ..]) = (&words(module)[..], &words(path)[..]) else {
        return None;
    };
    if own == other {
        return None;
    }
    let place = |room: &str| ROOMS.iter().position(|line| line.contains(&room));
    let shown = path.join("::");
    match (place(own), place(other)) {
        (None, _) if *own == BESIDE => (*other != "os")
            .then(|| format!("`{own}` imports `crate::{shown}`, and may use `os` alone")),
        (None, _) => Some(format!(
            "`net::{own}` is no room: give it a place in tests/docs/layering"
        )),
        (_, None) => Some(format!("`crate::{shown}` is in no room before `{own}`")),
        (Some(own_place), Some(other_place)) => (other_place >= own_place).then(|| {
            format!("`net::{own}` imports `crate::{shown}`, which does not come before it")
        }),
    }
}

fn words(path: &[String]) -> Vec<&str> {
    path.iter().map(String::as_str).collect()
}

/// Each `impl` of a type's own methods that stands in another room of `net` than the type.
fn foreign_impls(texts: &[(PathBuf, String)]) -> Vec<Violation> {
    let mut types: Vec<(String, String)> = Vec::new();
    let mut impls: Vec<(String, Violation, String)> = Vec::new();
    for (file, text) in texts {
        let module = module_of(file);
        let ["net", room, ..] = words(&module)[..] else {
            continue;
        };
        let tokens = without_tests(tokens(text));
        for (index, token) in tokens.iter().enumerate() {
            let Kind::Word(word) = &token.kind else {
                continue;
            };
            match word.as_str() {
                "struct" | "enum" => {
                    if let Some(Kind::Word(name)) = tokens.get(index + 1).map(|t| &t.kind) {
                        types.push((name.clone(), room.to_owned()));
                    }
                }
                "impl" => {
                    if let Some(name) = implemented(&tokens[index + 1..]) {
                        let what = format!("an `impl {name}` outside the room of `{name}`");
                        let violation = Violation {
                            file: file.display().to_string(),
                            line: token.line,
                            what,
                        };
                        impls.push((name, violation, room.to_owned()));
                    }
                }
                _ => {}
            }
        }
    }
    let is_foreign = |name: &str, room: &str| {
        let mut homes = types.iter().filter(|(own, _)| own == name).peekable();
        homes.peek().is_some() && homes.all(|(_, home)| home != room)
    };
    impls
        .into_iter()
        .filter(|(name, _, room)| is_foreign(name, room))
        .map(|(_, violation, _)| violation)
        .collect()
}

/// The type of which `impl<…> Type<…> {` has the methods; `None` for `impl Trait for Type`.
fn implemented(tokens: &[tokens::Token]) -> Option<String> {
    let (mut name, mut depth) = (None, 0);
    for token in tokens {
        match &token.kind {
            Kind::Mark('<') => depth += 1,
            Kind::Mark('>') => depth -= 1,
            Kind::Mark('{') if depth <= 0 => return name,
            Kind::Mark('(' | ')' | ',' | ';') if depth <= 0 => return None,
            Kind::Word(word) if depth <= 0 => match word.as_str() {
                "for" => return None,
                "where" => return name,
                word => name = Some(word.to_owned()),
            },
            _ => {}
        }
    }
    None
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// `net/reader.rs` is the module `net::reader`.
fn module_of(file: &Path) -> Vec<String> {
    let without = file.with_extension("");
    let mut module: Vec<String> = without
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if module
        .last()
        .is_some_and(|last| last == "mod" || (last == "lib" && module.len() == 1))
    {
        module.pop();
    }
    module
}

// The check itself.

#[track_caller]
fn violations(file: &str, text: &str) -> Vec<String> {
    check(Path::new(file), text)
        .into_iter()
        .map(|v| format!("{}: {}", v.line, v.what))
        .collect()
}

#[test]
fn an_import_of_a_higher_layer_is_found() {
    for (file, text, line) in [
        ("proto/frame.rs", "use crate::format::Json;", 1),
        (
            "proto/mod.rs",
            "fn f() {\n    crate::error::Error::new()\n}",
            2,
        ),
        ("format/json.rs", "use super::super::net::reader;", 1),
        ("format/mod.rs", "use super::net;", 1),
        (
            "net/wire/reader.rs",
            "use std::io;\nuse crate::{\n    error::Error, peer::Peer};",
            2,
        ),
        (
            "net/wire/reader.rs",
            "use crate::{proto::{self, header::{Header}}, connection as c};",
            1,
        ),
        (
            "event.rs",
            "type C = Vec<crate::connection::Connection<u8>>;",
            1,
        ),
        ("offer.rs", "use super::peer::Peer;", 1),
        (
            "net/endpoint/mod.rs",
            "mod inner { use super::super::super::peer; }",
            1,
        ),
    ] {
        let found = violations(file, text);
        assert_eq!(found.len(), 1, "{file}: {text}: {found:?}");
        assert!(found[0].starts_with(&format!("{line}: ")), "{found:?}");
        assert!(found[0].ends_with("which is above it"), "{found:?}");
    }
}

#[test]
fn an_import_of_a_later_room_is_found() {
    for (file, text) in [
        ("net/os/socket.rs", "use crate::net::life::Life;"),
        ("net/send/queue.rs", "use super::super::link::Link;"),
        ("net/recv/lease.rs", "use crate::net::send::Sender;"),
        ("net/link/end.rs", "use crate::net::endpoint::Endpoint;"),
        (
            "net/wire/half.rs",
            "fn f() { crate::net::handshake::io::deny() }",
        ),
        (
            "net/discovery/watch.rs",
            "use crate::net::context::Context;",
        ),
        ("net/link/end.rs", "use crate::net::Wait;"),
        ("net/misc.rs", "use crate::net::os::lock;"),
    ] {
        assert_eq!(violations(file, text).len(), 1, "{file}: {text}");
    }
    for (file, text) in [
        (
            "net/link/end.rs",
            "use crate::net::{os::lock, life::Life}; use super::Link;",
        ),
        (
            "net/endpoint/mod.rs",
            "use super::link::Link; use self::events::Events;",
        ),
        (
            "net/discovery/watch.rs",
            "use crate::net::os::lock; use super::roster::Roster;",
        ),
        ("net/mod.rs", "pub(crate) use endpoint::listener::listen;"),
    ] {
        assert_eq!(violations(file, text), Vec::<String>::new(), "{file}");
    }
}

#[test]
fn an_impl_in_another_room_is_found() {
    let found = |text: &str| {
        let home = "pub struct Link<T> { t: T }\nstruct Other;".to_owned();
        let texts = [
            (PathBuf::from("net/link/mod.rs"), home),
            (PathBuf::from("net/send/mod.rs"), text.to_owned()),
        ];
        foreign_impls(&texts).len()
    };
    assert_eq!(found("impl<T: Send> Link<T> { fn f() {} }"), 1);
    assert_eq!(
        found("impl<T> crate::net::link::Link<T> where T: Send { fn f() {} }"),
        1
    );
    assert_eq!(found("impl Drop for Other { fn drop(&mut self) {} }"), 0);
    assert_eq!(
        found("struct Own; impl Own {} fn f(g: impl Fn() -> u8) {}"),
        0
    );
}

#[test]
fn an_import_through_the_root_or_from_nowhere_is_found() {
    assert_eq!(
        violations("net/wire/reader.rs", "use crate::Error;"),
        ["1: `crate::Error` goes through the crate root"]
    );
    assert_eq!(
        violations("misc.rs", "fn f() {}"),
        ["1: `misc` is in no layer: give it one in tests/docs/layering"]
    );
}

#[test]
fn a_name_that_only_net_may_use_is_found() {
    for (file, text) in [
        ("proto/frame.rs", "fn f(s: &std::net::TcpStream) {}"),
        ("proto/frame.rs", "use std::time::{Duration, Instant};"),
        ("proto/frame.rs", "use std::net::TcpListener;"),
        ("format/raw.rs", "use std::thread;"),
        ("peer.rs", "fn f() { std::thread::spawn(|| {}); }"),
        ("peer.rs", "use std::net::{SocketAddr, UdpSocket};"),
        ("connection.rs", "use socket2::SockRef;"),
    ] {
        let mut found = violations(file, text);
        found.retain(|what| !what.ends_with("which comes from `net/os`"));
        assert_eq!(found.len(), 1, "{file}: {text}");
    }
}

#[test]
fn a_way_to_the_system_beside_os_is_found() {
    for text in [
        "use std::time::{Duration, Instant};",
        "use std::sync::{Arc, Mutex, Weak};",
        "use std::{io, net::{SocketAddrV4, TcpStream}};",
        "fn f() { std::thread::sleep(TIME); }",
        "use std::thread;",
        "use std::collections::HashMap;",
        "use std::{fs, io};",
        "fn f() { let (a, b) = crossbeam_channel::bounded(1); }",
        "use crossbeam_channel::{Receiver, TryRecvError};",
        "use socket2::SockRef;",
        "fn f() { hostname::get(); }",
        "thread_local! { static A: u8 = const { 0 }; }",
    ] {
        for file in [
            "net/link/mod.rs",
            "net/os/timer.rs",
            "net/discovery/search.rs",
        ] {
            let found = violations(file, text);
            assert_eq!(found.len(), 1, "{file}: {text}: {found:?}");
            assert!(found[0].ends_with("which comes from `net/os`"), "{found:?}");
        }
    }
    assert_eq!(
        violations("connection.rs", "use std::time::Instant;").len(),
        1
    );
    for (file, text) in [
        ("net/os/sync.rs", "pub(crate) use std::sync::Mutex;"),
        ("net/os/system.rs", "pub(crate) use socket2::Socket;"),
        ("net/os/timer/tests.rs", "use std::time::Instant;"),
        ("net/link/end.rs", "fn f() { std::thread::panicking(); }"),
        (
            "net/link/end.rs",
            "use std::sync::{Arc, atomic::AtomicBool};",
        ),
        (
            "net/recv/mod.rs",
            "use crossbeam_channel::RecvTimeoutError;",
        ),
        (
            "net/burst.rs",
            "use super::os::sync::thread_local; thread_local! { static A: u8 = const { 0 }; }",
        ),
    ] {
        assert_eq!(violations(file, text), Vec::<String>::new(), "{file}");
    }
}

#[test]
fn a_clock_that_can_jump_is_found() {
    for text in [
        "use std::time::{Duration, SystemTime};",
        "fn f() { std::time::UNIX_EPOCH; }",
    ] {
        let found = violations("net/endpoint/watchdog.rs", text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(found[0].ends_with("use Instant"), "{found:?}");
    }
}

#[test]
fn what_is_in_order_passes() {
    for (file, text) in [
        ("lib.rs", "pub use peer::Peer; pub use crate::net::x;"),
        (
            "peer.rs",
            "use crate::{connection::Connection, net, proto::header::Header};",
        ),
        (
            "format/mod.rs",
            "mod sealed { impl super::Sealed for super::Json {} }\nuse self::json::J;",
        ),
        (
            "net/wire/reader.rs",
            "use super::writer::Writer; use crate::net::os::sync::{TcpStream, thread};",
        ),
        (
            "proto/header.rs",
            "// use crate::peer::Peer;\n/* /* TcpStream */ crate::net::x */ fn f() {}",
        ),
        (
            "proto/header.rs",
            "const S: &str = \"crate::net \\\" TcpStream\"; const C: char = '\"';",
        ),
        (
            "proto/header.rs",
            "const S: &str = r#\"crate::net \" Instant\"#; fn f<'a>(x: &'a u8) {}",
        ),
        (
            "proto/header.rs",
            "#[cfg(test)]\nmod tests { use std::thread; use crate::peer::Peer; }",
        ),
        (
            "net/link/end.rs",
            "#[cfg(all(test, unix))]\nmod tests { use std::thread; }\nfn f() {}",
        ),
        (
            "proto/header.rs",
            "#[cfg(test)]\nuse crate::peer::Peer;\npub(crate) fn f() {}",
        ),
        ("peer.rs", "struct P { thread: u8 }"),
        ("net/mod.rs", "pub(in crate::net) fn f() {}"),
    ] {
        assert_eq!(
            violations(file, text),
            Vec::<String>::new(),
            "{file}: {text}"
        );
    }
}
