use std::path::Path;

use super::is_clean;
use super::plan::Plan;
use crate::secure::{Secret, SecretError};

const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Any text as a secret, any bytes as the file of one, and secrets written in all ways that are
/// allowed, and with mistakes that must be noticed.
pub fn secrets(data: &[u8]) {
    let mut plan = Plan::new(data);
    match plan.byte() % 3 {
        0 => drop(read(&String::from_utf8_lossy(plan.rest()))),
        1 => {
            let padding = usize::from(plan.byte()) * 32;
            let mut content = plan.rest().to_vec();
            content.resize(content.len() + padding, b'\n');
            file(&content);
        }
        _ => written(plan),
    }
}

/// What the text means, where it is a secret: as it would be written.
fn read(text: &str) -> Result<String, SecretError> {
    let secret = text.parse::<Secret>();
    match (&secret, plainly(text)) {
        (Ok(secret), Ok(symbols)) => {
            assert_eq!(secret.reveal(), shown(&symbols));
            let again: Secret = secret.reveal().parse().expect("what it wrote");
            assert_eq!(again.reveal(), secret.reveal());
            assert_eq!(format!("{secret:?}"), "Secret(..)");
        }
        (Err(error), Err(expected)) => {
            is_clean(error);
            // Not more than where: the text may be almost right.
            assert_eq!(format!("{error:?}"), format!("{expected:?}"));
        }
        (secret, plainly) => panic!("{secret:?}, plainly {plainly:?}"),
    }
    secret.map(|secret| secret.reveal())
}

fn file(content: &[u8]) {
    let path = Path::new("lab.secret");
    let is = Secret::from_content(content, path).map(|secret| secret.reveal());
    let text = std::str::from_utf8(content).ok();
    let text = text.filter(|text| text.len() <= 4096);
    let is_content = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with('#');
    let lines = text.map(|text| text.split('\n').filter(is_content));
    let expected = match lines.map(Iterator::collect::<Vec<_>>).as_deref() {
        Some([]) => read(""),
        Some([line]) => read(line),
        _ => Err(SecretError::File {
            path: path.to_owned(),
            source: std::io::ErrorKind::InvalidData.into(),
        }),
    };
    match (is, expected) {
        (Ok(is), Ok(expected)) => assert_eq!(is, expected),
        (Err(error), Err(expected)) => {
            is_clean(&error);
            assert_eq!(error.to_string(), expected.to_string());
        }
        (is, expected) => panic!("{is:?} where {expected:?} was due"),
    }
}

fn written(mut plan: Plan<'_>) {
    let mut symbols = [0; 28];
    symbols[..26].copy_from_slice(&plan.array::<26>().map(|byte| byte % 32));
    // 130 bits, of which a secret has 128, and one says how it was made.
    let is_secret = symbols[25] % 2 == 0;
    let checks = (0..32_u8).filter_map(|first| {
        let mut whole = symbols;
        whole[26] = first;
        whole[27] = 1 ^ whole[..27].iter().fold(0, |sum, symbol| sum ^ symbol);
        is_right(&whole).then_some(whole)
    });
    let checks: Vec<[u8; 28]> = checks.collect();
    let &[right] = &checks[..] else {
        panic!("{} checks for {symbols:?}", checks.len());
    };

    let mut text = String::new();
    for symbol in right {
        let style = plan.byte();
        let digit = char::from(DIGITS[usize::from(symbol)]);
        let digit = match (digit, style % 3) {
            ('0', 1) => 'O',
            ('1', 1) => 'I',
            ('1', 2) => 'L',
            (digit, _) => digit,
        };
        text.push_str(match style / 3 % 4 {
            0 => "",
            1 => "-",
            2 => " ",
            _ => "\u{a0}\r\n",
        });
        text.push(match style & 0x80 {
            0 => digit,
            _ => digit.to_ascii_lowercase(),
        });
    }
    assert_eq!(read(&text).ok(), is_secret.then(|| shown(&right)));

    let mut wrong = right;
    for _ in 0..2 {
        wrong[usize::from(plan.byte()) % 28] = plan.byte() % 32;
    }
    let read = read(&shown(&wrong));
    if wrong != right {
        assert!(matches!(read, Err(SecretError::Check)), "{read:?}");
    }
}

/// As docs/protocol.md has it, read a second time: with copies, and in another arithmetic.
fn plainly(text: &str) -> Result<[u8; 28], SecretError> {
    let mut symbols = Vec::new();
    for (position, char) in text.chars().enumerate() {
        let digit = match char {
            '-' => continue,
            char if char.is_whitespace() => continue,
            'o' | 'O' => '0',
            'i' | 'I' | 'l' | 'L' => '1',
            char => char.to_ascii_uppercase(),
        };
        let symbol = (0..32).find(|at| char::from(DIGITS[usize::from(*at)]) == digit);
        symbols.push(symbol.ok_or(SecretError::Character { position })?);
    }
    let characters = symbols.len();
    let length = |_| SecretError::Length { characters };
    let symbols: [u8; 28] = symbols.try_into().map_err(length)?;
    match is_right(&symbols) && symbols[25] % 2 == 0 {
        true => Ok(symbols),
        false => Err(SecretError::Check),
    }
}

/// The check, by logarithms.
fn is_right(symbols: &[u8; 28]) -> bool {
    let mut powers = [1_u8; 31];
    for at in 1..31 {
        let twice = powers[at - 1] << 1;
        powers[at] = if twice < 32 { twice } else { twice ^ 0b10_0101 };
    }
    let times = |symbol: u8, exponent: usize| {
        let log = powers.iter().position(|power| *power == symbol);
        log.map_or(0, |log| powers[(log + exponent) % 31])
    };
    let sum = symbols.iter().fold(0, |sum, symbol| sum ^ symbol);
    let weighted = symbols.iter().enumerate();
    let weighted = weighted.fold(0, |sum, (i, symbol)| sum ^ times(*symbol, i));
    (sum, weighted) == (1, 0)
}

fn shown(symbols: &[u8; 28]) -> String {
    let digits = symbols.map(|symbol| char::from(DIGITS[usize::from(symbol)]));
    let groups = digits.chunks(4).map(String::from_iter);
    groups.collect::<Vec<_>>().join("-")
}
