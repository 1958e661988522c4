//! The tour to its end, and hello_world between two processes.

use crate::examples::program::Program;

#[test]
fn tour_explains_itself_and_ends() {
    let mut tour = Program::start("tour", &[]);
    let lines = tour.succeed();
    for said in [
        "I listen on 127.0.0.1:",
        "received Reading",
        "received \"three\"",
        "received 1000 frames",
        "denied, reason Some(\"not-today\")",
        "ended: closed by the other side",
        "ended: aborted by this side",
        "ended: reset by the other side",
        "ended: this peer was stopped",
        "wire: HELLO|address_name=127.0.0.1:",
        "wire: DATA|data_size=16&data_type=json",
        r#"wire: {"data":"hello"}"#,
        "That was all.",
    ] {
        assert!(
            lines.iter().any(|line| line.contains(said)),
            "the tour does not say {said:?}:\n{}",
            lines.join("\n")
        );
    }
}

#[test]
fn hello_world_between_two_processes() {
    let mut listener = Program::start("hello_world", &[]);
    let addr = listener.line_after("listening on ");
    let mut caller = Program::start("hello_world", &[&addr]);

    let (called, status) = caller.finish();
    assert!(status.success(), "{status}\n{}", called.join("\n"));
    let (heard, status) = listener.finish();
    assert!(status.success(), "{status}\n{}", heard.join("\n"));

    let received = |lines: &[String]| -> Vec<String> {
        lines
            .iter()
            .filter_map(|line| line.strip_prefix("received: "))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(
        received(&heard),
        [r#""hello, world""#, r#"{"from":"lanpeer","n":1}"#]
    );
    assert_eq!(
        received(&called),
        [
            r#"{"heard":"hello, world"}"#,
            r#"{"heard":{"from":"lanpeer","n":1}}"#
        ]
    );
    assert_eq!(
        called.last().map(String::as_str),
        Some("ended: closed by this side")
    );
    assert_eq!(
        heard.last().map(String::as_str),
        Some("ended: closed by the other side")
    );
}

#[test]
fn hello_world_listens_where_it_is_told() {
    let mut listener = Program::start("hello_world", &["--listen", "127.0.0.2:0"]);
    let addr = listener.line_after("listening on ");
    assert!(addr.starts_with("127.0.0.2:"), "{addr}");
    let (_, status) = Program::start("hello_world", &[&addr]).finish();
    assert!(status.success(), "{status}");
    let (_, status) = listener.finish();
    assert!(status.success(), "{status}");
}

#[test]
fn hello_world_explains_its_arguments() {
    let (_, status) = Program::start("hello_world", &["--help"]).finish();
    assert!(!status.success());
    let (_, status) = Program::start("hello_world", &["no address"]).finish();
    assert!(!status.success());
}
