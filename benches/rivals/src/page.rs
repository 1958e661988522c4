//! Writes the figures of docs/performance.md, and the drawing beside it.

use std::fs;
use std::io;
use std::path::Path;

use crate::plot;
use crate::report::Report;
use crate::rows::ROWS;

/// Programs over a bare socket, besides the one that the others are compared with.
const LIMITS: [&str; 2] = ["owned", "128-byte"];

/// Replaces what was measured completely; what was left out stays as it was. The summary always follows
/// the table.
pub fn write(report: &Report, names: &[&str]) -> io::Result<()> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let page = docs.join("performance.md");
    let mut text = fs::read_to_string(&page)?;
    if report.ratios.len() >= ROWS.len() {
        replace(&mut text, "machine", &machine());
        replace(&mut text, "table", &table(&report.rows));
        // Without those that are limits too.
        let drawn = |values: &[Option<f64>]| -> Vec<Option<f64>> {
            let both = names.iter().zip(values);
            let others = both.filter(|(name, _)| !LIMITS.contains(name));
            others.map(|(_, value)| *value).collect()
        };
        let ratios = report.ratios.iter();
        let ratios: Vec<_> = ratios.map(|(what, all)| (*what, drawn(all))).collect();
        let others = names.iter().copied().filter(|name| !LIMITS.contains(name));
        let drawing = plot::draw(&ratios, &others.collect::<Vec<_>>());
        fs::write(docs.join("performance.svg"), drawing)?;
    }
    for (name, lines) in [("load", &report.load), ("many", &report.many)] {
        if !lines.is_empty() {
            replace(&mut text, name, &table(lines));
        }
    }
    let summary = summary(&text);
    replace(&mut text, "summary", &summary);
    fs::write(page, text)
}

/// The page's first sentence, from the figures of the table on the same page, so that the two cannot
/// disagree.
fn summary(page: &str) -> String {
    let reached = |row| reached(page, row, "recv");
    let messages = reached("one-way, 64 B");
    let messages = messages.replace("M/s", "million messages");
    let messages = messages.replace("k/s", "thousand messages");
    format!(
        "Over loopback, with `recv`, lanpeer moves {messages} of 64 bytes a second, or {} in\n\
         messages of 1 MiB; a round trip takes {}.",
        reached("one-way, 1 MiB"),
        reached("round trip, 64 B, p50 (lower is better)"),
    )
}

/// What a program reached in a row, to two digits: its part of the limit, times the limit's figure.
fn reached(page: &str, row: &str, program: &str) -> String {
    // The cells after the first.
    let line = |begin: &str| -> Vec<&str> {
        let rest = page.lines().find_map(|line| line.strip_prefix(begin));
        let rest = rest.unwrap_or_else(|| panic!("docs/performance.md has no row {begin:?}"));
        rest.split('|').map(str::trim).collect()
    };
    let (names, cells) = (line("|  |"), line(&format!("| {row} |")));
    let column = names.iter().position(|name| *name == program);
    let ratio: f64 = cells[column.expect("a column")].parse().expect("a ratio");
    let (limit, unit) = cells[0].split_once(' ').expect("a figure and its unit");
    let value = limit.parse::<f64>().expect("a figure") * ratio;
    let decimals = usize::from(value < 10.0);
    format!("{value:.decimals$} {unit}")
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
    let versions = ["omq-tokio", "message-io", "tungstenite", "nng"]
        .map(|name| format!("{name} {}", version(name)));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_says_what_the_table_says() {
        let page = "|  | limit | handler | recv |\n\
                    | --- | ---: | ---: | ---: |\n\
                    | one-way, 64 B | 30.0 M/s | 0.5 | 0.25 |\n\
                    | one-way, 1 MiB | 5.00 GB/s | 1.1 | 1.30 |\n\
                    | round trip, 64 B, p50 (lower is better) | 10.0 µs | 1.2 | 1.52 |\n";
        let summary = summary(page);
        for figure in [
            "moves 7.5 million messages of",
            "or 6.5 GB/s in",
            "takes 15 µs.",
        ] {
            assert!(summary.contains(figure), "{summary}");
        }
    }

    #[test]
    fn the_page_is_as_written() {
        let page = include_str!("../../../docs/performance.md");
        assert!(page.contains(&format!("\n{}\n", summary(page))));
    }
}
