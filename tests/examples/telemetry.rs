//! Sensors of several processes, one collector.

use crate::beacons::Port;
use crate::examples::program::Program;
use crate::examples::terminal::{Terminal, rows};

fn args(port: &Port, args: &[&str]) -> Vec<String> {
    let port = port.number.to_string();
    let all = [args, &["--bind", "127.0.0.1", "--port", &port]].concat();
    all.into_iter().map(str::to_owned).collect()
}

fn start(port: &Port, first: &[&str]) -> Program {
    let all = args(port, first);
    Program::start(
        "telemetry",
        &all.iter().map(String::as_str).collect::<Vec<_>>(),
    )
}

#[test]
fn the_collector_shows_each_sensor_until_it_is_gone() {
    let port = Port::new();
    // It is found by sensors that were there before it.
    let mut many = start(
        &port,
        &["sense", "--name", "roof", "--count", "5", "--every", "20"],
    );
    let mut one = start(&port, &["sense", "--name", "cellar", "--every", "20"]);
    let mut collector = start(&port, &["collect"]);
    let addr = collector.line_after("collecting at ");
    for sensor in ["cellar-1", "roof-1", "roof-2", "roof-3", "roof-4", "roof-5"] {
        let row = collector.line_after(&format!("{sensor} "));
        let (_, unit) = row
            .trim_start()
            .split_once(' ')
            .expect("a value and its unit");
        assert!(
            ["°C", "%", "hPa"]
                .iter()
                .any(|known| unit.starts_with(known)),
            "{row}"
        );
    }
    many.kill();
    let reason = collector.line_after("roof-1 is gone: ");
    assert!(reason.contains("the other side"), "{reason}");
    let row = collector.line_after("cellar-1 ");
    assert!(row.contains(['▁', '█']), "{row}");

    // The sensor that is left finds the next collector.
    one.line_after(&format!("cellar-1 sends to {addr}"));
    collector.kill();
    let mut next = start(&port, &["collect"]);
    let addr = next.line_after("collecting at ");
    one.line_after(&format!("cellar-1 sends to {addr}"));
    next.line_after("cellar-1 ");
}

#[test]
fn in_a_terminal_it_draws_a_table() {
    let port = Port::new();
    let collect = args(&port, &["collect"]);
    let collect: Vec<&str> = collect.iter().map(String::as_str).collect();
    let Some(mut terminal) = Terminal::start("telemetry", &collect) else {
        return;
    };
    let _sensors = start(&port, &["sense", "--count", "3", "--every", "20"]);
    terminal.until("three rows with a whole sparkline each", |screen| {
        let rows = rows(screen);
        let whole = |row: &&String| row.starts_with("sensor-") && row.contains(['▁', '█']);
        let drawn = rows.iter().filter(whole).count();
        (rows[0] == "3 sensors, q ends" && drawn == 3).then_some(())
    });
    terminal.press("q");
    terminal.ended(0);
}
