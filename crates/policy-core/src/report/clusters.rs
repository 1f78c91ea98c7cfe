//! The report on several clusters: a row for each, and all their pods in the one formula.

use schemars::JsonSchema;
use serde::Serialize;

use super::assessment::{Assessed, Assessment};
use super::{Coverage, DeniedObjects, NotRead, SCHEMA_VERSION, Summary};
use crate::policy::CompiledPolicy;
use crate::score::Tally;

/// How many denied objects of a cluster are listed at most; all are counted.
const MAX_DENIED: usize = 100;

/// What was found in several clusters.
#[derive(Serialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "policyctl multi-cluster analyze")]
pub struct ClustersReport {
    /// The version of this format.
    #[schemars(extend("const" = SCHEMA_VERSION))]
    schema_version: &'static str,
    /// The policy that judged: `the built-in profile`, `bundle NAME`, or a file.
    pub policy: String,
    /// The numbers of all pods that could be read, of all clusters together. A cluster counts once,
    /// however many contexts lead to it.
    pub summary: Summary,
    /// The context with which the others are compared (`--reference`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    pub reference: Option<String>,
    /// The clusters, in the order they were asked for.
    pub clusters: Vec<ClusterSummary>,
}

/// What was found in one cluster.
#[derive(Serialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ClusterSummary {
    /// The context of the kubeconfig.
    pub context: String,
    /// The URL of the API server.
    pub server: String,
    /// The context by which the same cluster was read, where it is another one; this row then has
    /// no numbers of its own.
    pub same_cluster_as: Option<String>,
    /// How much of the cluster was read.
    pub state: ClusterState,
    /// Its numbers, of what was read; `null` where nothing was.
    pub summary: Option<Summary>,
    /// What was read, and what was not.
    pub coverage: Coverage,
    /// What admission would deny of what was read; left out without `--fail-on denied`, and where
    /// nothing was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    pub denied: Option<DeniedObjects>,
    /// How it differs from the reference; left out without one, and where one of the two did not
    /// answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    pub comparison: Option<ClusterComparison>,
}

/// How a cluster differs from the reference.
#[derive(Serialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ClusterComparison {
    /// The differences, by kind and name.
    pub differences: Vec<Difference>,
    /// What could not be read of this cluster, and so was not compared.
    pub not_compared: Vec<String>,
}

/// A difference from the reference.
#[derive(Serialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// What differs.
    pub kind: DifferenceKind,
    /// Its name, such as `shop/strict`.
    pub name: String,
    /// Where it is.
    pub state: DifferenceState,
    /// The versions, or the lines that differ: `-` those of the reference, `+` those of this cluster.
    pub detail: String,
}

/// What is compared.
#[derive(Serialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
pub enum DifferenceKind {
    /// The version of Kubernetes.
    Version,
    /// A custom resource definition of the platform.
    Definition,
    /// The image of a service of the platform.
    Image,
    /// A webhook configuration of the platform, without its authority.
    WebhookConfiguration,
    /// A policy, of a namespace or of the cluster.
    Policy,
}

impl DifferenceKind {
    /// The noun for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::Definition => "definition",
            Self::Image => "image",
            Self::WebhookConfiguration => "webhook configuration",
            Self::Policy => "policy",
        }
    }
}

/// Where something is that is not the same in two clusters.
#[derive(Serialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum DifferenceState {
    /// In both, and not the same.
    Different,
    /// Not in the reference.
    OnlyHere,
    /// Not in this cluster.
    OnlyInReference,
}

/// How much of a cluster was read.
#[derive(Serialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum ClusterState {
    /// Everything.
    Complete,
    /// A part; the coverage says what is missing.
    Partial,
    /// Nothing: it could not be reached, or allowed nothing.
    Unread,
    /// Nothing, since another context leads to the same cluster.
    Duplicate,
}

impl ClusterState {
    /// The word that reports have for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Partial => "partial",
            Self::Unread => "unread",
            Self::Duplicate => "duplicate",
        }
    }
}

/// A cluster that was asked for, with what came of it.
#[derive(Debug)]
pub struct AssessedCluster {
    /// The context of the kubeconfig.
    pub context: String,
    /// The URL of the API server.
    pub server: String,
    /// What came of it.
    pub outcome: ClusterOutcome,
}

/// What came of a cluster.
#[derive(Debug)]
pub enum ClusterOutcome {
    /// It answered; parts of it may have failed.
    Read(Box<ReadCluster>),
    /// It did not answer, for that reason.
    Failed(String),
    /// That context leads to the same cluster.
    SameAs(String),
}

/// What a report on several clusters says of one that answered. It is small, since that of each
/// cluster is kept until all are read.
#[derive(Debug)]
pub struct ReadCluster {
    tally: Tally,
    denied: Option<DeniedObjects>,
    /// What was read, and what was not.
    pub coverage: Coverage,
}

impl ReadCluster {
    /// Of what was assessed.
    #[must_use]
    pub fn of(assessment: Assessment<'_>) -> Self {
        let Assessed { tally, coverage, mut denied, .. } = assessment.finish_parts(false);
        if let Some(denied) = &mut denied {
            denied.objects.truncate(MAX_DENIED);
            denied.objects.shrink_to_fit();
        }
        Self { tally, denied, coverage }
    }
}

impl ClustersReport {
    /// The report on clusters that were judged by the same policy.
    #[must_use]
    pub fn new(
        policy: &CompiledPolicy,
        policy_name: String,
        clusters: Vec<AssessedCluster>,
    ) -> Self {
        let mut total = Tally::default();
        let clusters: Vec<ClusterSummary> = clusters
            .into_iter()
            .map(|AssessedCluster { context, server, outcome }| {
                let mut row = ClusterSummary {
                    context,
                    server,
                    same_cluster_as: None,
                    state: ClusterState::Unread,
                    summary: None,
                    coverage: Coverage::default(),
                    denied: None,
                    comparison: None,
                };
                match outcome {
                    ClusterOutcome::SameAs(other) => {
                        row.state = ClusterState::Duplicate;
                        row.same_cluster_as = Some(other);
                    }
                    ClusterOutcome::Failed(reason) => {
                        row.coverage.failed.push(NotRead::new(&"cluster".into(), None, reason));
                    }
                    ClusterOutcome::Read(read) => {
                        let ReadCluster { tally, denied, coverage } = *read;
                        total.merge(&tally);
                        row.state = match coverage.failed.is_empty() {
                            true => ClusterState::Complete,
                            false if coverage.objects_read() == 0 => ClusterState::Unread,
                            false => ClusterState::Partial,
                        };
                        if row.state != ClusterState::Unread {
                            let summary = Summary::of(&tally, policy);
                            row.summary = Some(summary.unless(coverage.is_unread()));
                            row.denied = denied;
                        }
                        row.coverage = coverage;
                    }
                }
                row
            })
            .collect();
        let is_complete = clusters.iter().all(|cluster| cluster.coverage.failed.is_empty());
        let summary = Summary::of(&total, policy).unless(total.pods() == 0 && !is_complete);
        let reference = None;
        Self { schema_version: SCHEMA_VERSION, policy: policy_name, summary, reference, clusters }
    }

    /// Whether a cluster differs from the reference.
    #[must_use]
    pub fn differs(&self) -> bool {
        let compared = self.clusters.iter().filter_map(|cluster| cluster.comparison.as_ref());
        compared.flat_map(|comparison| &comparison.differences).next().is_some()
    }

    /// Whether every cluster was read whole.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.clusters.iter().all(|cluster| cluster.coverage.failed.is_empty())
    }
}
