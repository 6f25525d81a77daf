//! Cargo features: the crates that each adds, and the oldest compiler.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Features, and the maximum number of crates that weir depends on with them. README states these
/// numbers.
const CRATES_MAX: [(&str, usize); 2] = [("", 25), ("tls", 35)];

/// The output of cargo, offline: the packages are there, since the test was built from them.
fn cargo(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments).args(["--offline", "--locked"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The crates that the library depends on with these features, each with its version.
fn crates(features: &str) -> BTreeSet<String> {
    let tree = cargo(&[
        "tree",
        "--package=weir",
        "--edges=normal",
        "--prefix=none",
        "--no-dedupe",
        "--format={p}",
        "--no-default-features",
        "--features",
        features,
    ]);
    tree.lines().filter(|line| !line.starts_with("weir ")).map(str::to_owned).collect()
}

/// The features of Cargo.toml, each with the features and dependencies that it enables.
fn features() -> BTreeMap<String, Vec<String>> {
    let manifest: toml::Table = include_str!("../Cargo.toml").parse().unwrap();
    manifest["features"].clone().try_into().unwrap()
}

#[test]
fn an_embedder_depends_on_few_crates() {
    for (features, most) in CRATES_MAX {
        let crates = crates(features);
        assert!(crates.len() > 10, "{crates:?}: is the tree read at all?");
        assert!(crates.len() <= most, "{features:?}: {} crates: {crates:#?}", crates.len());
    }
}

#[test]
fn the_default_is_the_server_with_every_feature() {
    let features = features();
    assert_eq!(features["default"], ["server"]);
    let others: Vec<&String> =
        features.keys().filter(|name| !matches!(&***name, "default" | "server")).collect();
    let missing: Vec<_> =
        others.into_iter().filter(|name| !features["server"].contains(name)).collect();
    assert_eq!(missing, Vec::<&String>::new());
}

#[test]
fn the_crate_docs_list_every_feature() {
    let docs = include_str!("../src/lib.rs");
    let features = features();
    let is_missing = |name: &&String| !docs.contains(&format!("//! | `{name}` |"));
    let missing: Vec<_> =
        features.keys().filter(|name| *name != "default").filter(is_missing).collect();
    assert_eq!(missing, Vec::<&String>::new());
}

#[test]
fn every_feature_enables_something() {
    let empty: Vec<_> = features().into_iter().filter(|(_, adds)| adds.is_empty()).collect();
    assert_eq!(empty, []);
}

/// The parts of a version, without zeros at its end: 1.90 equals 1.90.0.
fn version(text: &str) -> Vec<u32> {
    let mut parts: Vec<u32> = text.split('.').map(|number| number.parse().unwrap()).collect();
    while parts.last() == Some(&0) {
        parts.pop();
    }
    parts
}

/// The packages that weir with all features is built from, by their ids.
fn built_from(metadata: &Value) -> BTreeSet<&str> {
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let node = |id: &str| nodes.iter().find(|node| node["id"] == id).unwrap();
    let is_normal = |dependency: &&Value| {
        let kinds = dependency["dep_kinds"].as_array().unwrap();
        kinds.iter().any(|kind| kind["kind"].is_null())
    };
    let mut found = BTreeSet::new();
    let mut left = vec![metadata["resolve"]["root"].as_str().unwrap()];
    while let Some(id) = left.pop() {
        if found.insert(id) {
            let dependencies = node(id)["deps"].as_array().unwrap().iter().filter(is_normal);
            left.extend(dependencies.map(|dependency| dependency["pkg"].as_str().unwrap()));
        }
    }
    found
}

/// The packages of the workspace and their dependencies on this platform.
fn metadata() -> Value {
    let versions = cargo(&["--version", "--verbose"]);
    let host = versions.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let text = cargo(&["metadata", "--format-version=1", "--filter-platform", host]);
    serde_json::from_str(&text).unwrap()
}

/// The oldest compilers for these packages that others wrote, with their names.
fn needed<'m>(metadata: &'m Value, ids: &BTreeSet<&str>) -> Vec<(Vec<u32>, &'m str)> {
    let packages = metadata["packages"].as_array().unwrap().iter();
    let others = packages.filter(|package| {
        ids.contains(package["id"].as_str().unwrap()) && !package["source"].is_null()
    });
    let needs = |package: &'m Value| {
        Some((version(package["rust_version"].as_str()?), package["name"].as_str()?))
    };
    others.filter_map(needs).collect()
}

#[test]
fn no_dependency_needs_a_newer_compiler_than_weir() {
    let metadata = metadata();
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let resolved = nodes.iter().filter_map(|node| node["id"].as_str()).collect();
    let own = version(env!("CARGO_PKG_RUST_VERSION"));
    let mut too_new = needed(&metadata, &resolved);
    too_new.retain(|(needed, _)| *needed > own);
    assert_eq!(too_new, []);
}

/// That the code of weir itself needs no newer one is checked by clippy (`incompatible_msrv`).
#[test]
fn weir_needs_no_newer_compiler_than_its_dependencies() {
    let metadata = metadata();
    let newest = needed(&metadata, &built_from(&metadata)).into_iter().max().unwrap();
    assert_eq!(version(env!("CARGO_PKG_RUST_VERSION")), newest.0, "{} needs it", newest.1);
}
