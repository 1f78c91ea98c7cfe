//! What a namespace has that limits how its workloads may be changed.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use crate::api::REMEDIATION;
use crate::facts::PodFacts;
use crate::quantity::{ParsedQuantity, Quantity};
use crate::workload::Workload;

/// What the annotation of a workload or namespace says about remediation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OptIn {
    /// Nothing.
    #[default]
    Unset,
    /// It may be changed where that rests on a guess.
    Enabled,
    /// It is never changed.
    Disabled,
}

impl OptIn {
    /// What the annotation of an object says. Another value than `enabled` and `disabled` turns
    /// remediation off, because that is the safe meaning of a typing error.
    #[must_use]
    pub fn of(object: &Value) -> Self {
        match object["metadata"]["annotations"][REMEDIATION].as_str() {
            None => Self::Unset,
            Some("enabled") => Self::Enabled,
            Some(_) => Self::Disabled,
        }
    }
}

/// The facts of a namespace.
#[derive(Clone, Debug, Default)]
pub struct NamespaceFacts {
    /// Whether it is a system namespace, or one that configuration excludes.
    pub is_excluded: bool,
    /// What its annotation says.
    pub opt_in: OptIn,
    /// Its `LimitRange` objects.
    pub limit_ranges: Vec<LimitRange>,
    /// Its autoscalers.
    pub autoscalers: Vec<Autoscaler>,
    /// Whether the mutating webhook is installed, which gives way to owners and injects.
    pub has_mutating_webhook: bool,
}

/// The limits of a `LimitRange` for containers and pods.
#[derive(Clone, Debug, Default)]
pub struct LimitRange {
    pub(super) name: String,
    pub(super) limits: Vec<Limit>,
}

/// One item of a `LimitRange`.
#[derive(Clone, Debug, Default)]
pub(super) struct Limit {
    /// `Container` or `Pod`.
    pub(super) type_: String,
    pub(super) min: BTreeMap<String, ParsedQuantity>,
    pub(super) max: BTreeMap<String, ParsedQuantity>,
    /// The limit of a container that has none.
    pub(super) default: BTreeMap<String, ParsedQuantity>,
    /// The request of a container that has neither a request nor a limit.
    pub(super) default_request: BTreeMap<String, ParsedQuantity>,
    pub(super) ratio: BTreeMap<String, ParsedQuantity>,
}

impl LimitRange {
    /// Reads a `LimitRange`. A manifest gets the defaults that it lacks, as the API server stores them:
    /// max is the default limit, and the default request is that limit, else min
    /// (<https://github.com/kubernetes/kubernetes/blob/v1.37.0/pkg/apis/core/v1/defaults.go>).
    #[must_use]
    pub fn read(object: &Value) -> Self {
        let limits = object["spec"]["limits"].as_array();
        let limit = |item: &Value| {
            let max = amounts(&item["max"]);
            let min = amounts(&item["min"]);
            let mut default = max.clone();
            default.extend(amounts(&item["default"]));
            let mut default_request = min.clone();
            default_request.extend(default.clone());
            default_request.extend(amounts(&item["defaultRequest"]));
            Limit {
                type_: item["type"].as_str().unwrap_or_default().to_owned(),
                min,
                max,
                default,
                default_request,
                ratio: amounts(&item["maxLimitRequestRatio"]),
            }
        };
        Self {
            name: object["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
            limits: limits.into_iter().flatten().map(limit).collect(),
        }
    }

    /// What a container gets that has no request or limit of that resource.
    pub(super) fn default_of(&self, list: &str, resource: &str) -> Option<ParsedQuantity> {
        let of_containers = self.limits.iter().filter(|limit| limit.type_ == "Container");
        let mut defaults = of_containers.filter_map(|limit| {
            let all = if list == "limits" { &limit.default } else { &limit.default_request };
            // A limit of zero is none.
            all.get(resource).copied().filter(|amount| list != "limits" || !amount.is_zero())
        });
        defaults.next()
    }
}

fn amounts(list: &Value) -> BTreeMap<String, ParsedQuantity> {
    let list = list.as_object().into_iter().flatten();
    list.filter_map(|(name, amount)| Some((name.clone(), quantity(amount)?))).collect()
}

/// The value of a quantity in JSON.
pub(super) fn quantity(amount: &Value) -> Option<ParsedQuantity> {
    match amount {
        Value::Number(number) => match number.as_i64() {
            Some(number) => Quantity::Number(number).parse(),
            // Only of a manifest, such as `0.5`; the API server stores a text.
            None => ParsedQuantity::parse(&number.to_string()),
        },
        Value::String(text) => ParsedQuantity::parse(text),
        _ => None,
    }
}

/// An autoscaler, and what it computes with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Autoscaler {
    /// As in a message, such as `HorizontalPodAutoscaler web`.
    pub(super) label: String,
    /// The kind and the name of its workload.
    pub(super) target: (String, String),
    /// The resources whose requests it computes with.
    pub(super) resources: Vec<&'static str>,
}

impl Autoscaler {
    /// Reads a `HorizontalPodAutoscaler`. Only metrics of utilization are computed with a request;
    /// without metrics, as in `autoscaling/v1`, that of the CPU.
    #[must_use]
    pub fn horizontal(object: &Value) -> Self {
        let metrics = object["spec"]["metrics"].as_array().map(Vec::as_slice);
        let metrics = metrics.unwrap_or_default();
        let uses = |name: &str| {
            metrics.iter().any(|metric| {
                let of = |source: &Value| {
                    source["name"] == name && source["target"]["type"] == "Utilization"
                };
                of(&metric["resource"]) || of(&metric["containerResource"])
            })
        };
        let is_used = |name: &&str| uses(name) || (metrics.is_empty() && *name == "cpu");
        let resources = ["cpu", "memory"].into_iter().filter(is_used).collect();
        Self::of("HorizontalPodAutoscaler", object, &object["spec"]["scaleTargetRef"], resources)
    }

    /// Reads a `VerticalPodAutoscaler`, which sets requests and limits.
    #[must_use]
    pub fn vertical(object: &Value) -> Self {
        let target = &object["spec"]["targetRef"];
        Self::of("VerticalPodAutoscaler", object, target, vec!["cpu", "memory"])
    }

    fn of(kind: &str, object: &Value, target: &Value, resources: Vec<&'static str>) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            label: format!("{kind} {}", text(&object["metadata"]["name"])),
            target: (text(&target["kind"]), text(&target["name"])),
            resources,
        }
    }
}

/// The most memory that the pods of a workload use, by container, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryPeaks(BTreeMap<String, u64>);

impl MemoryPeaks {
    /// Takes in the `PodMetrics` of one pod.
    pub fn observe(&mut self, metrics: &Value) {
        for container in metrics["containers"].as_array().into_iter().flatten() {
            let bytes = quantity(&container["usage"]["memory"]).map(ParsedQuantity::units);
            if let (Some(name), Some(bytes)) = (container["name"].as_str(), bytes) {
                let peak = self.0.entry(name.to_owned()).or_default();
                *peak = (*peak).max(bytes);
            }
        }
    }

    /// The peak of a container.
    pub(super) fn of(&self, container: &str) -> Option<u64> {
        self.0.get(container).copied()
    }
}

/// The memory use of workloads, from the metrics of their pods. A pod is known by its name, because
/// not every server of metrics.k8s.io repeats the labels of the pods.
#[derive(Debug)]
pub struct WorkloadPeaks<'a> {
    workloads: HashMap<&'a str, &'a Workload>,
    peaks: BTreeMap<Workload, MemoryPeaks>,
    has_metrics: bool,
}

impl<'a> WorkloadPeaks<'a> {
    /// For the pods of one namespace.
    pub fn new(pods: impl IntoIterator<Item = &'a PodFacts>) -> Self {
        let workloads = pods.into_iter().map(|pod| (&*pod.name, &*pod.workload)).collect();
        Self { workloads, peaks: BTreeMap::new(), has_metrics: false }
    }

    /// Takes in the `PodMetrics` of one pod.
    pub fn observe(&mut self, metrics: &Value) {
        self.has_metrics = true;
        let name = metrics["metadata"]["name"].as_str().unwrap_or_default();
        if let Some(workload) = self.workloads.get(name) {
            self.peaks.entry((*workload).clone()).or_default().observe(metrics);
        }
    }

    /// The peaks of each workload; `None` where there are no metrics at all.
    #[must_use]
    pub fn finish(self) -> Option<BTreeMap<Workload, MemoryPeaks>> {
        self.has_metrics.then_some(self.peaks)
    }
}
