//! The ratios as a drawing.

use std::fmt::Write;

const INK: &str = "#1f2933";
const SOFT: &str = "#67727e";
const LINE: &str = "#d5dade";

const LEFT: f64 = 275.0;
const WIDTH: f64 = 460.0;
const TOP: f64 = 92.0;
const STEP: f64 = 34.0;

/// From here to 2, as logarithms.
const LEAST: f64 = 0.01;
const MOST: f64 = 2.0;

/// Each row is a line, each program a mark on it: how much of what the bare socket does it reaches.
pub fn draw(rows: &[(&str, Vec<Option<f64>>)], names: &[&str]) -> String {
    let bottom = TOP + STEP * rows.len() as f64;
    let (width, height) = (LEFT + WIDTH + 30.0, bottom + 34.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"DejaVu Sans, Verdana, sans-serif\" \
         font-size=\"13\" fill=\"{INK}\" role=\"img\">\n\
         <title>How much of a bare socket's speed each library reaches</title>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    text(
        &mut svg,
        20.0,
        28.0,
        "start",
        INK,
        "As a part of what a bare socket does; further right is better",
    );
    for (i, name) in names.iter().enumerate() {
        let x = [28.0, 168.0, 290.0, 362.0, 482.0, 602.0][i.min(5)];
        mark(&mut svg, x, 55.0, i);
        text(&mut svg, x + 12.0, 59.5, "start", INK, &label(name));
    }
    for tick in [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0] {
        let (x, heavy) = (at(tick), tick == 1.0);
        let (color, stroke) = if heavy { (INK, 1.5) } else { (LINE, 1.0) };
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom}\" stroke=\"{color}\" \
             stroke-width=\"{stroke}\"/>"
        );
        text(
            &mut svg,
            x,
            bottom + 18.0,
            "middle",
            SOFT,
            &tick.to_string(),
        );
    }
    for (row, (what, ratios)) in rows.iter().enumerate() {
        let y = TOP + STEP * (row as f64 + 0.5);
        let what = what.split(" (").next().unwrap_or_default();
        text(&mut svg, LEFT - 16.0, y + 4.5, "end", INK, what);
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" y1=\"{y}\" x2=\"{}\" y2=\"{y}\" stroke=\"{LINE}\"/>",
            LEFT + WIDTH
        );
        // lanpeer's marks last, so that they lie on top.
        for (i, ratio) in ratios.iter().enumerate().rev() {
            if let Some(ratio) = ratio {
                mark(&mut svg, at(*ratio), y, i);
            }
        }
    }
    svg + "</svg>\n"
}

fn at(ratio: f64) -> f64 {
    let part = (ratio.clamp(LEAST, MOST) / LEAST).ln() / (MOST / LEAST).ln();
    LEFT + WIDTH * part
}

fn label(name: &str) -> String {
    match name {
        "handler" | "recv" => format!("lanpeer, {name}"),
        other => other.to_owned(),
    }
}

/// Differs in form too, not only in colour.
fn mark(svg: &mut String, x: f64, y: f64, i: usize) {
    let _ = match i {
        0 => writeln!(
            svg,
            "<circle cx=\"{x:.1}\" cy=\"{y}\" r=\"6.5\" fill=\"#1668b0\"/>"
        ),
        1 => writeln!(
            svg,
            "<circle cx=\"{x:.1}\" cy=\"{y}\" r=\"5.5\" fill=\"#ffffff\" stroke=\"#1668b0\" stroke-width=\"2.5\"/>"
        ),
        _ => {
            let (color, path) = [
                ("#c2571a", "m-5 -5h10v10h-10z"),
                ("#3b8f3b", "m0 -6.5 6 11h-12z"),
                ("#8a5bb0", "m0 -6.5 6 6.5-6 6.5-6-6.5z"),
                ("#67727e", "m-5 -5 10 10m0 -10-10 10"),
            ][(i - 2) % 4];
            writeln!(
                svg,
                "<path transform=\"translate({x:.1} {y})\" d=\"{path}\" fill=\"{color}\" \
                 stroke=\"{color}\" stroke-width=\"2\" fill-opacity=\"0.85\"/>"
            )
        }
    };
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, color: &str, text: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{color}\">{text}</text>"
    );
}
