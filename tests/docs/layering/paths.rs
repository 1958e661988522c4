//! The paths in a file that lead somewhere in this crate.

use super::tokens::{Kind, Token, is_separator};

/// All paths that start with one of these words, as they are written, with lines.
pub fn paths_from(first: &[&str], tokens: &[Token]) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        let Kind::Word(word) = &token.kind else {
            continue;
        };
        let goes_on = index
            .checked_sub(1)
            .is_some_and(|i| is_separator(tokens.get(i)));
        if first.contains(&word.as_str()) && !goes_on && is_separator(tokens.get(index + 1)) {
            let mut trees = Vec::new();
            tree(tokens, index, Vec::new(), &mut trees);
            found.extend(trees.into_iter().map(|path| (token.line, path)));
        }
    }
    found
}

/// All paths that start with `crate`, `self` or `super`, seen from the crate root, with lines.
pub fn paths(tokens: &[Token], module: &[String]) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    // Modules written inside the file, with the depth of braces at which each began.
    let mut inline: Vec<(usize, String)> = Vec::new();
    let mut depth = 0;
    for (index, token) in tokens.iter().enumerate() {
        match &token.kind {
            Kind::Mark('{') => {
                depth += 1;
                if let [.., Kind::Word(keyword), Kind::Word(name)] = &tokens
                    [index.saturating_sub(2)..index]
                    .iter()
                    .map(|t| t.kind.clone())
                    .collect::<Vec<_>>()[..]
                {
                    if keyword == "mod" {
                        inline.push((depth, name.clone()));
                    }
                }
            }
            Kind::Mark('}') => {
                inline.retain(|(at, _)| *at != depth);
                depth = depth.saturating_sub(1);
            }
            Kind::Word(word) if matches!(word.as_str(), "crate" | "self" | "super") => {
                let starts = !index
                    .checked_sub(1)
                    .is_some_and(|i| is_separator(tokens.get(i)));
                if starts && is_separator(tokens.get(index + 1)) {
                    let mut trees = Vec::new();
                    tree(tokens, index, Vec::new(), &mut trees);
                    let here: Vec<String> = module
                        .iter()
                        .cloned()
                        .chain(inline.iter().map(|(_, n)| n.clone()))
                        .collect();
                    found.extend(
                        trees
                            .into_iter()
                            .map(|path| (token.line, from_root(&path, &here))),
                    );
                }
            }
            _ => {}
        }
    }
    found
}

/// Expands `a::{b, c::d}` from `at` on; gives the index after it.
fn tree(
    tokens: &[Token],
    mut at: usize,
    mut path: Vec<String>,
    out: &mut Vec<Vec<String>>,
) -> usize {
    loop {
        match tokens.get(at).map(|token| &token.kind) {
            Some(Kind::Word(word)) => {
                path.push(word.clone());
                at += 1;
                if !is_separator(tokens.get(at)) {
                    out.push(path);
                    // Over `as name`.
                    while !matches!(
                        tokens.get(at).map(|t| &t.kind),
                        None | Some(Kind::Mark(_) | Kind::Separator)
                    ) {
                        at += 1;
                    }
                    return at;
                }
                at += 1;
            }
            Some(Kind::Mark('{')) => {
                at += 1;
                while !matches!(
                    tokens.get(at).map(|t| &t.kind),
                    None | Some(Kind::Mark('}'))
                ) {
                    at = tree(tokens, at, path.clone(), out);
                    if matches!(tokens.get(at).map(|t| &t.kind), Some(Kind::Mark(','))) {
                        at += 1;
                    }
                }
                return at + 1;
            }
            // `*`, or the `<` of a turbofish
            _ => {
                out.push(path);
                return at + 1;
            }
        }
    }
}

fn from_root(path: &[String], here: &[String]) -> Vec<String> {
    let mut full = here.to_vec();
    for (index, part) in path.iter().enumerate() {
        match part.as_str() {
            "crate" if index == 0 => full.clear(),
            "self" => {}
            "super" => drop(full.pop()),
            _ => full.push(part.clone()),
        }
    }
    full
}
