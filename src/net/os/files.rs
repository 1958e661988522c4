//! How many files the process may have open.

use super::system::fs;

/// The limit of now: of files, sockets among them. `None` where the system does not say.
pub(crate) fn file_limit() -> Option<usize> {
    // The call that asks for it is not safe Rust. Linux tells it in a file, too.
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    read(&limits)
}

/// The soft limit in the text of /proc/self/limits: the second column of its line.
fn read(limits: &str) -> Option<usize> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_ascii_whitespace().next()? {
        "unlimited" => Some(usize::MAX),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_number_counts() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max cpu time              unlimited            unlimited            seconds   \n\
                    Max open files            1024                 524288               files     \n";
        assert_eq!(read(text), Some(1024));
        assert_eq!(
            read("Max open files  unlimited  unlimited"),
            Some(usize::MAX)
        );
        assert_eq!(read("Max cpu time  1  2  seconds"), None);
        assert_eq!(read("Max open files"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn linux_says_it() {
        assert!(file_limit().is_some_and(|limit| limit > 0));
    }
}
