//! The ratios as a drawing, for light pages and for dark ones.

use std::fmt::Write;

/// Colours by class, on a light page and on a dark one: text, text that matters less, the page, the
/// grid, and one for each program. lanpeer's two marks share theirs.
const COLOURS: [(&str, &str, &str); 10] = [
    ("ink", "#1f2933", "#e3e8ec"),
    ("soft", "#5a6570", "#b4bec8"),
    ("paper", "#ffffff", "#14191f"),
    ("grid", "#d5dade", "#3a444e"),
    ("ours", "#1668b0", "#6cb2f2"),
    ("first", "#c2571a", "#f0935a"),
    ("second", "#3b8f3b", "#7cc97c"),
    ("third", "#8a5bb0", "#c49be6"),
    ("fourth", "#67727e", "#aab4be"),
    ("fifth", "#9a7d0a", "#dfc04f"),
];

const LEFT: f64 = 275.0;
const WIDTH: f64 = 460.0;
const TOP: f64 = 112.0;
const STEP: f64 = 34.0;

/// From here to 2, as logarithms.
const LEAST: f64 = 0.001;
const MOST: f64 = 2.0;

/// Each row is a line, each program a mark on it: how much of what the bare socket does it reaches.
/// A mark beyond the scale stands at its end, with an arrow and its value.
pub fn draw(rows: &[(&str, Vec<Option<f64>>)], names: &[&str]) -> String {
    let bottom = TOP + STEP * rows.len() as f64;
    let (width, height) = (LEFT + WIDTH + 30.0, bottom + 64.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"DejaVu Sans, Verdana, sans-serif\" \
         font-size=\"13\" role=\"img\">\n\
         <title>How much of a bare socket's speed each library reaches</title>\n\
         <style>{}@media (prefers-color-scheme: dark){{{}}}</style>\n\
         <rect width=\"{width}\" height=\"{height}\" class=\"paper\"/>\n",
        style(|(_, light, _)| light),
        style(|(_, _, dark)| dark),
    );
    let title = "Speed, where a bare socket has 1: further right is better";
    text(&mut svg, 20.0, 28.0, "start", "ink", title);
    let scale = "Logarithmic scale. For a time, 0.5 means that it takes twice as long.";
    text(&mut svg, 20.0, 48.0, "start", "soft", scale);
    for (i, name) in names.iter().enumerate() {
        let x = [28.0, 168.0, 290.0, 354.0, 420.0, 540.0, 660.0][i.min(6)];
        mark(&mut svg, x, 75.0, i);
        text(&mut svg, x + 12.0, 79.5, "start", "ink", &label(name));
    }
    for tick in [
        0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0,
    ] {
        let (x, heavy) = (at(tick), tick == 1.0);
        let (class, stroke) = if heavy { ("ink", 1.5) } else { ("grid", 1.0) };
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom}\" class=\"l{class}\" \
             stroke-width=\"{stroke}\"/>"
        );
        let value = tick.to_string();
        text(&mut svg, x, bottom + 18.0, "middle", "soft", &value);
    }
    text(
        &mut svg,
        at(1.0),
        TOP - 8.0,
        "middle",
        "soft",
        "a bare socket",
    );
    for (row, (what, ratios)) in rows.iter().enumerate() {
        let y = TOP + STEP * (row as f64 + 0.5);
        let what = what.split(" (").next().unwrap_or_default();
        text(&mut svg, LEFT - 16.0, y + 4.5, "end", "ink", what);
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" y1=\"{y}\" x2=\"{}\" y2=\"{y}\" class=\"lgrid\"/>",
            LEFT + WIDTH
        );
        // lanpeer's marks last, so that they lie on top.
        for (i, ratio) in ratios.iter().enumerate().rev() {
            let Some(ratio) = *ratio else { continue };
            mark(&mut svg, at(ratio), y, i);
            if ratio < LEAST {
                let value = format!("← {ratio:.5}");
                text(&mut svg, LEFT + 12.0, y + 4.5, "start", "ink", &value);
            } else if ratio > MOST {
                let value = format!("{ratio:.1} →");
                text(&mut svg, LEFT + WIDTH - 12.0, y + 4.5, "end", "ink", &value);
            }
        }
    }
    let notes =
        "← beyond the scale, with its value. No mark: not measured, or covered by another one.";
    text(&mut svg, 20.0, bottom + 48.0, "start", "soft", notes);
    svg + "</svg>\n"
}

/// The rules for one kind of page. `l` stands for a line of that colour.
fn style(of: impl Fn((&str, &'static str, &'static str)) -> &'static str) -> String {
    let rules = COLOURS.iter().map(|colour| {
        let (class, value) = (colour.0, of(*colour));
        format!(".{class}{{fill:{value}}}.l{class}{{stroke:{value}}}")
    });
    rules.collect()
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
            "<circle cx=\"{x:.1}\" cy=\"{y}\" r=\"6.5\" class=\"ours\"/>"
        ),
        1 => writeln!(
            svg,
            "<circle cx=\"{x:.1}\" cy=\"{y}\" r=\"5.5\" class=\"paper lours\" stroke-width=\"2.5\"/>"
        ),
        _ => {
            let (class, path) = [
                ("first", "m-5 -5h10v10h-10z"),
                ("second", "m0 -6.5 6 11h-12z"),
                ("third", "m0 -6.5 6 6.5-6 6.5-6-6.5z"),
                ("fourth", "m-5 -5 10 10m0 -10-10 10"),
                ("fifth", "m0 6.5 6 -11h-12z"),
            ][(i - 2) % 5];
            writeln!(
                svg,
                "<path transform=\"translate({x:.1} {y})\" d=\"{path}\" class=\"{class} l{class}\" \
                 stroke-width=\"2\" fill-opacity=\"0.85\"/>"
            )
        }
    };
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, class: &str, text: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" class=\"{class}\">{text}</text>"
    );
}
