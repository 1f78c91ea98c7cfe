//! Containers without a liveness probe.

use super::{Check, CheckMeta, Setting};
use crate::api::DevOpsPolicySpec;
use crate::evaluate::Sink;
use crate::facts::CheckedFacts;

pub(super) struct MissingLiveness;

static META: CheckMeta = CheckMeta {
    id: "missing-liveness",
    field: "requireLivenessProbe",
    severity_key: "missingLiveness",
    violation_type: "missing_liveness",
    title: "No liveness probe",
    summary_label: "Missing liveness probes",
    counts_restarts: false,
    comes_with_time: false,
    text: "missing liveness probe",
    what: "A container that serves for the pod's whole life (regular or native sidecar) without a liveness probe. A probe without a way of probing counts as missing. Pods whose restartPolicy is not Always are skipped.",
    why: "A process that hangs keeps its pod Running for ever: nothing restarts it, and nobody is told.",
    fix: "Add a probe that fails only when a restart helps: `livenessProbe: {httpGet: {path: /healthz, port: 8080}}`.",
    remedy: "add a livenessProbe",
    weight: 3,
    at_admission: true,
    is_filled_in_later: false,
    patchable: true,
    weight_override: |weights| weights.missing_liveness,
    severity_override: |severities| severities.missing_liveness,
};

impl Check for MissingLiveness {
    fn meta(&self) -> &'static CheckMeta {
        &META
    }

    fn configure(&self, spec: &DevOpsPolicySpec) -> Setting {
        Setting::switch(spec.require_liveness_probe)
    }

    fn evaluate(&self, pod: &CheckedFacts, _limit: u32, _now: i64, sink: &mut Sink<'_>) {
        if !pod.restarts_always {
            return;
        }
        for (index, container) in pod.containers.iter().enumerate() {
            if container.role.is_long_running() && !container.has_liveness_probe {
                sink.container(index, 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::assert_probe_check;

    #[test]
    fn long_running_containers_of_long_running_pods_need_one() {
        assert_probe_check("missing-liveness", "livenessProbe", "missing liveness probe");
    }
}
