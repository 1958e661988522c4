//! What the compiler says to the likeliest mistakes.
//!
//! Each program in `programs/` makes one. Its lines that begin with `//~` are what the compiler must
//! say to it: `error` and `warning` are the first lines of its messages, and no others may come;
//! `label` is what stands below a place; `note` and `help` follow. A part of a line will do, and `lanpeer::`
//! counts for nothing. Where the words are the compiler's own, or serde's, only what matters here is
//! compared: a later compiler may say it otherwise.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// What the compiler said to one program.
#[derive(Debug, Default)]
struct Said {
    /// `error: …` and `warning: …`.
    messages: Vec<String>,
    /// `label: …`, `note: …`, `help: …`.
    details: Vec<String>,
    /// As a user sees it.
    rendered: String,
}

impl Said {
    fn add(&mut self, message: &Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let level = text(&message["level"]);
        // "aborting due to …" and its like have no place in a file.
        let spans = message["spans"].as_array().expect("spans");
        if spans.is_empty() {
            return;
        }
        self.messages
            .push(format!("{level}: {}", text(&message["message"])));
        let labels = spans.iter().map(|span| text(&span["label"]));
        self.details
            .extend(labels.map(|label| format!("label: {label}")));
        for child in message["children"].as_array().expect("children") {
            let (level, message) = (text(&child["level"]), text(&child["message"]));
            self.details.push(format!("{level}: {message}"));
        }
        self.rendered += &text(&message["rendered"]);
    }

    /// What is missing, and what is too much.
    fn compare(&self, expected: &[&str]) -> Vec<String> {
        let is_message = |line: &&&str| line.starts_with("error") || line.starts_with("warning");
        let (messages, details): (Vec<&str>, Vec<&str>) =
            expected.iter().partition(|line| is_message(line));
        let says = |said: &[String], line: &str| said.iter().any(|said| matches(said, line));
        let mut wrong: Vec<String> = messages
            .iter()
            .filter(|line| !says(&self.messages, line))
            .chain(details.iter().filter(|line| !says(&self.details, line)))
            .map(|line| format!("missing: {line}"))
            .collect();
        let unexpected = |said: &&String| !messages.iter().any(|line| matches(said, line));
        let unexpected = self.messages.iter().filter(unexpected);
        wrong.extend(unexpected.map(|said| format!("unexpected: {said}")));
        wrong
    }
}

/// Is `line` of a program what the compiler said? Both begin with a level.
fn matches(said: &str, line: &str) -> bool {
    let said = said.replace("lanpeer::", "");
    match line.split_once(": ") {
        Some((level, text)) => said.starts_with(level) && said.contains(text),
        None => said.starts_with(line),
    }
}

/// The programs, by their names.
fn programs() -> BTreeMap<String, PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mistakes/programs");
    let entries = fs::read_dir(folder).expect("programs");
    entries
        .map(|entry| entry.expect("an entry").path())
        .map(|path| {
            let name = path.file_stem().expect("a name").to_string_lossy();
            (name.into_owned(), path)
        })
        .collect()
}

/// Builds all programs, as a package of their own that depends on this one. With the profile of this package,
/// its versions and its target directory: so the crates that it depends on are built already.
fn build(programs: &BTreeMap<String, PathBuf>) -> BTreeMap<String, Said> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mistakes");
    fs::create_dir_all(&folder).expect("a folder");
    let own = fs::read_to_string(root.join("Cargo.toml")).expect("Cargo.toml");
    let profile = own.split_once("[profile.dev]").expect("a profile").1;
    let profile = profile.split_once("[profile.bench]").expect("its end").0;
    let mut manifest = format!(
        "[package]\nname = \"mistakes\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n\
         [dependencies]\nlanpeer = {{ path = {root:?} }}\n\
         serde = {{ version = \"1.0\", features = [\"derive\"] }}\n\n[profile.dev]{profile}"
    );
    for (name, path) in programs {
        manifest += &format!("\n[[bin]]\nname = \"mistake-{name}\"\npath = {path:?}\n");
    }
    fs::write(folder.join("Cargo.toml"), manifest).expect("a manifest");
    // The crates that are here already, so that none is fetched.
    fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock")).expect("Cargo.lock");
    let this = std::env::current_exe().expect("the path of this test");
    let target = this.ancestors().nth(3).expect("target/PROFILE/deps/TEST");
    let output = Command::new(env!("CARGO"))
        .args(["build", "--offline", "--bins", "--keep-going"])
        .args(["--message-format", "json"])
        .arg("--target-dir")
        .arg(target)
        .current_dir(&folder)
        .output()
        .expect("cargo");
    let mut all: BTreeMap<String, Said> = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Ok(line) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        let of = line["target"]["name"].as_str().unwrap_or_default();
        let of = of.strip_prefix("mistake-").unwrap_or(of);
        match line["reason"].as_str() {
            Some("compiler-message") => all.entry(of.to_owned()).or_default().add(&line["message"]),
            Some("compiler-artifact") => drop(all.entry(of.to_owned()).or_default()),
            _ => {}
        }
    }
    for name in programs.keys() {
        assert!(
            all.contains_key(name),
            "{name} was not compiled: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    all
}

#[test]
fn the_compiler_says_what_is_wrong() {
    let programs = programs();
    assert!(programs.len() > 10, "only {} programs", programs.len());
    let all = build(&programs);
    let mut wrong = Vec::new();
    for (name, path) in &programs {
        let source = fs::read_to_string(path).expect("readable");
        let expected: Vec<&str> = source
            .lines()
            .filter_map(|line| line.strip_prefix("//~ "))
            .collect();
        assert!(name == "right" || !expected.is_empty(), "{name}");
        let said = &all[name];
        println!("-- {name}\n{}", said.rendered);
        let differs = said.compare(&expected);
        if !differs.is_empty() {
            wrong.push(format!("{name}: {differs:#?}\n{}", said.rendered));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
