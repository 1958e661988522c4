//! No file is long without a reason.
//!
//! The rule. A file of `src/` with more than 400 lines, its tests not counted, says why in its module
//! documentation, in a paragraph that begins with `A long file`.

use std::fs;
use std::path::Path;

use super::complete::rust_files;

const MOST: usize = 400;

/// How a reason begins.
const REASON: &str = "//! A long file";

/// Is the whole file tests?
fn is_tests(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let in_folder = path.components().any(|part| part.as_os_str() == "tests");
    name == "tests.rs" || name.ends_with("_tests.rs") || in_folder
}

/// How many lines stand before the module of the tests.
fn lines(source: &str) -> usize {
    let lines: Vec<&str> = source.lines().collect();
    let is_tests = |line: &&str| line.starts_with("mod tests");
    let end = lines.iter().position(is_tests);
    let Some(end) = end else { return lines.len() };
    let attributes = lines[..end].iter().rev();
    end - attributes.take_while(|line| line.starts_with("#[")).count()
}

/// Is this file longer than it may be without a reason, and has none?
fn is_wrong(source: &str) -> bool {
    let mut docs = source.lines().take_while(|line| line.starts_with("//!"));
    let reason = docs.any(|line| line.starts_with(REASON));
    lines(source) > MOST && !reason
}

#[test]
fn a_long_file_says_why() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    rust_files(&root.join("src"), &mut files);
    files.sort();
    let mut wrong = Vec::new();
    for file in &files {
        let name = file.strip_prefix(root).expect("in the root");
        let source = fs::read_to_string(file).expect("readable");
        if !is_tests(name) && is_wrong(&source) {
            let name = name.display();
            wrong.push(format!(
                "{name}: {} lines, and no `{REASON}`",
                lines(&source)
            ));
        }
    }
    assert!(files.len() > 100, "only {} files", files.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_rule_finds_a_long_file() {
    let docs = "//! What it is.\n//!\n";
    let reason = format!("{REASON}, since it is one thing.\n");
    let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "//\n".repeat(MOST));
    let code = "\n".repeat(MOST - 2);
    assert!(!is_wrong(&format!("{docs}{code}")));
    assert!(!is_wrong(&format!("{docs}{code}{tests}")));
    assert!(is_wrong(&format!("{docs}{code}\n{tests}")));
    assert!(!is_wrong(&format!("{docs}{reason}{code}\n{tests}")));
    // A reason that stands somewhere else is not seen.
    assert!(is_wrong(&format!("{docs}{code}\n{reason}")));
}
