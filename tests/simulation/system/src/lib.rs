//! A system for the library to run on in simulation: see `tests/simulation/src/main.rs`.
//!
//! | file | |
//! | --- | --- |
//! | `world` | who runs when, and the time |
//! | `pool` | the threads of the machine that all of it runs on |
//! | `local` | thread-locals |
//! | `sync` | locks, waits, threads, clocks, in place of the library's `net/os/sync.rs` |
//! | `channel` | channels, as crossbeam's |
//! | `system` | sockets and interfaces, in place of the library's `net/os/system.rs` |
//! | `net` | hosts and links |
//! | `net::tcp`, `net::udp` | what the kernels of the hosts do |

pub mod channel;
pub mod dice;
pub mod local;
pub mod net;
pub mod pool;
pub mod sync;
pub mod system;
pub mod world;

pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| text.to_string());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "something that is no text".to_owned())
}
