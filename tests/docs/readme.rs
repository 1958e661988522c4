//! The pages keep their word. Their Rust blocks are doc tests (the end of
//! `src/lib.rs` names the pages); here is the rest: every page is named there,
//! links lead somewhere, names in tables exist, headers have 128 bytes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Pages that are no course, and so do not open with a program.
const NO_COURSE: [&str; 9] = [
    "performance.md",
    "reliability.md",
    "versions.md",
    "testing.md",
    "comparison.md",
    "threads.md",
    "protocol.md",
    "platforms.md",
    "contributing.md",
];

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// README.md, CHANGELOG.md and docs/*.md, relative to the root.
pub fn pages() -> Vec<PathBuf> {
    let mut pages = vec![PathBuf::from("README.md"), PathBuf::from("CHANGELOG.md")];
    for entry in fs::read_dir(root().join("docs")).expect("docs/") {
        let name = entry.expect("an entry of docs/").file_name();
        if Path::new(&name).extension().is_some_and(|ext| ext == "md") {
            pages.push(Path::new("docs").join(name));
        }
    }
    pages
}

/// The fenced blocks of a page: what stands behind the fence, and the lines.
fn blocks(text: &str) -> Vec<(String, Vec<String>)> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(tag) = line.strip_prefix("```") {
            let body = lines.by_ref().take_while(|line| *line != "```");
            blocks.push((tag.to_owned(), body.map(str::to_owned).collect()));
        }
    }
    blocks
}

#[test]
fn every_page_with_code_is_a_doc_test() {
    let lib = read("src/lib.rs");
    for page in pages() {
        let blocks = blocks(&read(&page));
        for (tag, body) in &blocks {
            let known = ["rust", "sh", "text", "toml", "python", "header"].contains(&tag.as_str());
            assert!(known, "{}: a block {tag:?}: {body:?}", page.display());
        }
        if blocks.iter().any(|(tag, _)| tag == "rust") {
            let included = format!("include_str!(\"../{}\")", page.display());
            assert!(
                lib.contains(&included),
                "src/lib.rs does not test {}",
                page.display()
            );
        }
    }
}

/// The pages of the manual in their order: title and file name.
fn manual() -> Vec<(String, String)> {
    let index = read("docs/README.md");
    let rows = index
        .lines()
        .filter_map(|line| line.strip_prefix("| [")?.split_once("]("));
    let rows = rows.map(|(title, rest)| {
        let file = rest.split(')').next().expect("a link's end");
        (title.to_owned(), file.to_owned())
    });
    // The examples are listed there, too.
    rows.filter(|(_, file)| file.ends_with(".md")).collect()
}

#[test]
fn the_manual_has_all_pages_in_order() {
    let manual = manual();
    let listed: BTreeSet<PathBuf> = manual.iter().map(|(_, file)| file.into()).collect();
    assert_eq!(listed.len(), manual.len());
    for page in pages() {
        let Ok(file) = page.strip_prefix("docs") else {
            continue;
        };
        let is_there = file == Path::new("README.md") || listed.contains(file);
        assert!(is_there, "docs/README.md does not list {}", file.display());
    }
    let link = |(title, file): &(String, String)| format!("[{title}]({file})");
    for (at, (_, file)) in manual.iter().enumerate() {
        let mut way = Vec::new();
        if at > 0 {
            way.push(format!("← {}", link(&manual[at - 1])));
        }
        way.push("[The manual](README.md)".to_owned());
        if let Some(next) = manual.get(at + 1) {
            way.push(format!("{} →", link(next)));
        }
        let end = format!("\n---\n\n{}\n", way.join(" · "));
        assert!(
            read(format!("docs/{file}")).ends_with(&end),
            "docs/{file} ends otherwise than: {end}"
        );
    }
}

#[test]
fn pages_open_with_a_program() {
    for (_, file) in manual() {
        if NO_COURSE.contains(&file.as_str()) {
            continue;
        }
        let blocks = blocks(&read(format!("docs/{file}")));
        let (tag, lines) = blocks.first().expect("a program");
        let is_whole = match tag.as_str() {
            "rust" => lines.iter().any(|line| line.starts_with("fn main()")),
            "python" => file == "interop.md", // run by tests/peerpy
            _ => false,
        };
        assert!(is_whole, "docs/{file} opens with {lines:?}");
    }
}

#[test]
fn the_cookbook_has_whole_programs_that_fit_a_screen() {
    let blocks = blocks(&read("docs/cookbook.md"));
    assert!(blocks.len() >= 7, "only {} programs", blocks.len());
    for (tag, lines) in blocks {
        // As doc tests they are compiled and run.
        assert_eq!(tag, "rust");
        assert!(lines.iter().any(|line| line.starts_with("fn main()")));
        assert!(lines.len() <= 40, "{} lines: {lines:#?}", lines.len());
    }
}

#[test]
fn the_default_build_has_the_crates_that_the_manual_names() {
    let page = read("docs/start.md");
    let (_, list) = page.split_once("<!-- crates of").expect("the list");
    let (_, lines) = blocks(list).remove(0);
    let stated: BTreeSet<String> = lines
        .iter()
        .flat_map(|line| line.split_whitespace())
        .map(str::to_owned)
        .collect();
    for features in [&[][..], &["--features", "pickle"]] {
        // For one system: others need other crates below these.
        let tree = Command::new(env!("CARGO"))
            .args(["tree", "--offline", "--prefix=none", "--edges=normal,build"])
            .args(["--target", "x86_64-unknown-linux-gnu"])
            .args(features)
            .current_dir(root())
            .output()
            .expect("cargo tree");
        let said = String::from_utf8_lossy(&tree.stdout);
        assert!(tree.status.success(), "{tree:?}");
        assert!(!said.contains("(proc-macro)"), "{said}");
        let needed: BTreeSet<String> = said
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .map(str::to_owned)
            .collect();
        assert_eq!(needed, stated, "with {features:?}");
    }
    let manifest = read("Cargo.toml");
    // The default build has none of the optional ones.
    let always = manifest
        .lines()
        .filter(|line| !line.contains("optional = true"));
    let always = always.collect::<Vec<_>>().join("\n");
    let is_here = |section: &str| !section.contains("dev-") && !section.contains("windows");
    let named = dependencies(&always, is_here).len();
    let below = stated.len() - 1 - named;
    let sentence = format!(
        "lanpeer is {} crates: itself, the {named} that\n`Cargo.toml` names, and {below} that those need.",
        stated.len()
    );
    assert!(page.contains(&sentence), "{sentence}");
}

#[test]
fn no_dependency_needs_a_newer_rust() {
    // Also those that only tests and examples need: the README says `cargo test`.
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--format-version=1"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(root())
        .output()
        .expect("cargo metadata");
    assert!(metadata.status.success(), "{metadata:?}");
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).expect("JSON");
    let number = |version: &str| -> Vec<u32> {
        version
            .split('.')
            .map_while(|part| part.parse().ok())
            .take(2)
            .collect()
    };
    let own = number(env!("CARGO_PKG_RUST_VERSION"));
    let packages = metadata["packages"].as_array().expect("packages");
    assert!(packages.len() > 18);
    for package in packages {
        if let Some(needed) = package["rust_version"].as_str() {
            let name = (&package["name"], &package["version"]);
            assert!(number(needed) <= own, "{name:?} needs Rust {needed}");
        }
    }
}

#[test]
fn the_pages_on_porting_name_what_exists() {
    let mut sources = String::new();
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("its entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                sources += &fs::read_to_string(path).expect("a source");
            }
        }
    }
    // What is of the standard library and of crossbeam.
    let foreign = ["is_some", "recv_timeout", "send", "after", "tick"];
    for (page, least) in [("porting", 30), ("from-zeromq", 1), ("from-message-io", 10)] {
        let mut calls = 0;
        for row in read(format!("docs/{page}.md")).lines() {
            let cells: Vec<&str> = row.split(" | ").collect();
            if cells.len() != 3 || !row.starts_with("| ") {
                continue;
            }
            for code in cells[1].split('`').skip(1).step_by(2) {
                let names = code.split(|c: char| !c.is_alphanumeric() && c != '_');
                for name in names.filter(|name| !name.is_empty()) {
                    let called = code.contains(&format!("{name}("));
                    // `Err(…)`, a variant.
                    let is_variant = name.starts_with(|c: char| c.is_ascii_uppercase());
                    let known = foreign.contains(&name)
                        || !called
                        || is_variant && sources.contains(&format!("{name}("))
                        || sources.contains(&format!("pub fn {name}"));
                    assert!(known, "{page}: there is no {name}: {row}");
                    calls += usize::from(called);
                }
            }
        }
        assert!(calls > least, "{page}: {calls}");
    }
}

#[test]
fn the_first_example_is_short() {
    let readme = blocks(&read("README.md"));
    let (_, example) = readme
        .iter()
        .find(|(tag, _)| tag == "rust")
        .expect("an example");
    assert!(example.len() <= 20, "{} lines", example.len());
}

#[test]
fn the_readme_says_the_two_commands() {
    let readme = blocks(&read("README.md"));
    let shell: Vec<&str> = readme
        .iter()
        .filter(|(tag, _)| tag == "sh")
        .flat_map(|(_, lines)| lines)
        .map(String::as_str)
        .collect();
    for command in [
        "cargo run --example tour",
        "cargo test -- --test-threads=48",
    ] {
        assert!(shell.contains(&command), "{command}");
    }
    // A package has no .ci.
    if root().join(".ci/run").exists() {
        assert!(
            read(".ci/run")
                .lines()
                .any(|line| line.trim() == "run cargo test -- --test-threads=48")
        );
    }
}

#[test]
fn links_lead_somewhere() {
    for page in pages() {
        let text = read(&page);
        let folder = page.parent().expect("a page is in a folder");
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            if link.starts_with("http") {
                continue;
            }
            let (file, section) = link
                .split_once('#')
                .map_or((link, None), |(f, s)| (f, Some(s)));
            let target = if file.is_empty() {
                page.clone()
            } else {
                folder.join(file)
            };
            assert!(
                root().join(&target).exists(),
                "{} links to {link}",
                page.display()
            );
            if let Some(section) = section {
                let titles = read(&target);
                let found = titles
                    .lines()
                    .filter(|line| line.starts_with('#'))
                    .any(|line| {
                        let title = line.trim_start_matches('#').trim().to_lowercase();
                        let title = title.replace(' ', "-");
                        title
                            .chars()
                            .filter(|c| c.is_alphanumeric() || *c == '-')
                            .eq(section.chars())
                    });
                assert!(found, "{} links to {link}", page.display());
            }
        }
    }
}

#[test]
fn the_map_of_the_top_level_is_right() {
    let page = read("docs/contributing.md");
    let map = page.split("## The top level").nth(1).expect("a map");
    let map = map.split("\n## ").next().expect("its rows");
    let named: BTreeSet<&str> = map
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    for name in &named {
        assert!(root().join(name).exists(), "{name}");
    }
    for name in [
        "src/",
        "tests/",
        "examples/",
        "benches/",
        "docs/",
        ".ci/run",
    ] {
        assert!(named.contains(name), "{name} is not in the map");
    }
}

#[test]
fn every_file_has_its_place() {
    let page = read("docs/contributing.md");
    let table = page
        .split("\n## ")
        .find(|part| part.starts_with("Where code lives"));
    let table = table.expect("the section");
    for entry in fs::read_dir(root().join("src")).expect("src/") {
        let entry = entry.expect("an entry of src/");
        let name = entry.file_name().to_string_lossy().into_owned();
        let slash = if entry.file_type().expect("its type").is_dir() {
            "/"
        } else {
            ""
        };
        assert!(
            table.contains(&format!("`{name}{slash}`")),
            "src/{name} has no place"
        );
    }
}

#[test]
fn headers_in_the_protocol_have_128_bytes() {
    let text = read("docs/protocol.md");
    let mut seen = 0;
    for (tag, lines) in blocks(&text) {
        if tag == "header" {
            for line in lines {
                assert_eq!(line.len(), 128, "{line}");
                seen += 1;
            }
        }
    }
    assert!(seen > 5, "{seen} headers");
}

#[test]
fn every_error_has_its_row() {
    let source = read("src/error.rs");
    let page = read("docs/errors.md");
    for name in [
        "Error",
        "SendError",
        "RequestError",
        "CloseError",
        "CloseReason",
    ] {
        let (_, rest) = source
            .split_once(&format!("pub enum {name} {{"))
            .expect(name);
        let body = rest.split("\n}").next().expect("its end");
        let variants = body.lines().filter_map(|line| {
            let line = line.strip_prefix("    ")?;
            let end = line
                .find(|c: char| !c.is_alphanumeric())
                .unwrap_or(line.len());
            line.starts_with(|c: char| c.is_ascii_uppercase())
                .then(|| &line[..end])
        });
        let section = page
            .split("\n## ")
            .find(|section| section.starts_with(&format!("`{name}`")))
            .unwrap_or_else(|| panic!("docs/errors.md has no section for {name}"));
        let mut count = 0;
        for variant in variants {
            assert!(
                section.contains(&format!("\n| `{variant}` |")),
                "{name}::{variant} has no row"
            );
            count += 1;
        }
        assert!(count > 1, "{name}: {count} variants found");
    }
}

#[test]
fn every_option_has_its_row() {
    let source = read("src/builder.rs");
    let options: Vec<&str> = source
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub fn "))
        .filter_map(|line| line.split_once("(mut self"))
        .map(|(name, _)| name)
        .collect();
    assert!(options.len() > 5, "{options:?}");
    let page = read("docs/limits.md");
    for option in options {
        let row = format!("\n| `{option}` |");
        assert!(page.contains(&row), "docs/limits.md does not say {option}");
    }
}

/// The dependencies in the sections of Cargo.toml that are wanted.
fn dependencies(manifest: &str, wanted: impl Fn(&str) -> bool) -> BTreeSet<&str> {
    let mut section = "";
    let mut names = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if section.ends_with("dependencies]") && wanted(section) {
            if let Some((name, _)) = line.split_once([' ', '.', '=']) {
                names.insert(name);
            }
        }
    }
    names
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest = read("Cargo.toml");
    let expected = dependencies(&manifest, |_| true);
    let page = read("docs/contributing.md");
    let rows = page
        .split("\n## ")
        .find(|part| part.starts_with("Dependencies"))
        .expect("the section");
    let named: BTreeSet<&str> = rows
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    assert_eq!(named, expected);
}

#[test]
fn pages_are_finished() {
    for page in pages() {
        assert!(!read(&page).contains("TODO"), "{}", page.display());
    }
}
