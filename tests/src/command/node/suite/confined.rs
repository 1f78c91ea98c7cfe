//! What the kernel lets the processes of the chart do. They are in this one's namespace of process
//! identifiers, so `/proc` says it of each.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::pods::{COMPONENTS, REPLICAS};

/// Fields of `/proc/PID/status`: user and group, no capability, none to be had, and a seccomp filter.
const STATUS: [(&str, &str); 7] = [
    ("Uid", "1000 1000 1000 1000"),
    ("Gid", "1000 1000 1000 1000"),
    ("CapEff", "0000000000000000"),
    ("CapPrm", "0000000000000000"),
    ("CapBnd", "0000000000000000"),
    ("NoNewPrivs", "1"),
    ("Seccomp", "2"),
];

/// Reads the state of the processes that answer the probes.
pub(super) fn processes() -> Result<String> {
    let mut found = 0;
    for process in fs::read_dir("/proc")? {
        let process = process?.path();
        // Not a process, or one that has ended.
        let Ok(program) = fs::read_link(process.join("exe")) else { continue };
        let Some(component) =
            COMPONENTS.iter().find(|component| program == Path::new("/").join(component))
        else {
            continue;
        };
        let read = |file: &str| {
            let path = process.join(file);
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        let status = read("status")?;
        for (field, expected) in STATUS {
            let value = value(&status, field);
            ensure!(value == expected, "{component} has {field} {value}, not {expected}");
        }
        ensure!(is_root_read_only(&read("mountinfo")?), "{component} may write to its root folder");
        found += 1;
    }
    let all = COMPONENTS.len() * REPLICAS;
    ensure!(found == all, "found {found} processes, not {all}");
    Ok(format!("{found} processes: 1000:1000, no capability, seccomp, read-only root"))
}

/// The value of a field, its parts separated by single spaces.
fn value(status: &str, field: &str) -> String {
    let mut lines = status.lines().filter_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    lines.next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether `/` is mounted read-only, by `proc_pid_mountinfo(5)`.
fn is_root_read_only(mounts: &str) -> bool {
    mounts.lines().any(|line| {
        let fields: Vec<_> = line.split(' ').collect();
        fields.get(4) == Some(&"/")
            && fields.get(5).is_some_and(|of| of.split(',').any(|of| of == "ro"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_of_a_process_is_read() {
        let status =
            "Name:\tpolicy-webhook\nUid:\t1000\t1000\t1000\t1000\nCapEff:\t00000000a80425fb\n";
        assert_eq!(value(status, "Uid"), "1000 1000 1000 1000");
        assert_eq!(value(status, "CapEff"), "00000000a80425fb");
        assert_eq!(value(status, "Seccomp"), "");
        let root =
            |options: &str| format!("9 8 0:1 / /tmp ro - a a a\n8 7 0:1 / / {options} - b b b\n");
        assert!(is_root_read_only(&root("ro,relatime")));
        assert!(!is_root_read_only(&root("rw,relatime")));
    }
}
