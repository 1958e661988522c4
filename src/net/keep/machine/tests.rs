//! One machine against events, and two against each other.
