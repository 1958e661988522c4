//! lanpeer beside a bare socket and beside other libraries, in one run.
//!
//!     apt-get install cmake g++
//!     cargo run --release                        # everything: about eight minutes
//!     cargo run --release -- 64B round-trip      # rows whose names begin so
//!     cargo run --release -- --write             # and writes docs/performance.md and .svg
//!
//! The bare socket and lanpeer are the programs of `cargo bench --bench socket`, whose files are
//! part of this program. All send the same payloads between two threads of one process, with the
//! options that each has by default, in interleaved rounds.

mod ends;
mod events;
#[path = "../../socket/idle.rs"]
mod idle;
#[path = "../../socket/latest.rs"]
mod latest;
#[path = "../../socket/limit.rs"]
mod limit;
#[path = "../../socket/link.rs"]
mod link;
#[path = "../../socket/load.rs"]
mod load;
#[path = "../../socket/many.rs"]
mod many;
#[path = "../../socket/measure.rs"]
mod measure;
mod nanomsg;
mod omq;
mod page;
#[path = "../../socket/peers.rs"]
mod peers;
mod plot;
#[path = "../../socket/program.rs"]
mod program;
#[path = "../../socket/report.rs"]
mod report;
#[path = "../../socket/requests.rs"]
mod requests;
#[path = "../../socket/rows.rs"]
mod rows;
mod websocket;
mod zeromq;

use program::Program;

fn main() -> std::io::Result<()> {
    let [limit, owned, text, handler, recv] = report::own();
    let programs: [&dyn Program; 10] = [
        limit,
        owned,
        text,
        handler,
        recv,
        &zeromq::ZeroMq,
        &omq::Omq,
        &events::MessageIo,
        &websocket::Tungstenite,
        &nanomsg::Nng,
    ];
    let Some(asked) = report::Asked::from_args(&programs) else {
        return Ok(());
    };
    let report = asked.measure(&programs);
    if asked.flags.iter().any(|flag| flag == "--write") {
        let names: Vec<_> = programs[1..].iter().map(|program| program.name()).collect();
        page::write(&report, &names)?;
    }
    Ok(())
}
