//! The program's code that runs on threads of the library: its handler, the `Deserialize` of its
//! types, and the drop of what belongs to it. It may panic.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::CloseReason;

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
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(owned))) {
        // The payload is the program's as well. What its own drop panics with is not dropped.
        if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
            std::mem::forget(again);
        }
    }
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a text").to_owned()
}

#[cfg(test)]
mod tests {
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
    fn a_panic_becomes_a_reason() {
        let result = unless_it_panics::<()>(|| panic!("no {}", "good"));
        assert_eq!(
            result,
            Err(CloseReason::HandlerPanicked("no good".to_owned()))
        );
        assert_eq!(unless_it_panics(|| Ok(3)), Ok(3));
    }
}
