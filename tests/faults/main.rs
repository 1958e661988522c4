//! Whatever the link between two peers does, and at whichever byte: no call hangs, both sides learn
//! the right reason, nothing arrives twice or altered, and what a `close` calls delivered was.
//!
//! | file | what the link does |
//! | --- | --- |
//! | `cuts` | ends, or falls silent, at each byte of a whole conversation in either direction |
//! | `frames` | the same where frames are spoken, for what must hold whatever happens |
//! | `paces` | splits, merges, delays, throttles and pauses, which changes nothing |
//! | `middles` | ends in the middle of large messages, full queues, closes and handlers |
//! | `storms` | ends while both sides send many messages |
//!
//! `readers` has what is left when the link is in order; `exchange` the conversation, and what each
//! side saw of it; `many` tries all positions. With `--nocapture` the tests print how many.

#[path = "../common/dice.rs"]
mod dice;
#[path = "../common/peers.rs"]
mod peers;
#[path = "../common/proxy.rs"]
mod proxy;

mod cuts;
mod exchange;
mod frames;
mod many;
mod middles;
mod paces;
mod readers;
mod storms;
