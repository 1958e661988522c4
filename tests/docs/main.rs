//! What is written about lanpeer is so, and the sources keep the rules of docs/contributing.md.
//! Texts are read and compared; no peer runs here.
//!
//! | file | |
//! | --- | --- |
//! | `complete` | what the documentation of each public item must have |
//! | `layering` | imports go one way |
//! | `long` | no file is long without a reason |
//! | `pictures` | what the drawings are, and who shows them |
//! | `readme` | what the README and the manual claim |

mod complete;
mod layering;
mod long;
mod pictures;
mod readme;
