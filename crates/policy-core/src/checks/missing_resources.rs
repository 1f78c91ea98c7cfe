//! Containers without requests or a memory limit.

use std::borrow::Cow;
use std::sync::LazyLock;

use super::{Check, CheckMeta, Parameters, Subject};
use crate::api::EnforcementMode;
use crate::evaluate::FindingSink;
use crate::facts::{CheckedFacts, ContainerFacts, ResourceGap, ResourceGaps};

pub(super) struct MissingResources;

static META: CheckMeta = CheckMeta {
    id: "missing-resources",
    field: "requireResources",
    severity_key: "missingResources",
    violation_type: "missing_resources",
    title: "Requests or limits are missing",
    summary_label: "Missing resource limits",
    counts_restarts: false,
    text: "missing resource requests or limits",
    what: "A regular container or native sidecar without a CPU request, a memory request or a memory limit. A CPU limit is not required. A limit without a request sets the request, and the pod's own `spec.resources` count for every container. A value that is not a quantity, such as `1GB`, counts as missing and is reported as invalid. As the API server stores it, `null` is 0; a memory limit of 0 is no limit.",
    why: "Without requests the scheduler places the pod blindly; without a memory limit one leak can take the whole node down.",
    fix: "Set what the container needs: `resources: {requests: {cpu: 100m, memory: 128Mi}, limits: {memory: 256Mi}}`.",
    remedy: "set the requests and the memory limit",
    weight: 0,
    at_admission: true,
    needs_budgets: false,
    is_filled_in_later: true,
    patchable: true,
    // A policy that fills resources in also requires them, unless it sets the field.
    configure: |spec| {
        let fills_in =
            spec.enforcement_mode == EnforcementMode::Enforce && spec.default_resources.is_some();
        super::switch(spec.require_resources.or(Some(fills_in)))
    },
    weight_override: Some(|weights| weights.missing_resources),
    severity_override: |severities| severities.missing_resources,
};

/// The text for each combination of gaps. Most containers of an input lack the same, and share it.
static TEXTS: LazyLock<Vec<(ResourceGaps, String)>> =
    LazyLock::new(|| ResourceGaps::all().map(|gaps| (gaps, text(gaps))).collect());

fn text(gaps: ResourceGaps) -> String {
    let names = gaps.lacking().map(|(gap, name)| match gap {
        ResourceGap::Invalid => format!("invalid {name}"),
        ResourceGap::None | ResourceGap::Missing => name.to_owned(),
    });
    format!("{} ({})", META.text, names.collect::<Vec<_>>().join(", "))
}

impl Check for MissingResources {
    fn meta(&self) -> &'static CheckMeta {
        &META
    }

    fn evaluate(&self, pod: &CheckedFacts, _: Parameters, sink: &mut FindingSink<'_>) {
        for (index, container) in pod.containers.iter().enumerate() {
            if container.role.is_long_running()
                && container.missing_resources.lacking().next().is_some()
            {
                sink.container(index, 1);
            }
        }
    }

    fn message(&self, subject: Subject<'_>, _: Parameters) -> Cow<'static, str> {
        let gaps =
            subject.container.map(|container| container.missing_resources).unwrap_or_default();
        match TEXTS.iter().find(|(of, _)| *of == gaps) {
            Some((_, text)) => text.as_str().into(),
            None => META.text.into(),
        }
    }

    fn found_fields<'a>(&self, container: &'a ContainerFacts) -> Vec<&'a str> {
        container.missing_resources.lacking().map(|(_, name)| name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::{containers, findings, one_of_each};

    #[test]
    fn regular_containers_and_sidecars_need_them() {
        let found = containers("missing-resources", &one_of_each(r#""image": "a:1""#));
        assert_eq!(found, ["regular", "sidecar"]);
        let full = r#""resources": {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}}"#;
        assert!(containers("missing-resources", &one_of_each(full)).is_empty(), "no CPU limit");
    }

    #[test]
    fn one_shot_pods_need_them_too() {
        let spec = r#"{"restartPolicy": "Never", "containers": [{"name": "c"}]}"#;
        assert_eq!(containers("missing-resources", spec), ["c"]);
    }

    #[test]
    fn the_text_says_which() {
        let text = |resources: &str| {
            let spec = format!(r#"{{"containers": [{{"name": "c", "resources": {resources}}}]}}"#);
            let found = findings("missing-resources", true, &spec, "{}");
            found.into_iter().next().map(|(text, _)| text)
        };
        let words = |which: &str| Some(format!("c: missing resource requests or limits ({which})"));
        assert_eq!(text("{}"), words("cpu request, memory request, memory limit"));
        assert_eq!(text(r#"{"limits": {"cpu": "1"}}"#), words("memory request, memory limit"));
        assert_eq!(text(r#"{"limits": {"memory": 1}}"#), words("cpu request"));
        let invalid = r#"{"requests": {"cpu": 1, "memory": "1GB"}, "limits": {"memory": "1GB"}}"#;
        assert_eq!(text(invalid), words("invalid memory request, invalid memory limit"));
    }

    #[test]
    fn filling_in_implies_requiring() {
        let setting = |text: &str| {
            (META.configure)(&serde_json::from_str(text).unwrap()).map(|set| set.limit)
        };
        let resources = r#""defaultResources": {"cpuRequest": "1"}"#;
        assert_eq!(setting(&format!(r#"{{"enforcementMode": "enforce", {resources}}}"#)), Some(0));
        assert_eq!(setting(&format!("{{{resources}}}")), None, "audit mode");
        assert_eq!(setting(r#"{"enforcementMode": "enforce"}"#), None);
        let refused =
            format!(r#"{{"enforcementMode": "enforce", "requireResources": false, {resources}}}"#);
        assert_eq!(setting(&refused), None);
    }
}
