//! People come, talk and leave, with a terminal and without.

use crate::beacons::Port;
use crate::examples::program::Program;
use crate::examples::terminal::{Terminal, rows};

fn args<'a>(port: &'a str, name: &'a str) -> [&'a str; 6] {
    ["--bind", "127.0.0.1", "--port", port, "--name", name]
}

#[test]
fn all_hear_what_one_says_and_see_who_comes_and_leaves() {
    let port = Port::new();
    let number = port.number.to_string();
    let join = |name| Program::start("chatroom", &args(&number, name));
    let (mut alice, mut bob) = (join("alice"), join("bob"));
    alice.line_after("* bob is here, at 127.0.0.1:");
    bob.line_after("* alice is here, at 127.0.0.1:");
    let mut carol = join("carol");
    for program in [&mut alice, &mut bob] {
        program.line_after("* carol is here");
    }
    carol.line_after("* ");
    carol.line_after("* ");
    carol.line_after("* ");

    alice.write("hello\n\n");
    assert_eq!(bob.line_after("alice: "), "hello");
    assert_eq!(carol.line_after("alice: "), "hello");
    bob.write("\u{1b}[31mred\u{7}\nlast words\n");
    bob.end_input();
    for program in [&mut alice, &mut carol] {
        assert_eq!(program.line_after("bob: "), " [31mred ");
        assert_eq!(program.line_after("bob: "), "last words");
        program.line_after("* bob has left");
    }
    bob.succeed();

    carol.kill();
    alice.line_after("* carol "); // has left, or is gone
    alice.write("/who\n");
    assert_eq!(alice.line_after("* here are "), "");
    alice.write("/quit\n");
    alice.succeed();
}

#[test]
fn the_line_that_is_typed_stays_below_what_arrives() {
    let port = Port::new();
    let number = port.number.to_string();
    let mut bob = Program::start("chatroom", &args(&number, "bob"));
    let Some(mut alice) = Terminal::start("chatroom", &args(&number, "alice")) else {
        return;
    };
    bob.line_after("* alice is here");
    alice.shows("* bob is here");
    alice.press("half a li");
    alice.shows("> half a li");
    bob.write("one\ntwo\n");
    alice.until("both lines, and below them what is being typed", |screen| {
        let rows = rows(screen);
        let one = rows.iter().position(|row| row == "bob: one")?;
        assert_eq!(
            rows[one - 1],
            "* bob is here, at ".to_owned() + &rows[one - 1][18..]
        );
        let below = [&rows[one + 1], &rows[one + 2]] == ["bob: two", "> half a li"];
        let cursor = (one as u16 + 2, "> half a li".len() as u16);
        (below && screen.cursor_position() == cursor).then_some(())
    });
    alice.press("ne\r");
    assert_eq!(bob.line_after("alice: "), "half a line");

    alice.press("forgotten\u{3}"); // Ctrl-C
    bob.line_after("* alice has left");
    alice.ended(0);
}

#[test]
fn it_explains_its_arguments() {
    let mut program = Program::start("chatroom", &["--help"]);
    program.fail(1);
    assert!(program.errors().contains("usage: "));
}
