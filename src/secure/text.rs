//! How a secret is written: seven groups of four characters of Crockford's base32, the last two of
//! them a check.
//!
//! 16 bytes are 26 symbols of 5 bits, the first bit first; of the 2 bits left over the first says whether
//! the secret was made of a passphrase, and the last is 0. Two symbols
//! of a Reed-Solomon code follow: with α = 2 in GF(32) modulo x⁵ + x² + 1, the sum of all 28
//! symbols is 1, and the sum of the i-th times αⁱ is 0. So no one or two wrong characters, and no
//! two that were swapped, make another valid text. The 1 keeps a text of zeros from being valid.

use zeroize::Zeroizing;

use super::SecretError;

/// The bytes of a secret.
pub(super) const SECRET_LEN: usize = 16;

const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const SYMBOLS: usize = 28;
const DATA: usize = SYMBOLS - 2;

pub(super) fn write(secret: &[u8; SECRET_LEN], is_passphrase: bool) -> String {
    let mut symbols = Zeroizing::new([0; SYMBOLS]);
    for (index, symbol) in symbols[..DATA].iter_mut().enumerate() {
        for bit in index * 5..index * 5 + 5 {
            let byte = secret.get(bit / 8).copied().unwrap_or(0);
            *symbol = *symbol << 1 | (byte >> (7 - bit % 8) & 1);
        }
    }
    symbols[DATA - 1] |= u8::from(is_passphrase) << 1;
    let (sum, weighted) = sums(&symbols[..DATA]);
    let (sum, last) = (sum ^ 1, power(DATA + 1));
    symbols[DATA] = divided(weighted ^ times(sum, last), power(DATA) ^ last);
    symbols[DATA + 1] = sum ^ symbols[DATA];
    let mut text = String::with_capacity(SYMBOLS + SYMBOLS / 4);
    for (index, symbol) in symbols.iter().enumerate() {
        if index > 0 && index % 4 == 0 {
            text.push('-');
        }
        text.push(char::from(DIGITS[usize::from(*symbol)]));
    }
    text
}

/// Also says whether it was made of a passphrase. Errors say where, never what: the text may be almost
/// right.
pub(super) fn read(text: &str, secret: &mut [u8; SECRET_LEN]) -> Result<bool, SecretError> {
    let mut symbols = Zeroizing::new([0; SYMBOLS]);
    let mut len = 0;
    for (index, char) in text.chars().enumerate() {
        if char == '-' || char.is_whitespace() {
            continue;
        }
        let symbol = symbol(char).ok_or(SecretError::Character { position: index })?;
        if let Some(place) = symbols.get_mut(len) {
            *place = symbol;
        }
        len += 1;
    }
    if len != SYMBOLS {
        return Err(SecretError::Length { characters: len });
    }
    if sums(&symbols[..]) != (1, 0) || symbols[DATA - 1] & 0b01 != 0 {
        return Err(SecretError::Check);
    }
    secret.fill(0);
    for bit in 0..SECRET_LEN * 8 {
        let set = symbols[bit / 5] >> (4 - bit % 5) & 1;
        secret[bit / 8] |= set << (7 - bit % 8);
    }
    Ok(symbols[DATA - 1] & 0b10 != 0)
}

/// Crockford's reading: in either case, O is 0, I and L are 1.
fn symbol(char: char) -> Option<u8> {
    let byte = match char.to_ascii_uppercase() {
        'O' => b'0',
        'I' | 'L' => b'1',
        char => u8::try_from(char).ok()?,
    };
    let index = DIGITS.iter().position(|digit| *digit == byte)?;
    u8::try_from(index).ok()
}

/// The sum of the symbols, and that of the i-th times αⁱ.
fn sums(symbols: &[u8]) -> (u8, u8) {
    let weighted = symbols.iter().enumerate();
    (
        symbols.iter().fold(0, |sum, symbol| sum ^ symbol),
        weighted.fold(0, |sum, (i, symbol)| sum ^ times(*symbol, power(i))),
    )
}

fn times(a: u8, b: u8) -> u8 {
    let mut product = 0;
    for bit in (0..5).rev() {
        product <<= 1;
        if product & 0b10_0000 != 0 {
            product ^= 0b10_0101;
        }
        if b >> bit & 1 == 1 {
            product ^= a;
        }
    }
    product
}

/// α to this power.
fn power(exponent: usize) -> u8 {
    (0..exponent).fold(1, |power, _| times(power, 2))
}

/// The other 31 elements are a group, so `b` to the 30th is 1 / `b`.
fn divided(a: u8, b: u8) -> u8 {
    (0..30).fold(a, |quotient, _| times(quotient, b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<([u8; SECRET_LEN], bool), SecretError> {
        let mut secret = [0; SECRET_LEN];
        super::read(text, &mut secret).map(|is_passphrase| (secret, is_passphrase))
    }

    const SECRET: [u8; SECRET_LEN] =
        *b"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff";

    fn digits(text: &str) -> Vec<u8> {
        text.bytes().filter(|byte| *byte != b'-').collect()
    }

    fn is_read(digits: &[u8]) -> bool {
        read(std::str::from_utf8(digits).unwrap()).is_ok()
    }

    #[test]
    fn texts_are_read_as_they_were_written() {
        for seed in 0..=255_u8 {
            let secret =
                std::array::from_fn(|i| seed.wrapping_mul(31).wrapping_add((i * 57) as u8));
            let is_passphrase = seed % 3 == 0;
            let text = write(&secret, is_passphrase);
            let secret = (secret, is_passphrase);
            assert_eq!(text.len(), 34);
            assert_eq!(read(&text).unwrap(), secret);
            assert_eq!(read(&text.to_lowercase()).unwrap(), secret);
            assert_eq!(
                read(&format!(" {}\n", text.replace('-', " "))).unwrap(),
                secret
            );
        }
        assert_eq!(write(&SECRET, false), "008J-4CT4-ANK7-F24S-NAXW-SQFE-ZWEA");
        let text = "Oo8j 4ct4 ank7 f24s naxw sqfe zwea";
        assert_eq!(read(text).unwrap(), (SECRET, false));
    }

    #[test]
    fn one_or_two_wrong_characters_are_found() {
        let right = digits(&write(&SECRET, false));
        for first in 0..SYMBOLS {
            for digit in DIGITS {
                let mut wrong = right.clone();
                wrong[first] = *digit;
                assert_eq!(is_read(&wrong), wrong == right);
                for second in 0..first {
                    let mut wrong = wrong.clone();
                    wrong[second] = DIGITS[(usize::from(*digit) + second) % 32];
                    assert_eq!(is_read(&wrong), wrong == right);
                }
            }
        }
    }

    #[test]
    fn swapped_characters_are_found() {
        let right = digits(&write(b"any other secret", true));
        for first in 0..SYMBOLS {
            for second in 0..first {
                let mut wrong = right.clone();
                wrong.swap(first, second);
                assert_eq!(is_read(&wrong), wrong == right);
            }
        }
    }

    #[test]
    fn what_is_no_secret() {
        let text = write(&SECRET, false);
        assert!(matches!(
            read(""),
            Err(SecretError::Length { characters: 0 })
        ));
        let short = &text[..text.len() - 1];
        assert!(matches!(
            read(short),
            Err(SecretError::Length { characters: 27 })
        ));
        let long = format!("{text}{text}");
        assert!(matches!(
            read(&long),
            Err(SecretError::Length { characters: 56 })
        ));
        let odd = text.replacen('J', "U", 1);
        assert!(matches!(
            read(&odd),
            Err(SecretError::Character { position: 3 })
        ));
        let zeros = "0".repeat(SYMBOLS);
        assert!(matches!(read(&zeros), Err(SecretError::Check)));
        assert!(matches!(
            read("é"),
            Err(SecretError::Character { position: 0 })
        ));
    }
}
