//! Images that are not pinned.

use std::borrow::Cow;

use super::{Check, CheckMeta, Parameters, Subject};
use crate::evaluate::FindingSink;
use crate::facts::{CheckedFacts, ContainerFacts, ImageFact};
use crate::image::ImageReference;
use crate::text::excerpt;

pub(super) struct LatestTag;

static META: CheckMeta = CheckMeta {
    id: "latest-tag",
    field: "forbidLatestTag",
    severity_key: "latestTag",
    violation_type: "latest_tag",
    title: "Image is not pinned",
    summary_label: "Images using :latest",
    counts_restarts: false,
    text: "uses :latest image tag",
    what: "A container of any sort (regular, init, sidecar, ephemeral) or an image volume whose image has no digest and whose tag is missing or `latest`. An image that is not a valid reference counts as well, also one with a digest other than sha256, sha384 or sha512, which no kubelet can pull. A container without an image, filled in by something else, is skipped.",
    why: "The registry decides at each pull what runs: two replicas may differ, a rollback may change nothing, and a restart can be an unnoticed upgrade.",
    fix: "Set a version or, better, a digest: `image: nginx:1.27.3` or `image: nginx@sha256:…`.",
    remedy: "use a fixed tag or digest",
    weight: 5,
    at_admission: true,
    needs_budgets: false,
    is_filled_in_later: false,
    patchable: false,
    configure: |spec| super::switch(spec.forbid_latest_tag),
    weight_override: Some(|weights| weights.latest_tag),
    severity_override: |severities| severities.latest_tag,
};

impl Check for LatestTag {
    fn meta(&self) -> &'static CheckMeta {
        &META
    }

    fn evaluate(&self, pod: &CheckedFacts, _: Parameters, sink: &mut FindingSink<'_>) {
        for (index, container) in pod.containers.iter().enumerate() {
            if matches!(container.image, ImageFact::NotPinned(_)) {
                sink.container(index, 1);
            }
        }
    }

    /// With the image and why it is not pinned, such as `uses :latest image tag (nginx has no
    /// tag)`.
    fn report_message(&self, subject: Subject<'_>, parameters: Parameters) -> Cow<'static, str> {
        let Some(image) = subject.container.and_then(image) else {
            return self.message(subject, parameters);
        };
        let why = match ImageReference::parse(image) {
            None => " is not a valid image reference",
            Some(ImageReference { tag: None, .. }) => " has no tag",
            Some(_) => "",
        };
        format!("{} ({}{why})", META.text, excerpt(image)).into()
    }

    fn admission_message(&self, subject: Subject<'_>, parameters: Parameters) -> Cow<'static, str> {
        match subject.container.and_then(image) {
            Some(image) => format!("image {} is not pinned", excerpt(image)).into(),
            None => self.message(subject, parameters),
        }
    }

    /// The image itself: an update to another image that is not pinned introduces a finding.
    fn found_fields<'a>(&self, container: &'a ContainerFacts) -> Vec<&'a str> {
        image(container).into_iter().collect()
    }
}

fn image(container: &ContainerFacts) -> Option<&str> {
    match &container.image {
        ImageFact::NotPinned(image) => Some(image),
        ImageFact::Absent | ImageFact::Pinned => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::{containers, findings, one_of_each};
    use crate::facts::PodFacts;

    #[test]
    fn every_sort_of_container_is_checked() {
        let all = ["regular", "init", "sidecar", "ephemeral"];
        assert_eq!(containers("latest-tag", &one_of_each(r#""image": "nginx""#)), all);
        assert!(containers("latest-tag", &one_of_each(r#""image": "nginx:1.27""#)).is_empty());
    }

    #[test]
    fn image_volumes_are_checked_like_containers() {
        let spec = r#"{"containers": [{"name": "c", "image": "app:1"}], "volumes": [
            {"name": "config", "configMap": {"name": "c"}}, {"name": "a", "image": {"reference": "models"}},
            {"name": "b", "image": {"reference": "models:1"}}, {"name": "c", "image": {}}, null]}"#;
        assert_eq!(containers("latest-tag", spec), ["volumes[a]"]);
    }

    #[test]
    fn reports_name_the_image_and_the_reason() {
        let message = |image: &str| {
            let pod =
                format!(r#"{{"spec": {{"containers": [{{"name": "c", "image": "{image}"}}]}}}}"#);
            let pod = PodFacts::of_pod(&serde_json::from_str(&pod).unwrap(), "default");
            let subject = Subject::of(&pod.checked, Some(0));
            LatestTag.report_message(subject, Parameters::default()).into_owned()
        };
        for (image, why) in [
            ("nginx:latest", ""),
            ("reg:5000/nginx", " has no tag"),
            ("app:v1+build", " is not a valid image reference"),
        ] {
            assert_eq!(message(image), format!("uses :latest image tag ({image}{why})"));
        }
    }

    #[test]
    fn the_written_reference_decides() {
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
    fn the_text_is_the_contracts() {
        let spec = r#"{"restartPolicy": "Never", "containers": [{"name": "c", "image": "nginx"}]}"#;
        let found = findings("latest-tag", true, spec, "{}");
        assert_eq!(found, [("c: uses :latest image tag".to_owned(), 1)]);
        assert!(findings("latest-tag", false, spec, "{}").is_empty());
    }
}
