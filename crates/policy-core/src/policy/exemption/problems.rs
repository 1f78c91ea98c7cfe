//! What is wrong with the exemptions of a policy.

use k8s_openapi::jiff::Timestamp;

use super::super::Problems;
use super::super::selector::{self, is_dns_label, is_object_name};
use crate::api::{
    ControllerPods, DevOpsPolicySpec, ExemptedWorkload, Exemption, LabelSelector, MAX_CHECKS,
    MAX_EXEMPTION_SELECTOR_ENTRIES, MAX_EXEMPTIONS,
};
use crate::checks::CheckName;
use crate::text::excerpt;

impl Problems {
    pub(in crate::policy) fn exemptions(&mut self, exemptions: &[Exemption]) {
        if exemptions.len() > MAX_EXEMPTIONS {
            let problem =
                format!("must have at most {MAX_EXEMPTIONS} exemptions, not {}", exemptions.len());
            self.add("exemptions", problem);
        }
        for (index, exemption) in exemptions.iter().take(MAX_EXEMPTIONS).enumerate() {
            self.exemption(&format!("exemptions[{index}]"), exemption);
        }
    }

    /// The pods of controllers do not say what labels their workloads have, so none of them would be
    /// exempted by a selector: the Deployment would come in, and its pods would not.
    pub(in crate::policy) fn controller_pods(&mut self, spec: &DevOpsPolicySpec) {
        let admission = spec.admission.as_ref();
        let denies = admission.is_some_and(|of| of.controller_pods == ControllerPods::Deny);
        if denies && spec.exemptions.iter().any(|exemption| exemption.selector.is_some()) {
            let problem = "deny excludes exemptions with a selector: a pod does not say which labels \
                its workload has";
            self.add("admission.controllerPods", problem.to_owned());
        }
    }

    fn exemption(&mut self, path: &str, exemption: &Exemption) {
        let Exemption { checks, workload, selector, container, reason, expires } = exemption;
        self.checks(&format!("{path}.checks"), checks);
        match (workload, selector) {
            (Some(workload), None) => self.workload(&format!("{path}.workload"), workload),
            (None, Some(selector)) => self.selector(&format!("{path}.selector"), selector),
            _ => self
                .add(path, "must name its workloads either by workload or by selector".to_owned()),
        }
        if container.as_ref().is_some_and(|name| !(1..=253).contains(&name.chars().count())) {
            let problem = "must be the name of a container; omit it for the pod and all of them";
            self.add(&format!("{path}.container"), problem.to_owned());
        }
        if reason.trim().is_empty() || reason.chars().count() > 256 {
            let problem = "must say in 1 to 256 characters why the findings are accepted";
            self.add(&format!("{path}.reason"), problem.to_owned());
        }
        if let Some(expires) = expires.as_ref().filter(|text| !is_rfc_3339(text)) {
            let problem =
                format!("must be a time such as 2027-01-31T00:00:00Z, not `{}`", excerpt(expires));
            self.add(&format!("{path}.expires"), problem);
        }
    }

    fn checks(&mut self, path: &str, checks: &[String]) {
        if !(1..=MAX_CHECKS).contains(&checks.len()) {
            let problem = format!("must name 1 to {MAX_CHECKS} checks, not {}", checks.len());
            self.add(path, problem);
        }
        for (index, id) in checks.iter().take(MAX_CHECKS).enumerate() {
            let path = format!("{path}[{index}]");
            if let Err(unknown) = id.parse::<CheckName>() {
                self.add(&path, unknown.to_string());
            } else if checks[..index].contains(id) {
                self.add(&path, format!("names `{id}` again"));
            }
        }
    }

    /// One without requirements would exempt every workload, also those that come later, for whoever
    /// forgets to indent a line. The API server refuses it as well.
    fn selector(&mut self, path: &str, selector: &LabelSelector) {
        if selector.match_labels.is_empty() && selector.match_expressions.is_empty() {
            let problem = "must have a requirement; an empty one would exempt every workload";
            self.add(path, problem.to_owned());
        }
        selector::compile((path, selector, MAX_EXEMPTION_SELECTOR_ENTRIES), self);
    }

    fn workload(&mut self, path: &str, workload: &ExemptedWorkload) {
        let ExemptedWorkload { kind, name, namespace } = workload;
        let is_kind = kind.starts_with(|c: char| c.is_ascii_uppercase())
            && kind.len() <= 63
            && kind.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_kind {
            let problem =
                format!("must be a kind such as Deployment or Pod, not `{}`", excerpt(kind));
            self.add(&format!("{path}.kind"), problem);
        }
        if !is_object_name(name) {
            let problem = format!(
                "must be the full name of a workload, such as web, not `{}`",
                excerpt(name)
            );
            self.add(&format!("{path}.name"), problem);
        }
        if let Some(namespace) = namespace.as_ref().filter(|name| !is_dns_label(name)) {
            let problem = format!("must be the name of a namespace, not `{}`", excerpt(namespace));
            self.add(&format!("{path}.namespace"), problem);
        }
    }
}

/// Whether it is a time as the schema of the custom resource wants it: with date, time, seconds and
/// offset.
pub(super) fn is_rfc_3339(text: &str) -> bool {
    let bytes = text.as_bytes();
    let has = |index: usize, wanted: &[u8]| bytes.get(index).is_some_and(|b| wanted.contains(b));
    let has_seconds = has(4, b"-") && has(10, b"T") && has(16, b":");
    let offset = bytes.len().saturating_sub(6);
    let has_offset = text.ends_with('Z') || has(offset, b"+-") && has(offset + 3, b":");
    has_seconds && has_offset && text.len() <= 40 && text.parse::<Timestamp>().is_ok()
}
