//! Parses callgrind profiles: instructions by function, and the calls between functions.
//!
//! Supports the part of the format that `valgrind --tool=callgrind` writes by default, with its
//! compressed names. Source positions are ignored.

use std::collections::{BTreeMap, HashMap};

/// Calls deeper than this are not followed.
const DEPTH_MAX: usize = 64;
/// Minimum share of all instructions of a stack in the flame graph.
const SHARE_MIN: f64 = 1e-4;
/// Functions that allocate.
const ALLOCATORS: [&str; 5] = ["malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc"];

#[derive(Debug, Default)]
pub(crate) struct Profile {
    names: Vec<String>,
    functions: BTreeMap<usize, Function>,
}

#[derive(Debug, Default)]
struct Function {
    /// Instructions of the function itself.
    own: u64,
    callees: BTreeMap<usize, Calls>,
}

#[derive(Debug, Default)]
struct Calls {
    count: u64,
    /// Instructions of the callee and of its callees.
    inclusive: u64,
}

impl Profile {
    pub(crate) fn parse(text: &str) -> Profile {
        let mut profile = Profile::default();
        let mut ids = HashMap::new();
        let (mut function, mut callee, mut calls) = (0, 0, None::<u64>);
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("fn=") {
                function = profile.name(&mut ids, name);
            } else if let Some(name) = line.strip_prefix("cfn=") {
                callee = profile.name(&mut ids, name);
            } else if let Some(count) = line.strip_prefix("calls=") {
                calls = count.split_whitespace().next().and_then(|count| count.parse().ok());
            } else if line
                .starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first))
            {
                let cost = line.split_whitespace().nth(1).and_then(|cost| cost.parse().ok());
                let (function, cost) =
                    (profile.functions.entry(function).or_default(), cost.unwrap_or(0));
                match calls.take() {
                    None => function.own += cost,
                    Some(count) => {
                        let calls: &mut Calls = function.callees.entry(callee).or_default();
                        calls.count += count;
                        calls.inclusive += cost;
                    }
                }
            }
        }
        profile
    }

    /// A name is `(12) name` at its first occurrence and `(12)` later.
    fn name(&mut self, ids: &mut HashMap<String, usize>, text: &str) -> usize {
        let (id, name) = text.split_once(' ').unwrap_or((text, text));
        let names = &mut self.names;
        *ids.entry(id.to_owned()).or_insert_with(|| {
            names.push(name.to_owned());
            names.len() - 1
        })
    }

    /// All instructions.
    pub(crate) fn instructions(&self) -> u64 {
        self.functions.values().map(|function| function.own).sum()
    }

    /// Number of calls of functions that allocate.
    pub(crate) fn allocations(&self) -> u64 {
        let callees = self.functions.values().flat_map(|function| &function.callees);
        callees.filter(|(callee, _)| self.allocates(**callee)).map(|(_, calls)| calls.count).sum()
    }

    fn allocates(&self, function: usize) -> bool {
        ALLOCATORS.contains(&&*self.names[function])
    }

    /// Folded stacks, `main;run;turn 1234`. Callgrind records calls between functions, but no call
    /// paths: a function's instructions are divided among its callers in proportion to the cost of
    /// their calls.
    pub(crate) fn stacks(&self) -> Vec<String> {
        let mut received: HashMap<usize, u64> = HashMap::new();
        for (callee, calls) in self.functions.values().flat_map(|function| &function.callees) {
            *received.entry(*callee).or_default() += calls.inclusive;
        }
        let mut stacks = Vec::new();
        let least = self.instructions() as f64 * SHARE_MIN;
        for root in self.functions.keys().filter(|function| !received.contains_key(function)) {
            self.descend(*root, 1.0, &mut vec![], &mut stacks, (&received, least));
        }
        stacks
    }

    /// Adds the stacks below `path` of this function; `share` of its instructions belongs to this
    /// path.
    fn descend(
        &self,
        id: usize,
        share: f64,
        path: &mut Vec<usize>,
        stacks: &mut Vec<String>,
        (received, least): (&HashMap<usize, u64>, f64),
    ) {
        let Some(function) = self.functions.get(&id) else {
            return;
        };
        if path.contains(&id) || path.len() >= DEPTH_MAX {
            return;
        }
        path.push(id);
        let own = function.own as f64 * share;
        if own >= least {
            let names: Vec<String> =
                path.iter().map(|id| self.names[*id].replace(';', ":")).collect();
            stacks.push(format!("{} {own:.0}", names.join(";")));
        }
        for (callee, calls) in &function.callees {
            let cost = calls.inclusive as f64 * share;
            let all = received.get(callee).map_or(0.0, |all| *all as f64);
            if cost >= least && all > 0.0 {
                self.descend(*callee, cost / all, path, stacks, (received, least));
            }
        }
        path.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
events: Ir
fl=(1) main.rs
fn=(1) main
10 100
cfn=(2) read
calls=3 20
11 900
cfn=(3) malloc
calls=2 5
+1 40

fn=(2)
20 600
cfn=(3)
calls=5 5
* 300

fn=(3)
5 340
totals: 1040
";

    #[test]
    fn instructions_and_allocations_add_up() {
        let profile = Profile::parse(TEXT);
        assert_eq!(profile.instructions(), 1040);
        assert_eq!(profile.allocations(), 7);
    }

    #[test]
    fn a_function_is_divided_among_its_callers() {
        let mut stacks = Profile::parse(TEXT).stacks();
        stacks.sort();
        assert_eq!(
            stacks,
            ["main 100", "main;malloc 40", "main;read 600", "main;read;malloc 300",]
        );
    }
}
