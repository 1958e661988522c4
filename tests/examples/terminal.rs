//! An example in a terminal: `script` gives it one, and `vt100` knows what stands there.

use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use vt100::{Parser, Screen};

use crate::examples::program::path_of;

const DEADLINE: Duration = Duration::from_secs(120);
const ROWS: NonZeroU16 = NonZeroU16::new(24).unwrap();
const COLUMNS: NonZeroU16 = NonZeroU16::new(80).unwrap();

pub struct Terminal {
    script: Child,
    parser: Arc<Mutex<Parser>>,
}

impl Terminal {
    /// None, after a notice, where the system's `script` is another one.
    pub fn start(name: &str, args: &[&str]) -> Option<Terminal> {
        if !cfg!(target_os = "linux") {
            eprintln!("SKIPPED, the terminal comes from the `script` of util-linux");
            return None;
        }
        let quoted = args.iter().map(|arg| format!(" '{arg}'"));
        let program = format!(
            "'{}'{}",
            path_of(name).display(),
            quoted.collect::<String>()
        );
        let command = format!(
            "stty rows {ROWS} cols {COLUMNS}; before=$(stty -g); {program}; code=$?; echo; \
             [ \"$before\" = \"$(stty -g)\" ] && echo \"ended with $code\" || stty -a"
        );
        let mut script = Command::new("script")
            .args(["--quiet", "--flush", "--command", &command, "/dev/null"])
            .env("RUST_LOG", "warn")
            .env("TERM", "xterm-256color")
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("`script`, of util-linux");
        let mut output = script.stdout.take().expect("it is piped");
        let parser = Arc::new(Mutex::new(Parser::new(ROWS, COLUMNS, 0)));
        let terminal = Terminal {
            script,
            parser: Arc::clone(&parser),
        };
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(len @ 1..) = output.read(&mut buffer) {
                lock(&parser).process(&buffer[..len]);
            }
        });
        Some(terminal)
    }

    pub fn press(&mut self, keys: &str) {
        let input = self.script.stdin.as_mut().expect("its input is open");
        input.write_all(keys.as_bytes()).expect("it reads");
        input.flush().expect("it reads");
    }

    /// Waits until the screen is so, and gives what was found there.
    #[track_caller]
    pub fn until<T>(&self, what: &str, found: impl Fn(&Screen) -> Option<T>) -> T {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(found) = found(lock(&self.parser).screen()) {
                return found;
            }
            if Instant::now() > end {
                let contents = lock(&self.parser).screen().contents();
                panic!("not within {DEADLINE:?}: {what}\n{contents}");
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until a row begins so.
    #[track_caller]
    pub fn shows(&self, start: &str) {
        self.until(start, |screen| {
            rows(screen)
                .iter()
                .any(|row| row.starts_with(start))
                .then_some(())
        });
    }

    /// Waits for the program's end; the terminal must be as it was.
    #[track_caller]
    pub fn ended(&self, code: i32) {
        let end = format!("ended with {code}");
        self.until(&end, |screen| {
            let row = rows(screen).iter().position(|row| *row == end)?;
            assert!(!screen.alternate_screen() && !screen.hide_cursor());
            // The shell's words have the colours that the program has left behind.
            let cell = screen.cell(row as u16, 0)?;
            assert_eq!(cell.fgcolor(), vt100::Color::Default);
            assert_eq!(cell.bgcolor(), vt100::Color::Default);
            Some(())
        });
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // The program loses its terminal, and ends by that.
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}

/// The screen's rows, from the top, without what is blank at their ends.
pub fn rows(screen: &Screen) -> Vec<String> {
    let rows = screen.rows(0, COLUMNS.get());
    rows.map(|row| row.trim_end().to_owned()).collect()
}

fn lock(parser: &Mutex<Parser>) -> MutexGuard<'_, Parser> {
    parser.lock().expect("nobody panics with it")
}
