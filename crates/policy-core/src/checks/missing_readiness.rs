//! Containers without a readiness probe.

use super::{Check, CheckMeta, Parameters};
use crate::evaluate::FindingSink;
use crate::facts::CheckedFacts;

pub(super) struct MissingReadiness;

static META: CheckMeta = CheckMeta {
    id: "missing-readiness",
    field: "requireReadinessProbe",
    severity_key: "missingReadiness",
    violation_type: "missing_readiness",
    title: "No readiness probe",
    summary_label: "Missing readiness probes",
    counts_restarts: false,
    text: "missing readiness probe",
    what: "A regular container or native sidecar without a readiness probe. A probe without a handler (httpGet, tcpSocket, exec or grpc) counts as missing. Containers that are not restarted whenever they end need none: those of a pod whose restartPolicy is not Always, unless a regular container's own restartPolicy is Always, and regular containers whose own restartPolicy is another.",
    why: "A pod gets traffic as soon as its process starts: each rollout and each restart loses requests.",
    fix: "Add a probe that succeeds once requests can be served: `readinessProbe: {httpGet: {path: /readyz, port: 8080}}`.",
    remedy: "add a readinessProbe",
    weight: 2,
    at_admission: true,
    needs_budgets: false,
    is_filled_in_later: false,
    patchable: true,
    configure: |spec| super::switch(spec.require_readiness_probe),
    weight_override: Some(|weights| weights.missing_readiness),
    severity_override: |severities| severities.missing_readiness,
};

impl Check for MissingReadiness {
    fn meta(&self) -> &'static CheckMeta {
        &META
    }

    fn evaluate(&self, pod: &CheckedFacts, _: Parameters, sink: &mut FindingSink<'_>) {
        for (index, container) in pod.containers.iter().enumerate() {
            if container.needs_probes() && !container.has_readiness_probe {
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
        assert_probe_check("missing-readiness", "readinessProbe", "missing readiness probe");
    }
}
