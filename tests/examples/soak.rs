//! The soak for a few seconds, and its verdict on ledgers that are wrong.

#[allow(dead_code)]
#[path = "../../examples/soak/ledger.rs"]
mod ledger;
#[allow(dead_code)]
#[path = "../../examples/soak/message.rs"]
mod message;
#[allow(dead_code)]
#[path = "../../examples/soak/verdict.rs"]
mod verdict;

use std::collections::HashSet;
use std::process::Command;
use std::time::Duration;

use crate::common::example::example;
use crate::common::peerpy::Process;
use crate::dice;
use ledger::{Field, Record, end, process, reason};
use message::{Arrived, BACKWARDS, RELAYED};
use verdict::Verdict;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[test]
fn nothing_is_lost_silently_while_everything_breaks() {
    let mut soak = Command::new(example("soak"));
    soak.arg("4");
    let mut soak = Process::start(&mut soak).expect("start the soak");
    let status = soak.wait(Duration::from_secs(180));
    let story = soak.story();
    println!("{story}");
    assert!(
        status.is_some_and(|status| status.success()),
        "{status:?}\n{story}"
    );
}

/// A page of the side that asked, and one of the side that was asked.
fn pages(asker: &[(Field, u64)], asked: &[(Field, u64)]) -> [Record; 2] {
    [(0, asker), (BACKWARDS, asked)].map(|(flags, fields)| {
        let mut page = Record::default();
        page.0[Field::Session as usize] = 1;
        page.0[Field::Flags as usize] = flags;
        for &(field, number) in fields {
            page.0[field as usize] |= number;
        }
        page
    })
}

const KILLED: u64 = process(3, 0);

fn verdict(pages: &[Record]) -> Verdict {
    Verdict::of(pages.iter().copied(), &HashSet::from([KILLED]))
}

#[test]
fn what_was_told_is_no_silent_loss() {
    use Field::{End, Flags, Partner, Reason, Received, Sent};
    let all = pages(
        &[
            (Sent, 5),
            (End, end::ACKNOWLEDGED),
            (Reason, reason::CLOSED_HERE),
        ],
        &[
            (Received, 5),
            (End, end::ERROR),
            (Reason, reason::CLOSED_THERE),
        ],
    );
    assert!(verdict(&all).holds());
    // Five sent, three delivered, and who was told.
    let lost = |sender: &[_], receiver: &[_]| {
        let sender = [&[(Sent, 5)], sender].concat();
        let receiver = [&[(Received, 3)], receiver].concat();
        verdict(&pages(&sender, &receiver)).lost
    };
    let reset = [(Reason, reason::RESET)];
    assert_eq!(lost(&[(End, end::ERROR)], &reset).told_sender, 2);
    assert_eq!(lost(&[(End, end::DROPPED)], &reset).told_receiver, 2);
    let dropped = [(Reason, reason::DROPPED)];
    assert_eq!(lost(&[(End, end::ACKNOWLEDGED)], &dropped).left, 2);
    assert_eq!(lost(&[], &reset).with_sender, 2);
    let closed = [(Reason, reason::CLOSED_THERE)];
    let killed = [(End, end::DROPPED), (Field::Killed, 1)];
    assert_eq!(lost(&killed, &closed).with_sender, 2);
    assert_eq!(lost(&[(End, end::ACKNOWLEDGED)], &[]).with_receiver, 2);
    let both = [
        (End, end::ACKNOWLEDGED),
        (Flags, RELAYED),
        (Reason, reason::CLOSED_THERE),
    ];
    // No relay says a goodbye, whatever became of it.
    assert_eq!(lost(&both, &reset).silent, 2);
    let aborted = [(End, end::ERROR), (Flags, RELAYED), (Field::Killed, 1)];
    assert_eq!(lost(&aborted, &closed).silent, 2);
    let vanished = [(Reason, reason::VANISHED)];
    assert_eq!(lost(&aborted, &vanished).told_sender, 2);
    // The receiver had closed, and aborted then.
    let after = [(End, end::ACKNOWLEDGED), (Reason, reason::CLOSED_THERE)];
    for aborted in [reason::ABORTED, reason::STOPPED_AND_ABORTED] {
        assert_eq!(lost(&after, &[(Reason, aborted)]).left, 2);
    }
    // And nobody:
    assert_eq!(lost(&after, &[(Reason, reason::STOPPED)]).silent, 2);
    assert_eq!(lost(&[(End, end::ACKNOWLEDGED)], &reset).silent, 2);
    for told in [end::ACKNOWLEDGED, end::ERROR, end::DROPPED] {
        assert_eq!(
            lost(&[(End, told)], &[(Reason, reason::CLOSED_THERE)]).silent,
            2
        );
    }
    // The side that was asked has nothing to say where its process was killed.
    for (partner, silent) in [(KILLED, 0), (process(4, 0), 5)] {
        let sent = [(Sent, 5), (End, end::ACKNOWLEDGED), (Partner, partner)];
        assert_eq!(verdict(&pages(&sent, &[])[..1]).lost.silent, silent);
    }
}

#[test]
fn what_is_wrong_does_not_hold() {
    for field in [
        Field::Altered,
        Field::Doubled,
        Field::Reordered,
        Field::Missing,
    ] {
        let one = pages(&[(Field::Sent, 1)], &[(Field::Received, 1), (field, 1)]);
        assert!(!verdict(&one).holds());
    }
    let one = pages(&[(Field::Sent, 1)], &[(Field::Received, 1)]);
    assert!(verdict(&one).holds());
    assert!(!verdict(&[one[0], one[0]]).holds(), "one side twice");
    assert!(!verdict(&one[1..]).holds(), "nobody asked");
    assert!(!verdict(&[]).holds(), "nothing was delivered");
}

#[test]
fn a_receiver_sees_what_is_wrong() {
    let message = |number, size| {
        let mut buffer = Vec::new();
        message::write(&mut buffer, 1, BACKWARDS, number, size);
        buffer
    };
    let mut arrived = Arrived::default();
    for number in [0, 1, 1, 3, 5, 4] {
        arrived.take(&message(number, 100), 1, BACKWARDS);
    }
    let Arrived {
        received,
        doubled,
        reordered,
        altered,
        ..
    } = arrived;
    assert_eq!(
        (received, doubled, reordered, altered, arrived.missing()),
        (5, 1, 1, 0, 1)
    );
    for size in [0, 1, 7, 8, 100] {
        let whole = message(6, size);
        for at in 0..whole.len() {
            let mut altered = whole.clone();
            altered[at] ^= 1;
            arrived.take(&altered, 1, BACKWARDS);
            arrived.take(&whole[..at], 1, BACKWARDS);
        }
        arrived.take(&whole, 2, BACKWARDS);
        arrived.take(&whole, 1, 0);
        assert_eq!(arrived.altered as usize, 2 * whole.len() + 2);
        arrived.altered = 0;
    }
    assert_eq!(arrived.received, 5);
}
