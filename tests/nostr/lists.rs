//! Lists of keys in files, and their reload on SIGHUP.

use std::fs;

use rustix::process::Signal;
use serde_json::json;

use super::author::Author;
use super::relay::{Directory, NostrClient, Relay};
use crate::support::{Client, eventually, weir};

/// Whether an event of this author is accepted; the lists must be the reason if not.
fn may_write(client: &mut NostrClient, author: &Author) -> bool {
    let content = format!("{:?}", std::time::Instant::now());
    let (accepted, text) = client.publish(&author.note(&content));
    let is_listed = text.starts_with("restricted: ") || text.starts_with("blocked: ");
    assert!(accepted || is_listed, "{text}");
    accepted
}

fn reload(relay: &mut Relay) {
    relay.process.signal(Signal::HUP);
    relay.process.logged("configuration reloaded");
}

#[test]
fn files_of_keys_are_read_again_on_sighup() {
    let directory = Directory::new();
    let file = |name: &str| directory.path().join(name);
    let (friends, banned) = (file("friends"), file("banned"));
    let [one, two, three] = [1, 2, 3].map(Author::new);
    fs::write(&friends, format!("# friends\n{} the first\n", one.key())).unwrap();
    fs::write(&banned, "").unwrap();
    // Relative to the file with the configuration.
    let settings =
        format!("allow_authors = ['friends', '{}']\ndeny_authors = ['banned']", three.key());
    let mut relay = Relay::start(directory, &settings);
    let mut client = relay.client();
    let writers =
        |client: &mut NostrClient| [&one, &two, &three].map(|author| may_write(client, author));
    assert_eq!(writers(&mut client), [true, false, true]);
    fs::write(&friends, two.key()).unwrap();
    fs::write(&banned, three.key()).unwrap();
    reload(&mut relay);
    eventually(|| writers(&mut client) == [false, true, false], "the files apply");
    // A file that is empty does not open the relay.
    fs::write(&friends, "# nobody").unwrap();
    fs::write(&banned, "").unwrap();
    reload(&mut relay);
    eventually(|| writers(&mut client) == [false, false, true], "the file is empty");
    // A malformed file changes nothing, not even the other list.
    fs::write(&friends, format!("{}\nBob\n", one.key())).unwrap();
    fs::write(&banned, three.key()).unwrap();
    relay.process.signal(Signal::HUP);
    let line = relay.process.logged("configuration not reloaded, the old one stays: ");
    assert!(line.contains("allow_authors: ") && line.contains("friends"), "{line}");
    assert!(line.contains("line 2: expected a public key"), "{line}");
    fs::remove_file(&friends).unwrap();
    relay.process.signal(Signal::HUP);
    let line = relay.process.logged("configuration not reloaded, the old one stays: ");
    assert!(line.contains("No such file"), "{line}");
    assert_eq!(writers(&mut client), [false, false, true]);
    assert_eq!(relay.admin.metric("weir_config_reloads_total", &["failure"]), 2.0);
    let log = relay.process.log();
    assert!(!log.contains("needs a restart"), "{log}");
}

#[test]
fn lists_in_the_file_itself_are_read_again_and_other_settings_need_a_restart() {
    let mut relay = Relay::with("deny_kinds = [7]");
    let (mut client, author) = (relay.client(), Author::new(1));
    let accepts = |client: &mut NostrClient, kind: u64| {
        let content = format!("{:?}", std::time::Instant::now());
        client.publish(&author.event(kind, json!([]), &content)).0
    };
    assert!(!accepts(&mut client, 7) && accepts(&mut client, 1));
    let document = |relay: &Relay| {
        let mut client = Client::tcp(relay.address);
        client.raw(b"GET / HTTP/1.1\r\nHost: a\r\nAccept: application/nostr+json\r\n\r\n");
        String::from_utf8(client.answer().1).unwrap()
    };
    assert!(document(&relay).contains(r#""restricted_writes":false"#), "{}", document(&relay));
    let file = relay.file();
    let text = fs::read_to_string(&file).unwrap();
    let changed = "deny_kinds = [1]\nallow_readers = ['{}']\nlimit_max = 400\nlimit_default = 400\nallow_only = true\nopen_kinds = [7]";
    let changed = changed.replace("{}", &author.key());
    fs::write(&file, text.replace("deny_kinds = [7]", &changed)).unwrap();
    relay.process.signal(Signal::HUP);
    let line = relay.process.logged("needs a restart: relay main: ");
    assert!(line.contains("limit_default"), "{line}");
    let line = relay.process.logged("needs a restart: relay main: ");
    assert!(line.contains("limit_max"), "{line}");
    relay.process.logged("configuration reloaded");
    eventually(|| accepts(&mut client, 7) && !accepts(&mut client, 1), "the kinds are changed");
    client.send(&json!(["REQ", "a", {}]));
    assert_eq!(client.closed("a"), "auth-required: only listed keys may read here");
    assert!(document(&relay).contains(r#""restricted_writes":true"#));
}

#[test]
fn a_missing_file_of_keys_stops_the_start_and_the_check() {
    let directory = Directory::new();
    let file = directory.path().join("weir.toml");
    let text = format!(
        "[[relay]]\nname = 'main'\ndata_dir = {:?}\ndeny_authors = ['npub1mistyped']\n\
         [[route]]\npath = '/'\nservice = 'nostr'\nrelay = 'main'\n",
        directory.events()
    );
    fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    for command in [&["check", "--config", file][..], &["relay", "--config", file]] {
        let output = weir(command).output().unwrap();
        assert_ne!(output.status.code(), Some(0));
        let error = String::from_utf8(output.stderr).unwrap();
        let place = format!("{file}:4: deny_authors: ");
        assert!(error.contains(&place) && error.contains("npub1mistyped is neither"), "{error}");
    }
}
