//! The lab: sensors that are killed and started again, and the table that shows them.

use crate::beacons::Port;
use crate::examples::program::Program;

#[test]
fn the_table_shows_each_sensor_on_one_connection() {
    let port = Port::new().number.to_string();
    let start = |what| Program::start("lab", &[what, "127.0.0.1", &port]);
    let sensors = start("3");
    let mut table = start("show");
    let shown = |table: &mut Program, number: usize, times: &str| loop {
        let row = table.line_after(&format!("sensor-{number} "));
        let words: Vec<&str> = row.split_whitespace().collect();
        let [now, open, readings] = words[..] else {
            panic!("{row}")
        };
        assert!(["0", "1"].contains(&open), "{row}");
        if (now, open) == (times, "1") && readings.parse::<u32>().unwrap() > 20 {
            return;
        }
    };
    (1..=3).for_each(|number| shown(&mut table, number, "1"));
    drop(sensors);
    let _again = start("3");
    (1..=3).for_each(|number| shown(&mut table, number, "2"));
}
