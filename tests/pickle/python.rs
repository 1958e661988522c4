//! The `python3` of this machine, with nothing but its own pickle and pickletools.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Runs tests/pickle/values.py; gives its lines. `None`, after a notice, where there is no
/// python3. A failure instead where `LANPEER_CI` is set.
#[track_caller]
pub fn values(arguments: &[&str], input: String) -> Option<Vec<String>> {
    let python = python()?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pickle/values.py");
    let mut child = Command::new(python)
        .arg(script)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start python");
    let mut stdin = child.stdin.take().expect("piped");
    // It may print while it still reads.
    let writing = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("its output");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{errors}", output.status);
    writing.join().expect("write").expect("write");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    Some(text.lines().map(str::to_owned).collect())
}

fn python() -> Option<&'static str> {
    static PYTHON: OnceLock<Option<&str>> = OnceLock::new();
    let python = *PYTHON.get_or_init(|| {
        let found = ["python3", "python"].into_iter().find(|name| {
            // Protocol 5 came with 3.8, and so did what the script needs.
            let check = "import sys; sys.exit(sys.version_info < (3, 9))";
            let status = Command::new(name).args(["-c", check]).status();
            status.is_ok_and(|status| status.success())
        });
        if found.is_none() {
            // Written past the test harness, which keeps the output of tests that pass.
            let _ = writeln!(std::io::stderr(), "SKIPPED: there is no python3");
        }
        found
    });
    if python.is_none() && std::env::var_os("LANPEER_CI").is_some() {
        panic!("LANPEER_CI is set, so the tests against Python may not be skipped");
    }
    python
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[track_caller]
pub fn from_hex(text: &str) -> Vec<u8> {
    let digits = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
    (0..text.len()).step_by(2).map(digits).collect()
}
