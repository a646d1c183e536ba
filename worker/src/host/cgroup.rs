//! The control groups that this process is in, of both versions: their processor quota and how long they were throttled.
//!
//! A quota binds everything below it, so every group from the process's own up to the mount's root is looked at.

use std::path::{Path, PathBuf};

use super::read;

/// Most groups looked at.
const GROUPS_MAX: usize = 16;

/// Where one hierarchy with the processor controller is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    version: Version,
    /// The group that is seen at `point`.
    root: String,
    point: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// The groups of this process that may have a quota, its own first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups(Vec<(Version, PathBuf)>);

impl Groups {
    /// Those of this process, now.
    pub fn own() -> Self {
        let mounts = mounts(&read("/proc/self/mountinfo").unwrap_or_default());
        Self::of(&mounts, &read("/proc/self/cgroup").unwrap_or_default())
    }

    fn of(mounts: &[Mount], cgroup: &str) -> Self {
        let mut groups = Vec::new();
        for (version, path) in cgroup.lines().filter_map(member) {
            let Some(mount) = mounts.iter().find(|mount| mount.version == version) else {
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
        Self(groups)
    }

    /// For how long they have been throttled since they were made, all together, µs.
    pub fn throttled_us(&self) -> u64 {
        let files = self.0.iter().filter_map(|(_, group)| read(group.join("cpu.stat")));
        files.fold(0, |sum, text| sum.saturating_add(throttled(&text)))
    }

    /// The tightest quota, in cores; `None` without one.
    pub fn quota_cores(&self) -> Option<f64> {
        let quotas = self.0.iter().filter_map(|(version, group)| match version {
            Version::Two => quota(&read(group.join("cpu.max"))?),
            Version::One => {
                let file = |name: &str| read(group.join(name));
                let both = format!("{} {}", file("cpu.cfs_quota_us")?, file("cpu.cfs_period_us")?);
                quota(&both)
            }
        });
        quotas.min_by(f64::total_cmp)
    }
}

impl Mount {
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
        let version = match (kind.next()?, kind.nth(1)?) {
            ("cgroup2", _) => Version::Two,
            ("cgroup", options) if options.split(',').any(|option| option == "cpu") => Version::One,
            _ => return None,
        };
        Some(Mount {
            version,
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
fn member(line: &str) -> Option<(Version, &str)> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?);
    if controllers.is_empty() {
        return Some((Version::Two, path));
    }
    let has_quota = controllers.split(',').any(|controller| controller == "cpu");
    has_quota.then_some((Version::One, path))
}

/// Throttled time, µs, from a `cpu.stat` of version 2 (`throttled_usec`) or 1 (`throttled_time`, ns).
fn throttled(text: &str) -> u64 {
    let value = |name: &str| {
        let mut pairs = text.lines().filter_map(|line| line.split_once(' '));
        let (_, value) = pairs.find(|(key, _)| *key == name)?;
        value.trim().parse::<u64>().ok()
    };
    let us = value("throttled_usec").or_else(|| value("throttled_time").map(|ns| ns / 1_000));
    us.unwrap_or(0)
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
        26 24 0:24 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n\
        27 24 0:25 / /sys/fs/cgroup/uni\\040fied rw - cgroup2 cgroup2 rw\n\
        garbled\n- - -\n28 24 0:25 / - cgroup2\n";

    fn folders(mountinfo: &str, cgroup: &str) -> Vec<String> {
        let Groups(groups) = Groups::of(&mounts(mountinfo), cgroup);
        groups
            .into_iter()
            .map(|(_, group)| group.display().to_string())
            .collect()
    }

    #[test]
    fn every_group_up_to_the_root_is_found() {
        let cgroup = "5:cpuset:/x\n4:cpu,cpuacct:/a/b\n1:name=systemd:/\n0::/user/me\nnonsense\n7:cpu";
        assert_eq!(
            folders(HYBRID, cgroup),
            [
                "/sys/fs/cgroup/cpu,cpuacct/a/b",
                "/sys/fs/cgroup/cpu,cpuacct/a",
                "/sys/fs/cgroup/cpu,cpuacct",
                "/sys/fs/cgroup/uni fied/user/me",
                "/sys/fs/cgroup/uni fied/user",
                "/sys/fs/cgroup/uni fied",
            ]
        );
    }

    #[test]
    fn within_a_container_the_mount_is_the_group() {
        let mountinfo = "9 1 0:2 /docker/7 /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
        assert_eq!(
            folders(mountinfo, "0::/docker/7/inner"),
            ["/sys/fs/cgroup/inner", "/sys/fs/cgroup"]
        );
        assert_eq!(folders(mountinfo, "0::/"), ["/sys/fs/cgroup"]);
        assert_eq!(folders(mountinfo, "0::/docker/7/../../etc"), ["/sys/fs/cgroup"]);
        assert_eq!(folders("", "0::/"), [""; 0]);
    }

    #[test]
    fn a_path_of_any_depth_stays_within_bounds() {
        let deep = format!("0::{}", "/x".repeat(1_000));
        assert_eq!(folders(HYBRID, &deep).len(), GROUPS_MAX);
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
