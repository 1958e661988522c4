//! The program's code that runs on threads of the library: its handler, the `Deserialize` of its
//! types, and the drop of what belongs to it. It may panic.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::error::CloseReason;
use crate::net::os::threads;

/// Runs code of the program. A panic in it ends the connection, and is not passed on.
#[inline]
pub(crate) fn unless_it_panics<T>(
    run: impl FnOnce() -> Result<T, CloseReason>,
) -> Result<T, CloseReason> {
    let result = catch_unwind(AssertUnwindSafe(run));
    result.unwrap_or_else(|panic| {
        let text = text_of(&*panic);
        let_go(panic);
        Err(CloseReason::HandlerPanicked(text))
    })
}

/// Drops what is the program's, which may panic.
pub(crate) fn let_go<T>(owned: T) {
    let _ = threads::unless_it_panics(|| drop(owned));
}

/// Drops all of these, which are the program's. What the first panic says goes on to the caller when
/// the last one is dropped; the others are not passed on, since two at once would abort the process.
pub(crate) fn let_go_of_all<T>(owned: impl IntoIterator<Item = T>) {
    let mut first = None;
    for one in owned {
        match catch_unwind(AssertUnwindSafe(|| drop(one))) {
            Err(panic) if first.is_none() => first = Some(panic),
            Err(panic) => let_go(panic),
            Ok(()) => {}
        }
    }
    match first {
        Some(panic) if std::thread::panicking() => let_go(panic),
        Some(panic) => resume_unwind(panic),
        None => {}
    }
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a text").to_owned()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    struct PanicsInDrop;

    impl Drop for PanicsInDrop {
        fn drop(&mut self) {
            std::panic::panic_any(PanicsInDropOnce);
        }
    }

    struct PanicsInDropOnce;

    impl Drop for PanicsInDropOnce {
        fn drop(&mut self) {
            panic!("again");
        }
    }

    #[test]
    fn a_drop_that_panics_with_what_panics_in_its_drop() {
        let_go(PanicsInDrop);
    }

    #[test]
    fn of_many_drops_that_panic_the_first_is_passed_on_behind_the_last() {
        struct Fragile<'a>(&'a Cell<u32>);
        impl Drop for Fragile<'_> {
            fn drop(&mut self) {
                self.0.set(self.0.get() + 1);
                panic!("{}", self.0.get());
            }
        }
        let dropped = Cell::new(0);
        let all = || [(); 3].map(|()| Fragile(&dropped));
        let panic = catch_unwind(AssertUnwindSafe(|| let_go_of_all(all())));
        assert_eq!(text_of(&*panic.unwrap_err()), "1");
        assert_eq!(dropped.get(), 3);
        // While the thread panics already, nothing is passed on.
        struct Owner<'a>(Vec<Fragile<'a>>);
        impl Drop for Owner<'_> {
            fn drop(&mut self) {
                let_go_of_all(self.0.drain(..));
            }
        }
        let panic = catch_unwind(AssertUnwindSafe(|| {
            let _owner = Owner(all().into());
            panic!("the program's own");
        }));
        assert_eq!(text_of(&*panic.unwrap_err()), "the program's own");
        assert_eq!(dropped.get(), 6);
    }

    #[test]
    fn a_panic_becomes_a_reason() {
        let result = unless_it_panics::<()>(|| panic!("no {}", "good"));
        assert_eq!(
            result,
            Err(CloseReason::HandlerPanicked("no good".to_owned()))
        );
        assert_eq!(unless_it_panics(|| Ok(3)), Ok(3));
    }
}
