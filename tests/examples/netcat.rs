//! netcat as scripts use it: what goes in, what comes out, and the exit codes.

use crate::beacons::Port;
use crate::examples::program::Program;

/// One that listens, and where.
fn listen(port: &Port, args: &[&str]) -> (Program, String) {
    let port = port.number.to_string();
    let all = [&["listen", "127.0.0.1:0", "--port", &port], args].concat();
    let mut listener = Program::start("netcat", &all);
    let addr = listener.error_after("listening on ");
    (listener, addr)
}

fn connect(args: &[&str]) -> Program {
    Program::start("netcat", &[&["connect"], args].concat())
}

#[test]
fn lines_become_messages_and_messages_lines() {
    let port = Port::new();
    let (mut listener, addr) = listen(&port, &[]);
    let mut caller = connect(&["--wait", "60", &addr]);
    caller.write("hello\n\nthe last one, without its end");
    caller.end_input();
    assert_eq!(listener.line().as_deref(), Some("hello"));
    assert_eq!(listener.line().as_deref(), Some(""));
    assert_eq!(
        listener.line().as_deref(),
        Some("the last one, without its end")
    );

    // The caller waits for answers; the end of the listener's own input ends nothing.
    listener.write("answer\n");
    listener.end_input();
    assert_eq!(caller.line().as_deref(), Some("answer"));
    caller.kill();
    assert_eq!(listener.fail(1), [""; 0]);
    let ended = "ended: the other side ended without a goodbye";
    assert!(listener.errors().contains(ended), "{}", listener.errors());
}

#[test]
fn a_whole_file_goes_through_before_it_closes() {
    let port = Port::new();
    let (mut listener, addr) = listen(&port, &[]);
    let mut caller = connect(&["--quiet", &addr]);
    let lines: Vec<String> = (0..20_000).map(|n| format!("line {n}")).collect();
    caller.write(&lines.join("\n"));
    caller.end_input();
    assert_eq!(listener.succeed(), lines);
    assert_eq!(caller.succeed(), [""; 0]);
    assert_eq!(caller.errors(), "");
}

#[test]
fn json_values_become_messages_and_messages_json() {
    let port = Port::new();
    for format in ["--json", "--raw"] {
        let (mut listener, addr) = listen(&port, &[]);
        let mut caller = connect(&[format, &addr]);
        caller.write("{\"n\":\n  [1, 2.5, null]} \"two\\nlines\" 3\n");
        caller.end_input();
        let lines = listener.succeed();
        assert_eq!(
            lines,
            [r#"{"n":[1,2.5,null]}"#, r#""two\nlines""#, "3"],
            "{format}"
        );
        caller.succeed();
    }
}

#[test]
fn what_is_no_json_is_an_error_after_what_was() {
    let port = Port::new();
    let (mut listener, addr) = listen(&port, &[]);
    let mut caller = connect(&["--json", &addr]);
    caller.write("{\"good\":1}\nbad\n");
    caller.fail(1);
    assert!(caller.errors().contains("netcat: stdin: "));
    assert_eq!(listener.succeed(), [r#"{"good":1}"#]);
}

#[test]
fn input_that_nobody_takes_any_more_is_an_error() {
    let port = Port::new();
    let (mut listener, addr) = listen(&port, &[]);
    let mut caller = connect(&[&addr]);
    listener.error_after("connected: ");
    listener.kill();
    // Whether or not it knows already: its lines have nowhere to go.
    caller.error_after("ended: ");
    caller.fail(1); // it has not heard a goodbye

    let (mut listener, addr) = listen(&port, &[]);
    let mut caller = connect(&[&addr]);
    listener.error_after("connected: ");
    listener.signal("STOP");
    // More than fits into its input: when all of it is written, it has sent most of it.
    caller.write(&("x".repeat(60_000) + "\n").repeat(16));
    listener.kill();
    caller.fail(1);
}

#[test]
fn exit_codes_tell_what_went_wrong() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = nobody.local_addr().expect("its address").to_string();
    drop(nobody);
    let mut caller = connect(&[&addr]);
    assert_eq!(caller.fail(1), [""; 0]);
    assert!(caller.errors().starts_with("netcat: cannot connect to "));

    for args in [
        &[][..],
        &["listen"],
        &["connect", "--wait", "-1", &addr],
        &["connect", "--no"],
    ] {
        let mut program = Program::start("netcat", args);
        assert_eq!(program.fail(2), [""; 0]);
        assert!(program.errors().contains("usage: "));
    }
}

#[test]
fn discover_prints_one_peer_a_line() {
    let port = Port::new();
    let number = port.number.to_string();
    let search = |time| {
        let args = [
            "discover",
            "--bind",
            "127.0.0.1",
            "--port",
            &number,
            "--time",
            time,
        ];
        Program::start("netcat", &[&args[..], &["--service", "netcat"]].concat())
    };
    let mut alone = search("0.05");
    assert_eq!(alone.fail(1), [""; 0]);
    assert_eq!(alone.errors(), "netcat: nobody was found");

    let (_listener, addr) = listen(&port, &[]);
    let _other = port.peer("not a netcat");
    let lines = search("1").succeed();
    let [line] = &lines[..] else {
        panic!("{lines:?}")
    };
    let columns: Vec<&str> = line.split('\t').collect();
    assert_eq!(
        (columns.len(), columns[0], columns[2]),
        (3, &*addr, "netcat")
    );
}
