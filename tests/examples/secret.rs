//! The examples that take a secret: who has it is in, who has not is not.

#[cfg(not(feature = "secure"))]
#[test]
fn without_the_feature_a_secret_is_an_error_and_not_forgotten() {
    use std::process::Command;

    use crate::examples::program::{Program, path_of};

    for args in [
        &["netcat", "listen", "127.0.0.1:0"][..],
        &["netcat", "connect", "127.0.0.1:1"],
        &["chatroom", "--bind", "127.0.0.1"],
    ] {
        let (name, args) = (args[0], &args[1..]);
        let with_file = [args, &["--secret-file", "any"]].concat();
        let mut in_environment = Command::new(path_of(name));
        in_environment.args(args).env("LANPEER_SECRET", "any");
        for mut program in [
            Program::start(name, &with_file),
            Program::run(&mut in_environment),
        ] {
            assert_eq!(program.fail(1), [""; 0]);
            assert!(program.errors().ends_with("`--features secure`"));
        }
    }
}

#[cfg(feature = "secure")]
mod secure {
    use std::path::PathBuf;
    use std::process::Command;

    use crate::beacons::Port;
    use crate::examples::program::{Program, path_of};

    /// A file with a secret, made by netcat; removed at the end.
    struct SecretFile(PathBuf);

    impl SecretFile {
        fn new(name: &str) -> SecretFile {
            let name = format!("lanpeer-{name}-{}.secret", std::process::id());
            let file = SecretFile(std::env::temp_dir().join(name));
            let _ = std::fs::remove_file(&file.0);
            Program::start("netcat", &["secret", file.path()]).succeed();
            file
        }

        fn path(&self) -> &str {
            self.0.to_str().expect("plain names")
        }

        fn text(&self) -> String {
            std::fs::read_to_string(&self.0).expect("netcat has made it")
        }
    }

    impl Drop for SecretFile {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn netcat_talks_to_those_who_have_the_secret() {
        let (ours, theirs) = (SecretFile::new("ours"), SecretFile::new("theirs"));
        assert_ne!(ours.text(), theirs.text());
        Program::start("netcat", &["secret", ours.path()]).fail(1); // never over another

        let port = Port::new();
        let number = port.number.to_string();
        let listen = ["listen", "--port", &number, "--secret-file", ours.path()];
        let mut listener = Program::start("netcat", &[&listen[..], &["127.0.0.1:0"]].concat());
        let addr = listener.error_after("listening on ");

        let mut none = Program::start("netcat", &["connect", &addr]);
        none.fail(1);
        assert!(none.errors().contains("secret"), "{}", none.errors());
        let other = ["connect", "--secret-file", theirs.path(), &addr];
        let mut other = Program::start("netcat", &other);
        other.fail(1);
        assert!(other.errors().contains("secret"), "{}", other.errors());

        let mut caller = Command::new(path_of("netcat"));
        caller.args(["connect", &addr]);
        caller.env("LANPEER_SECRET", ours.text().trim());
        let mut caller = Program::run(&mut caller);
        caller.write("hello\n");
        caller.end_input();
        caller.succeed();
        assert_eq!(listener.succeed(), ["hello"]);

        let bad = ["connect", "--secret-file", "/nowhere/at/all", &addr];
        Program::start("netcat", &bad).fail(1);
    }

    #[test]
    fn a_chat_room_is_for_those_who_have_its_secret() {
        let file = SecretFile::new("room");
        let port = Port::new();
        let number = port.number.to_string();
        let join = |name, more: &[&str]| {
            let args = ["--bind", "127.0.0.1", "--port", &number, "--name", name];
            Program::start("chatroom", &[&args[..], more].concat())
        };
        let secret = ["--secret-file", file.path()];
        let mut eve = join("eve", &[]);
        eve.line_after("* you are eve");
        let (mut alice, mut bob) = (join("alice", &secret), join("bob", &secret));
        alice.line_after("* bob is here");
        bob.line_after("* alice is here");
        alice.write("for us only\n/who\n");
        assert_eq!(bob.line_after("alice: "), "for us only");
        assert_eq!(alice.line_after("* here are "), "bob");
        eve.write("let me in\n");
        for program in [&mut alice, &mut bob, &mut eve] {
            program.write("/quit\n");
            program.succeed();
        }
        for (program, others) in [(&alice, 1), (&bob, 1), (&eve, 0)] {
            let said = program.said();
            let here = said.iter().filter(|line| line.contains(" is here, at "));
            assert_eq!(here.count(), others, "{said:?}");
            assert!(!said.iter().any(|line| line.contains("let me in")));
        }
    }
}
