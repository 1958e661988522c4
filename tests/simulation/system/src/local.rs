//! Thread-locals: a thread of the system stands for many simulated ones, each of which begins without any.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

thread_local! {
    static LOCALS: RefCell<Vec<(usize, Local)>> = const { RefCell::new(Vec::new()) };
}

enum Local {
    Value(Rc<dyn Any>),
    Destroyed,
}

pub struct LocalKey<T: 'static> {
    init: fn() -> T,
}

/// It is destroyed already.
#[derive(Debug)]
pub struct AccessError;

impl<T: 'static> LocalKey<T> {
    pub const fn new(init: fn() -> T) -> LocalKey<T> {
        LocalKey { init }
    }

    pub fn try_with<R>(&'static self, f: impl FnOnce(&T) -> R) -> Result<R, AccessError> {
        let key = std::ptr::from_ref(self).addr();
        let found = LOCALS.with_borrow(|locals| {
            let own = locals.iter().find(|(other, _)| *other == key);
            own.map(|(_, local)| match local {
                Local::Value(value) => Ok(Rc::clone(value)),
                Local::Destroyed => Err(AccessError),
            })
        });
        let value = match found {
            Some(found) => found?,
            None => {
                let value: Rc<dyn Any> = Rc::new((self.init)());
                let own = Local::Value(Rc::clone(&value));
                LOCALS.with_borrow_mut(|locals| locals.push((key, own)));
                value
            }
        };
        Ok(f(value.downcast_ref().expect("its own type")))
    }

    pub fn with<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        self.try_with(f)
            .expect("a thread-local that is not destroyed")
    }
}

impl<T: 'static> LocalKey<Cell<T>> {
    pub fn set(&'static self, value: T) {
        self.with(|cell| cell.set(value));
    }

    pub fn replace(&'static self, value: T) -> T {
        self.with(|cell| cell.replace(value))
    }

    pub fn get(&'static self) -> T
    where
        T: Copy,
    {
        self.with(Cell::get)
    }

    pub fn take(&'static self) -> T
    where
        T: Default,
    {
        self.with(Cell::take)
    }
}

impl<T: 'static> LocalKey<RefCell<T>> {
    pub fn with_borrow<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        self.with(|cell| f(&cell.borrow()))
    }

    pub fn with_borrow_mut<R>(&'static self, f: impl FnOnce(&mut T) -> R) -> R {
        self.with(|cell| f(&mut cell.borrow_mut()))
    }

    pub fn set(&'static self, value: T) {
        self.with(|cell| cell.replace(value));
    }

    pub fn replace(&'static self, value: T) -> T {
        self.with(|cell| cell.replace(value))
    }

    pub fn take(&'static self) -> T
    where
        T: Default,
    {
        self.with(RefCell::take)
    }
}

/// Runs the destructors of a simulated thread's values, and forgets them.
pub(crate) fn end_thread() {
    loop {
        let next = LOCALS.with_borrow_mut(|locals| {
            let alive = locals
                .iter_mut()
                .find(|(_, local)| matches!(local, Local::Value(_)));
            alive.map(|(_, local)| std::mem::replace(local, Local::Destroyed))
        });
        if next.is_none() {
            break;
        }
        drop(next);
    }
    LOCALS.with_borrow_mut(Vec::clear);
}

#[macro_export]
macro_rules! simulated_thread_local {
    ($($(#[$about:meta])* $vis:vis static $name:ident: $type:ty = $init:expr);+ $(;)?) => {
        $(
            $(#[$about])*
            $vis static $name: $crate::local::LocalKey<$type> = {
                fn init() -> $type {
                    $init
                }
                $crate::local::LocalKey::new(init)
            };
        )+
    };
}
