//! Images that are not pinned.

use std::borrow::Cow;

use super::{Check, CheckMeta, Setting};
use crate::api::DevOpsPolicySpec;
use crate::evaluate::Sink;
use crate::facts::{CheckedFacts, ContainerFacts, ImageFact};
use crate::view::ContainerView;

pub(super) struct LatestTag;

static META: CheckMeta = CheckMeta {
    id: "latest-tag",
    field: "forbidLatestTag",
    severity_key: "latestTag",
    violation_type: "latest_tag",
    title: "Image is not pinned",
    summary_label: "Images using :latest",
    counts_restarts: false,
    comes_with_time: false,
    text: "uses :latest image tag",
    what: "A container of any sort (regular, init, sidecar, ephemeral) whose image has no digest and whose tag is missing or `latest`. A reference that cannot be parsed counts as well. A container without an image, filled in by something else, is skipped.",
    why: "The registry decides at each pull what runs: two replicas may differ, a rollback may bring nothing back, and a restart can be an unnoticed upgrade.",
    fix: "Name a version or, better, a digest: `image: nginx:1.27.3` or `image: nginx@sha256:…`.",
    remedy: "use a fixed tag or digest",
    weight: 5,
    at_admission: true,
    is_filled_in_later: false,
    patchable: false,
    weight_override: |weights| weights.latest_tag,
    severity_override: |severities| severities.latest_tag,
};

impl Check for LatestTag {
    fn meta(&self) -> &'static CheckMeta {
        &META
    }

    fn configure(&self, spec: &DevOpsPolicySpec) -> Setting {
        Setting::switch(spec.forbid_latest_tag)
    }

    fn evaluate(&self, pod: &CheckedFacts, _limit: u32, _now: i64, sink: &mut Sink<'_>) {
        for (index, container) in pod.containers.iter().enumerate() {
            if container.image == ImageFact::NotPinned {
                sink.container(index, 1);
            }
        }
    }

    /// Names the image, so that another one that is not pinned either is another finding.
    fn admission_message(
        &self,
        container: Option<&ContainerFacts>,
        view: Option<&ContainerView>,
        limit: u32,
    ) -> Cow<'static, str> {
        match view.and_then(|view| view.image.as_deref()) {
            Some(image) => format!("image {image} is not pinned").into(),
            None => self.message(container, limit),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::{containers, findings, one_of_each};

    #[test]
    fn every_sort_of_container_is_looked_at() {
        let all = ["regular", "init", "sidecar", "ephemeral"];
        assert_eq!(containers("latest-tag", &one_of_each(r#""image": "nginx""#)), all);
        assert!(containers("latest-tag", &one_of_each(r#""image": "nginx:1.27""#)).is_empty());
    }

    #[test]
    fn only_what_is_written_is_judged() {
        let found = |image: &str| {
            containers(
                "latest-tag",
                &format!(r#"{{"containers": [{{"name": "c", "image": {image}}}]}}"#),
            )
        };
        let digest = "0123456789abcdef".repeat(4);
        for pinned in [
            "nginx:1.27",
            &format!("nginx@sha256:{digest}"),
            &format!("nginx:latest@sha256:{digest}"),
        ] {
            assert!(found(&format!("\"{pinned}\"")).is_empty(), "{pinned}");
        }
        for loose in [
            "nginx",
            "reg:5000/nginx",
            "reg:5000/nginx:latest",
            "not a reference",
            "nginx@sha256:12",
        ] {
            assert_eq!(found(&format!("\"{loose}\"")), ["c"], "{loose}");
        }
        assert!(found("null").is_empty(), "filled in by something else");
    }

    #[test]
    fn the_words_are_the_contracts() {
        let spec = r#"{"restartPolicy": "Never", "containers": [{"name": "c", "image": "nginx"}]}"#;
        let found = findings("latest-tag", true, spec, "{}");
        assert_eq!(found, [("c: uses :latest image tag".to_owned(), 1)]);
        assert!(findings("latest-tag", false, spec, "{}").is_empty());
    }
}
