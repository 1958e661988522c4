//! Every public item has an example, and each example is a doc test that can fail.
//!
//! The rule. Public is what `src/lib.rs` exports. An example is a code block of the item's docs
//! that `cargo test --doc` runs, and that asserts something.
//!
//! - A type, a trait and a function have an example.
//! - A method of a public type has an example that calls it. For a getter, which takes `&self`
//!   alone and returns no `Result`, an example of the type's docs that calls it will do.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What cannot run as a test, and why.
const NOT_RUN: [(&str, &str); 1] = [("discover", "asks on the real network")];

/// A public item and its docs.
#[derive(Debug, Default)]
struct Item {
    /// Of a method.
    of: Option<String>,
    name: String,
    /// Of a function: all up to its body.
    signature: String,
    docs: Vec<String>,
    /// Where it stands, for the message.
    place: String,
}

impl Item {
    /// The code of its examples.
    fn examples(&self) -> Vec<String> {
        let mut examples = Vec::new();
        let mut lines = self.docs.iter();
        while let Some(line) = lines.next() {
            if let Some(tag) = line.strip_prefix("```") {
                let code: Vec<&str> = lines
                    .by_ref()
                    .map(String::as_str)
                    .take_while(|line| *line != "```")
                    .collect();
                let code = code.join("\n");
                if tag.is_empty() && code.contains("assert") {
                    examples.push(code);
                }
            }
        }
        examples
    }

    /// Does an example in these docs call the function of this name?
    fn shows(&self, name: &str) -> bool {
        let calls = [format!("{name}("), format!("{name}::<")];
        self.examples().iter().any(|code| {
            calls.iter().any(|call| {
                code.match_indices(call.as_str()).any(|(at, _)| {
                    let before = code[..at].chars().next_back();
                    !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
                })
            })
        })
    }

    fn is_getter(&self) -> bool {
        self.signature.contains("(&self)") && !self.signature.contains("Result<")
    }
}

/// The names that `src/lib.rs` exports of this crate.
fn exported(lib: &str) -> BTreeSet<String> {
    let uses = lib.split("\npub use ").skip(1);
    uses.filter_map(|rest| rest.split(';').next())
        .filter(|path| !path.starts_with("crossbeam_channel"))
        .flat_map(|path| {
            let names = path.rsplit_once("::").map_or(path, |(_, name)| name);
            let names = path.split_once('{').map_or(names, |(_, names)| names);
            names.split(|c: char| !c.is_alphanumeric() && c != '_')
        })
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The public items and methods of one file. A line-wise look at formatted code is enough here.
/// Methods of a type that the file itself defines as private are left out, whatever its name.
fn items(file: &str, source: &str) -> Vec<Item> {
    let mut items = Vec::new();
    let mut private = BTreeSet::new();
    let mut docs = Vec::new();
    let mut hidden = false;
    let mut implements: Option<String> = None;
    let mut lines = source.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let text = line.trim_start();
        if let Some(doc) = text.strip_prefix("///") {
            docs.push(doc.strip_prefix(' ').unwrap_or(doc).to_owned());
            continue;
        }
        if text.starts_with("#[") {
            hidden |= text == "#[doc(hidden)]";
            if !text.ends_with(']') {
                // One of several lines; its last stands as far to the left.
                let end = format!("{})]", &line[..line.len() - text.len()]);
                lines.by_ref().find(|(_, line)| *line == end);
            }
            continue;
        }
        let (docs, hidden) = (std::mem::take(&mut docs), std::mem::take(&mut hidden));
        if let Some(head) = line.strip_prefix("impl") {
            let name = match head.strip_prefix('<') {
                Some(generic) => generic.split_once("> ").map_or("", |(_, name)| name),
                None => head.trim_start(),
            };
            let end = name.find(|c: char| !c.is_alphanumeric());
            let name = name[..end.unwrap_or(name.len())].to_owned();
            implements = Some(name).filter(|_| !line.ends_with("{}"));
        } else if line == "}" {
            implements = None;
        }
        let definition = line.trim_start_matches(|c| c != ' ' && line.starts_with("pub("));
        for kind in ["struct ", "enum "] {
            if let Some(rest) = definition.trim_start().strip_prefix(kind) {
                let end = rest.find(|c: char| !c.is_alphanumeric());
                private.insert(rest[..end.unwrap_or(rest.len())].to_owned());
            }
        }
        let method = line.starts_with("    ") && !line.starts_with("     ");
        let Some(what) = text.strip_prefix("pub ") else {
            continue;
        };
        let what = what.strip_prefix("const fn").map_or(what, |_| &what[6..]);
        let Some((kind, rest)) = what.split_once(' ') else {
            continue;
        };
        let of = match (kind, &implements) {
            ("fn", Some(of)) if method => Some(of.clone()),
            ("fn" | "struct" | "enum" | "trait" | "type", None) if text == line => None,
            _ => continue,
        };
        if hidden {
            continue;
        }
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
        let name = rest[..end.unwrap_or(rest.len())].to_owned();
        let mut signature = rest.to_owned();
        while kind == "fn" && !signature.contains('{') {
            let (_, more) = lines.next().expect("a body");
            signature += more;
        }
        items.push(Item {
            of,
            name,
            signature,
            docs,
            place: format!("{file}:{}", number + 1),
        });
    }
    items.retain(|item| item.of.as_ref().is_none_or(|of| !private.contains(of)));
    items
}

/// What the rule finds wrong, and how many items it looked at.
fn check(exported: &BTreeSet<String>, items: &[Item]) -> (Vec<String>, usize) {
    let is_public = |name: &String| exported.contains(name);
    let mut types: BTreeMap<&str, &Item> = BTreeMap::new();
    let mut wrong = Vec::new();
    let mut count = 0;
    for item in items.iter().filter(|item| item.of.is_none()) {
        if !is_public(&item.name) {
            continue;
        }
        count += 1;
        if let Some(other) = types.insert(&item.name, item) {
            wrong.push(format!(
                "{}: which {}, or {}?",
                item.place, item.name, other.place
            ));
        }
        let is_run = !NOT_RUN.iter().any(|(name, _)| *name == item.name);
        if is_run && item.examples().is_empty() {
            wrong.push(format!("{}: {} has no example", item.place, item.name));
        }
    }
    for name in exported
        .iter()
        .filter(|name| !types.contains_key(name.as_str()))
    {
        wrong.push(format!("{name} is exported, and defined nowhere"));
    }
    for item in items {
        let Some(of) = item.of.as_ref().filter(|of| is_public(of)) else {
            continue;
        };
        count += 1;
        let in_type = item.is_getter()
            && types
                .get(of.as_str())
                .is_some_and(|owner| owner.shows(&item.name));
        if !item.shows(&item.name) && !in_type {
            wrong.push(format!(
                "{}: {of}::{} has no example",
                item.place, item.name
            ));
        }
    }
    (wrong, count)
}

/// All files of Rust below `folder`.
pub fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("its entry").path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            files.push(path);
        }
    }
}

#[test]
fn every_public_item_has_an_example_that_runs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    rust_files(&root.join("src"), &mut files);
    files.sort();
    let mut all = Vec::new();
    for file in &files {
        let source = fs::read_to_string(file).expect("readable");
        let name = file.strip_prefix(root).expect("in the root");
        all.extend(items(&name.display().to_string(), &source));
    }
    let lib = fs::read_to_string(root.join("src/lib.rs")).expect("src/lib.rs");
    let (wrong, count) = check(&exported(&lib), &all);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 100, "only {count} public items were found");
}

#[test]
fn the_rule_finds_what_it_should() {
    let source = r#"
/// ```
/// assert!(Thing.is_good());
/// ```
#[diagnostic::on_unimplemented(
    message = "[pub struct Other;]"
)]
pub struct Thing<T>(T);

impl<T: Clone> Thing<T> {
    /// Shown above.
    pub fn is_good(&self) -> bool { true }
    /// No getter, so that does not count.
    pub fn open(
        &self,
    ) -> Result<(), Error> {
    }
    /// ```
    /// reopen(); shut_all(); assert!(true);
    /// ```
    pub fn shut(self) {
    }
    /// ```no_run
    /// run(); assert!(true);
    /// ```
    #[must_use]
    pub const fn run(&self) -> bool {
    }
    /// ```
    /// made::<u8>();
    /// assert!(true);
    /// ```
    pub fn made<U>(self, u: U) {
    }
    #[doc(hidden)]
    pub fn hidden(&mut self) {
    }
    pub(crate) fn private(&mut self) {
    }
}

impl Other {
    pub fn private() {
    }
}

impl Trait for Gone {}

pub(super) struct Error;

impl Error {
    pub fn private() {
    }
}

pub enum Error {
}
"#;
    let exported = exported("mod a;\npub use a::{Thing,\n    Error};\npub use b::Gone;\n");
    let (wrong, count) = check(&exported, &items("a.rs", source));
    assert_eq!(
        wrong,
        [
            "a.rs:56: Error has no example",
            "Gone is exported, and defined nowhere",
            "a.rs:14: Thing::open has no example",
            "a.rs:21: Thing::shut has no example",
            "a.rs:27: Thing::run has no example",
        ]
    );
    assert_eq!(count, 7);
}
