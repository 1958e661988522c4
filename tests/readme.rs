//! The pages keep their word. Their Rust blocks are doc tests (the end of
//! `src/lib.rs` names the pages); here is the rest: every page is named there,
//! links lead somewhere, names in tables exist, headers have 128 bytes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// README.md, CHANGELOG.md and docs/*.md, relative to the root.
fn pages() -> Vec<PathBuf> {
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
    for command in ["cargo run --example tour", "cargo test"] {
        assert!(shell.contains(&command), "{command}");
    }
    // A package has no .ci.
    if root().join(".ci/run").exists() {
        assert!(
            read(".ci/run")
                .lines()
                .any(|line| line.trim() == "run cargo test")
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
fn the_map_of_the_files_is_right() {
    let readme = read("README.md");
    let map = readme.split("## The files").nth(1).expect("a map");
    let map = map.split("\n## ").next().expect("its rows");
    let named: BTreeSet<&str> = map
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    for name in &named {
        assert!(root().join(name).exists(), "{name}");
    }
    for entry in fs::read_dir(root().join("src")).expect("src/") {
        let entry = entry.expect("an entry of src/");
        if entry.file_type().expect("its type").is_dir() {
            let name = format!("src/{}/", entry.file_name().to_string_lossy());
            assert!(named.contains(name.as_str()), "{name} is not in the map");
        }
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
    for name in ["Error", "SendError", "CloseError", "CloseReason"] {
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
    let page = read("docs/guide.md");
    for option in options {
        let row = format!("\n| `{option}` |");
        assert!(page.contains(&row), "the guide does not say {option}");
    }
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest = read("Cargo.toml");
    let mut section = "";
    let mut expected = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if section.ends_with("dependencies]") {
            if let Some((name, _)) = line.split_once([' ', '.', '=']) {
                expected.insert(name);
            }
        }
    }
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
