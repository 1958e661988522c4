//! The keys of a test's connections, so that it can look for them.

use std::sync::Mutex;

/// They are kept so that what is kept is not found.
pub(crate) const MASK: u8 = 0x5a;

static NOTED: Mutex<Vec<[u8; 32]>> = Mutex::new(Vec::new());
/// What they were made of, which nobody needs any more.
static SPENT: Mutex<Vec<[u8; 32]>> = Mutex::new(Vec::new());

/// Notes a key of a connection.
pub(super) fn note(key: &[u8; 32]) {
    NOTED.lock().unwrap().push(masked(key));
}

/// Notes what a passphrase has led to on the way to a key.
pub(in crate::secure) fn note_spent(secret: &[u8; 32]) {
    SPENT.lock().unwrap().push(masked(secret));
}

fn masked(secret: &[u8; 32]) -> [u8; 32] {
    let mut masked = [0; 32];
    for (to, from) in masked.iter_mut().zip(secret) {
        *to = from ^ MASK;
    }
    masked
}

/// All that were noted, masked.
pub(crate) fn noted() -> Vec<[u8; 32]> {
    NOTED.lock().unwrap().clone()
}

/// The same of what they were made of.
pub(crate) fn spent() -> Vec<[u8; 32]> {
    SPENT.lock().unwrap().clone()
}
