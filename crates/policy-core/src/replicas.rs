//! Replicas of one workload that run different images under the same name.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;

use crate::facts::{ContainerImage, PodFacts};
use crate::image::ImageReference;
use crate::text::counted;
use crate::workload::Workload;

/// How many containers of workloads are compared at most. One takes some 300 bytes.
const MAX_CONTAINERS: usize = 100_000;

/// How many digests of a container a message names. A `StatefulSet` may have one for each pod.
const MAX_DIGESTS: usize = 4;

/// The images that run, by workload and container.
#[derive(Debug, Default)]
pub struct RunningImages {
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

/// A container of which the pods of a workload run different images.
#[derive(Clone, Debug)]
pub struct DifferingImages {
    container: Container,
    /// The newest first.
    digests: Vec<(Arc<str>, Replicas)>,
}

impl RunningImages {
    /// The images of those workloads of one namespace of which two pods differ. The others, nearly all,
    /// cost little.
    #[must_use]
    pub fn of_differing(pods: &[Arc<PodFacts>]) -> Self {
        let mut first = HashMap::new();
        let mut differing = BTreeSet::new();
        for PodFacts { workload, images, .. } in pods.iter().map(|pod| &**pod) {
            let Some(images) = images else { continue };
            if first.entry(&**workload).or_insert(images) != &images {
                differing.insert(&**workload);
            }
        }
        let mut images = Self::default();
        if !differing.is_empty() {
            pods.iter()
                .filter(|pod| differing.contains(&*pod.workload))
                .for_each(|p| images.add(p));
        }
        images
    }

    /// Adds what a pod runs.
    pub fn add(&mut self, pod: &PodFacts) {
        if *pod.workload.kind == *"Pod" {
            return;
        }
        let images = pod.images.iter().flat_map(|images| &images.0);
        for ContainerImage { container, image, digest } in images {
            let container = Container {
                namespace: Arc::clone(&pod.namespace),
                workload: Workload::clone(&pod.workload),
                name: Arc::clone(container),
                image: Arc::clone(image),
            };
            let one = Replicas { pods: 1, newest: pod.created };
            self.add_replicas(container, Arc::clone(digest), one);
        }
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
    pub fn merge(&mut self, other: Self) {
        self.is_full |= other.is_full;
        for (container, digests) in other.found {
            for (digest, replicas) in digests {
                self.add_replicas(container.clone(), digest, replicas);
            }
        }
    }

    /// How many containers were compared, where others were left out.
    #[must_use]
    pub fn compared_only(&self) -> Option<usize> {
        self.is_full.then_some(MAX_CONTAINERS)
    }

    /// The containers whose replicas differ, by namespace, workload and name.
    pub fn differing(self) -> impl Iterator<Item = DifferingImages> {
        self.found.into_iter().filter(|(_, digests)| digests.len() > 1).map(
            |(container, digests)| {
                let mut digests: Vec<_> = digests.into_iter().collect();
                digests.sort_by(|(a, of_a), (b, of_b)| (of_b.newest, a).cmp(&(of_a.newest, b)));
                DifferingImages { container, digests }
            },
        )
    }
}

impl DifferingImages {
    /// The namespace of the workload.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.container.namespace
    }

    /// The workload.
    #[must_use]
    pub fn workload(&self) -> &Workload {
        &self.container.workload
    }

    /// Which images run, in how many pods, and the digest to pin.
    #[must_use]
    pub fn message(&self) -> String {
        self.text(|Replicas { pods, .. }| format!(" in {}", counted((*pods).into(), "pod")))
    }

    /// The same without the numbers of pods, which change with each pod of a rollout: a status that had
    /// them would be written as often.
    #[must_use]
    pub fn lasting_message(&self) -> String {
        self.text(|_| String::new())
    }

    fn text(&self, replicas: impl Fn(&Replicas) -> String) -> String {
        let Container { name, image, .. } = &self.container;
        let mut text = format!("container {name}: the pods run different images as {image}:");
        for (digest, of) in self.digests.iter().take(MAX_DIGESTS) {
            // Writing into a String cannot fail.
            let _ = write!(text, " {}{},", short(digest), replicas(of));
        }
        if let Some(more @ 1..) = self.digests.len().checked_sub(MAX_DIGESTS) {
            let _ = write!(text, " {more} more,");
        }
        let newest = self.digests.first().map_or("", |(digest, _)| digest);
        text + &format!(" pin {}@{newest}, as in the newest pod", without_tag(image))
    }
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
    use crate::view::PodView;

    fn pod(number: u32, image: &str, image_id: &str) -> PodFacts {
        let pod: PodView = serde_json::from_value(serde_json::json!({
            "metadata": { "name": format!("web-{number}"), "namespace": "shop",
                "creationTimestamp": format!("2026-01-0{number}T00:00:00Z"),
                "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web",
                    "controller": true }] },
            "spec": { "containers": [{ "name": "c", "image": image }] },
            "status": { "phase": "Running", "containerStatuses": [{ "name": "c", "ready": true,
                "restartCount": 0, "image": image, "imageID": image_id }] },
        }))
        .unwrap();
        PodFacts::of_pod(&pod, "")
    }

    fn id(digit: &str) -> String {
        format!("docker.io/library/nginx@sha256:{}", digit.repeat(64))
    }

    fn notes(pods: &[PodFacts]) -> Vec<String> {
        let mut all = RunningImages::default();
        for pod in pods {
            // Each apart, as several threads would.
            let mut images = RunningImages::default();
            images.add(pod);
            all.merge(images);
        }
        let texts = |images: RunningImages| -> Vec<_> {
            let text = |of: DifferingImages| {
                let Workload { kind, name, .. } = of.workload();
                (
                    format!("{} {kind}/{name}: {}", of.namespace(), of.message()),
                    of.lasting_message(),
                )
            };
            images.differing().map(text).collect()
        };
        let found = texts(all);
        let shared: Vec<_> = pods.iter().cloned().map(Arc::new).collect();
        assert_eq!(texts(RunningImages::of_differing(&shared)), found);
        found.into_iter().map(|(text, _)| text).collect()
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
        let shared = pods.map(Arc::new);
        let without_numbers = RunningImages::of_differing(&shared).differing();
        assert_eq!(
            without_numbers.map(|images| images.lasting_message()).collect::<Vec<_>>(),
            [format!(
                "container c: the pods run different images as nginx:latest: sha256:bbbbbbbbbbbb, \
                 sha256:aaaaaaaaaaaa, pin nginx@sha256:{pin}, as in the newest pod"
            )]
        );
    }

    #[test]
    fn a_message_names_so_many_digests() {
        let pods: Vec<_> = (1..=6).map(|n| pod(n, "nginx", &id(&n.to_string()))).collect();
        let message = notes(&pods).remove(0);
        assert!(message.contains("sha256:333333333333 in 1 pod, 2 more, pin nginx@"), "{message}");
    }

    #[test]
    fn pods_of_other_workloads_are_not_compared() {
        let mut other = pod(2, "nginx", &id("b"));
        other.workload =
            Arc::new(Workload { name: "db".into(), ..Workload::clone(&other.workload) });
        assert!(notes(&[pod(1, "nginx", &id("a")), other]).is_empty());
        let alone = |digit| {
            let mut alone = pod(1, "nginx", &id(digit));
            alone.workload =
                Arc::new(Workload { kind: "Pod".into(), ..Workload::clone(&alone.workload) });
            alone
        };
        assert!(notes(&[alone("a"), alone("b")]).is_empty(), "pods that nobody controls");
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
