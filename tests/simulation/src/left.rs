//! What a process has when its peer is stopped.

use std::time::Duration;

use simulated_system::net;
use simulated_system::world::{self, MILLI};

/// A thread that had done its work before `stop` may be on its way out for so long.
const LEAVING: u64 = 20 * MILLI;

/// The threads of this process, but for the current one, and its sockets, that are left after so many
/// milliseconds. Empty: none.
pub fn of_this_process(millis: u64) -> String {
    let process = world::who().1;
    let until = world::now() + LEAVING + millis * MILLI;
    loop {
        let threads = world::with(|inner, _| inner.threads_of(process));
        let sockets = net::open_sockets(process);
        if threads.len() <= 1 && sockets == 0 {
            return String::new();
        }
        if world::now() >= until {
            return format!("left after stop: {threads:?}, {sockets} sockets");
        }
        world::sleep(Duration::from_millis(1));
    }
}
