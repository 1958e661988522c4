//! What goes in, and what comes out.

use std::io::{self, BufRead, Write};
use std::thread;
use std::time::Duration;

use lanpeer::crossbeam_channel::{Receiver, after, bounded, never, select};
use lanpeer::{Connection, DataType, Dynamic, Message};
use serde_json::Value;

use crate::options::{Options, Result};

/// Sends the input and prints what comes: until the other side closes, or, where `wait` is given,
/// nothing has come for so long after the end of the input.
pub fn talk(
    conn: &Connection<Dynamic>,
    mut wait: Option<Duration>,
    options: &Options,
) -> Result<()> {
    options.say(format!(
        "connected: {}, {}",
        conn.peer_addr(),
        conn.data_type()
    ));
    // On a thread of its own: two programs that both wait to send must still receive.
    let mut input = spawn(conn, send_input);
    let (mut sent, mut closed, mut silence) = (None, None, never());
    loop {
        select! {
            recv(conn.receiver()) -> message => match message {
                Ok(message) => print(&message)?,
                Err(_) => break, // it has ended, and everything is printed
            },
            recv(input) -> outcome => {
                let outcome = outcome?;
                if outcome.is_err() {
                    wait = Some(Duration::ZERO);
                }
                (input, sent) = (never(), Some(outcome));
            }
            recv(silence) -> _ => {
                wait = None;
                closed = Some(spawn(conn, close));
            }
        }
        silence = match wait {
            Some(wait) if sent.is_some() => after(wait),
            _ => never(),
        };
    }
    let reason = conn.close_reason().ok_or("it has not ended")?;
    options.say(format!("ended: {reason}"));
    if let Some(closed) = closed {
        closed.recv()??;
    }
    if !reason.is_normal() {
        return Err(reason.to_string().into());
    }
    // Input that could not be sent any more is an error. To wait for more of it would be none.
    let moment = Duration::from_millis(100);
    sent.or_else(|| input.recv_timeout(moment).ok())
        .unwrap_or(Ok(()))
}

fn close(conn: &Connection<Dynamic>) -> Result<()> {
    let outcome = conn.close();
    conn.abort(); // where `close` ran out of time; otherwise this does nothing
    Ok(outcome?)
}

fn send_input(conn: &Connection<Dynamic>) -> Result<()> {
    let stdin = io::stdin().lock();
    if conn.data_type() == DataType::Bytes {
        for line in stdin.split(b'\n') {
            conn.send(&Message::bytes(line?))?;
        }
        return Ok(());
    }
    for value in serde_json::Deserializer::from_reader(stdin).into_iter::<Value>() {
        let value = value.map_err(|error| format!("stdin: {error}"))?;
        conn.send(&match conn.data_type() {
            DataType::Json => Message::json(&value)?,
            _ => Message::raw(&value)?,
        })?;
    }
    Ok(())
}

fn print(message: &Message) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match message.data_type() {
        DataType::Bytes => stdout.write_all(message.payload())?,
        _ => write!(stdout, "{}", message.decode::<Value>()?)?,
    }
    Ok(writeln!(stdout)?)
}

/// Does something with the connection on another thread; the channel brings the outcome.
fn spawn(
    conn: &Connection<Dynamic>,
    work: impl FnOnce(&Connection<Dynamic>) -> Result<()> + Send + 'static,
) -> Receiver<Result<()>> {
    let (done, outcome) = bounded(1);
    let conn = conn.clone();
    thread::spawn(move || done.send(work(&conn)));
    outcome
}
