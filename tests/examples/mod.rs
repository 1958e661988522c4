//! The examples run as their first lines say: as processes, with each other.

mod program;
mod terminal;

mod camera;
mod chatroom;
mod doctor;
mod lab;
mod netcat;
mod secret;
mod send_file;
mod soak;
mod sync_worker;
mod telemetry;
mod tour;
