//! `weir help TOPIC`: the pages of the guide, as text.
//!
//! The same files are the module `guide` of the library's documentation.

use std::fmt::Write as _;

/// A page of the guide.
struct Topic {
    /// The argument of `weir help`, and the name of the page's file.
    name: &'static str,
    about: &'static str,
    page: &'static str,
}

/// A [`Topic`] from its name.
macro_rules! topic {
    ($name:literal, $about:literal) => {
        Topic { name: $name, about: $about, page: include_str!(concat!("guide/", $name, ".md")) }
    };
}

static TOPICS: [Topic; 14] = [
    topic!("services", "paths, their services, the route file"),
    topic!("settings", "flags, environment variables, the file, weir check"),
    topic!("operating", "start and stop, log, metrics, a reverse proxy in front"),
    topic!("admission", "gates, identities and refusals of clients"),
    topic!("limits", "each limit, its default, and what happens when it is reached"),
    topic!("tls", "wss:// listeners, client certificates, reload"),
    topic!("compression", "permessage-deflate: modes, memory, when to disable it"),
    topic!("proxy", "WebSockets and HTTP to upstream pools"),
    topic!("gateway", "JSON-RPC to the upstreams of an Ethereum network"),
    topic!("relay", "weir relay, a Nostr relay"),
    topic!("chain", "weir node, an embedded development chain"),
    topic!("embedding", "weir as a library"),
    topic!("architecture", "layers, the turn of the loop, which file owns what"),
    topic!("troubleshooting", "from a symptom to its cause"),
];

/// The names of all topics.
pub(crate) fn topics() -> impl Iterator<Item = &'static str> {
    TOPICS.iter().map(|topic| topic.name)
}

/// The page of this topic.
pub(crate) fn page(name: &str) -> Option<&'static str> {
    TOPICS.iter().find(|topic| topic.name == name).map(|topic| topic.page)
}

/// The list of topics, for the end of the general help.
pub(crate) fn topic_list() -> String {
    let mut text = String::from("Topics of weir help TOPIC:\n");
    for Topic { name, about, .. } in &TOPICS {
        let _ = writeln!(text, "  {name:<16} {about}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_page_of_the_guide_is_a_topic_and_a_module() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/guide");
        let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        let pages =
            files.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
        let pages: BTreeSet<String> =
            pages.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
        let topics: BTreeSet<String> = topics().map(str::to_owned).collect();
        assert_eq!(pages, topics);
        let modules = fs::read_to_string(folder.join("mod.rs")).unwrap();
        for page in pages {
            assert!(modules.contains(&format!("include_str!(\"{page}.md\")")), "{page}");
            assert!(modules.contains(&format!("pub mod {page} {{}}")), "{page}");
            assert!(modules.contains(&format!("//! | [`{page}`] |")), "{page}");
        }
    }
}
