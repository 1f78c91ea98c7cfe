//! What a pod runs by images whose names do not say it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{ContainerFacts, MAX_IMAGE, all_containers};
use crate::image::ImageReference;
use crate::text::prefix;
use crate::view::{PodStatusView, SpecView};

/// The images of the long-running containers of a pod that have a known digest and no digest in their
/// name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PodImages(pub Box<[ContainerImage]>);

/// What a container runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ContainerImage {
    /// The name of the container.
    pub container: Arc<str>,
    /// The image as it is written in the spec.
    pub image: Arc<str>,
    /// What the node pulled: `sha256:…`.
    pub digest: Arc<str>,
}

impl PodImages {
    /// `None` where nothing is known. The containers are those of the spec.
    pub(super) fn of(
        containers: &[ContainerFacts],
        spec: &SpecView,
        status: &PodStatusView,
    ) -> Option<Arc<Self>> {
        // By name, as a pod may have thousands of containers.
        let mut digests = BTreeMap::new();
        for status in status.container_statuses.iter().chain(&status.init_container_statuses) {
            if let (Some(name), Some(id)) = (status.name.as_deref(), status.image_id.as_deref())
                && let Some(digest) = digest(id)
            {
                digests.entry(name).or_insert(digest);
            }
        }
        if digests.is_empty() {
            return None;
        }
        let found: Box<[_]> = containers
            .iter()
            .zip(all_containers(spec))
            .filter(|(container, _)| container.role.is_long_running())
            .filter_map(|(container, (.., written))| {
                let image = written.value.image.as_deref()?;
                let digest = *digests.get(&*container.name)?;
                let names_digest =
                    ImageReference::parse(image).is_some_and(|image| image.digest.is_some());
                (!names_digest).then(|| ContainerImage {
                    container: Arc::clone(&container.name),
                    image: prefix(image, MAX_IMAGE, usize::MAX).into(),
                    digest: digest.into(),
                })
            })
            .collect();
        (!found.is_empty()).then(|| Arc::new(Self(found)))
    }
}

/// The digest in an `imageID`, such as `docker.io/library/nginx@sha256:…`. One that was loaded on
/// its node, without a registry, has only the id of its configuration, which says nothing.
fn digest(image_id: &str) -> Option<&str> {
    let (_, digest) = image_id.rsplit_once('@')?;
    (digest.starts_with("sha256:") && digest.len() == 71).then_some(digest)
}
