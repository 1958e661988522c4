//! Medians, and what the system says about this process.

use std::process::Command;

pub fn median(values: &[f64]) -> f64 {
    percentile(values, 0.5)
}

/// The smallest of the values that `part` of them do not exceed.
pub fn percentile(values: &[f64], part: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let i = (values.len() as f64 * part) as usize;
    values[i.min(values.len() - 1)]
}

/// Seconds that this process has used on all processors; 0 where the system does not say.
pub fn processor_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name, in parentheses, may contain spaces; the ticks of user and system follow it.
    let columns = stat.rsplit(')').next().unwrap_or_default();
    let ticks = columns.split(' ').skip(12).take(2);
    ticks
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum::<f64>()
        / 100.0
}

/// A row of this process's status: memory in KiB, or a number.
pub fn status(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let row = status
        .lines()
        .find_map(|row| row.strip_prefix(name)?.strip_prefix(':'));
    let value = row.and_then(|row| row.split_whitespace().next()?.parse().ok());
    value.unwrap_or(0)
}

pub const RESIDENT: &str = "VmRSS";
pub const PEAK: &str = "VmHWM";
pub const THREADS: &str = "Threads";

/// This program once more, in a process of its own that may have many sockets.
pub fn child(args: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 4096 2>/dev/null; exec \"$0\" \"$@\""]);
    command
        .arg(std::env::current_exe().expect("this program"))
        .args(args);
    command
}
