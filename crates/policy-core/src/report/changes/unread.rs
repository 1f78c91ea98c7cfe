//! Which findings a report cannot have, because it could not read their places.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use super::ChangedFinding;
use super::stored::{StoredNotRead, StoredSource};
use crate::checks::CheckName;
use crate::report::coverage::{ClusterPart, REST};

/// The places that a report could not read.
pub(super) enum Unread {
    Files(UnreadFiles),
    Cluster(UnreadParts),
}

impl Unread {
    pub(super) fn of(source: &StoredSource, failed: &[StoredNotRead]) -> Self {
        let failed = failed.iter().map(|failed| &*failed.source);
        match source {
            StoredSource::Files {} => Self::Files(failed.collect()),
            StoredSource::Cluster { namespace } => {
                let mut parts = UnreadParts { only: namespace.clone(), ..UnreadParts::default() };
                failed.for_each(|source| parts.add(source));
                Self::Cluster(parts)
            }
        }
    }

    /// Whether a finding can be in one of the places.
    pub(super) fn holds(&self, finding: &ChangedFinding) -> bool {
        match self {
            Self::Files(files) => finding.file.as_deref().is_some_and(|file| files.holds(file)),
            Self::Cluster(parts) => parts.holds(finding),
        }
    }
}

/// Files and folders.
#[derive(Default)]
pub(super) struct UnreadFiles {
    /// Too many to be named.
    are_more: bool,
    paths: BTreeSet<PathBuf>,
}

impl<'a> FromIterator<&'a str> for UnreadFiles {
    fn from_iter<I: IntoIterator<Item = &'a str>>(sources: I) -> Self {
        let mut files = Self::default();
        for source in sources {
            files.are_more |= source == REST;
            // A name may end like a line, too.
            let file = source.rsplit_once(':').filter(|(_, line)| line.parse::<u32>().is_ok());
            files.paths.extend(file.map(|(file, _)| plain(file)));
            files.paths.insert(plain(source));
        }
        files
    }
}

impl UnreadFiles {
    /// Whether the file, or a folder that it is in, could not be read.
    fn holds(&self, file: &str) -> bool {
        self.are_more || plain(file).ancestors().any(|path| self.paths.contains(path))
    }
}

/// A path without `.` and slashes at its end. Of a pattern that matched nothing, the folder that it is
/// about.
fn plain(path: &str) -> PathBuf {
    let is_plain = |part: &Component<'_>| !part.as_os_str().to_string_lossy().contains(['*', '?']);
    let parts = Path::new(path).components().filter(|part| *part != Component::CurDir);
    parts.take_while(is_plain).collect()
}

/// Parts of a cluster.
#[derive(Default)]
pub(super) struct UnreadParts {
    /// The namespace that was asked for, if not all.
    only: Option<String>,
    of_pods: Parts,
    /// The parts whose budgets are not known, so that one check could not be judged.
    of_budgets: Parts,
    /// Pods that could not be decoded, by namespace.
    pods: BTreeMap<String, Vec<String>>,
}

impl UnreadParts {
    fn add(&mut self, source: &str) {
        let budget = source
            .strip_prefix("disruption budget ")
            .or_else(|| source.strip_prefix("pods of disruption budget "));
        if let Some(part) = source.strip_prefix("disruption budgets of ") {
            self.of_budgets.add(part);
        } else if let Some((namespace, _)) = budget.and_then(|name| name.split_once('/')) {
            self.of_budgets.namespaces.insert(namespace.to_owned());
        } else if let Some(pod) = source.strip_prefix("pod ") {
            let (namespace, name) = pod.split_once('/').unwrap_or_default();
            self.pods.entry(namespace.to_owned()).or_default().push(name.to_owned());
        } else {
            self.of_pods.add(source);
        }
    }

    fn holds(&self, ChangedFinding { check, namespace, name, .. }: &ChangedFinding) -> bool {
        // The name of a pod begins with that of its workload.
        let has_pod = |pods: &Vec<String>| pods.iter().any(|pod| pod.starts_with(&**name));
        let needs_budgets = || {
            let check = check.parse::<CheckName>().ok();
            let check = check.as_ref().and_then(CheckName::registered);
            check.is_some_and(|check| check.meta().needs_budgets)
        };
        self.only.as_ref().is_some_and(|only| only != namespace)
            || self.of_pods.hold(namespace)
            || self.pods.get(namespace).is_some_and(has_pod)
            || self.of_budgets.hold(namespace) && needs_budgets()
    }
}

#[derive(Default)]
struct Parts {
    are_all: bool,
    /// All but these.
    all_but: Option<String>,
    namespaces: BTreeSet<String>,
}

impl Parts {
    fn add(&mut self, part: &str) {
        match ClusterPart::of(part) {
            Some(ClusterPart::NamespacesOtherThan(name)) => self.all_but = Some(name.to_owned()),
            Some(ClusterPart::Namespace(name)) => {
                self.namespaces.insert(name.to_owned());
            }
            // What is not known may be anything.
            Some(ClusterPart::Whole) | None => self.are_all = true,
        }
    }

    fn hold(&self, namespace: &str) -> bool {
        self.are_all
            || self.all_but.as_deref().is_some_and(|known| known != namespace)
            || self.namespaces.contains(namespace)
    }
}
