//! Writes the tables of docs/performance.md, and the drawing beside it.

use std::fs;
use std::io;
use std::path::Path;

use crate::plot;
use crate::report::Report;
use crate::rows::ROWS;

/// Replaces what was measured completely; what was left out stays as it was.
pub fn write(report: &Report, names: &[&str]) -> io::Result<()> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let page = docs.join("performance.md");
    let mut text = fs::read_to_string(&page)?;
    if report.ratios.len() >= ROWS.len() {
        replace(&mut text, "machine", &machine());
        replace(&mut text, "table", &table(&report.rows));
        // Without the first, which is a limit too.
        let ratios = report
            .ratios
            .iter()
            .map(|(what, ratios)| (*what, ratios[1..].to_vec()));
        let drawing = plot::draw(&ratios.collect::<Vec<_>>(), &names[1..]);
        fs::write(docs.join("performance.svg"), drawing)?;
    }
    for (name, lines) in [("load", &report.load), ("many", &report.many)] {
        if !lines.is_empty() {
            replace(&mut text, name, &table(lines));
        }
    }
    fs::write(page, text)
}

/// What stands between `<!-- NAME -->` and `<!-- end -->`.
fn replace(text: &mut String, name: &str, new: &str) {
    let mark = format!("<!-- {name}: written by benches/rivals -->\n");
    let begin = text
        .find(&mark)
        .unwrap_or_else(|| panic!("docs/performance.md has no {mark}"));
    let begin = begin + mark.len();
    let end = begin + text[begin..].find("<!-- end -->").expect("its end");
    text.replace_range(begin..end, &format!("\n{}\n\n", new.trim_end()));
}

/// Without the spaces that line up columns on a terminal.
fn table(lines: &[String]) -> String {
    let cells = |line: &String| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        cells.join(" | ").trim().to_owned()
    };
    lines.iter().map(cells).collect::<Vec<_>>().join("\n")
}

fn machine() -> String {
    let first = |path: &str, field: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text
            .lines()
            .find(|line| line.starts_with(field))
            .unwrap_or_default();
        let value = line.rsplit(':').next().unwrap_or_default().trim();
        value.to_owned()
    };
    let processors = std::thread::available_parallelism().map_or(0, |n| n.get());
    let release = first("/proc/sys/kernel/osrelease", "");
    let kernel = release.split('-').next().unwrap_or_default();
    let (major, minor, patch) = zmq::version();
    let versions =
        ["message-io", "tungstenite", "nng"].map(|name| format!("{name} {}", version(name)));
    format!(
        "Measured on {processors} processors ({}), Linux {kernel}, with libzmq \
         {major}.{minor}.{patch}, {}.",
        first("/proc/cpuinfo", "model name"),
        versions.join(", "),
    )
}

/// As this package's lock says.
fn version(name: &str) -> &'static str {
    let lock = include_str!("../Cargo.lock");
    let entry = lock.split_once(&format!("name = \"{name}\"\nversion = \""));
    entry
        .and_then(|(_, rest)| rest.split('"').next())
        .unwrap_or_default()
}
