//! Which fields are missing, and which values they get.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::amount::Amount;
use super::facts::{LimitRange, MemoryPeaks, NamespaceFacts, OptIn, quantity};
use super::fields::{ContainerFields, Fields, TcpProbe};
use super::reason::Reason;
use super::rules::NamespaceRules;
use super::target::{Target, TargetContainer, is_set_for_pod};
use crate::api::DefaultProbe;
use crate::facts::{ContainerFacts, ResourceGap};
use crate::quantity::ParsedQuantity;

/// `failureThreshold` of a readiness probe.
const READINESS_FAILURES: u32 = 3;
/// The least `failureThreshold` of a liveness probe: three times laxer, so that a container that is
/// under load stops getting requests long before it is restarted.
const LIVENESS_FAILURES: u32 = 9;
/// How many times as long as its own readiness probe a liveness probe waits.
const LAXER: u64 = 3;

/// A field that is missing and is not filled in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{container}: {field} is not filled in: {reason}")]
pub struct Withheld {
    /// The container.
    pub container: String,
    /// The field, such as `readinessProbe` or `limits.memory`.
    pub field: &'static str,
    /// Why.
    pub reason: Reason,
}

impl Withheld {
    /// The reason of the first in one word, and a sentence for each; empty where nothing is withheld.
    #[must_use]
    pub fn summary(all: &[Self]) -> (&'static str, String) {
        let sentences: Vec<String> = all.iter().map(ToString::to_string).collect();
        (all.first().map_or("", |first| first.reason.code()), sentences.join("; "))
    }
}

/// What is filled in, what is not, and whose policies ask for it.
#[derive(Clone, Debug, Default)]
pub(super) struct Filled {
    pub(super) fields: Fields,
    pub(super) withheld: Vec<Withheld>,
    pub(super) policies: BTreeSet<Arc<str>>,
}

/// What is known of the memory that the containers of a workload use.
#[derive(Clone, Copy, Debug)]
pub(super) enum MemoryUse<'a> {
    /// What metrics.k8s.io reports; `None` where it does not answer.
    Measured(Option<&'a MemoryPeaks>),
    /// Nothing: somebody reads the change of a manifest before it is applied.
    Reviewed,
}

/// The inputs that are the same for all containers.
pub(super) struct Filler<'a> {
    /// Of the container that is filled in.
    rules: Cow<'a, NamespaceRules>,
    pub(super) namespace: &'a NamespaceFacts,
    pub(super) target: &'a Target,
    memory_use: MemoryUse<'a>,
    pub(super) filled: Filled,
}

/// Fills in what is missing in the containers of a workload.
pub(super) fn fill(
    rules: &NamespaceRules,
    namespace: &NamespaceFacts,
    target: &Target,
    memory_use: MemoryUse<'_>,
) -> Filled {
    let mut filler = Filler {
        rules: Cow::Borrowed(rules),
        namespace,
        target,
        memory_use,
        filled: Filled::default(),
    };
    for (facts, container) in target.facts.containers.iter().zip(&target.containers) {
        if !facts.role.is_long_running() {
            continue;
        }
        filler.rules = rules.of_container(target, &container.name);
        let name = container.name.to_string();
        let mut fields = ContainerFields { name, ..ContainerFields::default() };
        filler.probes(facts, container, &mut fields);
        filler.resources(facts, container, &mut fields);
        if !fields.is_empty() {
            filler.filled.fields.0.push(fields);
        }
    }
    filler.withhold_small_limits();
    filler.filled
}

impl<'a> Filler<'a> {
    fn withhold(&mut self, container: &TargetContainer, field: &'static str, reason: Reason) {
        let container = container.name.to_string();
        self.filled.withheld.push(Withheld { container, field, reason });
    }

    fn probes(
        &mut self,
        facts: &ContainerFacts,
        container: &TargetContainer,
        fields: &mut ContainerFields,
    ) {
        if !facts.needs_probes() {
            return;
        }
        let rules = self.rules.clone();
        if let (Some((policy, default)), false) = (&rules.readiness, facts.has_readiness_probe) {
            fields.readiness =
                self.probe(policy, default, "readinessProbe", container, READINESS_FAILURES);
        }
        if let (Some((policy, default)), false) = (&rules.liveness, facts.has_liveness_probe) {
            let probe = self.probe(policy, default, "livenessProbe", container, LIVENESS_FAILURES);
            fields.liveness = probe.map(|probe| laxer(probe, &container.live["readinessProbe"]));
        }
    }

    fn probe(
        &mut self,
        policy: &Arc<str>,
        default: &DefaultProbe,
        field: &'static str,
        container: &TargetContainer,
        failures: u32,
    ) -> Option<TcpProbe> {
        self.filled.policies.insert(Arc::clone(policy));
        let wanted = u16::try_from(default.tcp_port).ok()?;
        let ports = tcp_ports(&container.live);
        let port = if ports.contains(&wanted) { Some(wanted) } else { ports.first().copied() };
        let may_guess = [self.target.opt_in, self.namespace.opt_in].contains(&OptIn::Enabled);
        let Some(port) = port.or_else(|| may_guess.then_some(wanted)) else {
            self.withhold(container, field, Reason::GuessedPort(container.name.to_string()));
            return None;
        };
        let seconds = |number: i32| u32::try_from(number).unwrap_or_default();
        Some(TcpProbe {
            port,
            delay: seconds(default.initial_delay_seconds),
            period: seconds(default.period_seconds).max(1),
            failures,
        })
    }

    fn resources(
        &mut self,
        facts: &ContainerFacts,
        container: &TargetContainer,
        fields: &mut ContainerFields,
    ) {
        let gaps = facts.missing_resources;
        if gaps.lacking().next().is_none() {
            return;
        }
        let rules = self.rules.clone();
        let missing = |gap: ResourceGap| gap == ResourceGap::Missing;
        let live = |list: &str, name: &str| quantity(&container.live["resources"][list][name]);
        let cpu_request = rules.cpu_request.as_ref().filter(|_| missing(gaps.cpu_request));
        let has_cpu_limit = live("limits", "cpu").is_some()
            || !self.target.pod_resources["limits"]["cpu"].is_null();
        let cpu_limit = rules.cpu_limit.as_ref().filter(|_| !has_cpu_limit);
        let memory_request = rules.memory_request.as_ref().filter(|_| missing(gaps.memory_request));
        let memory_limit = rules.memory_limit.as_ref().filter(|_| missing(gaps.memory_limit));

        for (resource, request, limit) in
            [("cpu", cpu_request, cpu_limit), ("memory", memory_request, memory_limit)]
        {
            let mut limit = self.wanted(container, "limits", resource, limit);
            if resource == "memory" {
                limit = self.memory_limit(container, limit);
            }
            let (request_now, limit_now) = (live("requests", resource), live("limits", resource));
            // The API server would make a limit the request of the container, before the default of a
            // LimitRange, so that is written out.
            let given = self.default_of("requests", resource);
            let given = given.filter(|_| limit.is_some() && request_now.is_none());
            let wanted = match given {
                Some((_, amount)) => Some(amount.written(resource)),
                None => self.wanted(container, "requests", resource, request),
            };
            let mut amount = Amount { request_now, limit_now, request: wanted, limit }.consistent();
            if given.is_some() && amount.limit.is_none() {
                amount.request = self.wanted(container, "requests", resource, request);
            }
            if let Some(reason) = self.refusal(container, resource, &amount) {
                for (field, value) in [("requests", &amount.request), ("limits", &amount.limit)] {
                    if value.is_some() {
                        self.withhold(container, field_name(field, resource), reason.clone());
                    }
                }
                continue;
            }
            if let Some(to) = fields.requests.of(resource) {
                *to = amount.request;
            }
            if let Some(to) = fields.limits.of(resource) {
                *to = amount.limit;
            }
        }
    }

    /// What a container without it gets in the namespace, and from which `LimitRange`.
    pub(super) fn default_of(
        &self,
        list: &str,
        resource: &str,
    ) -> Option<(&'a LimitRange, ParsedQuantity)> {
        let ranges = &self.namespace.limit_ranges;
        ranges.iter().find_map(|range| Some((range, range.default_of(list, resource)?)))
    }

    /// The value of the policy for a container that lacks it, unless the pod or the namespace has one.
    fn wanted(
        &mut self,
        container: &TargetContainer,
        list: &'static str,
        resource: &'static str,
        value: Option<&(Arc<str>, String)>,
    ) -> Option<String> {
        let (policy, amount) = value?;
        self.filled.policies.insert(Arc::clone(policy));
        let is_absent = container.live["resources"][list][resource].is_null();
        let default = self.default_of(list, resource).filter(|_| is_absent);
        let reason = if is_set_for_pod(&self.target.pod_resources, resource) {
            Reason::PodResources(resource)
        } else if let Some((range, _)) = default {
            Reason::LimitRangeDefault(range.name.clone())
        } else {
            return Some(amount.clone());
        };
        self.withhold(container, field_name(list, resource), reason);
        None
    }

    /// The memory limit of a container: where its use is measured, never below 1.2 times of that.
    fn memory_limit(
        &mut self,
        container: &TargetContainer,
        limit: Option<String>,
    ) -> Option<String> {
        let limit = limit?;
        let MemoryUse::Measured(peaks) = self.memory_use else { return Some(limit) };
        let Some(peak) = peaks.and_then(|peaks| peaks.of(&container.name)) else {
            let reason = Reason::UnknownMemoryUse(container.name.to_string());
            self.withhold(container, LIMITS_MEMORY, reason);
            return None;
        };
        let least = peak.saturating_mul(6) / 5 + 1;
        let is_enough = ParsedQuantity::parse(&limit).is_some_and(|limit| limit.units() >= least);
        Some(if is_enough { limit } else { format!("{}Mi", least.div_ceil(1 << 20)) })
    }

    /// Why a request or limit of that resource must not be filled in.
    fn refusal(
        &self,
        container: &TargetContainer,
        resource: &'static str,
        amount: &Amount,
    ) -> Option<Reason> {
        if amount.request.is_none() && amount.limit.is_none() {
            return None;
        }
        let autoscaler = self.namespace.autoscalers.iter().find(|autoscaler| {
            autoscaler.target.0 == self.target.kind.as_str()
                && autoscaler.target.1 == self.target.name
                && autoscaler.resources.contains(&resource)
        });
        if let Some(autoscaler) = autoscaler {
            return Some(Reason::Autoscaler(autoscaler.label.clone(), resource));
        }
        let ranges = self.namespace.limit_ranges.iter();
        let mut refusals = ranges.flat_map(|LimitRange { name, limits }| {
            limits.iter().filter_map(|limit| {
                let why = match &*limit.type_ {
                    "Pod" => {
                        let pod = self.of_pod(resource, Some((container, amount)));
                        pod.refused_by(resource, limit)?
                    }
                    _ => amount.refused_by(resource, limit)?,
                };
                Some(Reason::LimitRange(name.clone(), why))
            })
        });
        refusals.next()
    }
}

pub(super) const REQUESTS_CPU: &str = "requests.cpu";
pub(super) const REQUESTS_MEMORY: &str = "requests.memory";
pub(super) const LIMITS_MEMORY: &str = "limits.memory";

pub(super) fn field_name(list: &str, resource: &str) -> &'static str {
    match (list, resource) {
        ("requests", "cpu") => REQUESTS_CPU,
        ("requests", _) => REQUESTS_MEMORY,
        (_, "cpu") => "limits.cpu",
        _ => LIMITS_MEMORY,
    }
}

/// The TCP ports that a container declares, in its order.
pub(super) fn tcp_ports(container: &Value) -> Vec<u16> {
    let ports = container["ports"].as_array().into_iter().flatten();
    let is_tcp = |port: &&Value| port["protocol"].as_str().is_none_or(|name| name == "TCP");
    let number = |port: &Value| u16::try_from(port["containerPort"].as_u64()?).ok();
    ports.filter(is_tcp).filter_map(number).filter(|port| *port > 0).collect()
}

/// The liveness probe, at least three times as patient as the container's own readiness probe.
fn laxer(probe: TcpProbe, readiness: &Value) -> TcpProbe {
    let number = |name: &str, default| readiness[name].as_u64().unwrap_or(default);
    if !readiness.is_object() {
        return probe;
    }
    let patience = number("periodSeconds", 10).saturating_mul(number("failureThreshold", 3));
    let failures = patience.saturating_mul(LAXER).div_ceil(u64::from(probe.period));
    let failures = u32::try_from(failures).unwrap_or(u32::MAX).max(probe.failures);
    let delay = u32::try_from(number("initialDelaySeconds", 0)).unwrap_or(u32::MAX);
    TcpProbe { failures, delay: probe.delay.max(delay), ..probe }
}
