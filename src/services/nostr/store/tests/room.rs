//! Room on the disk: the limit, a full disk, and many small commits.

use std::io;
use std::process::Command;
use std::sync::atomic::AtomicU64;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::*;

#[test]
fn below_disk_free_min_events_are_refused_and_removals_go_on() {
    static FREE: AtomicU64 = AtomicU64::new(0);
    fn free(_: &Path) -> io::Result<u64> {
        Ok(FREE.load(Ordering::Relaxed))
    }
    let directory = Directory::new();
    let settings =
        StoreSettings { disk_free_min: 1_000, disk_free: Some(free), ..StoreSettings::default() };
    let (_store, mut writer) = open(directory.path(), settings).unwrap();
    let mut next = 0;
    let mut outcomes = |bytes, now| {
        FREE.store(bytes, Ordering::Relaxed);
        next += 10;
        let note = Draft::new(next, 1, 1, NOW);
        let deletion = Draft::new(next + 1, 1, 5, NOW).tag("e", &hex_of(&id(1)));
        let vanish = Draft::new(next + 2, 2, 62, next);
        let events = [note, deletion, vanish].map(|draft| draft.build());
        let outcomes = writer.commit(events.into(), now).unwrap().outcomes;
        let is_refused: Vec<bool> =
            outcomes.iter().map(|outcome| *outcome == Outcome::DiskFull).collect();
        is_refused
    };
    assert_eq!(outcomes(1_000, NOW), [false, false, false]);
    // The room is read once a second.
    assert_eq!(outcomes(999, NOW), [false, false, false]);
    assert_eq!(outcomes(999, NOW + 1), [true, false, false]);
    assert_eq!(outcomes(250, NOW + 2), [true, false, false]);
    assert_eq!(outcomes(249, NOW + 3), [true, true, true]);
    assert_eq!(outcomes(5_000, NOW + 4), [false, false, false]);
}

/// Names the tmpfs to the process that fills it.
const FULL_DISK: &str = "WEIR_STORE_FULL_DISK";
const CONTENT_BYTES: usize = 64 * 1024;

fn large(random: &mut StdRng, number: u64) -> Draft {
    // Random, since the journal compresses.
    let mut content = vec![0; CONTENT_BYTES / 2];
    random.fill_bytes(&mut content);
    Draft { content: hex_of(&content), ..Draft::new(number, 1, 1, NOW - 100_000 + number) }
}

/// Fills a tmpfs until a commit fails, makes room, and goes on.
#[test]
fn child_fills_its_disk() {
    let Ok(path) = env::var(FULL_DISK) else {
        return;
    };
    let path = Path::new(&path);
    let filler = path.join("filler");
    fs::write(&filler, vec![1; 24 << 20]).unwrap();
    let (store, mut writer) = open(&path.join("store"), StoreSettings::default()).unwrap();
    let mut random = StdRng::seed_from_u64(5);
    let mut acknowledged = 0;
    let error = loop {
        let draft = large(&mut random, acknowledged);
        match writer.commit(vec![draft.build()], NOW) {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 10_000, "the disk does not become full");
    };
    println!("\nfailed after {acknowledged} commits: {error}");
    let served = |store: &Store| {
        let newest = format!(r#"{{"limit":1000,"until":{}}}"#, NOW - 100_000 + acknowledged);
        request(store, &[&newest], Visibility::all()).len() as u64
    };
    assert_eq!(served(&store), acknowledged);
    writer.commit(vec![Draft::new(1 << 40, 1, 1, NOW).build()], NOW).unwrap_err();
    let full = writer.reopen().unwrap_err();
    assert!(matches!(full, StoreError::Directory(_)), "{full}");
    assert_eq!(served(&store), acknowledged);
    fs::remove_file(&filler).unwrap();
    let found = writer.reopen().unwrap();
    println!("{} events of the failed batch were replayed", found.len());
    assert!(found.len() <= 1);
    assert_eq!(served(&store), acknowledged + found.len() as u64);
    for number in 0..20 {
        let outcomes = commit(&mut writer, &[Draft::new((1 << 41) + number, 1, 1, NOW)]);
        let expected = acknowledged + found.len() as u64 + number + 1;
        assert!(
            matches!(outcomes[0], Outcome::Stored { serial, .. } if serial == expected),
            "{outcomes:?}"
        );
    }
    assert_consistent(&store);
    drop((store, writer));
    let (store, _writer) = open(&path.join("store"), StoreSettings::default()).unwrap();
    assert_eq!(served(&store), acknowledged + found.len() as u64);
    assert_consistent(&store);
    println!("done");
}

/// The tmpfs is in a mount namespace of the child. Without user namespaces there is nothing to test.
#[test]
fn a_full_disk_is_survived_without_a_restart() {
    let can_mount = Command::new("unshare").args(["-rm", "true"]).status();
    if !can_mount.is_ok_and(|status| status.success()) {
        println!("skipped: this system has no unprivileged mount namespaces");
        return;
    }
    let directory = Directory::new();
    fs::create_dir_all(directory.path()).unwrap();
    let script = r#"mount -t tmpfs -o size=64m tmpfs "$1" && exec "$2" --exact --nocapture "$3""#;
    let output = Command::new("unshare")
        .args(["-rm", "sh", "-c", script, "sh"])
        .arg(directory.path())
        .arg(env::current_exe().unwrap())
        .arg("services::nostr::store::tests::room::child_fills_its_disk")
        .env(FULL_DISK, directory.path())
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && out.contains("done"), "{out}\n{errors}");
}

/// fjall's own rotation of memtables stalls after 30,000 to 100,000 such commits. `WEIR_STORE_COMMITS` is
/// another number of commits, which go to the disk.
#[test]
fn many_synced_commits_do_not_stall() {
    let (commits, directory): (u64, Directory) = match env::var("WEIR_STORE_COMMITS") {
        Ok(number) => (number.parse().unwrap(), Directory::on_disk()),
        Err(_) => (50_000, Directory::new()),
    };
    let (store, mut writer) = directory.open();
    let mut memtable_bytes_max = 0;
    let mut random = StdRng::seed_from_u64(3);
    for number in 0..commits {
        let mut draft = Draft::new(
            0,
            (number % 200) as u8,
            [1, 7, 0, 30_023][(number % 4) as usize],
            NOW - 500_000 + number / 4,
        )
        .tag("d", &(number % 97).to_string())
        .tag("e", &hex_of(&id(number % 5_000)))
        .tag("p", &hex_of(&author((number % 251) as u8)))
        .tag("t", "weir")
        .tag("expiration", &(NOW + number).to_string());
        draft.content = "0123456789".repeat(30);
        random.fill_bytes(&mut draft.head.id);
        commit(&mut writer, &[draft]);
        if number.is_multiple_of(1_000) {
            let stat = store.stat().unwrap();
            memtable_bytes_max = memtable_bytes_max.max(stat.memtable_bytes);
            assert!(writer.outstanding_flushes().unwrap() < 32);
        }
    }
    let stat = store.stat().unwrap();
    println!(
        "{commits} commits: memtables {} MiB at most, disk {} MiB, {} bytes an event",
        memtable_bytes_max >> 20,
        stat.disk_bytes >> 20,
        stat.disk_bytes / stat.totals.events,
    );
    assert!(memtable_bytes_max <= 128 << 20, "{memtable_bytes_max}");
}
