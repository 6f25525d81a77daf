//! The modules that each module names, and the cycles among them.
//!
//! An item that a module re-exports counts for that module: `super::Item` is an arrow to the index even
//! if another file defines the item. So a file names the sibling that defines it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::paths::{Names, UnitTests, paths};

/// The arrows between modules. Each has the names that tie it.
#[derive(Default)]
pub(super) struct Graph(BTreeMap<Names, BTreeMap<Names, BTreeSet<String>>>);

impl Graph {
    /// The arrows of these modules: names and source of each. A module may have several sources, one for
    /// each state of a feature. The root of the crate is left out: it is the sum of its modules.
    pub(super) fn of<'a>(sources: impl Iterator<Item = (&'a Names, &'a str)> + Clone) -> Graph {
        let modules: BTreeSet<&Names> = sources.clone().map(|(module, _)| module).collect();
        let mut graph = Graph::default();
        for (module, source) in sources {
            let names: Vec<&str> = module.iter().map(String::as_str).collect();
            for path in paths(source, &names, UnitTests::Skip) {
                if let Some((target, item)) = target(path, module, &modules) {
                    let arrows = graph.0.entry(module.clone()).or_default();
                    arrows.entry(target).or_default().insert(item);
                }
            }
        }
        graph
    }

    pub(super) fn arrows(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }

    /// The shortest cycle, one line for each arrow; none if there is no cycle.
    pub(super) fn cycle(&self) -> Vec<String> {
        let cycles = self.0.keys().filter_map(|start| self.way_back(start));
        cycles.min_by_key(Vec::len).unwrap_or_default()
    }

    /// The shortest way from a module to itself.
    fn way_back(&self, start: &Names) -> Option<Vec<String>> {
        let mut before: BTreeMap<&Names, &Names> = BTreeMap::new();
        let mut queue = VecDeque::from([start]);
        while let Some(module) = queue.pop_front() {
            for target in self.0.get(module).into_iter().flat_map(BTreeMap::keys) {
                if !before.contains_key(target) {
                    before.insert(target, module);
                    queue.push_back(target);
                }
            }
        }
        let mut lines = Vec::new();
        let mut at = start;
        loop {
            let from = before.get(at)?;
            lines.push(self.line(from, at));
            at = from;
            if at == start {
                lines.reverse();
                return Some(lines);
            }
        }
    }

    fn line(&self, from: &Names, to: &Names) -> String {
        let items: Vec<&str> = self.0[from][to].iter().map(String::as_str).collect();
        format!("{} names {}: {}", from.join("::"), to.join("::"), items.join(", "))
    }
}

/// The module that a path leads to, if it is another one of ours, and the item that it names there.
fn target(path: Names, module: &Names, modules: &BTreeSet<&Names>) -> Option<(Names, String)> {
    let child = [&module[..], &path[..1]].concat();
    let full = match &*path[0] {
        "crate" => path[1..].to_vec(),
        _ if modules.contains(&child) => [module, &path[..]].concat(),
        _ => return None,
    };
    let len = (1..=full.len()).rev().find(|&len| modules.contains(&full[..len].to_vec()))?;
    let target = full[..len].to_vec();
    (target != *module).then(|| (target, full[len..].join("::")))
}
