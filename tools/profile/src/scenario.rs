//! The loads of the profiled scenarios, as commands of `weir-load`.

/// One load.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) letter: char,
    pub(crate) title: &'static str,
    /// Arguments without the server's URL.
    pub(crate) arguments: &'static [&'static str],
    /// The server's metric that counts messages in this scenario.
    pub(crate) count: &'static str,
}

pub(crate) const IN: &str = "messages_in";
const OUT: &str = "messages_out";

const fn scenario(
    letter: char,
    title: &'static str,
    arguments: &'static [&'static str],
    count: &'static str,
) -> Scenario {
    Scenario { letter, title, arguments, count }
}

/// All scenarios. In a fan-out, a delivery counts as a message.
pub(crate) const SCENARIOS: [Scenario; 7] = [
    scenario('A', "20 B x 200, depth 1", &["echo", "-s", "20", "-c", "200"], IN),
    scenario('B', "20 B x 200, depth 16", &["echo", "-s", "20", "-c", "200", "--depth", "16"], IN),
    scenario('C', "1 KiB x 200", &["echo", "-s", "1KiB", "-c", "200"], IN),
    scenario('D', "16 KiB x 50", &["echo", "-s", "16KiB", "-c", "50"], IN),
    scenario('E', "64 KiB x 10", &["echo", "-s", "64KiB", "-c", "10"], IN),
    scenario('F', "fan-out, 64 B to 1,000", &["fanout", "-s", "64", "-c", "1000"], OUT),
    scenario(
        'G',
        "fan-out, 16 at a time",
        &["fanout", "-s", "64", "-c", "1000", "--depth", "16"],
        OUT,
    ),
];

impl Scenario {
    /// The scenarios with these letters.
    pub(crate) fn chosen(letters: &str) -> Result<Vec<&'static Scenario>, String> {
        let is_known = |letter: &char| SCENARIOS.iter().any(|known| known.letter == *letter);
        match letters.chars().find(|letter| !is_known(letter)) {
            Some(unknown) => Err(format!("unknown scenario {unknown}: expected A to G")),
            None if letters.is_empty() => Err("no scenario given: expected A to G".to_owned()),
            None => Ok(SCENARIOS.iter().filter(|known| letters.contains(known.letter)).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_are_chosen_by_their_letters() {
        let letters = |chosen: &str| {
            Scenario::chosen(chosen).map(|all| all.iter().map(|each| each.letter).collect())
        };
        assert_eq!(letters("GA"), Ok("AG".to_owned()));
        assert_eq!(letters("AX"), Err("unknown scenario X: expected A to G".to_owned()));
        assert_eq!(letters(""), Err("no scenario given: expected A to G".to_owned()));
    }
}
