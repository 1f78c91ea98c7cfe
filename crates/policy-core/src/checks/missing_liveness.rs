//! Containers without a liveness probe.

use super::{Check, CheckMeta, Parameters};
use crate::evaluate::FindingSink;
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
    text: "missing liveness probe",
    what: "A regular container or native sidecar without a liveness probe. A probe without a handler (httpGet, tcpSocket, exec or grpc) counts as missing. Containers that are not restarted whenever they end need none: those of a pod whose restartPolicy is not Always, unless a regular container's own restartPolicy is Always, and regular containers whose own restartPolicy is another.",
    why: "A process that hangs keeps its pod Running: nothing restarts it, and no alert fires.",
    fix: "Add a probe that fails only when a restart helps: `livenessProbe: {httpGet: {path: /healthz, port: 8080}}`.",
    remedy: "add a livenessProbe",
    weight: 3,
    at_admission: true,
    needs_budgets: false,
    is_filled_in_later: false,
    patchable: true,
    configure: |spec| super::switch(spec.require_liveness_probe),
    weight_override: Some(|weights| weights.missing_liveness),
    severity_override: |severities| severities.missing_liveness,
};

impl Check for MissingLiveness {
    fn meta(&self) -> &'static CheckMeta {
        &META
    }

    fn evaluate(&self, pod: &CheckedFacts, _: Parameters, sink: &mut FindingSink<'_>) {
        for (index, container) in pod.containers.iter().enumerate() {
            if container.needs_probes() && !container.has_liveness_probe {
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
