//! Imports point one way: main, cli, config, services, upstream, backplane, reactor, protocol; inside the
//! reactor effects, core, conn, parts. No two files import each other, not even by way of others.
//!
//! Reads the paths in the sources, in `use` and elsewhere, and checks each against the layers that its
//! file's layer may import. A new module must be added to a layer here.

use std::fs;
use std::path::Path;

use self::cycles::Graph;
use self::paths::{Names, UnitTests, paths, sources};

mod cycles;
mod paths;

/// Each top module, and the modules of the crate that it may import.
const LAYERS: [(&str, &[&str]); 24] = [
    ("protocol", &[]),
    ("reactor", &["protocol"]),
    ("backplane", &["reactor", "protocol"]),
    ("upstream", &["reactor", "protocol"]),
    ("services", &["upstream", "backplane", "reactor", "protocol"]),
    ("prelude", &["reactor", "protocol"]),
    // Documentation only.
    ("guide", &[]),
    // Modules of the binary.
    ("help", &[]),
    ("nearest", &[]),
    ("version", &[]),
    ("descriptors", &["reactor"]),
    ("allocator", &["reactor", "protocol"]),
    // The build script is a program of its own.
    ("build", &[]),
    ("logging", &["nearest"]),
    ("audit", &["services", "reactor", "protocol"]),
    (
        "config",
        &[
            "audit",
            "nearest",
            "logging",
            "services",
            "upstream",
            "backplane",
            "reactor",
            "protocol",
        ],
    ),
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
    ("gates", &["config", "observe", "services", "reactor"]),
    ("connect", &["config", "services", "reactor", "protocol"]),
    ("reload", &["audit", "config", "services", "reactor", "protocol"]),
    ("relay", &["config", "logging", "version", "services", "upstream"]),
    ("cli", &["audit", "config", "help", "nearest", "node", "relay", "version"]),
    (
        "serve",
        &[
            "allocator",
            "audit",
            "config",
            "descriptors",
            "gates",
            "logging",
            "observe",
            "reload",
            "version",
            "services",
            "backplane",
            "reactor",
            "protocol",
        ],
    ),
];

/// Modules of the library, which do not import dependencies of the binary.
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

/// Paths of other crates that a layer must not import.
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

/// The layers inside the reactor, and those that each may import. Modules of one layer may import each
/// other.
const REACTOR: [(&str, &[&str]); 8] = [
    ("api", &["parts"]),
    ("parts", &["api"]),
    ("conn", &["api", "parts"]),
    ("core", &["api", "parts", "conn"]),
    ("api on the core", &["api", "parts", "conn", "core"]),
    ("index", &["api", "parts", "conn", "core", "api on the core"]),
    ("effects", &["api", "parts", "conn", "core", "api on the core", "index"]),
    ("turn", &["api", "parts", "conn", "core", "api on the core", "index", "effects"]),
];

/// The modules of `api` that lend the core to services.
const API_ON_THE_CORE: [&str; 5] = ["conn_map", "context", "gate", "service", "throttle"];

/// The layer of a module of the reactor, or of an item by its path; the index defines the reactor itself
/// and re-exports the public names.
fn layer(names: &[&str]) -> &'static str {
    let is_folder =
        |name: &str| ["api", "parts", "conn", "effects", "core", "turn"].contains(&name);
    match names {
        ["api", name, ..] if API_ON_THE_CORE.contains(name) => "api on the core",
        [name, ..] if is_folder(name) => {
            REACTOR.iter().find(|(layer, _)| layer == name).map_or("index", |(layer, _)| layer)
        }
        _ => "index",
    }
}

/// The imports of this module of the reactor that its layer inside the reactor must not have.
fn reactor_violations(module: &[&str], source: &str) -> Vec<String> {
    let ["reactor", inner @ ..] = module else {
        return Vec::new();
    };
    let from = layer(inner);
    let allowed = REACTOR.iter().find(|(layer, _)| *layer == from).map_or(&[][..], |(_, to)| to);
    let mut wrong = Vec::new();
    for path in paths(source, module, UnitTests::Skip) {
        let names: Vec<&str> = path.iter().map(String::as_str).collect();
        if let ["crate", "reactor", target @ ..] = &names[..]
            && layer(target) != from
            && !allowed.contains(&layer(target))
        {
            wrong.push(format!("{} names {}", module.join("::"), path.join("::")));
        }
    }
    wrong
}

/// The imports of this module that its layer must not have.
fn violations(module: &[&str], source: &str) -> Vec<String> {
    // The crate roots may import everything.
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
    let wrong = paths(source, module, UnitTests::Read).into_iter().filter(is_wrong);
    wrong.map(|path| format!("{} names {}", module.join("::"), path.join("::"))).collect()
}

/// Services are modules, and modules are in lower case.
fn is_service(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
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
        let paths = paths(&source, &module, UnitTests::Read);
        crossings += paths.iter().filter(|path| path[0] == "crate").count();
        wrong.extend(violations(&module, &source));
        if !is_test(&module) {
            wrong.extend(reactor_violations(&module, &source));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(crossings > 200, "only {crossings} paths of the crate were found");
}

/// Whether a module consists of unit tests.
fn is_test(module: &[&str]) -> bool {
    module.contains(&"tests")
}

#[test]
fn no_modules_import_each_other() {
    let mut read = Vec::new();
    for (module, path) in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &[]) {
        let names: Vec<&str> = module.iter().map(String::as_str).collect();
        if !names.is_empty() && !is_test(&names) {
            read.push((module, fs::read_to_string(path).unwrap()));
        }
    }
    let graph = Graph::of(read.iter().map(|(module, source)| (module, &**source)));
    assert!(graph.arrows() > 200, "{} arrows: are they read at all?", graph.arrows());
    assert_eq!(graph.cycle(), Vec::<String>::new());
}

fn cycle(sources: &[(&[&str], &str)]) -> Vec<String> {
    let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let sources: Vec<(Names, &str)> =
        sources.iter().map(|(module, source)| (owned(module), *source)).collect();
    Graph::of(sources.iter().map(|(module, source)| (module, *source))).cycle()
}

#[test]
fn a_cycle_is_found() {
    let direct = cycle(&[(&["a"], "use crate::b::B;"), (&["b"], "fn f() { crate::a::f(); }")]);
    assert_eq!(direct, ["a names b: B", "b names a: f"]);
    // The index re-exports what the sibling defines.
    let index = cycle(&[
        (&["a"], "mod one; mod two; pub use self::one::One; pub use two::Two;"),
        (&["a", "one"], "use super::Two;"),
        (&["a", "two"], ""),
    ]);
    assert_eq!(index, ["a names a::one: One", "a::one names a: Two"]);
    let glob = cycle(&[(&["a"], "use self::one::*;"), (&["a", "one"], "use super::*;")]);
    assert_eq!(glob, ["a names a::one: ", "a::one names a: "]);
    let long = cycle(&[
        (&["a"], "use super::b::{self, B};"),
        (&["b"], "pub(crate) use crate::c::d::D;"),
        (&["c", "d"], "impl crate::a::A {}"),
        (&["c"], "use crate::a::A;"),
    ]);
    assert_eq!(long.len(), 3, "{long:?}");
}

#[test]
fn imports_of_siblings_and_of_tests_are_not_a_cycle() {
    let none = cycle(&[
        (&["a"], "mod one; mod two; pub use one::One; pub use self::two::Two;"),
        (&["a", "one"], "use super::two::Two; pub(in crate::a) struct One;"),
        (
            &["a", "two"],
            "#[cfg(test)] mod tests { use super::super::One; } struct Two(std::io::Error);",
        ),
        (&["a", "three"], "#[cfg(test)]\nuse super::One;\nuse serde::one; // use super::One;"),
    ]);
    assert_eq!(none, Vec::<String>::new());
}

#[test]
fn forbidden_imports_inside_the_reactor_are_found() {
    for (module, source) in [
        (&["reactor", "parts", "timer"][..], "use crate::reactor::conn::connection::Connection;"),
        (&["reactor", "parts", "timer"], "use crate::reactor::CloseReason;"),
        (&["reactor", "api", "id"], "use super::context::Context;"),
        (&["reactor", "api", "settings", "check"], "use super::super::super::core::Core;"),
        (&["reactor", "conn", "phase"], "impl crate::reactor::core::Core {}"),
        (&["reactor", "conn", "outbox", "queue"], "use crate::reactor::effects::send::f;"),
        (&["reactor", "core"], "use super::effects::deflate::Deflate;"),
        (&["reactor", "core"], "use super::api::service::Service;"),
        (&["reactor", "core"], "use super::Reactor;"),
        (&["reactor", "api", "context"], "fn f() { crate::reactor::effects::send::f(); }"),
        (&["reactor"], "use self::effects::accept::f;"),
        (&["reactor", "effects", "send"], "use super::super::turn::f;"),
    ] {
        assert_eq!(reactor_violations(module, source).len(), 1, "{module:?}: {source}");
    }
}

#[test]
fn allowed_imports_inside_the_reactor_pass() {
    for (module, source) in [
        (&["reactor", "effects", "inbound"][..], "use crate::reactor::Reactor; use super::x::X;"),
        (&["reactor", "turn"], "use super::Reactor; use super::effects::f; use super::conn::a::A;"),
        (&["reactor", "api", "context"], "use super::id::ConnId; use crate::reactor::core::Core;"),
        (&["reactor", "core"], "use super::conn::table::Conns; use super::api::outcome::Decision;"),
        (&["reactor", "conn", "batch"], "#[cfg(test)] mod tests { use crate::reactor::Reactor; }"),
        (&["reactor", "parts", "tls"], "pub(in crate::reactor) struct A; use super::file::read;"),
        (&["reactor"], "mod effects; pub use self::api::service::Service; use self::core::Core;"),
        (&["services", "echo"], "use crate::reactor::Context;"),
    ] {
        assert_eq!(
            reactor_violations(module, source),
            Vec::<String>::new(),
            "{module:?}: {source}"
        );
    }
}

#[test]
fn forbidden_imports_are_found() {
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
fn allowed_imports_pass() {
    for (module, source) in [
        (&["protocol", "handshake", "client"][..], "use super::super::mask::apply;"),
        (&["protocol"], "// use crate::reactor::Core;\nconst A: &str = \"mio::Poll\";"),
        (&["protocol"], "use std::{fmt, io}; use sha1::Digest;"),
        // Addresses without sockets.
        (&["protocol", "proxy_header"], "use core::net::{IpAddr, SocketAddr};"),
        (&["reactor", "turn"], "use crate::protocol::{self, Message}; use mio::event::Event;"),
        (&["reactor"], "mod tests { use super::*; use super::turn::x; }"),
        (&["reactor", "conn", "table"], "use super::super::parts::timer::Wheel;"),
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
