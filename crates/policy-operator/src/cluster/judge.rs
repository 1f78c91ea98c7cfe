//! Judges the namespaces of a cluster policy that changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use policy_core::Timestamp;
use policy_core::policy::CompiledPolicy;
use policy_core::verdict::{ListedFinding, MAX_LISTED, Verdict};
use policy_core::view::ClusterPart;
use tokio::task::yield_now;

use super::namespaces::Namespaces;
use super::tallies::NamespaceTallies;
use crate::judgement::Judged;
use crate::pods::Pods;

/// So many pods are evaluated before other tasks have their turn: some milliseconds.
const SLICE: usize = 4_000;
/// What a namespace costs beside its pods, in pods.
const NAMESPACE: usize = 4;

/// The verdict of a cluster policy, as it is kept from one reconcile to the next: for each namespace
/// less than 500 bytes, however many pods it has.
#[derive(Debug)]
pub(crate) struct ClusterState {
    rules: Arc<CompiledPolicy>,
    part: Arc<ClusterPart>,
    /// When it was last brought up to date.
    judged: Timestamp,
    tallies: NamespaceTallies,
    /// The findings to list; `None` where they have to be found again.
    worst: Option<Vec<ListedFinding>>,
}

impl ClusterState {
    fn new(rules: &Arc<CompiledPolicy>, part: &Arc<ClusterPart>) -> Self {
        Self {
            rules: Arc::clone(rules),
            part: Arc::clone(part),
            judged: Timestamp::MIN,
            tallies: NamespaceTallies::default(),
            worst: None,
        }
    }

    /// Whether it is of these rules and namespaces, and not from a time to come: what is due then
    /// would stay where the clock was set back.
    fn is_current(&self, rules: &CompiledPolicy, part: &ClusterPart, now: Timestamp) -> bool {
        *self.rules == *rules && *self.part == *part && self.judged <= now
    }
}

/// What a cluster policy is judged by.
pub(crate) struct ClusterJudge<'a> {
    pub(crate) pods: &'a Pods,
    pub(crate) namespaces: &'a Namespaces,
    pub(crate) rules: &'a Arc<CompiledPolicy>,
    pub(crate) part: &'a Arc<ClusterPart>,
    pub(crate) now: Timestamp,
}

/// A judgement that a list of pods interrupted: the namespaces that are still to be judged; `None`
/// where all are.
pub(crate) struct Interrupted(pub(crate) Option<BTreeSet<Arc<str>>>);

/// Counts the pods of a slice.
#[derive(Default)]
struct Slice {
    evaluated: usize,
    scanned: u64,
}

impl Slice {
    async fn add(&mut self, pods: usize) {
        self.scanned += pods as u64;
        self.evaluated += pods + NAMESPACE;
        if self.evaluated >= SLICE {
            self.evaluated = 0;
            yield_now().await;
        }
    }
}

impl ClusterJudge<'_> {
    /// Judges the namespaces that changed, and those whose verdict is due; all where `changed` is
    /// `None`, or the rules or the scope are others. Returns how many pods were evaluated as well.
    pub(crate) async fn judge(
        &self,
        state: &mut Option<Box<ClusterState>>,
        changed: Option<BTreeSet<Arc<str>>>,
    ) -> Result<(Judged, u64), Interrupted> {
        let mut slice = Slice::default();
        let known = state
            .take()
            .filter(|known| known.is_current(self.rules, self.part, self.now))
            .and_then(|known| Some((known, changed?)));
        let is_anew = known.is_none();
        let (mut known, mut changed) = known.unwrap_or_else(|| {
            (Box::new(ClusterState::new(self.rules, self.part)), self.namespaces.names())
        });
        changed.extend(known.tallies.due(self.now.as_second()).cloned());
        known.judged = self.now;
        while let Some(namespace) = changed.pop_first() {
            match self.part_of(&namespace, &mut slice).await {
                Ok(Some(verdict)) => known.tallies.set(&namespace, &verdict),
                Ok(None) if !known.tallies.remove(&namespace) => continue,
                Ok(None) => {}
                Err(Listing) if is_anew => return Err(Interrupted(None)),
                Err(Listing) => {
                    changed.insert(namespace);
                    *state = Some(known);
                    return Err(Interrupted(Some(changed)));
                }
            }
            known.worst = None;
        }
        if known.worst.is_none() {
            known.worst = self.worst(&known.tallies, &mut slice).await.ok();
        }
        let known = state.insert(known);
        let Some(worst) = known.worst.clone() else {
            return Err(Interrupted(Some(BTreeSet::new())));
        };
        let verdict = known.tallies.verdict(self.rules, worst);
        let judged = Judged::of_namespaces(self.rules, verdict, known.tallies.len());
        Ok((judged, slice.scanned))
    }

    /// The verdict on one namespace; `None` where the policy does not select it.
    async fn part_of(
        &self,
        namespace: &str,
        slice: &mut Slice,
    ) -> Result<Option<Verdict>, Listing> {
        if !self.namespaces.is_selected(&self.part.scope, namespace) {
            slice.add(0).await;
            return Ok(None);
        }
        let pods = self.pods.of(namespace).ok_or(Listing)?;
        let verdict = Verdict::of_part(pods.iter().map(|pod| &**pod), self.rules, self.now);
        slice.add(pods.len()).await;
        Ok(Some(verdict))
    }

    /// The findings to list. It looks into the namespaces that have the most severe ones, so that no
    /// more than [`MAX_LISTED`] are evaluated again, however many are selected.
    async fn worst(
        &self,
        tallies: &NamespaceTallies,
        slice: &mut Slice,
    ) -> Result<Vec<ListedFinding>, Listing> {
        let mut worst = Vec::new();
        let mut evaluated: BTreeMap<&Arc<str>, Vec<ListedFinding>> = BTreeMap::new();
        for (check, namespace) in tallies.with_findings(self.rules) {
            if worst.len() >= MAX_LISTED {
                break;
            }
            if !evaluated.contains_key(namespace) {
                let verdict = self.part_of(namespace, slice).await?;
                let found = verdict.map(|verdict| verdict.worst).unwrap_or_default();
                evaluated.insert(namespace, found);
            }
            let found = evaluated.get(namespace).into_iter().flatten();
            worst.extend(found.filter(|listed| listed.check == check).cloned());
        }
        worst.truncate(MAX_LISTED);
        Ok(worst)
    }
}

/// A list of pods is being read.
struct Listing;
