//! The states of a connection, without any.

use CloseReason::{Aborted, ClosedHere, ClosedThere, Reset, Stopped};
use Outcome::{Complete, Unknown};

use super::*;

#[test]
fn a_close_by_this_side() {
    let mut state = State::Open;
    assert!(state.begin(ClosedHere, Manner::Finish));
    assert_eq!((state.reason(), state.phase()), (None, ENDING));
    state.fin_sent();
    state.remote_finished();
    assert_eq!(
        state.reason(),
        None,
        "not before all of ours is known to be there"
    );
    assert_eq!(state.end(ClosedHere, Complete), Some(ClosedHere));
    assert_eq!((state.reason(), state.phase()), (Some(&ClosedHere), OVER));
}

#[test]
fn a_close_by_the_other_side() {
    let mut state = State::Open;
    state.remote_finished();
    assert_eq!(state.reason(), Some(&ClosedThere));
    assert!(state.begin(ClosedHere, Manner::Finish), "nothing to add");
    assert_eq!(
        state.end(Reset, Unknown),
        Some(ClosedThere),
        "the first cause"
    );
}

#[test]
fn the_first_cause_counts_and_one_call_ends_it() {
    let mut state = State::Open;
    assert_eq!(state.end(Aborted, Unknown), Some(Aborted));
    assert_eq!(state.end(Reset, Complete), None);
    assert!(!state.begin(Stopped, Manner::Finish));
    state.remote_finished();
    state.fin_sent();
    let over = State::Over {
        reason: Aborted,
        outcome: Unknown,
    };
    assert_eq!(state, over);
}

/// One that is being closed and breaks has ended by what broke it.
#[test]
fn a_close_that_fails_ends_by_its_failure() {
    let mut state = State::Open;
    state.begin(ClosedHere, Manner::Finish);
    assert_eq!(state.end(Reset, Unknown), Some(Reset));
}

#[test]
fn a_manner_only_becomes_harder() {
    let manner = |state: &State| match state {
        State::Closing { manner, .. } => *manner,
        other => panic!("{other:?}"),
    };
    let mut state = State::Open;
    state.begin(ClosedHere, Manner::Finish);
    state.begin(ClosedHere, Manner::Leave);
    assert_eq!(manner(&state), Manner::Leave);
    state.begin(ClosedHere, Manner::Reset);
    state.begin(Stopped, Manner::Finish);
    assert_eq!(manner(&state), Manner::Reset);

    let mut state = State::Open;
    state.begin(ClosedHere, Manner::Finish);
    assert!(state.begin_fin());
    state.begin(ClosedHere, Manner::Leave);
    assert_eq!(manner(&state), Manner::Leave);
    assert!(state.begin_fin(), "it cannot be taken back");
    state.begin(ClosedHere, Manner::Reset);
    assert_eq!(
        manner(&state),
        Manner::Reset,
        "what is thrown away behind it is told"
    );
}

/// Whoever decides first, the FIN or what does without it, decides for both.
#[test]
fn no_fin_follows_where_nobody_takes_messages_any_more() {
    for harder in [Manner::Leave, Manner::Reset] {
        let mut state = State::Open;
        assert!(!state.begin_fin(), "it is open");
        state.begin(ClosedHere, Manner::Finish);
        state.begin(ClosedHere, harder);
        assert!(!state.begin_fin(), "{harder:?}");
    }
    let mut state = State::Open;
    state.begin(ClosedHere, Manner::Leave);
    state.remote_finished();
    assert!(state.begin_fin(), "nothing can come any more");
    let mut state = State::Open;
    state.remote_finished();
    assert!(state.begin_fin(), "an answer");
    assert!(state.begin_fin(), "more of its record is left");
    state.fin_sent();
    assert!(!state.begin_fin(), "once");
}

/// The handler that has closed it may work on until the deadline, and beyond.
#[test]
fn what_was_closed_completely_stays_so_when_its_time_is_over() {
    let life = Life::default();
    life.complete();
    assert!(!life.is_ending(), "it is open");
    life.begin(ClosedHere, Manner::Finish);
    life.complete();
    assert_eq!(life.reason(), None, "the handler is still called");
    assert_eq!(life.end(CloseReason::TimedOut, Unknown), Some(ClosedHere));
    assert_eq!(life.wait(Instant::now()), Some((ClosedHere, Complete)));
    // What else ends it is its reason, and nothing that was sent is missing.
    let life = Life::default();
    life.begin(ClosedHere, Manner::Finish);
    life.complete();
    assert_eq!(life.end(Aborted, Unknown), Some(Aborted));
    assert_eq!(life.wait(Instant::now()), Some((Aborted, Complete)));
}

#[test]
fn an_answer_becomes_a_reset_where_something_is_thrown_away() {
    let mut state = State::Open;
    state.remote_finished();
    state.begin(ClosedHere, Manner::Leave);
    assert_eq!(state.phase(), ENDING);
    let manner = |state: &State| match state {
        State::Answering { manner, .. } => *manner,
        other => panic!("{other:?}"),
    };
    assert_eq!(manner(&state), Manner::Finish);
    state.begin(ClosedHere, Manner::Reset);
    assert_eq!(manner(&state), Manner::Reset);
    assert_eq!(state.reason(), Some(&ClosedThere));
}

#[test]
fn a_wait_ends_with_the_connection() {
    let life = Life::default();
    assert_eq!(life.wait(Instant::now()), None);
    assert!(!life.is_ending());
    assert_eq!(life.end(Aborted, Unknown), Some(Aborted));
    assert!(life.is_ending() && life.is_over());
    assert_eq!(life.wait(Instant::now()), Some((Aborted, Unknown)));
}

#[test]
fn the_first_fault_is_kept() {
    let life = Life::default();
    assert_eq!(life.look(|| Ok(3)), Some(3));
    assert_eq!(life.look(|| Err::<(), _>(Reset)), None);
    life.note_fault(Aborted);
    assert_eq!(life.fault(), Some(Reset));
}
