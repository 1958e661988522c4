//! Values that a program may send, made from a fuzzer's bytes.

use serde_json::{Map, Number, Value};

use super::plan::Plan;

/// A tree of at most so many containers inside each other.
pub(super) fn value(plan: &mut Plan<'_>, depth: usize) -> Value {
    match plan.byte() % 10 {
        0 => Value::Null,
        1 => Value::Bool(plan.flag()),
        2 => Value::from(plan.byte()),
        3 => Value::from(u64::from_le_bytes(plan.array())),
        4 => Value::from(i64::from_le_bytes(plan.array())),
        5 => {
            let float = f64::from_le_bytes(plan.array());
            Number::from_f64(float).map_or(Value::Null, Value::Number)
        }
        6 | 7 if depth > 0 => {
            let items = plan.up_to(9);
            (0..items).map(|_| value(plan, depth - 1)).collect()
        }
        8 if depth > 0 => {
            let entries = plan.up_to(5);
            let entries = (0..entries).map(|_| {
                let length = plan.up_to(9);
                (plan.text(length), value(plan, depth - 1))
            });
            Value::Object(entries.collect::<Map<_, _>>())
        }
        _ => {
            let length = plan.up_to(300);
            Value::from(plan.text(length))
        }
    }
}

/// How many containers are inside each other.
pub(super) fn depth(value: &Value) -> usize {
    let inside = match value {
        Value::Array(items) => items.iter().map(depth).max(),
        Value::Object(entries) => entries.values().map(depth).max(),
        _ => return 0,
    };
    1 + inside.unwrap_or(0)
}
