//! What the enforce policies of a namespace fill in.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

use super::target::Target;
use super::windows::Windows;
use crate::api::{
    DefaultProbe, DefaultResources, DevOpsPolicySpec, EnforcementMode, RemediationMethod,
};
use crate::checks::CheckId;
use crate::policy::{ExemptionSubject, Exemptions};
use crate::quantity::Quantity;

/// What a policy fills in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemediationRules {
    /// By which means.
    pub method: RemediationMethod,
    /// When it may start.
    pub windows: Windows,
    /// The probe.
    pub probe: Option<DefaultProbe>,
    /// Requests and limits.
    pub resources: Option<DefaultResources>,
    /// Whether a missing liveness probe is a finding.
    pub needs_liveness: bool,
    /// Whether a missing readiness probe is a finding.
    pub needs_readiness: bool,
    /// Whether missing resources are a finding.
    pub needs_resources: bool,
    /// The findings that are known and accepted: for them nothing is filled in.
    pub exemptions: Option<Arc<Exemptions>>,
}

impl RemediationRules {
    /// The rules of a policy in enforce mode, or with defaults. `is_enabled` says which of its checks
    /// run.
    pub(crate) fn of(
        spec: &DevOpsPolicySpec,
        is_enabled: impl Fn(CheckId) -> bool,
        exemptions: Option<Arc<Exemptions>>,
    ) -> Option<Self> {
        let needs = |id| CheckId::from_name(id).is_some_and(&is_enabled);
        let remediation = spec.remediation.clone().unwrap_or_default();
        let rules = Self {
            method: remediation.method,
            // The policy is valid, and so are its windows.
            windows: Windows::parse(&remediation.windows).unwrap_or_default(),
            probe: spec.default_probe.clone(),
            resources: spec.default_resources.clone(),
            needs_liveness: needs("missing-liveness"),
            needs_readiness: needs("missing-readiness"),
            needs_resources: needs("missing-resources"),
            exemptions,
        };
        let is_kept = spec.enforcement_mode == EnforcementMode::Enforce || rules.has_defaults();
        is_kept.then_some(rules)
    }

    /// Whether there is a value for anything.
    pub(crate) fn has_defaults(&self) -> bool {
        self.probe.is_some() || self.resources.is_some()
    }

    /// The same without what is exempted for a container.
    fn of_container(&self, subject: &ExemptionSubject<'_>, container: &str, now: i64) -> Self {
        let is_counted = |id| {
            let check = CheckId::from_name(id);
            check.zip(self.exemptions.as_ref()).is_none_or(|(check, exemptions)| {
                !exemptions.exempts(subject, (&check.into(), Some(container)), now)
            })
        };
        Self {
            needs_liveness: self.needs_liveness && is_counted("missing-liveness"),
            needs_readiness: self.needs_readiness && is_counted("missing-readiness"),
            needs_resources: self.needs_resources && is_counted("missing-resources"),
            ..self.clone()
        }
    }
}

/// A value, and the policy that has it.
pub(super) type Of<T> = Option<(Arc<str>, T)>;

/// What the enforce policies of a namespace fill in together. Where two have a value for the same
/// field, that of the older policy counts.
#[derive(Clone, Debug, Default)]
pub struct NamespaceRules {
    pub(super) readiness: Of<DefaultProbe>,
    pub(super) liveness: Of<DefaultProbe>,
    pub(super) cpu_request: Of<String>,
    pub(super) cpu_limit: Of<String>,
    pub(super) memory_request: Of<String>,
    pub(super) memory_limit: Of<String>,
    /// Whether a policy demands each probe, or resources, with a value for it or without.
    pub(super) needs_liveness: bool,
    pub(super) needs_readiness: bool,
    pub(super) needs_resources: bool,
    /// The methods of the policies, the oldest first.
    pub(super) methods: Vec<(Arc<str>, RemediationMethod)>,
    /// The policies, where one of them has exemptions: then the rules differ by container.
    policies: Vec<(Arc<str>, RemediationRules)>,
    /// The time for exemptions that end, in seconds since 1970.
    now: i64,
}

impl NamespaceRules {
    /// The rules at that time of policies that are sorted by age, the oldest first, each with its
    /// name.
    pub fn of<'a>(
        policies: impl IntoIterator<Item = (&'a str, &'a RemediationRules)>,
        now: Timestamp,
    ) -> Self {
        let policies: Vec<(Arc<str>, &RemediationRules)> =
            policies.into_iter().map(|(name, rules)| (name.into(), rules)).collect();
        let mut merged = Self::merged(policies.iter().map(|(name, rules)| (name, *rules)));
        if policies.iter().any(|(_, rules)| rules.exemptions.is_some()) {
            merged.policies =
                policies.into_iter().map(|(name, rules)| (name, rules.clone())).collect();
            merged.now = now.as_second();
        }
        merged
    }

    /// The rules for a container of a workload: without what is exempted for it.
    pub(super) fn of_container(&self, target: &Target, container: &str) -> Cow<'_, Self> {
        if self.policies.is_empty() {
            return Cow::Borrowed(self);
        }
        let Target { kind, namespace, name, labels, .. } = target;
        let subject =
            ExemptionSubject { namespace, kind: *kind, name, workload: None, labels: Some(labels) };
        let policies: Vec<_> = self
            .policies
            .iter()
            .map(|(name, rules)| (name, rules.of_container(&subject, container, self.now)))
            .collect();
        Cow::Owned(Self::merged(policies.iter().map(|(name, rules)| (*name, rules))))
    }

    fn merged<'a>(policies: impl Iterator<Item = (&'a Arc<str>, &'a RemediationRules)>) -> Self {
        let mut merged = Self::default();
        for (name, rules) in policies {
            merged.methods.push((Arc::clone(name), rules.method));
            merged.needs_liveness |= rules.needs_liveness;
            merged.needs_readiness |= rules.needs_readiness;
            merged.needs_resources |= rules.needs_resources;
            let set = |to: &mut Of<String>, value: Option<&Quantity>| {
                if let (None, true, Some(value)) = (&to, rules.needs_resources, value) {
                    *to = Some((Arc::clone(name), value.to_string()));
                }
            };
            if let Some(resources) = &rules.resources {
                set(&mut merged.cpu_request, resources.cpu_request.as_ref());
                set(&mut merged.cpu_limit, resources.cpu_limit.as_ref());
                set(&mut merged.memory_request, resources.memory_request.as_ref());
                set(&mut merged.memory_limit, resources.memory_limit.as_ref());
            }
            let probe = |needs: bool| {
                let probe = rules.probe.clone().filter(|_| needs)?;
                Some((Arc::clone(name), probe))
            };
            merged.liveness = merged.liveness.take().or_else(|| probe(rules.needs_liveness));
            merged.readiness = merged.readiness.take().or_else(|| probe(rules.needs_readiness));
        }
        merged
    }

    /// The oldest of these policies, and its method.
    pub(super) fn oldest(&self, of: &BTreeSet<Arc<str>>) -> Option<(Arc<str>, RemediationMethod)> {
        self.methods.iter().find(|(name, _)| of.contains(name)).cloned()
    }
}
