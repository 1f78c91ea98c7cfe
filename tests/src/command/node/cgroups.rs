//! Cgroups of our own. Two kubelets in one cgroup kill each other's pods.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::network::command;

const ROOT: &str = "/sys/fs/cgroup";
/// In cgroup v2 a cgroup with controllers for others has no processes of its own
/// (<https://docs.kernel.org/admin-guide/cgroup-v2.html#no-internal-process-constraint>), so they are
/// in this one below it.
const PROCESSES: &str = "processes";

/// A cgroup of one name, in each hierarchy where there are several.
pub(super) struct Cgroups {
    name: String,
    version: Version,
    folders: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// A hierarchy: the options to mount it, its folder, and the cgroup of this process.
struct Hierarchy {
    options: String,
    folder: PathBuf,
    own: PathBuf,
}

impl Cgroups {
    /// Creates the cgroup of the whole cluster, where it is missing.
    pub(super) fn of_cluster(name: &str) -> Result<Self> {
        let (version, hierarchies) = hierarchies()?;
        let parents = hierarchies.into_iter().map(|hierarchy| match version {
            Version::One => hierarchy.own,
            // That of this process has a process.
            Version::Two => hierarchy.folder,
        });
        Self::create(name, version, parents)
    }

    /// Creates the cgroup of a node, in a process of the cluster.
    pub(super) fn of_node(name: &str) -> Result<Self> {
        let (version, hierarchies) = hierarchies()?;
        let parents = hierarchies.into_iter().map(|Hierarchy { mut own, .. }| {
            if version == Version::Two {
                own.pop();
            }
            own
        });
        Self::create(name, version, parents)
    }

    fn create(
        name: &str,
        version: Version,
        parents: impl Iterator<Item = PathBuf>,
    ) -> Result<Self> {
        let mut folders = Vec::new();
        for parent in parents {
            let folder = parent.join(name);
            create(&folder)?;
            if version == Version::Two {
                delegate(&parent)?;
            } else if folder.join("cpuset.cpus").exists() {
                // Without them no process can enter it.
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    fs::write(folder.join(file), fs::read(parent.join(file))?)?;
                }
                fs::write(folder.join("cgroup.clone_children"), "1")?;
            }
            folders.push(folder);
        }
        Ok(Self { name: name.to_owned(), version, folders })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Moves this process of the cluster into it, and with it all that it starts from now on.
    pub(super) fn enter_cluster(&self) -> Result<()> {
        self.folders.iter().try_for_each(|folder| match self.version {
            Version::One => enter(folder),
            Version::Two => enter(&folder.join(PROCESSES)),
        })
    }

    /// Moves this process into it, as the root of its next cgroup namespace.
    pub(super) fn enter_node(&self) -> Result<()> {
        self.folders.iter().try_for_each(|folder| enter(folder))
    }

    /// Removes it with those below it. Fails while a process is in one of them.
    pub(super) fn remove(&self) -> io::Result<()> {
        self.folders.iter().try_for_each(|folder| remove(folder))
    }
}

/// Mounts the cgroups as the cgroup namespace of this process shows them, with that of the node as
/// the root. Only in this mount namespace.
pub(super) fn mount() -> Result<()> {
    let (version, hierarchies) = hierarchies()?;
    command("umount", &["--recursive", ROOT])?;
    // It shows the network devices of the namespace in which it was mounted.
    command("mount", &["-t", "sysfs", "sysfs", "/sys"])?;
    if version == Version::Two {
        command("mount", &["-t", "cgroup2", "cgroup2", ROOT])?;
        enter(&Path::new(ROOT).join(PROCESSES))?;
        return delegate(Path::new(ROOT));
    }
    command("mount", &["-t", "tmpfs", "-o", "mode=755", "tmpfs", ROOT])?;
    hierarchies.iter().try_for_each(|Hierarchy { options, folder, .. }| {
        fs::create_dir(folder)?;
        let folder = folder.to_str().context("a cgroup is not UTF-8")?;
        command("mount", &["-t", "cgroup", "-o", options, "cgroup", folder])
    })
}

fn create(folder: &Path) -> Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("cannot create the cgroup {}", folder.display()))
        }
        _ => Ok(()),
    }
}

fn enter(folder: &Path) -> Result<()> {
    create(folder)?;
    let file = folder.join("cgroup.procs");
    fs::write(&file, "0").with_context(|| format!("cannot write {}", file.display()))
}

/// Lets the cgroups below this one use all of its controllers.
fn delegate(folder: &Path) -> Result<()> {
    let controllers = fs::read_to_string(folder.join("cgroup.controllers"))?;
    let file = folder.join("cgroup.subtree_control");
    controllers.split_whitespace().try_for_each(|controller| {
        fs::write(&file, format!("+{controller}"))
            .with_context(|| format!("cannot write +{controller} into {}", file.display()))
    })
}

fn hierarchies() -> Result<(Version, Vec<Hierarchy>)> {
    let own = fs::read_to_string("/proc/self/cgroup").context("cannot read the own cgroups")?;
    let first = parse(&own, Version::One);
    if first.is_empty() {
        return Ok((Version::Two, parse(&own, Version::Two)));
    }
    Ok((Version::One, first))
}

/// The hierarchies of a version in `/proc/PID/cgroup` (cgroups(7)). That of v2 is listed beside those
/// of v1 as well, but then has no controllers.
fn parse(text: &str, version: Version) -> Vec<Hierarchy> {
    let lines = text.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, own) = (parts.next()?, parts.next()?);
        let (options, name) = match controllers.strip_prefix("name=") {
            Some(name) => (format!("none,{controllers}"), name),
            None => (controllers.to_owned(), controllers),
        };
        let folder = Path::new(ROOT).join(name);
        let own = folder.join(own.trim_start_matches('/'));
        let is_of = if name.is_empty() { Version::Two } else { Version::One };
        (is_of == version).then_some(Hierarchy { options, folder, own })
    });
    lines.collect()
}

fn remove(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, version: Version) -> Vec<(String, String)> {
        let found = parse(text, version).into_iter();
        found.map(|each| (each.options, each.own.to_str().unwrap().to_owned())).collect()
    }

    #[test]
    fn hierarchies_are_told_apart_by_version() {
        let hybrid = "4:cpu,cpuacct:/a/b\n1:name=systemd:/\n0::/c\n";
        let cpu = ("cpu,cpuacct".to_owned(), "/sys/fs/cgroup/cpu,cpuacct/a/b".to_owned());
        let systemd = ("none,name=systemd".to_owned(), "/sys/fs/cgroup/systemd/".to_owned());
        assert_eq!(found(hybrid, Version::One), [cpu, systemd]);
        let unified = "0::/user.slice/a.scope\n";
        assert!(found(unified, Version::One).is_empty());
        let own = "/sys/fs/cgroup/user.slice/a.scope".to_owned();
        assert_eq!(found(unified, Version::Two), [(String::new(), own)]);
    }
}
