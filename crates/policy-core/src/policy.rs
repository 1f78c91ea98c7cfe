//! The compiled form of a policy: validated, with every default filled in.

mod cluster;
mod exemption;
mod limit;
mod name;
mod selector;

use std::sync::Arc;

use crate::api::{
    Admission, AdmissionMode, ControllerPods, CustomCheck, DefaultProbe, DefaultResources,
    DevOpsPolicySpec, EnforcementMode, MAX_CUSTOM, MAX_WINDOWS, RemediationWindow,
};
use crate::checks::{CHECK_COUNT, CheckId, CheckName, Parameters};
use crate::custom::CustomChecks;
use crate::quantity::{ParsedQuantity, Quantity};
use crate::remediation::{RemediationRules, window_problems};
use crate::severity::Severity;
use crate::text::excerpt;

pub use cluster::{ClusterScope, CompiledClusterPolicy};
pub use exemption::{
    CompiledExemption, ExemptedWorkloads, ExemptionId, ExemptionNote, ExemptionSet,
    ExemptionSubject, ExemptionUse, Exemptions, FindingExemptions, LabelledWorkload,
    MatchingExemptions, NamedWorkload, SelectedWorkloads,
};
pub use limit::{MAX_PER_NAMESPACE, PoliciesByRank, PolicyRank};
pub use name::PolicyName;
pub use selector::Selector;
pub(crate) use selector::{is_dns_label, is_subdomain};

/// A policy in the form that evaluation needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompiledPolicy {
    enabled: [Option<EnabledCheck>; CHECK_COUNT],
    weights: [u8; CHECK_COUNT],
    mode: EnforcementMode,
    admission: Admission,
    /// Of enforce mode, or with defaults to fill in. Boxed, because most policies have none.
    remediation: Option<Box<RemediationRules>>,
    /// `None` without any, so that such a policy pays nothing for them.
    exemptions: Option<Arc<Exemptions>>,
    /// `None` without any, as of exemptions.
    custom: Option<Arc<CustomChecks>>,
}

/// What a policy sets for a check that it enables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnabledCheck {
    /// How severe its findings are.
    pub severity: Severity,
    /// When something is a finding.
    pub parameters: Parameters,
}

/// A value that no policy may have. The schema of the custom resource refuses the same values; this
/// is for policies from files, and for clusters with another version of the schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct InvalidField {
    /// The field, such as `spec.weights.pending`.
    pub path: String,
    /// What is wrong with its value.
    pub problem: String,
}

impl CompiledPolicy {
    /// Compiles a policy.
    ///
    /// # Errors
    /// All values outside their range, and all requests above their limit.
    pub fn compile(spec: &DevOpsPolicySpec) -> Result<Self, Vec<InvalidField>> {
        let invalid = validate(spec);
        if !invalid.is_empty() {
            return Err(invalid);
        }
        Ok(Self::of_valid(spec))
    }

    pub(crate) fn of_valid(spec: &DevOpsPolicySpec) -> Self {
        let severities = spec.severity_overrides.clone().unwrap_or_default();
        let weights = spec.weights.clone().unwrap_or_default();
        let mut policy = Self {
            enabled: [None; CHECK_COUNT],
            weights: [0; CHECK_COUNT],
            mode: spec.enforcement_mode,
            admission: spec.admission.clone().unwrap_or_default(),
            remediation: None,
            exemptions: Exemptions::of(&spec.exemptions),
            custom: CustomChecks::of(&spec.custom),
        };
        for check in CheckId::all() {
            let meta = check.meta();
            let severity = (meta.severity_override)(&severities).unwrap_or_default();
            policy.enabled[check.index()] =
                (meta.configure)(spec).map(|parameters| EnabledCheck { severity, parameters });
            policy.weights[check.index()] = meta
                .weight_override
                .and_then(|read| read(&weights))
                .and_then(|weight| u8::try_from(weight).ok())
                .unwrap_or(meta.weight);
        }
        let exemptions = policy.exemptions.clone();
        let rules = RemediationRules::of(spec, |check| policy.is_enabled(check), exemptions);
        policy.remediation = rules.map(Box::new);
        policy
    }

    /// The built-in policy, used where no other is given: all checks, at most 3 restarts of a
    /// container that ended within a day, at most 300 s Pending or not ready.
    #[must_use]
    pub fn default_profile() -> Self {
        Self::of_valid(&default_profile_spec())
    }

    /// The enabled checks, in the order of the registry.
    pub fn enabled(&self) -> impl Iterator<Item = (CheckId, EnabledCheck)> {
        CheckId::all().filter_map(|check| Some((check, self.enabled[check.index()]?)))
    }

    /// Whether a check is enabled.
    #[must_use]
    pub fn is_enabled(&self, check: CheckId) -> bool {
        self.enabled[check.index()].is_some()
    }

    /// How severe the findings of a check are; medium where it is not enabled.
    #[must_use]
    pub fn severity(&self, check: CheckId) -> Severity {
        self.enabled[check.index()].map(|enabled| enabled.severity).unwrap_or_default()
    }

    /// The same of a check by its name, which may be one of its own.
    #[must_use]
    pub fn severity_of(&self, check: &CheckName) -> Severity {
        match check {
            CheckName::Registered(check) => self.severity(*check),
            CheckName::Custom(name) => {
                let mut checks = self.custom().into_iter().flat_map(CustomChecks::checks);
                let own = checks.find(|check| check.name() == name);
                own.map(crate::custom::CustomCheck::severity).unwrap_or_default()
            }
        }
    }

    /// The limit of a check; 0 where it has none.
    #[must_use]
    pub fn limit(&self, check: CheckId) -> u32 {
        self.parameters(check).limit
    }

    /// The parameters of a check; without a limit and window where it is not enabled.
    #[must_use]
    pub fn parameters(&self, check: CheckId) -> Parameters {
        self.enabled[check.index()].map(|enabled| enabled.parameters).unwrap_or_default()
    }

    /// The points that a finding of count 1 subtracts from the score.
    #[must_use]
    pub fn weight(&self, check: CheckId) -> u8 {
        self.weights[check.index()]
    }

    /// The points that the findings of a check subtract, by the sum of their counts.
    #[must_use]
    pub fn points(&self, check: CheckId, count: u64) -> u64 {
        u64::from(self.weight(check)).saturating_mul(count)
    }

    /// The same of a check by its name, which may be one of its own.
    #[must_use]
    pub fn points_of(&self, check: &CheckName, count: u64) -> u64 {
        match check {
            CheckName::Registered(check) => self.points(*check, count),
            CheckName::Custom(name) => {
                let mut checks = self.custom().into_iter().flat_map(CustomChecks::checks);
                let own = checks.find(|check| check.name() == name);
                own.map_or(0, |check| u64::from(check.weight()).saturating_mul(count))
            }
        }
    }

    /// Whether the operator may change workloads.
    #[must_use]
    pub fn mode(&self) -> EnforcementMode {
        self.mode
    }

    /// The enabled checks and those of its own, each with how severe its findings are.
    pub fn checks(&self) -> impl Iterator<Item = (CheckName, Severity)> {
        let registered = self.enabled().map(|(check, of)| (CheckName::from(check), of.severity));
        let custom = self.custom().into_iter().flat_map(CustomChecks::checks);
        let name = |name: &Arc<str>| CheckName::Custom(Arc::clone(name));
        registered.chain(custom.map(move |check| (name(check.name()), check.severity())))
    }

    /// The checks whose findings the webhook denies: those that run at admission and reach
    /// `denySeverity`. None where admission only warns or is disabled.
    pub fn denied_at_admission(&self) -> impl Iterator<Item = CheckName> {
        let runs = |check: CheckId| check.meta().at_admission;
        let checks = self.checks().filter(|(_, severity)| self.denies(*severity));
        checks.map(|(check, _)| check).filter(move |check| check.registered().is_none_or(runs))
    }

    /// Whether the webhook denies findings of that severity.
    #[must_use]
    pub fn denies(&self, severity: Severity) -> bool {
        self.admission.mode == AdmissionMode::Deny && severity >= self.admission.deny_severity
    }

    /// The same policy with another setting for pods that the cluster's own controllers make.
    #[must_use]
    pub fn with_controller_pods(mut self, controller_pods: ControllerPods) -> Self {
        self.admission.controller_pods = controller_pods;
        self
    }

    /// What is filled in; `None` in audit mode.
    #[must_use]
    pub fn remediation(&self) -> Option<&RemediationRules> {
        self.remediation.as_deref().filter(|_| self.mode == EnforcementMode::Enforce)
    }

    /// What somebody may fill in in a manifest, whatever the mode; `None` where the policy has
    /// neither `defaultProbe` nor `defaultResources`.
    #[must_use]
    pub fn defaults(&self) -> Option<&RemediationRules> {
        self.remediation.as_deref().filter(|rules| rules.has_defaults())
    }

    /// The findings that are known and accepted; `None` without any.
    #[must_use]
    pub fn exemptions(&self) -> Option<&Exemptions> {
        self.exemptions.as_deref()
    }

    /// The checks of its own; `None` without any.
    #[must_use]
    pub fn custom(&self) -> Option<&CustomChecks> {
        self.custom.as_deref()
    }

    /// The same, for what outlives the policy.
    #[must_use]
    pub fn shared_custom(&self) -> Option<&Arc<CustomChecks>> {
        self.custom.as_ref()
    }

    /// The settings of the webhook.
    #[must_use]
    pub fn admission(&self) -> &Admission {
        &self.admission
    }
}

impl CompiledPolicy {
    /// Whether it has a check that needs to know which `PodDisruptionBudget` never allows an eviction of a
    /// pod ([`crate::facts::CheckedFacts::blocking_budget`]).
    #[must_use]
    pub fn needs_budgets(&self) -> bool {
        self.enabled().any(|(check, _)| check.meta().needs_budgets)
    }
}

/// The spec behind [`CompiledPolicy::default_profile`].
#[must_use]
pub fn default_profile_spec() -> DevOpsPolicySpec {
    DevOpsPolicySpec {
        forbid_latest_tag: Some(true),
        require_liveness_probe: Some(true),
        require_readiness_probe: Some(true),
        require_resources: Some(true),
        max_restart_count: Some(3),
        restart_window: Some(86_400),
        forbid_pending_duration: Some(300),
        forbid_not_ready_duration: Some(300),
        ..DevOpsPolicySpec::default()
    }
}

/// Collects the invalid fields.
#[derive(Default)]
struct Problems(Vec<InvalidField>);

impl Problems {
    fn add(&mut self, path: &str, problem: String) {
        self.0.push(InvalidField { path: format!("spec.{path}"), problem });
    }

    fn range(&mut self, path: &str, value: Option<i32>, min: i32, max: i32) {
        if let Some(value) = value.filter(|value| !(min..=max).contains(value)) {
            let allowed = if max == i32::MAX {
                format!("must be {min} or more")
            } else {
                format!("must be {min} to {max}")
            };
            self.add(path, format!("{allowed}, not {value}"));
        }
    }

    fn resources(&mut self, resources: &DefaultResources) {
        for (name, request, limit) in [
            ("cpu", &resources.cpu_request, &resources.cpu_limit),
            ("memory", &resources.memory_request, &resources.memory_limit),
        ] {
            let at = |what: &str| format!("defaultResources.{name}{what}");
            let parsed_request = self.quantity(&at("Request"), request.as_ref());
            let parsed_limit = self.quantity(&at("Limit"), limit.as_ref());
            if let (Some(request), Some(limit)) = (parsed_request, parsed_limit)
                && request > limit
            {
                self.add(&at("Request"), format!("must not be above {name}Limit"));
            }
        }
    }

    fn quantity(&mut self, path: &str, quantity: Option<&Quantity>) -> Option<ParsedQuantity> {
        let quantity = quantity?;
        let parsed = quantity.parse().filter(|parsed| !parsed.is_negative());
        if parsed.is_none() {
            let problem =
                format!("must be a quantity of 0 or more, such as 100m or 128Mi, not `{quantity}`");
            self.add(path, problem);
        }
        parsed
    }

    fn probe(&mut self, probe: &DefaultProbe) {
        const DAY: i32 = 86_400;
        self.range("defaultProbe.tcpPort", Some(probe.tcp_port), 1, 65_535);
        let delay = Some(probe.initial_delay_seconds);
        self.range("defaultProbe.initialDelaySeconds", delay, 0, DAY);
        self.range("defaultProbe.periodSeconds", Some(probe.period_seconds), 1, DAY);
    }

    fn windows(&mut self, windows: &[RemediationWindow]) {
        if windows.len() > MAX_WINDOWS {
            let problem = format!("must have at most {MAX_WINDOWS} windows, not {}", windows.len());
            self.add("remediation.windows", problem);
        }
        for (index, window) in windows.iter().take(MAX_WINDOWS).enumerate() {
            for (field, problem) in window_problems(window) {
                self.add(&format!("remediation.windows[{index}].{field}"), problem);
            }
        }
    }
}

impl Problems {
    /// Of expressions only their length: one that is refused harms only its check.
    fn custom(&mut self, checks: &[CustomCheck]) {
        if checks.len() > MAX_CUSTOM {
            let problem = format!("must have at most {MAX_CUSTOM} checks, not {}", checks.len());
            self.add("custom", problem);
        }
        for (index, check) in checks.iter().take(MAX_CUSTOM).enumerate() {
            let path = |field: &str| format!("custom[{index}].{field}");
            let name = excerpt(&check.name);
            if !is_dns_label(&check.name) {
                let problem = format!(
                    "must be at most 63 lower-case letters, digits and `-` between them, not `{name}`"
                );
                self.add(&path("name"), problem);
            } else if checks[..index].iter().any(|other| other.name == check.name) {
                self.add(&path("name"), format!("`{name}` is the name of another one"));
            }
            self.range(&path("weight"), Some(check.weight), 0, 100);
        }
    }
}

fn validate(spec: &DevOpsPolicySpec) -> Vec<InvalidField> {
    let mut problems = Problems::default();
    problems.range("maxRestartCount", spec.max_restart_count, 0, i32::MAX);
    problems.range("restartWindow", spec.restart_window, 1, i32::MAX);
    problems.range("forbidPendingDuration", spec.forbid_pending_duration, 0, i32::MAX);
    problems.range("forbidNotReadyDuration", spec.forbid_not_ready_duration, 0, i32::MAX);
    if let Some(probe) = &spec.default_probe {
        problems.probe(probe);
    }
    if let Some(resources) = &spec.default_resources {
        problems.resources(resources);
    }
    if let Some(weights) = &spec.weights {
        for check in CheckId::all() {
            let meta = check.meta();
            let path = format!("weights.{}", meta.severity_key);
            problems.range(&path, meta.weight_override.and_then(|read| read(weights)), 0, 100);
        }
    }
    if let Some(remediation) = &spec.remediation {
        problems.windows(&remediation.windows);
    }
    problems.exemptions(&spec.exemptions);
    problems.controller_pods(spec);
    problems.custom(&spec.custom);
    problems.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(json: &str) -> Result<CompiledPolicy, Vec<String>> {
        let spec = serde_json::from_str(json).map_err(|error| vec![error.to_string()])?;
        CompiledPolicy::compile(&spec)
            .map_err(|invalid| invalid.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn an_omitted_check_is_skipped_and_the_default_profile_has_all_that_score() {
        assert_eq!(compile("{}").unwrap().enabled().count(), 0);
        let profile = CompiledPolicy::default_profile();
        assert_eq!(CompiledPolicy::compile(&default_profile_spec()), Ok(profile.clone()));
        assert_eq!(profile.enabled().count(), CHECK_COUNT - 1, "all but drain-blocked");
        let limit = |id| profile.limit(CheckId::from_name(id).unwrap());
        assert_eq!((limit("high-restarts"), limit("pending"), limit("not-ready")), (3, 300, 300));
        let restarts = CheckId::from_name("high-restarts").unwrap();
        assert_eq!(profile.parameters(restarts).window, Some(86_400));
        assert!(profile.enabled().all(|(_, enabled)| enabled.severity == Severity::Medium));
    }

    #[test]
    fn overrides_reach_their_check_only() {
        let policy = compile(
            r#"{"forbidLatestTag": true, "maxRestartCount": 0, "severityOverrides": {"latestTag": "low"}, "weights": {"highRestarts": 0}}"#,
        )
        .unwrap();
        let [latest, restarts] =
            ["latest-tag", "high-restarts"].map(|id| CheckId::from_name(id).unwrap());
        assert_eq!((policy.severity(latest), policy.weight(latest)), (Severity::Low, 5));
        assert_eq!((policy.severity(restarts), policy.weight(restarts)), (Severity::Medium, 0));
    }

    #[test]
    fn admission_denies_high_by_default() {
        let admission = |json: &str| compile(json).unwrap().admission().clone();
        let default = Admission {
            mode: AdmissionMode::Deny,
            deny_severity: Severity::High,
            controller_pods: ControllerPods::Allow,
        };
        assert_eq!(admission("{}"), default);
        assert_eq!(admission(r#"{"admission": {}}"#), default);
        let warn = admission(r#"{"admission": {"mode": "warn"}}"#);
        assert_eq!(warn, Admission { mode: AdmissionMode::Warn, ..default });
    }

    #[test]
    fn a_severe_finding_of_a_check_at_admission_is_denied() {
        let denied = |json: &str| {
            let policy = compile(json).unwrap();
            policy.denied_at_admission().map(|check| check.to_string()).collect::<Vec<_>>()
        };
        let severe = r#""forbidLatestTag": true, "requireLivenessProbe": true, "maxRestartCount": 1,
            "severityOverrides": {"latestTag": "high", "highRestarts": "critical"}"#;
        assert_eq!(denied(&format!("{{{severe}}}")), ["latest-tag"]);
        let with = |admission: &str| denied(&format!(r#"{{{severe}, "admission": {admission}}}"#));
        assert_eq!(with(r#"{"denySeverity": "medium"}"#), ["latest-tag", "missing-liveness"]);
        assert!(with(r#"{"mode": "warn"}"#).is_empty());
        assert!(with(r#"{"mode": "off"}"#).is_empty());
    }

    #[test]
    fn all_invalid_fields_are_reported_at_once() {
        let problems = compile(
            r#"{"maxRestartCount": -1, "restartWindow": 0, "forbidPendingDuration": -5, "forbidNotReadyDuration": -1,
                "defaultProbe": {"tcpPort": 65536, "initialDelaySeconds": -1, "periodSeconds": 0},
                "defaultResources": {"cpuRequest": 2, "cpuLimit": "500m", "memoryRequest": "lots", "memoryLimit": "-1"},
                "weights": {"pending": 101, "latestTag": -1}}"#,
        )
        .unwrap_err();
        assert_eq!(
            problems,
            [
                "spec.maxRestartCount: must be 0 or more, not -1",
                "spec.restartWindow: must be 1 or more, not 0",
                "spec.forbidPendingDuration: must be 0 or more, not -5",
                "spec.forbidNotReadyDuration: must be 0 or more, not -1",
                "spec.defaultProbe.tcpPort: must be 1 to 65535, not 65536",
                "spec.defaultProbe.initialDelaySeconds: must be 0 to 86400, not -1",
                "spec.defaultProbe.periodSeconds: must be 1 to 86400, not 0",
                "spec.defaultResources.cpuRequest: must not be above cpuLimit",
                "spec.defaultResources.memoryRequest: must be a quantity of 0 or more, such as 100m or 128Mi, not `lots`",
                "spec.defaultResources.memoryLimit: must be a quantity of 0 or more, such as 100m or 128Mi, not `-1`",
                "spec.weights.latestTag: must be 0 to 100, not -1",
                "spec.weights.pending: must be 0 to 100, not 101",
            ]
        );
    }

    #[test]
    fn invalid_windows_are_reported_with_their_index() {
        let window = |schedule: &str, duration: i32| {
            format!(r#"{{"schedule": "{schedule}", "durationSeconds": {duration}}}"#)
        };
        let with = |windows: &[String]| {
            compile(&format!(r#"{{"remediation": {{"windows": [{}]}}}}"#, windows.join(",")))
        };
        let (good, bad) = (window("0 22 * * 1-5", 3600), window("0 25 * * *", 5));
        assert!(with(&vec![good.clone(); MAX_WINDOWS]).is_ok());
        assert_eq!(
            with(&[good.clone(), bad]).unwrap_err(),
            [
                "spec.remediation.windows[1].schedule: hour `25`: a value is from 0 to 23",
                "spec.remediation.windows[1].durationSeconds: must be 60 to 604800, not 5",
            ]
        );
        assert_eq!(
            with(&vec![good; MAX_WINDOWS + 1]).unwrap_err(),
            ["spec.remediation.windows: must have at most 16 windows, not 17"]
        );
    }

    /// The bounds of the custom resource, each with the least that a policy needs around it.
    fn bounds(path: &str, schema: &serde_json::Value, found: &mut Vec<(String, i64, i64)>) {
        if let (Some(min), Some(max)) = (schema["minimum"].as_f64(), schema["maximum"].as_f64()) {
            #[expect(clippy::cast_possible_truncation, reason = "the bounds are whole numbers")]
            found.push((path.to_owned(), min as i64, max as i64));
        }
        for (name, below) in schema["properties"].as_object().into_iter().flatten() {
            bounds(&format!("{path}.{name}"), below, found);
        }
    }

    /// Range and rules stand twice, in the schema and in `validate`: they have to say the same.
    #[test]
    fn what_the_schema_refuses_is_refused_here() {
        let crd = serde_json::to_value(&crate::api::crds()[0]).unwrap();
        let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        let mut found = Vec::new();
        bounds("", spec, &mut found);
        let weighted = CheckId::all().filter(|check| check.meta().weight_override.is_some());
        assert_eq!(found.len(), 4 + 3 + weighted.count(), "{found:?}");
        for (path, min, max) in found {
            let with = |value: i64| {
                let mut spec =
                    serde_json::json!({ "defaultProbe": { "tcpPort": 1 }, "weights": {} });
                let (parent, name) = path.rsplit_once('.').unwrap();
                spec.pointer_mut(&parent.replace('.', "/")).unwrap()[name] = value.into();
                compile(&spec.to_string())
            };
            assert!(with(min).is_ok() && with(max).is_ok(), "{path}: {min} to {max}");
            assert!(with(min - 1).is_err() && with(max + 1).is_err(), "{path}: {min} to {max}");
        }
        let rules = spec["properties"]["defaultResources"]["x-kubernetes-validations"].to_string();
        assert!(rules.contains("cpuRequest must not be above cpuLimit"), "{rules}");
        assert!(rules.contains("memoryRequest must not be above memoryLimit"), "{rules}");
    }

    #[test]
    fn equal_requests_and_limits_are_fine_however_written() {
        assert!(compile(r#"{"defaultResources": {"cpuRequest": 1, "cpuLimit": "1000m"}}"#).is_ok());
    }
}
