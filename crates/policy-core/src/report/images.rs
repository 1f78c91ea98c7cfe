//! Replicas of one workload that run different images under the same name.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use super::CoverageCounter;
use crate::facts::{PodFacts, all_containers};
use crate::image::ImageReference;
use crate::view::PodView;
use crate::workload::Workload;

/// How many containers of workloads are compared at most. One takes some 300 bytes.
const MAX_CONTAINERS: usize = 100_000;

/// The images that run, by workload and container.
#[derive(Debug, Default)]
pub(super) struct RunningImages {
    found: BTreeMap<Container, BTreeMap<Arc<str>, Replicas>>,
    /// Whether others were left out, because there are so many.
    is_full: bool,
}

/// A container of a workload with one image in its template.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Container {
    namespace: Arc<str>,
    workload: Workload,
    name: Arc<str>,
    /// As it is written.
    image: Arc<str>,
}

/// The pods that run the same digest.
#[derive(Clone, Copy, Debug, Default)]
struct Replicas {
    pods: u32,
    /// When the newest of them was created.
    newest: u32,
}

impl RunningImages {
    /// Adds what a pod runs. An image that names its digest is the same everywhere.
    pub(super) fn add(&mut self, pod: &PodView, facts: &PodFacts) {
        if *facts.workload.kind == *"Pod" {
            return;
        }
        let statuses = [&pod.status.container_statuses, &pod.status.init_container_statuses];
        for (container, (.., written)) in
            facts.checked.containers.iter().zip(all_containers(&pod.spec))
        {
            let image = written.value.image.as_deref().unwrap_or_default();
            let status = statuses.iter().copied().flatten().find(|status| {
                container.role.is_long_running() && status.name.as_deref() == Some(&*container.name)
            });
            let digest = status.and_then(|status| digest(status.image_id.as_deref()?));
            if let (Some(digest), None) = (digest, digest_of(image)) {
                self.count(facts, &container.name, image, digest);
            }
        }
    }

    fn count(&mut self, facts: &PodFacts, name: &Arc<str>, image: &str, digest: &str) {
        let container = Container {
            namespace: Arc::clone(&facts.namespace),
            workload: Workload::clone(&facts.workload),
            name: Arc::clone(name),
            image: image.into(),
        };
        self.add_replicas(container, digest.into(), Replicas { pods: 1, newest: facts.created });
    }

    fn add_replicas(&mut self, container: Container, digest: Arc<str>, more: Replicas) {
        if self.found.len() >= MAX_CONTAINERS && !self.found.contains_key(&container) {
            self.is_full = true;
            return;
        }
        let replicas = self.found.entry(container).or_default().entry(digest).or_default();
        replicas.pods += more.pods;
        replicas.newest = replicas.newest.max(more.newest);
    }

    /// Adds what was read apart.
    pub(super) fn merge(&mut self, other: Self) {
        self.is_full |= other.is_full;
        for (container, digests) in other.found {
            for (digest, replicas) in digests {
                self.add_replicas(container.clone(), digest, replicas);
            }
        }
    }

    /// Notes the workloads whose replicas differ.
    pub(super) fn note(self, coverage: &mut CoverageCounter) {
        for (container, digests) in self.found {
            if digests.len() > 1 {
                let message = container.message(digests);
                coverage.note_workload(&container.namespace, &container.workload, message);
            }
        }
        if self.is_full {
            let message =
                format!("the images of the first {MAX_CONTAINERS} containers were compared");
            coverage.note(&"and".into(), None, message);
        }
    }
}

impl Container {
    fn message(&self, digests: BTreeMap<Arc<str>, Replicas>) -> String {
        let Self { name, image, .. } = self;
        let mut digests: Vec<_> = digests.into_iter().collect();
        digests.sort_by(|(a, of_a), (b, of_b)| (of_b.newest, a).cmp(&(of_a.newest, b)));
        let mut text = format!("container {name}: the pods run different images as {image}:");
        for (digest, Replicas { pods, .. }) in &digests {
            let s = if *pods == 1 { "" } else { "s" };
            // Writing into a String cannot fail.
            let _ = write!(text, " {} in {pods} pod{s},", short(digest));
        }
        let newest = digests.first().map_or("", |(digest, _)| digest);
        text + &format!(" pin {}@{newest}, as in the newest pod", without_tag(image))
    }
}

/// The digest in an `imageID`, such as `docker.io/library/nginx@sha256:…`. One that was loaded on
/// its node, without a registry, has only the id of its configuration, which says nothing.
fn digest(image_id: &str) -> Option<&str> {
    let (_, digest) = image_id.rsplit_once('@')?;
    (digest.starts_with("sha256:") && digest.len() == 71).then_some(digest)
}

fn digest_of(image: &str) -> Option<&str> {
    ImageReference::parse(image).and_then(|image| image.digest)
}

/// The algorithm and the first digits, as registries show a digest.
fn short(digest: &str) -> &str {
    digest.get(..19).unwrap_or(digest)
}

fn without_tag(image: &str) -> &str {
    match ImageReference::parse(image).and_then(|reference| reference.tag) {
        Some(tag) => &image[..image.len() - tag.len() - 1],
        None => image,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(number: u32, image: &str, image_id: &str) -> PodView {
        serde_json::from_value(serde_json::json!({
            "metadata": { "name": format!("web-{number}"), "namespace": "shop",
                "creationTimestamp": format!("2026-01-0{number}T00:00:00Z"),
                "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web",
                    "controller": true }] },
            "spec": { "containers": [{ "name": "c", "image": image }] },
            "status": { "phase": "Running", "containerStatuses": [{ "name": "c", "ready": true,
                "restartCount": 0, "image": image, "imageID": image_id }] },
        }))
        .unwrap()
    }

    fn id(digit: &str) -> String {
        format!("docker.io/library/nginx@sha256:{}", digit.repeat(64))
    }

    fn notes(pods: &[PodView]) -> Vec<String> {
        let (mut all, mut coverage) = (RunningImages::default(), CoverageCounter::default());
        for pod in pods {
            // Each apart, as several threads would.
            let mut images = RunningImages::default();
            images.add(pod, &PodFacts::of_pod(pod, ""));
            all.merge(images);
        }
        all.note(&mut coverage);
        let notes = coverage.finish().notes.into_iter();
        notes.map(|note| format!("{}: {}", note.source, note.message)).collect()
    }

    #[test]
    fn replicas_that_differ_are_noted_with_the_digest_to_pin() {
        let image = "nginx:latest";
        let (old, new) = (id("a"), id("b"));
        let pods = [pod(1, image, &old), pod(2, image, &old), pod(3, image, &new)];
        let pin = "b".repeat(64);
        assert_eq!(
            notes(&pods),
            [format!(
                "shop StatefulSet/web: container c: the pods run different images as nginx:latest: \
                 sha256:bbbbbbbbbbbb in 1 pod, sha256:aaaaaaaaaaaa in 2 pods, pin \
                 nginx@sha256:{pin}, as in the newest pod"
            )]
        );
        assert!(notes(&pods[..2]).is_empty(), "the same digest");
    }

    #[test]
    fn only_what_is_known_to_differ_is_noted() {
        let different = |image: &str, ids: [&str; 2]| {
            notes(&[pod(1, image, ids[0]), pod(2, image, ids[1])]).len()
        };
        assert_eq!(different("nginx:1.27", [&id("a"), &id("b")]), 1, "a tag moves too");
        assert_eq!(different("nginx:1.27", [&id("a"), "sha256:12"]), 0, "loaded on its node");
        assert_eq!(different("nginx:1.27", [&id("a"), ""]), 0, "not pulled yet");
        let pinned = format!("nginx@sha256:{}", "c".repeat(64));
        assert_eq!(different(&pinned, [&id("a"), &id("b")]), 0, "the digest decides");
        let update = [pod(1, "nginx:1.26", &id("a")), pod(2, "nginx:1.27", &id("b"))];
        assert!(notes(&update).is_empty(), "a rollout to another image");
    }
}
