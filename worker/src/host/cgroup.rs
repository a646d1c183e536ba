//! The control groups that this process is in, of both versions: their processor quota, how long they were throttled, and
//! their limits on memory and threads.
//!
//! A limit binds everything below it, so every group from the process's own up to the mount's root is looked at.

use std::path::{Path, PathBuf};

use super::text::Memory;
use super::{Kept, number, read};

/// Most groups looked at, for each controller.
const GROUPS_MAX: usize = 16;

/// Where one hierarchy is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    version: Version,
    /// What it controls, in version 1; version 2 has one hierarchy for everything.
    controllers: String,
    /// The group that is seen at `point`.
    root: String,
    point: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// The groups of this process that may have a limit, its own first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    processor: Vec<(Version, PathBuf)>,
    memory: Vec<(Version, PathBuf)>,
    threads: Vec<PathBuf>,
}

impl Groups {
    /// Those of this process, now.
    pub fn own() -> Self {
        let mounts = mounts(&read("/proc/self/mountinfo").unwrap_or_default());
        let cgroup = read("/proc/self/cgroup").unwrap_or_default();
        Self {
            processor: groups(&mounts, &cgroup, "cpu"),
            memory: groups(&mounts, &cgroup, "memory"),
            threads: groups(&mounts, &cgroup, "pids")
                .into_iter()
                .map(|(_, group)| group)
                .collect(),
        }
    }

    /// The files that say for how long they have been throttled.
    pub fn throttling(&self) -> Vec<Kept> {
        let files = self.processor.iter().map(|(_, group)| group.join("cpu.stat"));
        files.filter(|file| file.exists()).map(Kept::new).collect()
    }

    /// The tightest quota, in cores; `None` without one.
    pub fn quota_cores(&self) -> Option<f64> {
        let quotas = self.processor.iter().filter_map(|(version, group)| match version {
            Version::Two => quota(&read(group.join("cpu.max"))?),
            Version::One => {
                let file = |name: &str| read(group.join(name));
                let both = format!("{} {}", file("cpu.cfs_quota_us")?, file("cpu.cfs_period_us")?);
                quota(&both)
            }
        });
        quotas.min_by(f64::total_cmp)
    }

    /// How many threads and processes the tightest limit still allows; `None` without one.
    pub fn threads_left(&self) -> Option<u64> {
        let left = self.threads.iter().filter_map(|group| {
            let most = number(group.join("pids.max"))?;
            Some(most.saturating_sub(number(group.join("pids.current"))?))
        });
        left.min()
    }

    /// The files that say what memory their limits leave.
    pub fn limits(&self) -> Limits {
        let files = self.memory.iter().map(|(version, group)| {
            let kept = |name: &str| Some(group.join(name)).filter(|file| file.exists()).map(Kept::new);
            let (limits, usage, unused) = match version {
                Version::Two => (
                    ["memory.max", "memory.high"].as_slice(),
                    "memory.current",
                    "inactive_file",
                ),
                Version::One => (
                    ["memory.limit_in_bytes"].as_slice(),
                    "memory.usage_in_bytes",
                    "total_inactive_file",
                ),
            };
            Some(Limited {
                limits: limits.iter().filter_map(|name| kept(name)).collect(),
                usage: kept(usage)?,
                stat: kept("memory.stat"),
                unused,
            })
        });
        Limits(files.flatten().filter(|limited| !limited.limits.is_empty()).collect())
    }
}

/// The limits on the memory of this process, in files that stay open.
#[derive(Debug)]
pub struct Limits(Vec<Limited>);

/// One group that may have a limit.
#[derive(Debug)]
struct Limited {
    limits: Vec<Kept>,
    usage: Kept,
    stat: Option<Kept>,
    /// What `stat` calls the pages of files that have not been used lately.
    unused: &'static str,
}

impl Limits {
    /// The memory that this process may use, of so much that the host has: that of the group with the least left, where a
    /// limit leaves less than the host. Pages of files that have not been used lately can be had again, and count as
    /// available, as they do in the host's own account.
    pub fn memory(&mut self, host: Memory) -> Memory {
        let limited = self.0.iter_mut().filter_map(|group| group.left(host));
        limited.fold(host, |least, group| {
            if group.available_bytes < least.available_bytes {
                group
            } else {
                least
            }
        })
    }
}

impl Limited {
    /// What the limit leaves; `None` where there is none, or one as large as the host.
    fn left(&mut self, host: Memory) -> Option<Memory> {
        let limits = self.limits.iter_mut().filter_map(number_in);
        let limit = limits.min().filter(|limit| *limit < host.total_bytes)?;
        let used = number_in(&mut self.usage)?;
        let stat = self.stat.as_mut().and_then(Kept::read);
        let unused = stat.and_then(|text| value(&text, self.unused)).unwrap_or(0);
        Some(Memory {
            total_bytes: limit,
            available_bytes: limit.saturating_sub(used.saturating_sub(unused)),
        })
    }
}

/// The number that is all of a file.
fn number_in(file: &mut Kept) -> Option<u64> {
    file.read()?.trim().parse().ok()
}

/// The groups with this controller, from the process's own up to the mount's root.
fn groups(mounts: &[Mount], cgroup: &str, controller: &str) -> Vec<(Version, PathBuf)> {
    let mut groups = Vec::new();
    for (version, path) in cgroup.lines().filter_map(|line| member(line, controller)) {
        let Some(mount) = mounts.iter().find(|mount| mount.has(version, controller)) else {
            continue;
        };
        let mut group = mount.group(path);
        while group.starts_with(&mount.point) && groups.len() < GROUPS_MAX {
            groups.push((version, group.clone()));
            if !group.pop() {
                break;
            }
        }
    }
    groups
}

impl Mount {
    fn has(&self, version: Version, controller: &str) -> bool {
        self.version == version && (version == Version::Two || lists(&self.controllers, controller))
    }

    /// The folder of a group, which within a container may be named as it is seen from outside.
    fn group(&self, path: &str) -> PathBuf {
        let below = Path::new(path).strip_prefix(&self.root).unwrap_or(Path::new(""));
        let plain = |part| matches!(part, std::path::Component::Normal(_));
        if below.as_os_str().is_empty() || !below.components().all(plain) {
            return self.point.clone();
        }
        self.point.join(below)
    }
}

/// Reads `/proc/self/mountinfo`: `id parent major:minor root point options … - type source options`.
fn mounts(text: &str) -> Vec<Mount> {
    let mount = |line: &str| {
        let (place, kind) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let (root, point) = (place.next()?, place.next()?);
        let mut kind = kind.split(' ');
        let version = match kind.next()? {
            "cgroup2" => Version::Two,
            "cgroup" => Version::One,
            _ => return None,
        };
        Some(Mount {
            version,
            controllers: kind.nth(1)?.to_owned(),
            root: unescaped(root),
            point: unescaped(point).into(),
        })
    };
    text.lines().filter_map(mount).collect()
}

/// Spaces stand as `\040` in `mountinfo`.
fn unescaped(text: &str) -> String {
    text.replace("\\040", " ")
}

/// Reads a line of `/proc/self/cgroup`: `0::/path` for version 2, `4:cpu,cpuacct:/path` for version 1.
fn member<'a>(line: &'a str, controller: &str) -> Option<(Version, &'a str)> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?);
    if controllers.is_empty() {
        return Some((Version::Two, path));
    }
    lists(controllers, controller).then_some((Version::One, path))
}

fn lists(controllers: &str, controller: &str) -> bool {
    controllers.split(',').any(|one| one == controller)
}

/// For how long the groups of these files have been throttled since they were made, all together, µs; `None` when one of
/// them cannot be read.
pub fn throttled_us(files: &mut [Kept]) -> Option<u64> {
    let texts = files.iter_mut().map(Kept::read);
    texts.map(|text| Some(throttled(&text?))).sum()
}

/// Throttled time, µs, from a `cpu.stat` of version 2 (`throttled_usec`) or 1 (`throttled_time`, ns).
fn throttled(text: &str) -> u64 {
    let us = value(text, "throttled_usec").or_else(|| value(text, "throttled_time").map(|ns| ns / 1_000));
    us.unwrap_or(0)
}

/// The number beside a name, in a file of such lines.
fn value(text: &str, name: &str) -> Option<u64> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(' '));
    let (_, value) = pairs.find(|(key, _)| *key == name)?;
    value.trim().parse().ok()
}

/// `quota period`, both µs, in cores; no quota is `max` or −1.
fn quota(text: &str) -> Option<f64> {
    let mut numbers = text.split_ascii_whitespace().map(str::parse::<u64>);
    let (quota, period) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    (period > 0).then(|| quota as f64 / period as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
        24 18 0:22 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
        25 24 0:23 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
        25 24 0:23 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
        26 24 0:24 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n\
        27 24 0:25 / /sys/fs/cgroup/uni\\040fied rw - cgroup2 cgroup2 rw\n\
        garbled\n- - -\n28 24 0:25 / - cgroup2\n";

    fn folders(mountinfo: &str, cgroup: &str, controller: &str) -> Vec<String> {
        groups(&mounts(mountinfo), cgroup, controller)
            .into_iter()
            .map(|(_, group)| group.display().to_string())
            .collect()
    }

    #[test]
    fn every_group_up_to_the_root_is_found() {
        let cgroup = "5:cpuset:/x\n4:cpu,cpuacct:/a/b\n1:name=systemd:/\n0::/user/me\nnonsense\n7:cpu";
        assert_eq!(
            folders(HYBRID, cgroup, "cpu"),
            [
                "/sys/fs/cgroup/cpu,cpuacct/a/b",
                "/sys/fs/cgroup/cpu,cpuacct/a",
                "/sys/fs/cgroup/cpu,cpuacct",
                "/sys/fs/cgroup/uni fied/user/me",
                "/sys/fs/cgroup/uni fied/user",
                "/sys/fs/cgroup/uni fied",
            ]
        );
        assert_eq!(
            folders(HYBRID, "6:memory:/m\n5:cpuset:/x\n4:cpu,cpuacct:/a/b", "memory"),
            ["/sys/fs/cgroup/memory/m", "/sys/fs/cgroup/memory"]
        );
    }

    #[test]
    fn within_a_container_the_mount_is_the_group() {
        let mountinfo = "9 1 0:2 /docker/7 /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
        assert_eq!(
            folders(mountinfo, "0::/docker/7/inner", "cpu"),
            ["/sys/fs/cgroup/inner", "/sys/fs/cgroup"]
        );
        assert_eq!(folders(mountinfo, "0::/", "memory"), ["/sys/fs/cgroup"]);
        assert_eq!(folders(mountinfo, "0::/docker/7/../../etc", "cpu"), ["/sys/fs/cgroup"]);
        assert_eq!(folders("", "0::/", "cpu"), [""; 0]);
    }

    #[test]
    fn a_path_of_any_depth_stays_within_bounds() {
        let deep = format!("0::{}", "/x".repeat(1_000));
        assert_eq!(folders(HYBRID, &deep, "cpu").len(), GROUPS_MAX);
    }

    /// Groups whose files are these, one folder each.
    fn limited(folder: &Path, version: Version, files: &[&[(&str, &str)]]) -> Groups {
        let memory = files.iter().enumerate().map(|(index, files)| {
            let group = folder.join(index.to_string());
            std::fs::create_dir(&group).unwrap();
            for (name, text) in *files {
                std::fs::write(group.join(name), text).unwrap();
            }
            (version, group)
        });
        Groups {
            memory: memory.collect(),
            ..Groups::default()
        }
    }

    #[test]
    fn the_group_with_the_least_memory_left_counts() {
        let host = Memory {
            total_bytes: 1_000,
            available_bytes: 700,
        };
        let in_all = |total_bytes, available_bytes| Memory {
            total_bytes,
            available_bytes,
        };
        let own: &[(&str, &str)] = &[
            ("memory.max", "400\n"),
            ("memory.high", "max\n"),
            ("memory.current", "390\n"),
            ("memory.stat", "anon 5\ninactive_file 90\n"),
        ];
        let fuller: &[(&str, &str)] = &[
            ("memory.max", "max\n"),
            ("memory.high", "500\n"),
            ("memory.current", "480\n"),
            ("memory.stat", "garbled"),
        ];
        let unlimited: &[(&str, &str)] = &[("memory.max", "max\n"), ("memory.current", "999\n")];
        let as_large: &[(&str, &str)] = &[("memory.max", "1000\n"), ("memory.current", "999\n")];
        let over: &[(&str, &str)] = &[("memory.max", "10\n"), ("memory.current", "11\n")];
        for (files, expected) in [
            (&[own][..], in_all(400, 100)),
            (&[own, fuller], in_all(500, 20)),
            (&[unlimited, as_large, &[]], host),
            (&[over], in_all(10, 0)),
        ] {
            let folder = tempfile::tempdir().unwrap();
            assert_eq!(
                limited(folder.path(), Version::Two, files).limits().memory(host),
                expected
            );
        }
        let folder = tempfile::tempdir().unwrap();
        let first: &[(&str, &str)] = &[
            ("memory.limit_in_bytes", "300\n"),
            ("memory.usage_in_bytes", "200\n"),
            ("memory.stat", "inactive_file 1\ntotal_inactive_file 50\n"),
        ];
        let root: &[(&str, &str)] = &[
            ("memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory.usage_in_bytes", "999\n"),
        ];
        let groups = limited(folder.path(), Version::One, &[first, root]);
        assert_eq!(groups.limits().memory(host), in_all(300, 150));
    }

    #[test]
    fn the_group_with_the_fewest_threads_left_counts() {
        let folder = tempfile::tempdir().unwrap();
        let group = |name: &str, most: &str, current: &str| {
            let group = folder.path().join(name);
            std::fs::create_dir(&group).unwrap();
            std::fs::write(group.join("pids.max"), most).unwrap();
            std::fs::write(group.join("pids.current"), current).unwrap();
            group
        };
        let all = [
            group("a", "max\n", "900\n"),
            group("b", "100\n", "40\n"),
            group("c", "50\n", "20\n"),
            group("over", "5\n", "6\n"),
            folder.path().join("none"),
        ];
        let left = |threads: &[PathBuf]| {
            let threads = threads.to_vec();
            let groups = Groups {
                threads,
                ..Groups::default()
            };
            groups.threads_left()
        };
        assert_eq!(left(&all[..3]), Some(30));
        assert_eq!(left(&all), Some(0));
        assert_eq!((left(&all[..1]), left(&all[4..])), (None, None));
    }

    #[test]
    fn quotas_and_throttling() {
        assert_eq!(quota("20000 100000\n"), Some(0.2));
        for none in ["max 100000", "-1\n 100000\n", "", "5", "5 0", "x y"] {
            assert_eq!(quota(none), None, "{none:?}");
        }
        assert_eq!(throttled("usage_usec 5\nnr_throttled 2\nthrottled_usec 77\n"), 77);
        assert_eq!(throttled("nr_periods 1\nthrottled_time 5000\n"), 5);
        assert_eq!(throttled("nonsense\nthrottled_usec -4\n"), 0);
    }
}
