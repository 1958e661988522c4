//! The keys of a test's connections, so that it can look for them.

use std::sync::Mutex;

/// They are kept so that what is kept is not found.
pub(crate) const MASK: u8 = 0x5a;

static NOTED: Mutex<Vec<[u8; 32]>> = Mutex::new(Vec::new());

/// Notes a key of a connection.
pub(super) fn note(key: &[u8; 32]) {
    let mut noted = [0; 32];
    for (to, from) in noted.iter_mut().zip(key) {
        *to = from ^ MASK;
    }
    NOTED.lock().unwrap().push(noted);
}

/// All that were noted, masked.
pub(crate) fn noted() -> Vec<[u8; 32]> {
    NOTED.lock().unwrap().clone()
}
