//! `memory_max = "auto"` of the real binary: the limit of its cgroup (cgroups(7)).
//!
//! In a mount namespace of the server, files of the test lie over those of the kernel. So no test changes
//! a cgroup, or moves a process to another one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::nostr::relay::Directory;
use crate::support::{Admin, Client, Process, clean, eventually};

const MIB: u64 = 1 << 20;

/// Flags of a server whose level only the memory of its cgroup can raise.
const FLAGS: [&str; 6] = [
    "--levels",
    "--memory-max=auto",
    "--delay-elevated=1h",
    "--delay-critical=2h",
    "--listen=127.0.0.1:0",
    "--admin=127.0.0.1:0",
];

/// The last sample of the memory, as a part of its limit.
fn memory(admin: &Admin) -> f64 {
    let mut client = Client::tcp(admin.address());
    let host = admin.address();
    client.raw(format!("GET /status HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
    let status: Value = serde_json::from_slice(&client.answer().1).unwrap();
    status["load"]["resources"]["memory"]["value"].as_f64().unwrap()
}

/// The cgroup of this process.
struct Own {
    /// Where cgroups with this controller are mounted, below `/sys/fs/cgroup`.
    mount: &'static str,
    /// Its path below the mount.
    path: String,
    directory: PathBuf,
    /// Names of the files with the limit and the usage, and of the line with the inactive page cache.
    names: [&'static str; 3],
}

impl Own {
    /// `None` if the process is in no cgroup that may have a memory controller.
    fn find() -> Option<Own> {
        let cgroups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let path_of = |is_meant: &dyn Fn(&str) -> bool| {
            let mut parts =
                cgroups.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
            let (_, path) = parts.find(|(controllers, _)| is_meant(controllers))?;
            Some(path.trim_start_matches('/').to_owned())
        };
        let is_version_1 = |names: &str| names.split(',').any(|name| name == "memory");
        let (mount, path, names) = match path_of(&is_version_1) {
            Some(path) => {
                let usage = "memory.usage_in_bytes";
                ("memory", path, ["memory.limit_in_bytes", usage, "total_inactive_file"])
            }
            None => {
                let path = path_of(&|names| names.is_empty())?;
                ("", path, ["memory.max", "memory.current", "inactive_file"])
            }
        };
        let directory = Path::new("/sys/fs/cgroup").join(mount).join(&path);
        Some(Own { mount, path, directory, names })
    }

    /// Its usage without the inactive page cache.
    fn used(&self) -> Option<u64> {
        let read = |name: &str| fs::read_to_string(self.directory.join(name)).ok();
        let usage: u64 = read(self.names[1])?.trim().parse().ok()?;
        let stat = read("memory.stat")?;
        let mut lines = stat.lines().filter_map(|line| line.split_once(' '));
        let (_, inactive) = lines.find(|(name, _)| *name == self.names[2])?;
        Some(usage - inactive.parse::<u64>().ok()?)
    }
}

/// Files like those of the process's cgroup and its parent, in a directory of the test.
struct Faked {
    root: Directory,
    own: PathBuf,
    /// The cgroup itself if it is the root.
    parent: PathBuf,
    names: [&'static str; 3],
}

impl Faked {
    fn new(Own { mount, path, names, .. }: Own) -> Faked {
        let root = Directory::new();
        let mount = root.path().join(mount);
        let own = mount.join(&path);
        fs::create_dir_all(&own).unwrap();
        let parent = if path.is_empty() { own.clone() } else { own.parent().unwrap().to_owned() };
        Faked { root, own, parent, names }
    }

    fn write(&self, directory: &Path, [limit, usage, inactive]: [u64; 3]) {
        fs::write(directory.join(self.names[0]), format!("{limit}\n")).unwrap();
        fs::write(directory.join(self.names[1]), format!("{usage}\n")).unwrap();
        let stat = format!("active_file 1\n{} {inactive}\n", self.names[2]);
        fs::write(directory.join("memory.stat"), stat).unwrap();
    }
}

/// The own cgroup has a limit, too, which is not the smallest.
#[test]
fn the_smallest_limit_of_the_cgroups_of_the_process_applies() {
    let can_mount = Command::new("unshare").args(["-rm", "true"]).status();
    let own = Own::find().filter(|_| can_mount.is_ok_and(|status| status.success()));
    let Some(faked) = own.map(Faked::new) else {
        eprintln!(
            "SKIPPED: no cgroup, or this user may not create a mount namespace (unshare -rm)"
        );
        return;
    };
    faked.write(&faked.own, [900 * MIB, 890 * MIB, 0]);
    faked.write(&faked.parent, [400 * MIB, 300 * MIB, 100 * MIB]);
    let script = r#"mount --bind "$1" /sys/fs/cgroup && shift && exec "$@""#;
    let mut command = clean(Command::new("unshare"), ["-rm", "sh", "-c", script, "sh"]);
    command.arg(faked.root.path()).arg(env!("CARGO_BIN_EXE_weir")).args(FLAGS);
    let process = Process::spawn(&mut command);
    let _address = process.address();
    let admin = Admin::of(&process);
    eventually(|| memory(&admin) == 0.5, "the page cache that is inactive does not count");
    assert_eq!(admin.metric("weir_level", &[]), 0.0);
    faked.write(&faked.parent, [400 * MIB, 400 * MIB, 10 * MIB]);
    eventually(|| admin.metric("weir_level", &[]) == 2.0, "the load is critical");
    faked.write(&faked.parent, [400 * MIB, 390 * MIB, 300 * MIB]);
    eventually(|| admin.metric("weir_level", &[]) == 1.0, "the load falls");
}

/// Usage and statistics are the kernel's; only the limit is the test's.
#[test]
fn usage_and_page_cache_of_a_real_cgroup_are_read() {
    let can_mount = Command::new("unshare").args(["-rm", "true"]).status();
    let own = Own::find().filter(|_| can_mount.is_ok_and(|status| status.success()));
    let limit_file = own.as_ref().map(|own| own.directory.join(own.names[0]));
    let used = own.as_ref().and_then(Own::used);
    let (Some(limit_file), Some(used)) = (limit_file.filter(|file| file.exists()), used) else {
        eprintln!("SKIPPED: no cgroup with memory files, or no mount namespace (unshare -rm)");
        return;
    };
    let directory = Directory::new();
    let limit = directory.path().join("limit");
    fs::write(&limit, format!("{}\n", used / 4)).unwrap();
    let script = r#"mount --bind "$1" "$2" && shift 2 && exec "$@""#;
    let mut command = clean(Command::new("unshare"), ["-rm", "sh", "-c", script, "sh"]);
    command.arg(limit).arg(limit_file).arg(env!("CARGO_BIN_EXE_weir")).args(FLAGS);
    let process = Process::spawn(&mut command);
    let _address = process.address();
    let admin = Admin::of(&process);
    // Of the memory of the machine it would be less than 1.
    eventually(|| memory(&admin) > 1.0, "the usage of the cgroup is above its limit");
}
