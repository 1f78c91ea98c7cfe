//! The table of `admit`. The webhook's lines are shown as kubectl shows them, however long.

use std::io;

use anstyle::Style;
use policy_core::admission::EXEMPTED;
use policy_core::report::{
    AdmissionOutcome, AdmissionReport, AdmissionSummary, AdmittedObject, PolicySource,
};
use policy_core::severity::Severity;
use policy_core::text::printable;

use super::layout::{Table, TableStyle, severity_style};

pub(super) fn write(
    report: &AdmissionReport,
    style: TableStyle,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let mut table = Table { out, style };
    table.policies(&report.policies)?;
    let AdmissionSummary { allowed, warned, denied } = report.summary;
    table.row("Admission", format_args!("{denied} denied, {warned} warned, {allowed} allowed"))?;
    table.coverage(&report.coverage)?;
    table.not_read(&report.coverage)?;
    table.notes(&report.coverage)?;
    report.objects.iter().try_for_each(|object| table.admitted(object))
}

impl Table<'_> {
    fn policies(&mut self, policies: &PolicySource) -> io::Result<()> {
        match policies {
            PolicySource::Given { name } => self.row("Policy", printable(name)),
            PolicySource::Cluster { context, server } => {
                let cluster = format!("of cluster {context} at {server}");
                self.row("Policies", printable(&cluster))
            }
        }
    }

    fn admitted(&mut self, object: &AdmittedObject) -> io::Result<()> {
        let AdmittedObject { namespace, kind, name, file, line, .. } = object;
        let (outcome, style) = match object.outcome {
            AdmissionOutcome::Allowed => ("allowed", Style::new()),
            AdmissionOutcome::Warned => ("warned ", severity_style(Severity::Medium)),
            AdmissionOutcome::Denied => ("denied ", severity_style(Severity::Critical)),
        };
        let outcome = self.style.paint(outcome, style);
        let title = format!("{namespace}  {kind}/{name}  {file}:{line}");
        let note = match object {
            AdmittedObject { is_excluded: true, .. } => "  (the namespace is excluded)",
            AdmittedObject { policies: 0, .. } => "  (the namespace has no policy)",
            _ => "",
        };
        self.line(format_args!("\n{outcome}  {}{note}", printable(&title)))?;
        for line in &object.warnings {
            self.line(format_args!("Warning: {line}"))?;
        }
        if let Some(message) = &object.message {
            self.line(message)?;
        }
        object.audit_annotations.get(EXEMPTED).map_or(Ok(()), |exempted| self.line(exempted))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use policy_core::Timestamp;
    use policy_core::admission::{AdmissionVerdict, Creation, NamedPolicy};
    use policy_core::facts::PodFacts;
    use policy_core::policy::CompiledPolicy;
    use policy_core::report::{Coverage, Source};
    use policy_core::view::ObjectView;
    use policy_core::workload::ObjectKind;
    use serde_json::json;

    use super::*;

    const STYLE: TableStyle = TableStyle { is_coloured: false, width: None };

    fn judged(namespace: &str, image: &str) -> (PodFacts, AdmissionVerdict) {
        judged_as(namespace, "web\n", image)
    }

    fn judged_as(namespace: &str, name: &str, image: &str) -> (PodFacts, AdmissionVerdict) {
        let pod = json!({
            "metadata": { "namespace": namespace, "name": name },
            "spec": { "containers": [{ "name": "c", "image": image }] },
        });
        let object: ObjectView = serde_json::from_value(pod).unwrap();
        let facts = PodFacts::of_object(ObjectKind::Pod, &object, "").unwrap();
        let spec = json!({ "forbidLatestTag": true, "requireLivenessProbe": image != "x:2",
            "severityOverrides": { "latestTag": "high" },
            "exemptions": [{ "checks": ["latest-tag"], "workload": { "kind": "Pod", "name": "legacy" },
                "reason": "its registry has no tags" }] });
        let rules = CompiledPolicy::compile(&serde_json::from_value(spec).unwrap()).unwrap();
        let policy = NamedPolicy { name: "strict".into(), rules: Ok(Arc::new(rules)) };
        let pod = Creation { namespace, ..Creation::of(&facts) };
        let verdict = pod.admit(&policy.into(), Timestamp::UNIX_EPOCH);
        (facts, verdict)
    }

    #[test]
    fn each_object_has_its_outcome_and_the_lines_of_the_webhook() {
        let place = |line| (Arc::from("a.yaml"), 1, line);
        let of = |line, image| {
            let (facts, verdict) = judged("shop", image);
            AdmittedObject::of(&facts, place(line), 1, &verdict)
        };
        let (facts, verdict) = judged_as("shop", "legacy", "x");
        let exempted = AdmittedObject::of(&facts, place(7), 1, &verdict);
        let excluded = AdmittedObject::excluded(&judged("kube-system", "x").0, place(9));
        let objects = vec![of(1, "x"), of(3, "x:1"), of(5, "x:2"), exempted, excluded];
        let source = Source::Files { paths: vec!["a.yaml".to_owned()] };
        let policies = PolicySource::Given { name: "strict.yaml".to_owned() };
        let report = AdmissionReport::new(source, policies, objects, Coverage::default());
        let mut text = Vec::new();
        write(&report, STYLE, &mut text).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "\
Policy                     : strict.yaml
Admission                  : 1 denied, 2 warned, 2 allowed
Coverage                   : 0 evaluated, 0 skipped, 0 not read

denied   shop  Pod/web\u{fffd}  a.yaml:1
Warning: policy shop/strict: container c: missing liveness probe (missing-liveness, medium)
denied by policy shop/strict: container c: image x is not pinned (check latest-tag, high); use a fixed tag or digest

warned   shop  Pod/web\u{fffd}  a.yaml:3
Warning: policy shop/strict: container c: missing liveness probe (missing-liveness, medium)

allowed  shop  Pod/web\u{fffd}  a.yaml:5

warned   shop  Pod/legacy  a.yaml:7
Warning: policy shop/strict: container c: missing liveness probe (missing-liveness, medium)
policy shop/strict: container c: image x is not pinned (latest-tag, high), exempted: its registry has no tags

allowed  kube-system  Pod/web\u{fffd}  a.yaml:9  (the namespace is excluded)
"
        );
    }
}
