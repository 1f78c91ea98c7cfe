//! Judges the namespaces of a cluster policy that changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use policy_core::Timestamp;
use policy_core::facts::PodFacts;
use policy_core::policy::CompiledPolicy;
use policy_core::replicas::RunningImages;
use policy_core::verdict::{Lists, Verdict};
use policy_core::view::ClusterPart;
use tokio::task::yield_now;

use super::listed::{CheckGroup, FirstFindings, Listed};
use super::namespaces::Namespaces;
use super::tallies::NamespaceTallies;
use crate::custom::{self, CustomStanding};
use crate::drains::{BlockedWorkloads, Drains, with_budgets};
use crate::judgement::Judged;
use crate::notes::Notes;
use crate::pods::Pods;
use crate::policy_key::PolicyKey;
use crate::rollouts::Rollouts;
use crate::workload_labels::WorkloadLabels;

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
    listed: Option<Listed>,
    /// What is not known of custom checks, of the namespaces where that is something.
    custom: BTreeMap<Arc<str>, CustomStanding>,
    /// How many containers run different images, of the namespaces where some do.
    differing: BTreeMap<Arc<str>, usize>,
}

impl ClusterState {
    fn new(rules: &Arc<CompiledPolicy>, part: &Arc<ClusterPart>) -> Self {
        Self {
            rules: Arc::clone(rules),
            part: Arc::clone(part),
            judged: Timestamp::MIN,
            tallies: NamespaceTallies::default(),
            listed: None,
            custom: BTreeMap::new(),
            differing: BTreeMap::new(),
        }
    }

    fn set(&mut self, namespace: &Arc<str>, part: Part) {
        self.tallies.set(namespace, &part.verdict);
        match part.custom.filter(|custom| !custom.is_empty()) {
            Some(custom) => self.custom.insert(Arc::clone(namespace), custom),
            None => self.custom.remove(namespace),
        };
        match RunningImages::of_differing(&part.pods).differing().count() {
            0 => self.differing.remove(namespace),
            number => self.differing.insert(Arc::clone(namespace), number),
        };
    }

    /// Removes a namespace. Returns whether it was there.
    fn remove(&mut self, namespace: &str) -> bool {
        self.custom.remove(namespace);
        self.differing.remove(namespace);
        self.tallies.remove(namespace)
    }

    /// Whether it is of these rules and namespaces, and not from a time to come: what is due then
    /// would stay where the clock was set back.
    fn is_current(&self, rules: &CompiledPolicy, part: &ClusterPart, now: Timestamp) -> bool {
        *self.rules == *rules && *self.part == *part && self.judged <= now
    }
}

/// What was found in a namespace.
struct Part {
    verdict: Verdict,
    custom: Option<CustomStanding>,
    pods: Vec<Arc<PodFacts>>,
}

/// What a cluster policy is judged by.
pub(crate) struct ClusterJudge<'a> {
    pub(crate) pods: &'a Pods,
    pub(crate) namespaces: &'a Namespaces,
    pub(crate) rollouts: &'a Rollouts,
    pub(crate) drains: &'a Drains,
    pub(crate) key: &'a PolicyKey,
    pub(crate) labels: &'a WorkloadLabels,
    pub(crate) rules: &'a Arc<CompiledPolicy>,
    pub(crate) part: &'a Arc<ClusterPart>,
    pub(crate) lists: Lists,
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
        let mut first = FirstFindings::new(self.lists);
        while let Some(namespace) = changed.pop_first() {
            match self.part_of(&namespace, &mut slice).await {
                Ok(Some(mut part)) => {
                    first.add(&namespace, &mut part.verdict);
                    known.set(&namespace, part);
                }
                Ok(None) => {
                    if !known.remove(&namespace) {
                        continue;
                    }
                }
                Err(Listing) if is_anew => return Err(Interrupted(None)),
                Err(Listing) => {
                    changed.insert(namespace);
                    *state = Some(known);
                    return Err(Interrupted(Some(changed)));
                }
            }
            known.listed = None;
        }
        if known.listed.is_none() {
            known.listed = self.listed(&known.tallies, first, &mut slice).await.ok();
        }
        let known = state.insert(known);
        let Some(listed) = known.listed.clone() else {
            return Err(Interrupted(Some(BTreeSet::new())));
        };
        let mut custom = CustomStanding::default();
        known.custom.values().for_each(|other| custom.merge(other));
        let is_judged = custom.is_empty();
        let verdict = known.tallies.verdict(self.rules, listed, is_judged, self.now);
        let mut judged = Judged::of_namespaces(self.rules, verdict, known.tallies.len());
        let mut notes = Notes::default();
        self.rollouts.note_all(|namespace| known.tallies.contains(namespace), &mut notes);
        self.note_images(&known.differing, &mut notes);
        judged.notes = notes.finish();
        judged.custom = self.rules.custom().map(|_| custom);
        Ok((judged, slice.scanned))
    }

    /// The verdict on one namespace; `None` where the policy does not select it.
    async fn part_of(&self, namespace: &str, slice: &mut Slice) -> Result<Option<Part>, Listing> {
        if !self.namespaces.is_selected(&self.part.scope, namespace) {
            self.pods.custom().forget(namespace, self.key);
            slice.add(0).await;
            return Ok(None);
        }
        let blocked = if self.rules.needs_budgets() {
            self.drains.of(namespace).await
        } else {
            BlockedWorkloads::new()
        };
        let rules = self.labels.resolve(self.rules, namespace).await;
        let mut pods = self.pods.of(namespace).ok_or(Listing)?;
        with_budgets(&mut pods, &blocked);
        let (places, policy) = ((self.pods, self.namespaces), (self.key, &**self.rules));
        let (found, custom) = custom::found(places, policy, namespace, &pods);
        let judged = custom::with_found(&pods, &found);
        let verdict = Verdict::of_part(self.lists, judged, &rules, self.now);
        slice.add(pods.len()).await;
        Ok(Some(Part { verdict, custom, pods }))
    }

    /// Notes the workloads whose pods run different images. Only the namespaces of those that are listed are
    /// looked into again.
    fn note_images(&self, differing: &BTreeMap<Arc<str>, usize>, notes: &mut Notes) {
        for (namespace, number) in differing {
            match self.pods.of(namespace).filter(|_| !notes.is_full()) {
                Some(pods) => notes.add_images(&pods, &format!("{namespace}/")),
                None => notes.skip(*number),
            }
        }
    }

    /// The findings to list. It looks into the namespaces that have the first ones, but for those that
    /// `first` has, so that no more than may be listed are evaluated again, however many are selected.
    async fn listed(
        &self,
        tallies: &NamespaceTallies,
        mut first: FirstFindings,
        slice: &mut Slice,
    ) -> Result<Listed, Listing> {
        for place in tallies.places(self.rules, CheckGroup::findings) {
            if !first.takes(&place) {
                break;
            }
            self.add(place.namespace, &mut first, slice).await?;
        }
        for place in tallies.places(self.rules, CheckGroup::exempted) {
            if !first.takes_exempted(&place) {
                break;
            }
            self.add(place.namespace, &mut first, slice).await?;
        }
        Ok(first.finish())
    }

    async fn add(
        &self,
        namespace: &Arc<str>,
        first: &mut FirstFindings,
        slice: &mut Slice,
    ) -> Result<(), Listing> {
        if !first.has(namespace)
            && let Some(mut part) = self.part_of(namespace, slice).await?
        {
            first.add(namespace, &mut part.verdict);
        }
        Ok(())
    }
}

/// A list of pods is being read.
struct Listing;
