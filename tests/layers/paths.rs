//! The paths that a source names, and the sources of a folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The names of a path or of a module.
pub(super) type Names = Vec<String>;

/// Whether the paths of unit tests are read, too.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum UnitTests {
    Read,
    Skip,
}

/// Every path of two names or more, absolute if it starts with `crate`, `self` or `super`, or in the
/// binary with `weir`: `crate::reactor::..`.
pub(super) fn paths(source: &str, module: &[&str], tests: UnitTests) -> Vec<Names> {
    let tokens = TokenStream::from_str(source).expect("Rust");
    let mut found = Vec::new();
    let module = module.iter().map(|&name| name.to_owned()).collect();
    walk(tokens, &module, tests, &mut found);
    found
}

fn walk(tokens: TokenStream, module: &Names, tests: UnitTests, found: &mut Vec<Names>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at..] {
            [TokenTree::Punct(mark), TokenTree::Group(attribute), ..]
                if tests == UnitTests::Skip
                    && mark.as_char() == '#'
                    && is_cfg_test(&attribute.stream()) =>
            {
                at += item_len(&tokens[at..]);
            }
            [TokenTree::Ident(word), TokenTree::Ident(name), TokenTree::Group(body), ..]
                if word == "mod" && body.delimiter() == Delimiter::Brace =>
            {
                let inner = module.iter().cloned().chain([name.to_string()]).collect();
                walk(body.stream(), &inner, tests, found);
                at += 3;
            }
            // A visibility, such as `pub(in crate::reactor)`, names no item.
            [TokenTree::Ident(word), TokenTree::Group(scope), ..]
                if word == "pub" && scope.delimiter() == Delimiter::Parenthesis =>
            {
                at += 2;
            }
            [TokenTree::Ident(_), ..] => at += path(&tokens[at..], &Vec::new(), module, found),
            [TokenTree::Group(group), ..] => {
                walk(group.stream(), module, tests, found);
                at += 1;
            }
            _ => at += 1,
        }
    }
}

fn is_cfg_test(attribute: &TokenStream) -> bool {
    let text: String = attribute.to_string().split_whitespace().collect();
    text == "cfg(test)"
}

/// The number of tokens of an item: up to its body or its semicolon.
fn item_len(tokens: &[TokenTree]) -> usize {
    let is_end = |token: &TokenTree| match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        token => token.to_string() == ";",
    };
    tokens.iter().position(is_end).map_or(tokens.len(), |end| end + 1)
}

/// Reads one path behind `prefix`, with the tree of a `use` if there is one; returns the number of its
/// tokens.
fn path(tokens: &[TokenTree], prefix: &Names, module: &Names, found: &mut Vec<Names>) -> usize {
    let mut names = prefix.clone();
    let mut at = 0;
    loop {
        match tokens.get(at) {
            Some(TokenTree::Ident(name)) => names.push(name.to_string()),
            Some(TokenTree::Group(tree)) if tree.delimiter() == Delimiter::Brace && at > 0 => {
                let tree: Vec<TokenTree> = tree.stream().into_iter().collect();
                let is_comma = |token: &TokenTree| token.to_string() == ",";
                for branch in tree.split(is_comma).filter(|branch| !branch.is_empty()) {
                    path(branch, &names, module, found);
                }
                return at + 1;
            }
            // All items of a module.
            Some(TokenTree::Punct(star)) if star.as_char() == '*' && at > 0 => {
                found.push(absolute(names, module));
                return at + 1;
            }
            _ => break,
        }
        at += 1;
        let is_colon = |token: Option<&TokenTree>| token.is_some_and(|t| t.to_string() == ":");
        if !is_colon(tokens.get(at)) || !is_colon(tokens.get(at + 1)) {
            break;
        }
        at += 2;
    }
    if names.len() > 1 {
        found.push(absolute(names, module));
    }
    at.max(1)
}

/// Resolves `self`, `super` and, in the binary, `weir`.
fn absolute(names: Names, module: &Names) -> Names {
    let ups = names.iter().take_while(|name| *name == "super").count();
    let base = &module[..module.len().saturating_sub(ups)];
    let rest = match &*names[0] {
        "super" => &names[ups..],
        "self" => &names[1..],
        "weir" => return [&["crate".to_owned()], &names[1..]].concat(),
        _ => return names,
    };
    [&["crate".to_owned()], base, rest].concat()
}

/// All sources below `folder`, each with the names of its module. A stand-in for a module whose feature is
/// off (`reactor/without`) has the names of that module.
pub(super) fn sources(folder: &Path, module: &[String]) -> Vec<(Names, PathBuf)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let inner = match stem {
            "without" => module.to_vec(),
            name => [module, &[name.to_owned()]].concat(),
        };
        if path.is_dir() {
            found.extend(sources(&path, &inner));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let is_root = matches!(stem, "mod" | "lib" | "main");
            found.push((if is_root { module.to_vec() } else { inner }, path));
        }
    }
    found
}
