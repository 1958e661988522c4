//! The drawings and the pictures of terminals, and the page that shows the first of them.

use std::fs;

use super::readme::{pages, read, root};

/// What `docs/terminals.py` and `docs/drawings.py` have made is small, and a page shows it.
#[test]
fn every_picture_is_shown() {
    let texts: Vec<String> = pages().iter().map(read).collect();
    let mut terminals = 0;
    for entry in fs::read_dir(root().join("docs")).expect("docs/") {
        let name = entry.expect("an entry of docs/").file_name();
        let name = name.to_string_lossy();
        if !name.ends_with(".svg") {
            continue;
        }
        let link = [format!("]({name})"), format!("](docs/{name})")];
        let shown = |text: &String| link.iter().any(|link| text.contains(link));
        assert!(texts.iter().any(shown), "no page shows {name}");
        if name.starts_with("terminal-") {
            let picture = read(format!("docs/{name}"));
            assert!(picture.len() < 15_000, "{name}: {} bytes", picture.len());
            assert!(picture.contains("(prefers-color-scheme: dark)"), "{name}");
            terminals += 1;
        }
    }
    assert!(terminals >= 7, "{terminals} pictures of terminals");
}

#[test]
fn the_readme_is_short() {
    let lines = read("README.md").lines().count();
    assert!(lines <= 120, "{lines} lines");
}
