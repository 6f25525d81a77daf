//! Memory and descriptors of the process, as parts of their limits: a few small reads of `/proc` and of
//! the process's cgroup.
//!
//! Only Linux has these files. What cannot be read is not measured.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::reactor::api::settings::MemoryMax;

/// Where cgroups are mounted.
const CGROUPS: &str = "/sys/fs/cgroup";
/// Bytes that are read of a file. What is looked for in `memory.stat` is in its first lines.
const FILE_BYTES_MAX: usize = 4096;
/// A limit of version 1 from here on stands for none: the largest multiple of a page in 63 bits.
const UNLIMITED_BYTES: u64 = 1 << 62;
/// The entry of the page size in the auxiliary vector (getauxval(3)).
const AT_PAGESZ: usize = 6;

/// What the process uses.
#[derive(Debug)]
pub(crate) struct Usage {
    memory: Option<Memory>,
}

/// How memory is measured.
#[derive(Debug, PartialEq, Eq)]
enum Memory {
    /// Resident memory of the process without the pages of mapped files, which the kernel can drop.
    Resident { page_bytes: u64, limit: u64 },
    /// Memory of a cgroup without its inactive page cache.
    Cgroup { cgroup: Cgroup, limit: u64 },
}

/// A cgroup with a memory controller.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cgroup {
    directory: PathBuf,
    files: &'static Files,
}

/// The names of a version of cgroups.
#[derive(Debug, PartialEq, Eq)]
struct Files {
    /// The mount point, below [`CGROUPS`].
    mount: &'static str,
    limit: &'static str,
    current: &'static str,
    /// The line of `memory.stat`.
    inactive: &'static str,
}

const V2: Files =
    Files { mount: "", limit: "memory.max", current: "memory.current", inactive: "inactive_file" };
const V1: Files = Files {
    mount: "memory",
    limit: "memory.limit_in_bytes",
    current: "memory.usage_in_bytes",
    inactive: "total_inactive_file",
};

impl Usage {
    /// Determines once how memory is measured.
    pub(crate) fn new(memory_max: MemoryMax) -> Usage {
        let memory = match memory_max {
            MemoryMax::Off => None,
            MemoryMax::Bytes(limit) => resident(limit as u64),
            MemoryMax::Auto => limited(Path::new(CGROUPS), &read("/proc/self/cgroup"))
                .map(|(cgroup, limit)| Memory::Cgroup { cgroup, limit })
                .or_else(|| resident(field(&read("/proc/meminfo"), "MemTotal:")? * 1024)),
        };
        Usage { memory }
    }

    /// Memory in use, as a part of its limit.
    pub(crate) fn memory(&self) -> Option<f64> {
        match self.memory.as_ref()? {
            Memory::Resident { page_bytes, limit } => {
                Some(part(anonymous_pages(&read("/proc/self/statm"))? * page_bytes, *limit))
            }
            Memory::Cgroup { cgroup, limit } => {
                let current: u64 = cgroup.read(cgroup.files.current).trim().parse().ok()?;
                let cache = field(&cgroup.read("memory.stat"), cgroup.files.inactive).unwrap_or(0);
                Some(part(current.saturating_sub(cache), *limit))
            }
        }
    }

    /// Open descriptors, as a part of the process's limit. Linux 6.2 and later state their number as
    /// the size of the directory.
    pub(crate) fn descriptors(&self) -> Option<f64> {
        let open = fs::metadata("/proc/self/fd").ok()?.len();
        let limit = field(&read("/proc/self/limits"), "Max open files")?;
        (open > 0).then(|| part(open, limit))
    }
}

impl Cgroup {
    fn read(&self, file: &str) -> String {
        read(self.directory.join(file))
    }

    fn limit(&self) -> Option<u64> {
        let limit = self.read(self.files.limit).trim().parse().ok()?;
        (limit < UNLIMITED_BYTES).then_some(limit)
    }
}

/// Resident pages that belong to no file, by the content of `statm` (proc(5)): the second field without
/// the third.
fn anonymous_pages(statm: &str) -> Option<u64> {
    let mut fields = statm.split(' ').skip(1);
    let mut next = || fields.next()?.parse::<u64>().ok();
    let (resident, shared) = (next()?, next()?);
    Some(resident.saturating_sub(shared))
}

fn part(used: u64, limit: u64) -> f64 {
    used as f64 / limit.max(1) as f64
}

fn resident(limit: u64) -> Option<Memory> {
    let mut vector = Vec::new();
    File::open("/proc/self/auxv").ok()?.read_to_end(&mut vector).ok()?;
    let word = |bytes: &[u8]| bytes.try_into().map(usize::from_ne_bytes).ok();
    let mut entries = vector.chunks_exact(2 * size_of::<usize>());
    let entry = entries.find(|entry| word(&entry[..size_of::<usize>()]) == Some(AT_PAGESZ))?;
    let page_bytes = word(&entry[size_of::<usize>()..])? as u64;
    Some(Memory::Resident { page_bytes, limit })
}

/// The cgroup with the smallest limit, from that of the process up to the root. `own` is the content of
/// `/proc/self/cgroup` (cgroups(7)): a line `0::/PATH` for version 2, `N:CONTROLLERS:/PATH` for version 1.
fn limited(mounts: &Path, own: &str) -> Option<(Cgroup, u64)> {
    let of_line = |line: &str| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let files = match controllers {
            "" => &V2,
            _ if controllers.split(',').any(|name| name == "memory") => &V1,
            _ => return None,
        };
        let mount = mounts.join(files.mount);
        // A path outside of the cgroup namespace is not there: its parents are tried, too.
        let directories = Path::new(path.trim_start_matches('/')).ancestors();
        let cgroups =
            directories.map(|path| Cgroup { directory: mount.join(path), files }).collect();
        Some(cgroups)
    };
    let cgroups = own.lines().filter_map(of_line).flat_map(|cgroups: Vec<Cgroup>| cgroups);
    let limits = cgroups.filter_map(|cgroup| cgroup.limit().map(|limit| (cgroup, limit)));
    limits.min_by_key(|(_, limit)| *limit)
}

/// The start of a small file; empty if it cannot be read.
fn read(path: impl AsRef<Path>) -> String {
    let mut bytes = [0; FILE_BYTES_MAX];
    let len = File::open(path).and_then(|mut file| file.read(&mut bytes)).unwrap_or(0);
    String::from_utf8_lossy(&bytes[..len]).into_owned()
}

/// The first number in the line that starts with `name` and a blank.
fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text
        .lines()
        .find_map(|line| line.strip_prefix(name).filter(|rest| rest.starts_with([' ', '\t'])))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::process;

    use super::*;

    /// A tree of cgroups in a directory that is removed in the end.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str, files: &[(&str, &str)]) -> Tree {
            let root = env::temp_dir().join(format!("weir-cgroups-{name}-{}", process::id()));
            for (path, text) in files {
                let path = root.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Tree(root)
        }

        fn limited(&self, own: &str) -> Option<(PathBuf, u64)> {
            let (cgroup, limit) = limited(&self.0, own)?;
            Some((cgroup.directory.strip_prefix(&self.0).unwrap().to_owned(), limit))
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn the_smallest_limit_up_to_the_root_applies() {
        let tree = Tree::new(
            "v2",
            &[
                ("memory.max", "max\n"),
                ("a/memory.max", "2000\n"),
                ("a/b/memory.max", "max\n"),
                ("a/b/c/memory.max", "3000\n"),
                ("other/memory.max", "1\n"),
            ],
        );
        assert_eq!(tree.limited("0::/a/b/c\n"), Some(("a".into(), 2000)));
        assert_eq!(tree.limited("0::/a/b\n"), Some(("a".into(), 2000)));
        assert_eq!(tree.limited("0::/\n"), None);
        // A path of the host, seen from a container.
        assert_eq!(tree.limited("0::/a/unknown/x\n"), Some(("a".into(), 2000)));
        assert_eq!(tree.limited("no cgroup"), None);
    }

    #[test]
    fn version_1_has_other_names_and_no_word_for_no_limit() {
        let tree = Tree::new(
            "v1",
            &[
                ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
                ("memory/x/memory.limit_in_bytes", "5000\n"),
                ("memory/x/memory.usage_in_bytes", "3000\n"),
                ("memory/x/memory.stat", "inactive_file 9\ntotal_inactive_file 500\n"),
            ],
        );
        let own = "9:name=systemd:/x\n4:cpu,memory:/x\n0::/x\n";
        assert_eq!(tree.limited(own), Some(("memory/x".into(), 5000)));
        let (cgroup, limit) = limited(&tree.0, own).unwrap();
        let usage = Usage { memory: Some(Memory::Cgroup { cgroup, limit }) };
        assert_eq!(usage.memory(), Some(0.5));
        assert_eq!(tree.limited("4:memory:/\n"), None);
    }

    #[test]
    fn the_files_of_this_process_are_read() {
        let resident = Usage::new(MemoryMax::Bytes(1 << 40)).memory();
        let is_small = |part: f64| part > 0.0 && part < 0.5;
        assert!(resident.is_none_or(is_small), "{resident:?}");
        assert_eq!(Usage::new(MemoryMax::Off).memory(), None);
        if cfg!(target_os = "linux") {
            assert!(resident.is_some());
            assert!(Usage::new(MemoryMax::Auto).memory().is_some_and(|part| part > 0.0));
            assert!(field(&read("/proc/self/limits"), "Max open files").is_some());
        }
    }

    #[test]
    fn pages_of_mapped_files_are_not_counted() {
        assert_eq!(anonymous_pages("9000 700 300 100 0 2000 0\n"), Some(400));
        assert_eq!(anonymous_pages("9000 700"), None);
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "anon 5\ninactive_file_x 6\ninactive_file 7\nMemTotal:       123 kB\n";
        assert_eq!(field(text, "inactive_file"), Some(7));
        assert_eq!(field(text, "MemTotal:"), Some(123));
        assert_eq!(field(text, "active"), None);
    }
}
