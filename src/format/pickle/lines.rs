//! What protocol 0 writes as lines of text.

use super::error::{Error, Result};

/// An integer, or, in INT only, `00` and `01` for False and True.
pub(super) enum Number {
    Bool(bool),
    Int(i128),
}

/// The argument of INT.
pub(super) fn int(line: &[u8]) -> Result<Number> {
    match line {
        b"00" => Ok(Number::Bool(false)),
        b"01" => Ok(Number::Bool(true)),
        line => decimal(line).map(Number::Int),
    }
}

/// The argument of LONG: it may end with `L`.
pub(super) fn long(line: &[u8]) -> Result<i128> {
    decimal(line.strip_suffix(b"L").unwrap_or(line))
}

fn decimal(line: &[u8]) -> Result<i128> {
    let digits = line.strip_prefix(b"-").unwrap_or(line);
    // Not as Python writes it, and it would read these as octal, or `-0` as False.
    let zero = line != b"0" && digits.first() == Some(&b'0');
    if digits.is_empty() || zero || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Error::new(format_args!("{} is no integer", shown(line))));
    }
    // Of digits only, so that it can only be too large.
    text(line)?.parse().map_err(|_| too_large())
}

/// Integers of Python have no bound; those of this library's peers do.
pub(super) fn too_large() -> Error {
    Error::new("an integer of more than 64 bits")
}

/// The argument of FLOAT: as Python prints it, `inf` and `nan` included.
pub(super) fn float(line: &[u8]) -> Result<f64> {
    text(line)?
        .parse()
        .map_err(|_| Error::new(format_args!("{} is no float", shown(line))))
}

/// The argument of PUT and GET.
pub(super) fn index(line: &[u8]) -> Result<usize> {
    text(line)?
        .parse()
        .map_err(|_| Error::new(format_args!("{} is no index of the memo", shown(line))))
}

fn text(line: &[u8]) -> Result<&str> {
    std::str::from_utf8(line).map_err(|_| Error::new("a line that is not UTF-8"))
}

/// A line for an error's text: not all of it.
pub(super) fn shown(line: &[u8]) -> String {
    format!("`{}`", line[..line.len().min(60)].escape_ascii())
}

/// The argument of UNICODE: every byte is the character of its number, except for `\uXXXX` and
/// `\UXXXXXXXX` (Python's raw-unicode-escape).
pub(super) fn unescaped(line: &[u8]) -> impl Iterator<Item = Result<char>> {
    let mut at = 0;
    // A backslash before any other character stands for itself, and so does that character.
    let mut literal = false;
    std::iter::from_fn(move || {
        let &byte = line.get(at)?;
        at += 1;
        let digits = match line.get(at) {
            Some(b'u') if byte == b'\\' && !literal => 4,
            Some(b'U') if byte == b'\\' && !literal => 8,
            _ => {
                literal = byte == b'\\' && !literal;
                return Some(Ok(char::from(byte)));
            }
        };
        let escape = line.get(at + 1..at + 1 + digits);
        at += 1 + digits;
        Some(escape.ok_or_else(cut).and_then(escaped))
    })
}

fn cut() -> Error {
    Error::new("an escape in a text that is cut")
}

fn escaped(digits: &[u8]) -> Result<char> {
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(cut());
    }
    let number = u32::from_str_radix(text(digits)?, 16).map_err(|_| cut())?;
    char::from_u32(number).ok_or_else(|| match number {
        0xD800..=0xDFFF => half(),
        _ => Error::new("an escape in a text that names no character"),
    })
}

/// Python's texts may have these, UTF-8 and so Rust's may not.
pub(super) fn half() -> Error {
    Error::new("a text with half of a surrogate pair")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(line: &[u8]) -> Result<String, String> {
        unescaped(line)
            .collect::<Result<String>>()
            .map_err(|error| error.to_string())
    }

    #[test]
    fn escapes_as_python_has_them() {
        for (line, text) in [
            (&b""[..], ""),
            (b"a\xe9", "a\u{e9}"),
            (b"\\u20ac\\U0001f600", "\u{20ac}\u{1f600}"),
            (b"\\", "\\"),
            (b"\\n\\x41", "\\n\\x41"),
            (b"\\\\u0041", "\\\\u0041"),
            (b"\\\\\\u0041", "\\\\A"),
            (b"\\u005cu0041", "\\u0041"),
        ] {
            assert_eq!(all(line).as_deref(), Ok(text));
        }
        for line in [
            &b"\\u004"[..],
            b"\\U0000004",
            b"\\u00g0",
            b"\\u+041",
            b"\\Uffffffff",
        ] {
            all(line).unwrap_err();
        }
        assert!(all(b"\\ud800\\udc00").unwrap_err().contains("surrogate"));
    }

    #[test]
    fn numbers_as_python_writes_them() {
        assert!(matches!(int(b"01"), Ok(Number::Bool(true))));
        assert!(matches!(int(b"1"), Ok(Number::Int(1))));
        assert!(matches!(long(b"-18446744073709551616L"), Ok(i) if i == -(1 << 64)));
        for line in [&b""[..], b"-", b"+1", b"1 ", b"0x1", b"011", b"-0", b"1L"] {
            assert!(int(line).is_err());
        }
        let digits = [b'9'; 100_000];
        assert_eq!(
            long(&digits).unwrap_err().to_string(),
            too_large().to_string()
        );
        assert_eq!(float(b"1e+300").ok(), Some(1e300));
        assert_eq!(float(b"-inf").ok(), Some(f64::NEG_INFINITY));
        assert!(float(b"nan").is_ok_and(f64::is_nan));
        assert!(float(b"").is_err());
    }
}
