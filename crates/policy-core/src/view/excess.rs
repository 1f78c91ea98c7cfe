//! Lists of containers with a bounded size in memory, in which none can hide from a check.

use serde::Deserializer;

use super::lenient::for_each;
use super::{AmountsView, ContainerView, Located, ProbeView, ResourcesView};
use crate::image::ImageReference;

/// The most containers that are kept of a list. An API server stores more: etcd accepts 1.5 MiB,
/// in which a container takes some 30 bytes. No node runs as many.
pub(crate) const MAX_CONTAINERS: usize = 16_384;

/// Containers, of which those after the first [`MAX_CONTAINERS`] are joined into one that has the
/// faults of each. It is called by its path, such as `containers[16384]`.
#[derive(Default)]
pub(super) struct Containers(Vec<Located<ContainerView>>);

impl Containers {
    pub(super) fn push(&mut self, container: Located<ContainerView>) {
        match self.0.get_mut(MAX_CONTAINERS) {
            None => self.0.push(container),
            Some(joined) => joined.value.join(container.value),
        }
    }

    pub(super) fn into_list(self) -> Vec<Located<ContainerView>> {
        self.0
    }
}

/// Decodes a list of containers.
pub(super) fn containers<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<Located<ContainerView>>, D::Error> {
    let mut list = Containers::default();
    for_each(deserializer, |container| {
        list.push(container);
        true
    })?;
    Ok(list.into_list())
}

impl ContainerView {
    /// Takes over what a check could find in the other container.
    fn join(&mut self, other: Self) {
        self.name = None;
        if !is_loose(self.image.as_deref()) && is_loose(other.image.as_deref()) {
            self.image = other.image;
        }
        if restarts(other.restart_policy.as_deref()) > restarts(self.restart_policy.as_deref()) {
            self.restart_policy = other.restart_policy;
        }
        self.liveness_probe.join(other.liveness_probe);
        self.readiness_probe.join(other.readiness_probe);
        self.resources.join(&other.resources);
    }
}

/// Whether there is an image that latest-tag finds.
fn is_loose(image: Option<&str>) -> bool {
    image
        .filter(|image| !image.is_empty())
        .is_some_and(|image| !ImageReference::parse(image).is_some_and(|image| image.is_pinned()))
}

/// The higher, the more likely a container needs probes.
fn restarts(policy: Option<&str>) -> u8 {
    match policy {
        Some("Always") => 2,
        None | Some("") => 1,
        Some(_) => 0,
    }
}

impl ProbeView {
    fn join(&mut self, other: Self) {
        if !other.is_set() {
            *self = other;
        }
    }
}

impl ResourcesView {
    fn join(&mut self, other: &Self) {
        self.requests.join(&other.requests);
        self.limits.join(&other.limits);
    }
}

impl AmountsView {
    fn join(&mut self, other: &Self) {
        self.cpu = self.cpu.min(other.cpu);
        self.memory = self.memory.min(other.memory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::evaluate;
    use crate::facts::PodFacts;
    use crate::policy::CompiledPolicy;
    use crate::view::PodView;

    const GOOD: &str = r#"{"name": "c", "image": "a:1", "livenessProbe": {"exec": {}}, "readinessProbe": {"exec": {}},
        "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}"#;

    /// The number of containers of the pod, and its findings as `check container`.
    fn found(list: &str, members: &[&str]) -> (usize, Vec<String>) {
        let pod = format!(r#"{{"spec": {{"{list}": [{}]}}}}"#, members.join(","));
        let pod: PodView = serde_json::from_str(&pod).unwrap();
        let facts = PodFacts::of_pod(&pod, "default");
        let policy = CompiledPolicy::default_profile();
        let findings = evaluate(&facts, &policy, crate::Timestamp::UNIX_EPOCH).findings;
        let name = |found: &crate::evaluate::Finding| {
            format!("{} {}", found.check, found.container(&facts.checked).unwrap().name)
        };
        (facts.checked.containers.len(), findings.iter().map(name).collect())
    }

    /// So many good containers, and others with one bad one among them.
    fn hidden(good: usize, bad: &str, more: usize) -> Vec<&str> {
        let mut members = vec![GOOD; good];
        members.push(bad);
        members.resize(good + 1 + more, GOOD);
        members
    }

    #[test]
    fn a_container_behind_any_number_of_others_is_found() {
        let loose = GOOD.replace("a:1", "a");
        let at = |good, more| found("containers", &hidden(good, &loose, more));
        let [last, first, all] =
            [(MAX_CONTAINERS - 1, 0), (MAX_CONTAINERS, 0), (MAX_CONTAINERS, 3)]
                .map(|(good, more)| at(good, more));
        assert_eq!(last, (MAX_CONTAINERS, vec!["latest-tag c".to_owned()]));
        assert_eq!(first, (MAX_CONTAINERS + 1, vec!["latest-tag c".to_owned()]), "kept as it is");
        let joined = (MAX_CONTAINERS + 1, vec!["latest-tag containers[16384]".to_owned()]);
        assert_eq!(all, joined);
        assert_eq!(at(MAX_CONTAINERS + 3, 0), joined);
        assert_eq!(at(2 * MAX_CONTAINERS, 9), joined, "memory does not grow");
    }

    #[test]
    fn the_joined_container_has_the_faults_of_each() {
        let faults = |bad: &str| {
            let (_, findings) = found("containers", &hidden(MAX_CONTAINERS + 1, bad, 1));
            findings.iter().map(|found| found.split_once(' ').unwrap().0.to_owned()).collect()
        };
        let none: Vec<String> = Vec::new();
        assert_eq!(faults(GOOD), none);
        for (bad, check) in [
            (GOOD.replace("livenessProbe", "x"), "missing-liveness"),
            (GOOD.replace("readinessProbe", "x"), "missing-readiness"),
            (GOOD.replace("1Gi", "1GB"), "missing-resources"),
        ] {
            assert_eq!(faults(&bad), [check]);
        }
        let bare: Vec<String> = faults(r#"{"name": "d", "image": "b:2"}"#);
        assert_eq!(bare, ["missing-liveness", "missing-readiness", "missing-resources"]);
    }

    #[test]
    fn every_list_has_its_own_bound() {
        let volume = r#"{"name": "v", "image": {"reference": "a:1"}}"#;
        let loose = volume.replace(":1", "");
        let mut volumes = vec![volume; MAX_CONTAINERS + 1];
        volumes.push(&loose);
        let joined = vec!["latest-tag volumes[16384]".to_owned()];
        assert_eq!(found("volumes", &volumes), (MAX_CONTAINERS + 1, joined));
        for list in ["initContainers", "ephemeralContainers"] {
            let bad = r#"{"name": "d", "image": "b"}"#;
            let joined = vec![format!("latest-tag {list}[16384]")];
            assert_eq!(found(list, &hidden(MAX_CONTAINERS + 1, bad, 0)).1, joined);
        }
    }
}
