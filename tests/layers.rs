//! Imports point one way: main, cli, config, services, upstream, backplane, reactor, protocol.
//!
//! Reads the paths that the sources name, in `use` and elsewhere, and holds each against what its
//! file's layer may know. A module that is in no layer yet has to be given a place here.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Each top module, and those of our own that it may name.
const LAYERS: [(&str, &[&str]); 18] = [
    ("protocol", &[]),
    ("reactor", &["protocol"]),
    ("backplane", &["reactor", "protocol"]),
    ("upstream", &["reactor", "protocol"]),
    ("services", &["upstream", "backplane", "reactor", "protocol"]),
    // Documentation only.
    ("guide", &[]),
    // From here on: the binary's own.
    ("help", &[]),
    ("nearest", &[]),
    ("version", &[]),
    ("descriptors", &["reactor"]),
    ("allocator", &["reactor", "protocol"]),
    // The build script is a program of its own.
    ("build", &[]),
    ("logging", &["nearest"]),
    ("config", &["nearest", "logging", "services", "upstream", "backplane", "reactor", "protocol"]),
    (
        "node",
        &[
            "allocator",
            "config",
            "descriptors",
            "logging",
            "observe",
            "serve",
            "version",
            "services",
            "upstream",
            "reactor",
            "protocol",
        ],
    ),
    ("observe", &["logging", "version", "services", "upstream", "reactor"]),
    ("cli", &["config", "help", "nearest", "node", "version"]),
    (
        "serve",
        &[
            "allocator",
            "config",
            "descriptors",
            "logging",
            "observe",
            "version",
            "services",
            "backplane",
            "reactor",
            "protocol",
        ],
    ),
];

/// Modules of the library, which know nothing of the binary's dependencies.
const LIBRARY: [&str; 5] = ["protocol", "reactor", "backplane", "upstream", "services"];
const FOR_THE_BINARY: [&str; 11] = [
    "clap",
    "toml",
    "humantime",
    "bytesize",
    "strsim",
    "anstream",
    "env_logger",
    "signal_hook",
    "rustix",
    "rlimit",
    "mimalloc",
];

/// What is not for a layer, though no module of ours.
const FOREIGN: [(&str, &[&str]); 4] = [
    (
        "protocol",
        &[
            "std::net",
            "std::time",
            "std::fs",
            "std::os",
            "std::thread",
            "std::env",
            "mio",
            "log",
            "socket2",
            "slab",
            "rand",
            "serde",
            "serde_json",
            "rustls",
        ],
    ),
    ("reactor", &["serde", "serde_json"]),
    ("upstream", &["mio", "socket2", "rustls", "serde", "serde_json"]),
    (
        "services",
        &["mio", "socket2", "rustls", "ureq", "std::net::TcpStream", "std::net::TcpListener"],
    ),
];

type Names = Vec<String>;

/// Every path of two names or more, absolute where it is ours: `crate::reactor::..`.
fn paths(source: &str, module: &[&str]) -> Vec<Names> {
    let tokens = TokenStream::from_str(source).expect("Rust");
    let mut found = Vec::new();
    let module = module.iter().map(|&name| name.to_owned()).collect();
    walk(tokens, &module, &mut found);
    found
}

fn walk(tokens: TokenStream, module: &Names, found: &mut Vec<Names>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at..] {
            [TokenTree::Ident(word), TokenTree::Ident(name), TokenTree::Group(body), ..]
                if word == "mod" && body.delimiter() == Delimiter::Brace =>
            {
                let inner = module.iter().cloned().chain([name.to_string()]).collect();
                walk(body.stream(), &inner, found);
                at += 3;
            }
            [TokenTree::Ident(_), ..] => at += path(&tokens[at..], &Vec::new(), module, found),
            [TokenTree::Group(group), ..] => {
                walk(group.stream(), module, found);
                at += 1;
            }
            _ => at += 1,
        }
    }
}

/// Reads one path behind `prefix`, with the tree of a `use` if there is one; returns its tokens.
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

/// What the source of this module names and must not.
fn violations(module: &[&str], source: &str) -> Vec<String> {
    // The roots are the sum of their modules.
    let Some(&layer) = module.first() else {
        return Vec::new();
    };
    let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == layer) else {
        return vec![format!("{layer} has no place among the layers")];
    };
    let is_ours = |name: &str| LAYERS.iter().any(|(layer, _)| *layer == name);
    let is_wrong = |path: &Names| match &path.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["crate", "services", other, ..] if layer == "services" => {
            module.len() > 1 && *other != module[1] && is_service(other)
        }
        ["crate", other, ..] => *other != layer && is_ours(other) && !allowed.contains(other),
        [krate, ..] if LIBRARY.contains(&layer) && FOR_THE_BINARY.contains(krate) => true,
        names => {
            let text = names.join("::") + "::";
            let banned = FOREIGN.iter().filter(|(name, _)| *name == layer).flat_map(|(_, b)| *b);
            banned.into_iter().any(|banned| text.starts_with(&format!("{banned}::")))
        }
    };
    let wrong = paths(source, module).into_iter().filter(is_wrong);
    wrong.map(|path| format!("{} names {}", module.join("::"), path.join("::"))).collect()
}

/// Services are modules, and modules are in lower case.
fn is_service(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
}

/// All sources below `folder`, each with the names of its module.
fn sources(folder: &Path, module: &[String]) -> Vec<(Names, PathBuf)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let inner = [module, &[stem.to_owned()]].concat();
        if path.is_dir() {
            found.extend(sources(&path, &inner));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let is_root = matches!(stem, "mod" | "lib" | "main");
            found.push((if is_root { module.to_vec() } else { inner }, path));
        }
    }
    found
}

#[test]
fn every_import_points_down() {
    let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &[]);
    assert!(sources.len() > 50, "{} files", sources.len());
    let mut wrong = Vec::new();
    let mut crossings = 0;
    for (module, path) in sources {
        let module: Vec<&str> = module.iter().map(String::as_str).collect();
        let source = fs::read_to_string(path).unwrap();
        crossings += paths(&source, &module).iter().filter(|path| path[0] == "crate").count();
        wrong.extend(violations(&module, &source));
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(crossings > 200, "{crossings} paths of ours: are they read at all?");
}

#[test]
fn a_planted_import_is_found() {
    for (module, source) in [
        (&["protocol", "frame"][..], "use crate::reactor::ConnId;"),
        (&["protocol", "frame"], "use super::super::reactor;"),
        (&["protocol"], "use std::{fmt, net::IpAddr};"),
        (&["protocol", "a"], "fn f() -> std::time::Instant { std::time::Instant::now() }"),
        (&["protocol", "a"], "fn f() { log::debug!(\"x\"); }"),
        (&["reactor", "turn"], "use crate::{protocol::Message, services::Echo};"),
        (&["reactor", "settings", "check"], "use super::super::super::services::Rooms;"),
        (&["reactor"], "mod tests { use super::super::services::rooms; }"),
        (&["reactor", "core"], "#[derive(serde::Serialize)] struct A;"),
        (&["upstream", "url"], "use crate::services::rpc::RpcError;"),
        (&["upstream", "http"], "use serde_json::Value;"),
        (&["services", "echo"], "use crate::services::rooms::Rooms;"),
        (&["services", "echo"], "use super::rooms;\nuse super::rooms::Rooms;"),
        (&["services", "rpc", "call"], "use super::super::echo::Echo;"),
        (&["services", "echo"], "use mio::Token;"),
        (&["config", "file"], "use crate::cli::Cli;"),
        (&["config"], "use crate::serve::serve;"),
        (&["logging"], "use crate::config::Config;"),
        (&["cli"], "use weir::reactor::Reactor;"),
        (&["elsewhere"], ""),
    ] {
        assert_eq!(violations(module, source).len().min(1), 1, "{module:?}: {source}");
    }
}

#[test]
fn a_proper_import_is_none() {
    for (module, source) in [
        (&["protocol", "handshake", "client"][..], "use super::super::mask::apply;"),
        (&["protocol"], "// use crate::reactor::Core;\nconst A: &str = \"mio::Poll\";"),
        (&["protocol"], "use std::{fmt, io}; use sha1::Digest;"),
        (&["reactor", "turn"], "use crate::protocol::{self, Message}; use mio::event::Event;"),
        (&["reactor"], "mod tests { use super::*; use super::turn::x; }"),
        (&["reactor", "settings", "check"], "use super::super::core::Core;"),
        (&["services", "rpc", "call"], "use super::Method; use crate::services::rpc::Id;"),
        (&["services", "rooms"], "use crate::reactor::{Context, Service}; use super::Echo;"),
        (&["services"], "pub use rooms::Rooms; use self::echo::Echo;"),
        (&["services", "rpc"], "use crate::upstream::UpstreamUrl;"),
        (&["config", "options"], "use weir::services::rooms::RoomSettings; use clap::Args;"),
        (&["cli"], "use crate::config::{Layer, Options};"),
        (&[], "use weir::reactor::Reactor; use config::Config;"),
    ] {
        assert_eq!(violations(module, source), Vec::<String>::new(), "{module:?}: {source}");
    }
}
