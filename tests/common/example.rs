//! The example programs, as processes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use super::peerpy::Process;

/// An example program, built if it is missing or older than what it is made from.
///
/// `cargo test` builds all of them, `cargo test --test NAME` none.
pub fn example(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let this = std::env::current_exe().expect("this program's path");
    let profile = this
        .parent()
        .and_then(Path::parent)
        .expect("target/PROFILE/deps/");
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    let program = profile.join("examples").join(file);

    static BUILD: Mutex<()> = Mutex::new(());
    let _one = BUILD.lock().expect("the other build failed");
    let examples = root.join("examples");
    let newest = newest(&root.join("src"))
        .max(newest(&examples.join(format!("{name}.rs"))))
        .max(newest(&examples.join(name)));
    if !program.exists() || newest > newest_of_file(&program) {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--example", name, "--target-dir"]);
        cargo
            .arg(profile.parent().expect("target/"))
            .current_dir(root);
        match profile
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a name")
        {
            "debug" => &mut cargo,
            other => cargo.args(["--profile", other]),
        };
        let mut build = Process::start(&mut cargo).expect("start cargo");
        let status = build.wait(Duration::from_secs(600));
        assert!(
            status.is_some_and(|s| s.success()),
            "{status:?}\n{}",
            build.story()
        );
    }
    program
}

fn newest(path: &Path) -> SystemTime {
    match std::fs::read_dir(path) {
        Ok(entries) => entries
            .map(|entry| newest(&entry.expect("an entry").path()))
            .max()
            .unwrap_or(SystemTime::UNIX_EPOCH),
        Err(_) => newest_of_file(path),
    }
}

fn newest_of_file(path: &Path) -> SystemTime {
    path.metadata()
        .and_then(|m| m.modified())
        .unwrap_or(SystemTime::UNIX_EPOCH)
}
