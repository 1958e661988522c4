//! lanpeer beside a bare socket, in one run of some minutes.
//!
//!     cargo bench --bench socket                          # everything
//!     cargo bench --bench socket -- 64B broadcast idle    # rows whose names begin so
//!     cargo bench --bench socket -- --rounds 3
//!
//! The rows are named in `rows.rs`; then there are `link`, `idle`, `load`, `many`, `requests` and `latest`,
//! each in a file of its own. The limit is the best simple blocking program that we know over a bare `TcpStream`,
//! with the size of each message in 4 bytes before it; the same with headers of 128 bytes stands beside
//! it. Both ends run in this process. Rounds are interleaved, and medians are
//! printed, as ratios to the limit of the same run. It prints figures and asserts nothing.
//!
//! The same beside other libraries: `benches/rivals`, a package of its own.

mod idle;
mod latest;
mod limit;
mod link;
mod load;
mod many;
mod measure;
mod peers;
mod program;
mod report;
mod requests;
mod rows;

fn main() {
    let programs = report::own();
    if let Some(asked) = report::Asked::from_args(&programs) {
        asked.measure(&programs);
    }
}
