//! README and guide: links, files, settings, metrics and log lines that they name exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use weir::reactor::CloseReason;
use weir_authority::Authority;

use crate::binary::File;
use crate::nostr::relay::Directory;
use crate::support::{Client, Process, weir};

/// Maximum size of README.md: five minutes of reading.
const README_BYTES_MAX: usize = 10 * 1024;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// README.md and the READMEs that it links to.
const READMES: [&str; 4] =
    ["README.md", "benches/README.md", "tests/README.md", "tools/peers/README.md"];

/// The pages of the guide, by their path.
fn pages() -> Vec<PathBuf> {
    let files = fs::read_dir(root().join("src/guide")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

/// The fenced blocks of a language, each with the number of its first line.
fn blocks(text: &str, language: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut block: Option<(usize, String)> = None;
    for (number, line) in text.lines().enumerate() {
        match (&mut block, line.strip_prefix("```")) {
            (None, Some(of)) => block = Some((number + 2, of.to_owned() + "\n")),
            (Some(_), Some(_)) => blocks.extend(block.take()),
            (Some((_, text)), None) => *text += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    assert!(block.is_none(), "a fence is not closed");
    let opening = format!("{language}\n");
    let body = |(number, text): (usize, String)| {
        text.strip_prefix(&opening).map(|body| (number, body.to_owned()))
    };
    blocks.into_iter().filter_map(body).collect()
}

#[test]
fn the_readme_is_short() {
    let bytes = read("README.md").len();
    assert!(bytes <= README_BYTES_MAX, "{bytes} bytes");
}

#[test]
fn links_in_the_readmes_point_to_files() {
    let mut found = 0;
    for readme in READMES {
        let text = read(readme);
        let folder = root().join(readme);
        let folder = folder.parent().unwrap();
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        for (target, _) in targets.filter(|(target, _)| !target.contains("://")) {
            let file = target.split('#').next().unwrap();
            assert!(file.is_empty() || folder.join(file).exists(), "{readme}: {target}");
            found += 1;
        }
    }
    assert!(found > 10, "only {found} links were found");
}

/// The words in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

#[test]
fn files_that_the_guide_names_exist() {
    let mut found = 0;
    for page in pages().into_iter().chain(READMES.map(|readme| root().join(readme))) {
        let text = read(&page);
        let words = quoted(&text).filter_map(|quoted| quoted.split(' ').next());
        let is_ours = |word: &&str| {
            ["src/", "tests/", "tools/", "benches/", ".ci/"].iter().any(|top| word.starts_with(top))
        };
        for word in words.filter(is_ours) {
            assert!(root().join(word).exists(), "{}: {word}", page.display());
            found += 1;
        }
    }
    assert!(found > 10, "{found} files");
}

/// GitHub and `weir help` show the lines that rustdoc hides.
#[test]
fn code_in_the_guide_has_no_hidden_lines() {
    let mut seen = 0;
    for page in pages() {
        let text = read(&page);
        for (number, code) in ["", "no_run"].iter().flat_map(|language| blocks(&text, language)) {
            let hidden = code.lines().find(|line| *line == "#" || line.starts_with("# "));
            assert_eq!(hidden, None, "{}:{number}", page.display());
            seen += 1;
        }
    }
    assert!(seen > 0);
}

#[test]
fn limits_in_the_guide_are_settings() {
    let secret = File::new(&"secret ".repeat(8));
    let text = "[[route]]\npath = '/rooms/{name}'\nservice = 'rooms'\n\
         [[network]]\nproject = 'main'\nchain_id = 1\nupstreams = ['http://127.0.0.1:9']\n\
         [[pool]]\nname = 'a'\nupstreams = ['http://127.0.0.1:9']\n\
         [[route]]\npath = '/a'\nservice = 'proxy'\npool = 'a'\n\
         [[relay]]\nname = 'a'\ndata_dir = 'a'\n\
         [[route]]\npath = '/b'\nservice = 'nostr'\nrelay = 'a'\n\
         [[auth]]\nname = 'a'\nkind = 'http'\nurl = 'http://127.0.0.1:9'\n\
         [[auth]]\nname = 'b'\nkind = 'jwt'\nalgorithms = ['HS256']\nsecret_file = 'SECRET'\n";
    let file = File::new(&text.replace("SECRET", secret.path()));
    let mut process = Process::spawn(&mut weir(["check", "--config", file.path()]));
    assert_eq!(process.wait(), Some(0), "{}", process.whole_log());
    let effective = process.rest();
    let known: BTreeSet<&str> =
        effective.iter().filter_map(|line| Some(line.split_once(" = ")?.0)).collect();
    let text = read("src/guide/limits.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let mut found = 0;
    for name in rows.flat_map(quoted).filter(|name| *name != "dedicated") {
        assert!(known.contains(name), "no setting {name}");
        found += 1;
    }
    assert!(found > 30, "{found} settings");
}

#[test]
fn files_in_the_guide_are_valid() {
    let authority = Authority::new();
    let folder = authority.directory();
    let files = authority.server(&["localhost"]);
    for (from, to) in
        [(files.chain, "chain.pem"), (files.key, "key.pem"), (authority.file(), "clients.pem")]
    {
        fs::copy(from, folder.join(to)).unwrap();
    }
    fs::write(folder.join("audit.key"), "k".repeat(32)).unwrap();
    let file = folder.join("weir.toml");
    let mut checked = 0;
    for page in pages().into_iter().chain([root().join("README.md")]) {
        for (line, text) in blocks(&read(&page), "toml") {
            fs::write(&file, text).unwrap();
            let mut process = Process::spawn(weir(["check", "--config"]).arg(&file));
            let place = format!("{}:{line}", page.display());
            assert_eq!(process.wait(), Some(0), "{place}: {}", process.whole_log());
            checked += 1;
        }
    }
    assert!(checked > 5, "{checked} files");
}

/// The names of metrics in a text; one that ends in `_` is the prefix of several.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_lowercase() || c == '_'));
    words.filter(|word| word.starts_with("weir_") || word.starts_with("process_")).collect()
}

#[test]
fn metrics_in_the_guide_exist() {
    let directory = Directory::new();
    let file = File::new(&format!(
        "[[network]]\nproject = 'main'\nchain_id = 1\nupstreams = ['http://127.0.0.1:9']\n\
         [[pool]]\nname = 'nodes'\nupstreams = ['http://127.0.0.1:9']\n\
         [[relay]]\nname = 'main'\ndata_dir = '{}'\n\
         [[route]]\npath = '/relay'\nservice = 'nostr'\nrelay = 'main'\n\
         messages_rate = '100/s'\n\
         [[route]]\npath = '/*'\nservice = 'proxy'\npool = 'nodes'\n\
         [[auth]]\nname = 'hook'\nkind = 'http'\nurl = 'http://127.0.0.1:9'\n",
        directory.events()
    ));
    let arguments = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--config", file.path()];
    let mut command = weir(arguments);
    command.arg("--audit").arg(directory.path().join("audit.log"));
    let running = Process::spawn(&mut command);
    running.address();
    let line = running.line();
    let admin = line.strip_prefix("admin http://").unwrap_or_else(|| panic!("{line}"));
    let mut client = Client::tcp(admin.trim_end_matches('/').parse().unwrap());
    client.raw(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n");
    let text = String::from_utf8(client.answer().1).unwrap();
    let helps = text.lines().filter_map(|line| line.strip_prefix("# HELP "));
    let known: BTreeSet<&str> = helps.filter_map(|help| help.split(' ').next()).collect();
    // Methods of the node.
    let others = ["weir_emit", "weir_mine"];
    let mut checked = 0;
    for page in pages().into_iter().chain(READMES.map(|readme| root().join(readme))) {
        let text = read(&page);
        for name in metrics_in(&text).into_iter().filter(|name| !others.contains(name)) {
            let is_known = match name.strip_suffix('_') {
                Some(_) => known.iter().any(|metric| metric.starts_with(name)),
                None => known.contains(name),
            };
            assert!(is_known, "{}: no metric {name}", page.display());
            checked += 1;
        }
    }
    assert!(checked > 30, "{checked} names");
}

/// What the server says: its source without comments, test modules and breaks in string literals.
fn source(folder: &Path) -> String {
    let mut all = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all += &source(&path);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !path.ends_with("tests.rs")
        {
            let text = fs::read_to_string(&path).unwrap();
            let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            let code = text.lines().map(str::trim_start).filter(|line| !line.starts_with("//"));
            for line in code {
                match line.strip_suffix('\\') {
                    Some(part) => all += part,
                    None => all += &format!("{line}\n"),
                }
            }
        }
    }
    all
}

/// The constant parts of a quoted message: between `...`, numbers, settings and words in capitals,
/// which stand for values.
fn constant_parts(quote: &str) -> Vec<String> {
    let is_value = |word: &str| {
        let word = word.trim_matches(|c: char| c.is_ascii_punctuation() && c != '.');
        let is_capital = |c: char| c.is_ascii_uppercase() || c == '_';
        let is_number = word.starts_with(|c: char| c.is_ascii_digit());
        word.contains("..")
            || word.contains('_')
            || is_number
            || word.chars().all(is_capital) && !["", "TLS", "PEM"].contains(&word)
    };
    let mut parts = vec![String::new()];
    for word in quote.split(' ') {
        let part = parts.last_mut().unwrap();
        if is_value(word) {
            parts.push(String::new());
        } else {
            *part += if part.is_empty() { "" } else { " " };
            *part += word;
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

#[test]
fn messages_in_the_troubleshooting_page_are_in_the_source() {
    let page = read("src/guide/troubleshooting.md");
    let fenced: Vec<String> = blocks(&page, "sh").into_iter().map(|(_, block)| block).collect();
    let page = fenced.iter().fold(page, |page, block| page.replace(block, ""));
    for line in page.lines().filter(|line| !line.starts_with("```")) {
        assert_eq!(line.matches('`').count() % 2, 0, "a quote does not end in its line: {line}");
    }
    let source = source(&root().join("src"));
    assert!(source.contains("\"ended: {reason}\""), "the line of an end");
    let commands = ["weir ", "GET ", "DELETE ", "--", "proxy_", "ulimit "];
    let is_message = |quote: &&str| {
        let is_command = commands.iter().any(|start| quote.starts_with(start));
        quote.contains(' ') && !quote.contains(" = ") && !is_command
    };
    let mut found = 0;
    for quote in quoted(&page).filter(is_message) {
        found += 1;
        if let Some(ended) = quote.strip_prefix("ended: ") {
            let reason = ended.split(' ').next().unwrap();
            assert!(CloseReason::NAMES.contains(&reason), "{quote}: no reason {reason}");
            continue;
        }
        for part in constant_parts(quote) {
            assert!(source.contains(&part), "{part:?} of {quote:?} is not in src");
        }
    }
    assert!(found > 30, "{found} messages");
}
