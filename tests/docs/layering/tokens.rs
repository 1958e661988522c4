//! Just enough of Rust's tokens to find names and braces.

#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    Word(String),
    Separator,
    Mark(char),
}

#[derive(Clone, Debug)]
pub struct Token {
    pub kind: Kind,
    pub line: usize,
}

pub fn is_separator(token: Option<&Token>) -> bool {
    token.is_some_and(|token| token.kind == Kind::Separator)
}

pub fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let at = |index: usize| chars.get(index).copied().unwrap_or('\0');
    let is_name = |c: char| c == '_' || c.is_alphanumeric();
    let (mut tokens, mut index, mut line) = (Vec::new(), 0, 1);
    while index < chars.len() {
        let start = index;
        let mut kind = None;
        match at(index) {
            '/' if at(index + 1) == '/' => {
                while index < chars.len() && at(index) != '\n' {
                    index += 1;
                }
            }
            '/' if at(index + 1) == '*' => {
                let mut open = 0;
                loop {
                    match (at(index), at(index + 1)) {
                        ('/', '*') => (open, index) = (open + 1, index + 2),
                        ('*', '/') => (open, index) = (open - 1, index + 2),
                        _ => index += 1,
                    }
                    if open == 0 || index >= chars.len() {
                        break;
                    }
                }
            }
            '"' => index = after_string(&chars, index),
            '\'' => {
                // A lifetime has no closing quote.
                if at(index + 1) == '\\' || at(index + 2) == '\'' {
                    index += if at(index + 1) == '\\' { 3 } else { 2 };
                    while index < chars.len() && at(index) != '\'' {
                        index += 1;
                    }
                }
                index += 1;
            }
            ':' if at(index + 1) == ':' => {
                kind = Some(Kind::Separator);
                index += 2;
            }
            c if is_name(c) => {
                while is_name(at(index)) {
                    index += 1;
                }
                let word: String = chars[start..index].iter().collect();
                let hashes = chars[index..].iter().take_while(|c| **c == '#').count();
                if word.ends_with('r') && word.len() <= 2 && at(index + hashes) == '"' {
                    // A raw string ends at a quote and as many hashes.
                    index += hashes + 1;
                    while index < chars.len()
                        && !(at(index) == '"' && (1..=hashes).all(|n| at(index + n) == '#'))
                    {
                        index += 1;
                    }
                    index += hashes + 1;
                } else if !c.is_ascii_digit() {
                    kind = Some(Kind::Word(word));
                }
            }
            c => {
                if !c.is_whitespace() {
                    kind = Some(Kind::Mark(c));
                }
                index += 1;
            }
        }
        if let Some(kind) = kind {
            tokens.push(Token { kind, line });
        }
        let end = index.min(chars.len());
        line += chars[start..end].iter().filter(|c| **c == '\n').count();
    }
    tokens
}

fn after_string(chars: &[char], mut index: usize) -> usize {
    index += 1;
    while index < chars.len() && chars[index] != '"' {
        index += if chars[index] == '\\' { 2 } else { 1 };
    }
    index + 1
}

/// Leaves out each item under `#[cfg(test)]`: a test may name what it likes.
pub fn without_tests(tokens: Vec<Token>) -> Vec<Token> {
    let word = |text: &str| Kind::Word(text.to_string());
    let mark = Kind::Mark;
    let cfg = [mark('#'), mark('['), word("cfg"), mark('(')];
    let test = [&cfg[..], &[word("test"), mark(')'), mark(']')]].concat();
    // Of `all(test, unix)`: what follows is skipped like the item.
    let all_test = [&cfg[..], &[word("all"), mark('('), word("test"), mark(',')]].concat();
    let (mut kept, mut index) = (Vec::new(), 0);
    while index < tokens.len() {
        let rest = &tokens[index..];
        let starts = |with: &[Kind]| {
            rest.len() > with.len() && rest.iter().zip(with).all(|(t, k)| t.kind == *k)
        };
        let begin = [&test, &all_test].into_iter().find(|with| starts(with));
        if let Some(begin) = begin {
            index += begin.len();
            let mut depth = 0;
            while index < tokens.len() {
                let kind = &tokens[index].kind;
                index += 1;
                match kind {
                    Kind::Mark('{') => depth += 1,
                    Kind::Mark('}') => depth -= 1,
                    Kind::Mark(';') if depth == 0 => break,
                    _ => continue,
                }
                if depth == 0 && *kind == Kind::Mark('}') {
                    break;
                }
            }
        } else {
            kept.push(tokens[index].clone());
            index += 1;
        }
    }
    kept
}
