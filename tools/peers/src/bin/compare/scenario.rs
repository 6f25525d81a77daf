//! The measured scenarios, as commands of the load client.

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) letter: char,
    pub(crate) title: &'static str,
    /// A command of `weir-load`, with its options.
    pub(crate) arguments: &'static [&'static str],
    /// Whether there is only one round: memory that was used once is not allocated again.
    pub(crate) is_once: bool,
}

const fn rounds(letter: char, title: &'static str, arguments: &'static [&'static str]) -> Scenario {
    Scenario { letter, title, arguments, is_once: false }
}

/// In the order of the table, except that H is first, while the servers are fresh.
pub(crate) const SCENARIOS: [Scenario; 8] = [
    Scenario {
        letter: 'H',
        title: "10,000 connections, idle",
        arguments: &["connect", "--connections", "10000", "--duration", "2s"],
        is_once: true,
    },
    rounds('A', "20 B x 200, depth 1", &["echo", "--size", "20", "--connections", "200"]),
    rounds(
        'B',
        "20 B x 200, depth 16",
        &["echo", "--size", "20", "--connections", "200", "--depth", "16"],
    ),
    rounds('C', "1 KiB x 200", &["echo", "--size", "1KiB", "--connections", "200"]),
    rounds('D', "16 KiB x 50", &["echo", "--size", "16KiB", "--connections", "50"]),
    rounds('E', "64 KiB x 10", &["echo", "--size", "64KiB", "--connections", "10"]),
    rounds(
        'F',
        "fan-out, 64 B to 1,000, per delivery",
        &["fanout", "--size", "64", "--connections", "1000"],
    ),
    rounds(
        'G',
        "fan-out, 16 at a time, per delivery",
        &["fanout", "--size", "64", "--connections", "1000", "--depth", "16"],
    ),
];

/// The scenarios of reverse proxies, with the same letters where they are the same.
pub(crate) const PROXY_SCENARIOS: [Scenario; 6] = [
    Scenario {
        letter: 'H',
        title: "5,000 tunnels, idle",
        arguments: &["connect", "--connections", "5000", "--duration", "2s"],
        is_once: true,
    },
    rounds(
        'S',
        "a handshake",
        &["connect", "--connections", "4000", "--warmup", "0s", "--duration", "50ms"],
    ),
    SCENARIOS[1],
    SCENARIOS[3],
    SCENARIOS[4],
    SCENARIOS[5],
];

impl Scenario {
    /// The scenarios with these letters, in the table's order.
    pub(crate) fn chosen(
        all: &'static [Scenario],
        letters: &str,
    ) -> Result<Vec<&'static Scenario>, String> {
        let is_known = |letter: &char| all.iter().any(|known| known.letter == *letter);
        if let Some(unknown) = letters.chars().find(|letter| !is_known(letter)) {
            let known: String = all.iter().map(|known| known.letter).collect();
            return Err(format!("unknown scenario {unknown}: expected one of {known}"));
        }
        Ok(all.iter().filter(|known| letters.contains(known.letter)).collect())
    }

    /// Whether its arguments say how long it takes.
    pub(crate) fn has_duration(&self) -> bool {
        self.arguments.contains(&"--duration")
    }
}
