//! Collecting a report: pods in any order, from any number of threads.

mod finish;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

use super::custom::{ControlledObject, CustomOutcomes, WithoutResult};
use super::denied::DenialCounter;
use super::finding::SharedTexts;
use super::{CoverageCounter, ExemptedReportFinding, ReportFinding, ReportedObject};
use crate::admission::NamespacePolicies;
use crate::capped::Capped;
use crate::custom::{CustomInput, CustomNamespaces, CustomResults, LivePod};
use crate::evaluate::{Finding, evaluate_with};
use crate::facts::{Lifecycle, PodFacts};
use crate::labels::{Labels, WorkloadLabels};
use crate::manifest::{Document, InputObjects, ManifestObject};
use crate::namespaces::ExcludedNamespaces;
use crate::policy::{CompiledPolicy, ExemptionUse};
use crate::replicas::RunningImages;
use crate::score::Tally;
use crate::text::stuck_rollout;
use crate::view::{DeploymentView, ObjectView};
use crate::workload::{ObjectKind, Workload};

pub(super) use finish::Assessed;

/// How many findings a report lists at most; a cluster of 100 000 pods has fewer. All are counted.
const MAX_FINDINGS: usize = 1_000_000;

/// How many exempted findings a report lists at most. All are counted.
const MAX_EXEMPTED: usize = 10_000;
/// How many namespaces a report lists at most, by name; all are counted.
const MAX_NAMESPACES: usize = 50_000;
/// How many objects wait for their controller at most. One takes some 500 bytes.
const MAX_CONTROLLED: usize = 250_000;

/// A report that is being collected. What was assessed apart can be merged in any order.
#[derive(Debug)]
pub struct Assessment<'a> {
    policy: &'a CompiledPolicy,
    excluded: &'a ExcludedNamespaces,
    now: Timestamp,
    /// Whether findings are listed, or only counted.
    lists_findings: bool,
    namespaces: BTreeMap<Arc<str>, Tally>,
    /// The pods of the namespaces that are not listed.
    other_namespaces: Tally,
    findings: Capped<ReportFinding>,
    exempted: Capped<ExemptedReportFinding>,
    exemption_use: ExemptionUse,
    texts: SharedTexts,
    /// The custom checks without a result.
    without_result: WithoutResult,
    /// How custom checks went in each namespace that is listed.
    custom_outcomes: BTreeMap<Arc<str>, CustomOutcomes>,
    /// The namespaces of the cluster as custom checks see them, where they are known.
    custom_namespaces: Arc<CustomNamespaces>,
    /// The labels of the workloads of a cluster.
    workload_labels: Arc<WorkloadLabels>,
    /// What was read, and what was not.
    pub coverage: CoverageCounter,
    images: RunningImages,
    objects: InputObjects,
    /// Objects that another one controls, which may be among those of the input.
    controlled: Vec<ControlledObject>,
    /// Whether others were evaluated at once, because so many wait.
    is_controlled_full: bool,
    /// What admission would deny; `None` where nobody asked.
    denials: Option<DenialCounter<'a>>,
}

/// Where an object stands in the user's files.
#[derive(Clone, Copy, Debug)]
pub struct ManifestLocation<'a> {
    /// The file, as it is shown.
    pub file: &'a Arc<str>,
    /// The position of the document in the file, from 1.
    pub document: u32,
    /// The line of the object.
    pub line: u32,
    /// The line of each of its containers.
    pub container_lines: &'a [u32],
}

impl<'a> Assessment<'a> {
    /// An empty report.
    #[must_use]
    pub fn new(
        policy: &'a CompiledPolicy,
        excluded: &'a ExcludedNamespaces,
        now: Timestamp,
    ) -> Self {
        Self {
            policy,
            excluded,
            now,
            lists_findings: true,
            namespaces: BTreeMap::new(),
            other_namespaces: Tally::default(),
            findings: Capped::new(MAX_FINDINGS, ReportFinding::order),
            exempted: Capped::new(MAX_EXEMPTED, ExemptedReportFinding::order),
            exemption_use: ExemptionUse::default(),
            texts: SharedTexts::default(),
            without_result: WithoutResult::default(),
            custom_outcomes: BTreeMap::new(),
            custom_namespaces: Arc::default(),
            workload_labels: Arc::default(),
            coverage: CoverageCounter::default(),
            images: RunningImages::default(),
            objects: InputObjects::default(),
            controlled: Vec::new(),
            is_controlled_full: false,
            denials: None,
        }
    }

    /// The same that also judges what admission would deny: under the policy, which is the only one of
    /// these, where there are such.
    #[must_use]
    pub fn judging_admission(mut self, policy: Option<&'a NamespacePolicies>) -> Self {
        self.denials = policy.map(|policy| DenialCounter::new(policy, self.now));
        self
    }

    /// The policy that is judged by.
    #[must_use]
    pub fn policy(&self) -> &'a CompiledPolicy {
        self.policy
    }

    /// The namespaces that are left out.
    #[must_use]
    pub fn excluded(&self) -> &'a ExcludedNamespaces {
        self.excluded
    }

    /// The same without a list of findings: they are counted and not kept.
    #[must_use]
    pub fn counting_only(mut self) -> Self {
        self.lists_findings = false;
        self
    }

    /// Tells custom checks the labels of the cluster's namespaces.
    pub fn know_namespaces(&mut self, namespaces: Arc<CustomNamespaces>) {
        self.custom_namespaces = namespaces;
    }

    /// Tells exemptions the labels of the cluster's workloads.
    pub fn know_workloads(&mut self, workloads: Arc<WorkloadLabels>) {
        self.workload_labels = workloads;
    }

    /// Evaluates a pod of a cluster, and compares what it runs with the other pods of its workload.
    /// The facts are those of that pod.
    pub fn live_pod(&mut self, LivePod { custom, .. }: &LivePod, facts: &PodFacts) {
        if self.live_facts(facts, custom.as_deref()) {
            self.images.add(facts);
        }
    }

    /// The same without the pod. Returns whether it is counted.
    pub(super) fn live_facts(&mut self, facts: &PodFacts, input: Option<&CustomInput>) -> bool {
        let namespace = &facts.namespace;
        let counts =
            facts.checked.lifecycle != Lifecycle::Ended && !self.excluded.contains(namespace);
        let custom = self.judge_custom(input.filter(|_| counts), Some(namespace));
        let workloads = Arc::clone(&self.workload_labels);
        let is_counted = self.pod(facts, &custom, workloads.of(facts), None);
        if is_counted {
            self.without_result.add_live(facts, &custom);
            if let Some(denials) = &mut self.denials {
                let namespace = self.custom_namespaces.get(&**namespace);
                denials.add_live(facts, workloads.of(facts), input, namespace);
            }
        }
        is_counted
    }

    /// Notes a Deployment of a cluster whose rollout is stuck.
    pub fn live_deployment(&mut self, deployment: &DeploymentView) {
        let (namespace, name) = deployment.key();
        if let Some(why) = deployment.stuck_rollout()
            && !self.excluded.contains(namespace)
        {
            let message = stuck_rollout(why);
            self.coverage.note_workload(namespace, &Workload::deployment(name), message);
        }
    }

    /// Evaluates a pod or pod template, with what the custom checks say of it, and with the labels of a
    /// workload. Returns whether it is counted.
    pub fn pod(
        &mut self,
        pod: &PodFacts,
        custom: &CustomResults,
        labels: Option<&Labels>,
        location: Option<ManifestLocation<'_>>,
    ) -> bool {
        if !self.coverage.pod(pod, self.excluded) {
            return false;
        }
        let evaluation = evaluate_with(pod, self.policy, Some(custom), labels, self.now);
        let tally = self.namespaces.entry(Arc::clone(&pod.namespace)).or_default();
        tally.add(&evaluation.tally());
        if let Some(checks) = self.policy.custom() {
            let outcomes = self.custom_outcomes.entry(Arc::clone(&pod.namespace)).or_default();
            outcomes.add(checks, custom);
        }
        if self.namespaces.len() > 2 * MAX_NAMESPACES {
            self.list_fewer_namespaces();
        }
        self.exemption_use.merge(evaluation.exemption_use);
        let has_none = evaluation.findings.is_empty() && evaluation.exempted.is_empty();
        if has_none || !self.lists_findings {
            return true;
        }
        let workload = self.texts.workload(&pod.workload);
        let is_own = *workload.name == *pod.name;
        let object = Arc::new(ReportedObject {
            namespace: self.texts.get(&pod.namespace),
            kind: pod.kind.as_str(),
            name: if is_own { Arc::clone(&workload.name) } else { (&*pod.name).into() },
            workload,
            file: location.map(|location| Arc::clone(location.file)),
            document: location.map(|location| location.document),
            line: location.map(|location| location.line),
        });
        let mut reported = |finding: &Finding| {
            let lines = location.map(|location| location.container_lines).unwrap_or_default();
            let line = finding.container.and_then(|index| lines.get(index).copied());
            let container = finding.container(&pod.checked);
            ReportFinding {
                check: finding.check.name(),
                severity: finding.severity,
                object: Arc::clone(&object),
                container: container.map(|container| self.texts.get(&container.name)),
                message: self.texts.get(&finding.report_message(&pod.checked, self.policy)),
                count: finding.count,
                line: line.or(object.line),
            }
        };
        self.findings.extend(evaluation.findings.iter().map(&mut reported));
        let exemption = |id| self.policy.exemptions()?.get(id);
        self.exempted.extend(evaluation.exempted.iter().filter_map(|found| {
            let exemption = exemption(found.exemption)?;
            Some(ExemptedReportFinding {
                finding: reported(&found.finding),
                reason: Arc::clone(exemption.reason()),
                expires: exemption.ends().and_then(|second| Timestamp::from_second(second).ok()),
            })
        }));
        true
    }

    /// Keeps the first namespaces by name. One that is dropped can never be among the first of all
    /// again, so those that a report lists are complete.
    fn list_fewer_namespaces(&mut self) {
        while self.namespaces.len() > MAX_NAMESPACES
            && let Some((namespace, tally)) = self.namespaces.pop_last()
        {
            self.custom_outcomes.remove(&namespace);
            self.other_namespaces.merge(&tally);
        }
    }

    /// Reads a document of a file, and evaluates what it holds, one object at a time: a List can be
    /// as large as a file. Objects without a namespace belong to `namespace`. `is_explicit`: whether
    /// the file is one that the user named; of others, what is no manifest counts as skipped.
    pub fn document(
        &mut self,
        file: &Arc<str>,
        document: &Document<'_>,
        namespace: &str,
        is_explicit: bool,
    ) {
        let document = Document { reads_custom: self.policy.custom().is_some(), ..*document };
        let mut content = document.read_each(namespace, &mut |object, view| {
            self.note_rollout(file, &object, view);
            self.manifest_object(file, document.number, object);
        });
        if !is_explicit {
            content.skip_what_is_no_manifest();
        }
        self.coverage.other_objects(file, &content);
    }

    /// Notes a Deployment whose rollout is stuck, where the manifest has its status.
    fn note_rollout(&mut self, file: &Arc<str>, object: &ManifestObject, view: &ObjectView) {
        let PodFacts { kind, namespace, name, .. } = &object.facts;
        if *kind == ObjectKind::Deployment
            && let Some(why) = &view.status.conditions.stuck_rollout
            && !self.excluded.contains(namespace)
        {
            let message = format!("Deployment {namespace}/{name}: {}", stuck_rollout(why));
            self.coverage.note(file, Some(object.line), message);
        }
    }

    fn manifest_object(&mut self, file: &Arc<str>, document: u32, mut object: ManifestObject) {
        self.objects.add(&object);
        // Only the results stay, because many objects may wait.
        let input = object.custom.take();
        let denied_by = self.denials.as_ref().map(|denials| {
            denials.of_manifest(&object.facts, object.labels.as_ref(), input.as_deref())
        });
        let custom = self.judge_custom(input.as_deref(), None);
        let denied_by = denied_by.unwrap_or_default();
        let object =
            ControlledObject { object, custom, denied_by, file: Arc::clone(file), document };
        if object.object.controlled.is_none() {
            self.object(object);
        } else if self.controlled.len() < MAX_CONTROLLED {
            self.controlled.push(object);
        } else {
            self.count_at_once(object);
        }
    }

    /// Evaluates an object without waiting for its controller, because too many wait already.
    fn count_at_once(&mut self, object: ControlledObject) {
        self.is_controlled_full = true;
        self.object(object);
    }

    /// The labels of namespaces are not in files.
    fn judge_custom(&self, input: Option<&CustomInput>, namespace: Option<&str>) -> CustomResults {
        let namespace = namespace.and_then(|name| self.custom_namespaces.get(name));
        let judged = self.policy.custom().zip(input);
        judged.map(|(checks, input)| checks.judge(input, namespace)).unwrap_or_default()
    }

    fn object(&mut self, object: ControlledObject) {
        let ControlledObject { object, custom, denied_by, file, document } = object;
        let ManifestObject { facts, line, container_lines, labels, .. } = &object;
        let line = *line;
        let location = ManifestLocation { file: &file, document, line, container_lines };
        if self.pod(facts, &custom, labels.as_ref(), Some(location)) {
            self.without_result.add(facts, &custom, (&file, line));
            if let Some(denials) = &mut self.denials {
                denials.add(facts, (&file, line), denied_by);
            }
        }
    }

    /// Evaluates the objects whose controller is not among those of the input.
    fn evaluate_controlled(&mut self) {
        let too_many = self.is_controlled_full.then(|| {
            format!(
                "more than {MAX_CONTROLLED} objects have a controller; others count as well, also \
                 where it is in the input"
            )
        });
        for message in too_many.into_iter().chain(self.objects.limit()) {
            self.coverage.note(&"and".into(), None, message);
        }
        for controlled in std::mem::take(&mut self.controlled) {
            let object = &controlled.object;
            if self.excluded.contains(&object.facts.namespace) || self.objects.counts(object) {
                self.object(controlled);
            } else {
                self.coverage.controlled();
            }
        }
    }

    /// Adds what was assessed apart, under the same policy.
    pub fn merge(&mut self, other: Self) {
        for (namespace, tally) in other.namespaces {
            self.namespaces.entry(namespace).or_default().merge(&tally);
        }
        self.other_namespaces.merge(&other.other_namespaces);
        self.list_fewer_namespaces();
        self.findings.merge(other.findings);
        self.exempted.merge(other.exempted);
        self.exemption_use.merge(other.exemption_use);
        for (namespace, outcomes) in other.custom_outcomes {
            self.custom_outcomes.entry(namespace).or_default().merge(outcomes);
        }
        self.coverage.merge(other.coverage);
        self.images.merge(other.images);
        self.without_result.merge(other.without_result);
        self.objects.merge(other.objects);
        self.is_controlled_full |= other.is_controlled_full;
        self.controlled.extend(other.controlled);
        while self.controlled.len() > MAX_CONTROLLED
            && let Some(object) = self.controlled.pop()
        {
            self.count_at_once(object);
        }
        if let (Some(denials), Some(other)) = (&mut self.denials, other.denials) {
            denials.merge(other);
        }
    }
}
