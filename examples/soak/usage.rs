//! What a process uses, as Linux says in /proc; on other systems nothing is known.

use std::fs;

#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Resident memory in kB.
    pub memory: u64,
    pub threads: u64,
    pub files: u64,
}

pub fn of(process: u32) -> Option<Usage> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let number = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_ascii_whitespace().next()?.parse().ok()
    };
    Some(Usage {
        memory: number("VmRSS:")?,
        threads: number("Threads:")?,
        files: fs::read_dir(format!("/proc/{process}/fd")).ok()?.count() as u64,
    })
}
