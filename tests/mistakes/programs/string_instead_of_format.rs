//! Names `String` where `Json<String>` belongs, in a function's signature.
//~ error: `String` is not a format: a connection carries `Json<T>`, `Raw<T>`, `Bytes` or `Dynamic`
//~ label: did you mean `Json<String>`?

use lanpeer::Connection;

fn greet(_conn: &Connection<String>) {}

fn main() {}
