//! Pods by namespace with running totals. An event costs the same at any cluster size.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::hash::BuildHasher as _;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use crate::evaluate::{Direction, Evaluation, TimedChange};
use crate::facts::PodFacts;
use crate::score::{PodTally, Tally};

/// The record that an [`Index`] keeps of a pod.
pub trait Record: PartialEq {
    /// The total of the records of a namespace, and of all namespaces.
    type Total: Default;

    /// The name of the pod.
    fn name(&self) -> &str;

    /// Adds the record to a total.
    fn add_to(&self, total: &mut Self::Total);

    /// Subtracts a record that was added before.
    fn subtract_from(&self, total: &mut Self::Total);

    /// The second (since 1970) at which the record changes only because time passes, if any.
    fn due_at(&self) -> Option<i64> {
        None
    }

    /// Changes the record because that second was reached. Its next one, if any, is later.
    fn advance(&mut self, second: i64) {
        let _ = second;
    }
}

/// A pod in a scoring index: its contribution to the tally, and how that changes only because time
/// passes. The facts themselves are dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScoredPod {
    name: Box<str>,
    tally: PodTally,
    /// The last first.
    changes: Vec<TimedChange>,
}

impl ScoredPod {
    /// The record of an evaluated pod; `None` where the pod is not counted.
    #[must_use]
    pub fn of(name: &str, evaluation: &Evaluation) -> Option<Self> {
        evaluation.is_counted.then(|| {
            let mut changes = evaluation.changes.clone();
            changes.sort_by_key(|change| Reverse(change.at));
            Self { name: name.into(), tally: evaluation.tally(), changes }
        })
    }
}

impl Record for ScoredPod {
    type Total = Tally;

    fn name(&self) -> &str {
        &self.name
    }

    fn add_to(&self, total: &mut Tally) {
        total.add(&self.tally);
    }

    fn subtract_from(&self, total: &mut Tally) {
        total.subtract(&self.tally);
    }

    fn due_at(&self) -> Option<i64> {
        self.changes.last().map(|change| change.at)
    }

    fn advance(&mut self, second: i64) {
        while let Some(change) = self.changes.pop_if(|change| change.at <= second) {
            let TimedChange { check, direction, is_exempted, count, .. } = change;
            match (direction, is_exempted) {
                (Direction::Comes, false) => self.tally.add(&check, count),
                (Direction::Goes, false) => self.tally.subtract(&check, count),
                (Direction::Comes, true) => self.tally.exempt(&check),
                (Direction::Goes, true) => self.tally.subtract_exempted(&check),
            }
        }
    }
}

/// The facts themselves, for evaluating several policies. The total is the number of pods; the
/// evaluations have the due times ([`Evaluation::changes`]). Shared, so that an evaluation does not
/// need the index.
impl Record for Arc<PodFacts> {
    type Total = usize;

    fn name(&self) -> &str {
        &self.name
    }

    fn add_to(&self, total: &mut usize) {
        *total += 1;
    }

    fn subtract_from(&self, total: &mut usize) {
        *total -= 1;
    }
}

/// Pods by namespace and name, with totals that always equal a recount.
#[derive(Debug)]
pub struct Index<R: Record> {
    /// A hash map, as that of the pods: a tree would compare several names per lookup, each a cache
    /// miss. hashbrown's default hasher is seeded, so that users cannot choose colliding names,
    /// and saves a sixth of the time of an event compared with the standard library's.
    namespaces: HashMap<Arc<str>, Namespace<R>>,
    /// For the names of pods.
    hasher: DefaultHashBuilder,
    total: R::Total,
    /// The pods that change because time passes, the next one first.
    due: BTreeSet<(i64, Arc<str>, Box<str>)>,
    generation: u32,
}

#[derive(Debug)]
struct Namespace<R: Record> {
    name: Arc<str>,
    pods: Pods<R>,
    total: R::Total,
}

/// Pods by name. The records have the names: a copy of each as a key would be a quarter of what a pod
/// takes.
#[derive(Debug)]
struct Pods<R>(HashTable<Entry<R>>);

impl<R: Record> Pods<R> {
    fn get_mut(&mut self, name: &str, hasher: &DefaultHashBuilder) -> Option<&mut Entry<R>> {
        self.0.find_mut(hasher.hash_one(name), |entry| entry.record.name() == name)
    }

    /// Adds a pod that is not there.
    fn insert(&mut self, entry: Entry<R>, hasher: &DefaultHashBuilder) {
        let hash = |entry: &Entry<R>| hasher.hash_one(entry.record.name());
        self.0.insert_unique(hash(&entry), entry, hash);
    }

    fn remove(&mut self, name: &str, hasher: &DefaultHashBuilder) -> Option<R> {
        let hash = hasher.hash_one(name);
        let found = self.0.find_entry(hash, |entry| entry.record.name() == name).ok()?;
        Some(found.remove().0.record)
    }
}

#[derive(Debug)]
struct Entry<R> {
    record: R,
    /// The relist in which the pod was last applied.
    generation: u32,
}

impl<R: Record> Default for Index<R> {
    fn default() -> Self {
        Self {
            namespaces: HashMap::new(),
            hasher: DefaultHashBuilder::default(),
            total: R::Total::default(),
            due: BTreeSet::new(),
            generation: 0,
        }
    }
}

impl<R: Record> Index<R> {
    /// Adds or replaces a pod. Returns whether anything changed, so that its namespace has to be
    /// evaluated again.
    pub fn apply(&mut self, namespace: &str, record: R) -> bool {
        let namespace = if let Some(known) = self.namespaces.get_mut(namespace) {
            known
        } else {
            let name: Arc<str> = namespace.into();
            self.namespaces.entry(Arc::clone(&name)).or_insert(Namespace {
                name,
                pods: Pods(HashTable::new()),
                total: R::Total::default(),
            })
        };
        let Namespace { name, pods, total } = namespace;
        let generation = self.generation;
        let due = record.due_at();
        if let Some(entry) = pods.get_mut(record.name(), &self.hasher) {
            entry.generation = generation;
            if entry.record == record {
                return false;
            }
            entry.record.subtract_from(total);
            entry.record.subtract_from(&mut self.total);
            record.add_to(total);
            record.add_to(&mut self.total);
            reschedule(&mut self.due, name, record.name(), entry.record.due_at(), due);
            entry.record = record;
        } else {
            record.add_to(total);
            record.add_to(&mut self.total);
            reschedule(&mut self.due, name, record.name(), None, due);
            pods.insert(Entry { record, generation }, &self.hasher);
        }
        true
    }

    /// Adds or replaces a pod, or removes it where there is no record.
    pub fn set(&mut self, namespace: &str, name: &str, record: Option<R>) -> bool {
        match record {
            Some(record) => self.apply(namespace, record),
            None => self.remove(namespace, name),
        }
    }

    /// Keeps the record of a pod that a relist contains but that cannot be decoded.
    pub fn keep(&mut self, namespace: &str, name: &str) {
        let pods = self.namespaces.get_mut(namespace).map(|namespace| &mut namespace.pods);
        if let Some(entry) = pods.and_then(|pods| pods.get_mut(name, &self.hasher)) {
            entry.generation = self.generation;
        }
    }

    /// Removes a pod, if it is there. Returns whether anything changed. A namespace is removed with
    /// its last pod.
    pub fn remove(&mut self, namespace: &str, name: &str) -> bool {
        let Some(found) = self.namespaces.get_mut(namespace) else {
            return false;
        };
        let Some(record) = found.pods.remove(name, &self.hasher) else {
            return false;
        };
        record.subtract_from(&mut found.total);
        record.subtract_from(&mut self.total);
        reschedule(&mut self.due, &found.name, name, record.due_at(), None);
        if found.pods.0.is_empty() {
            self.namespaces.remove(namespace);
        }
        true
    }

    /// Begins a relist: pods applied from now on are marked in place. Until
    /// [`Index::finish_relist`] the index stays complete, so that totals never drop to zero.
    pub fn begin_relist(&mut self) {
        self.generation = self.generation.wrapping_add(1);
    }

    /// Ends a relist: removes the pods that were not applied since it began. Returns the namespaces
    /// that lost any. A relist that failed can simply begin again.
    pub fn finish_relist(&mut self) -> BTreeSet<Arc<str>> {
        let mut changed = BTreeSet::new();
        let Self { namespaces, total: all, due, generation, .. } = self;
        namespaces.retain(|_, Namespace { name: namespace, pods, total }| {
            pods.0.retain(|entry| {
                let is_live = entry.generation == *generation;
                if !is_live {
                    entry.record.subtract_from(total);
                    entry.record.subtract_from(all);
                    let record = &entry.record;
                    reschedule(due, namespace, record.name(), record.due_at(), None);
                    changed.insert(Arc::clone(namespace));
                }
                is_live
            });
            !pods.0.is_empty()
        });
        changed
    }

    /// The second (since 1970) from which [`Index::advance`] changes something, if any.
    #[must_use]
    pub fn next_due(&self) -> Option<i64> {
        self.due.first().map(|(second, ..)| *second)
    }

    /// Applies what is due up to that second. Returns the namespaces that changed.
    pub fn advance(&mut self, now: i64) -> BTreeSet<Arc<str>> {
        let mut changed = BTreeSet::new();
        while self.next_due().is_some_and(|second| second <= now) {
            let Some((second, namespace, name)) = self.due.pop_first() else {
                break;
            };
            let Some(found) = self.namespaces.get_mut(&namespace) else {
                continue;
            };
            let Some(Entry { record, .. }) = found.pods.get_mut(&name, &self.hasher) else {
                continue;
            };
            record.subtract_from(&mut found.total);
            record.subtract_from(&mut self.total);
            record.advance(second);
            record.add_to(&mut found.total);
            record.add_to(&mut self.total);
            // A record with the same due time again would make this loop endless.
            let next = record.due_at().filter(|next| *next > second);
            reschedule(&mut self.due, &found.name, &name, None, next);
            changed.insert(namespace);
        }
        changed
    }

    /// The total of all pods.
    #[must_use]
    pub fn total(&self) -> &R::Total {
        &self.total
    }

    /// The total of each namespace with pods, sorted by name.
    pub fn namespaces(&self) -> impl Iterator<Item = (&Arc<str>, &R::Total)> {
        let mut sorted: Vec<_> =
            self.namespaces.iter().map(|(name, namespace)| (name, &namespace.total)).collect();
        sorted.sort_unstable_by_key(|(name, _)| *name);
        sorted.into_iter()
    }

    /// Whether there is such a pod.
    #[must_use]
    pub fn contains(&self, namespace: &str, name: &str) -> bool {
        let pods = self.namespaces.get(namespace).map(|namespace| &namespace.pods.0);
        let hash = self.hasher.hash_one(name);
        pods.is_some_and(|pods| pods.find(hash, |entry| entry.record.name() == name).is_some())
    }

    /// The records of the pods of a namespace, in no order.
    #[must_use]
    pub fn records(&self, namespace: &str) -> Vec<R>
    where
        R: Clone,
    {
        let found = self.namespaces.get(namespace);
        found.map_or_else(Vec::new, |found| {
            found.pods.0.iter().map(|entry| entry.record.clone()).collect()
        })
    }

    /// How many pods there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.namespaces.values().map(|namespace| namespace.pods.0.len()).sum()
    }

    /// Whether there are no pods.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.namespaces.is_empty()
    }
}

fn reschedule(
    due: &mut BTreeSet<(i64, Arc<str>, Box<str>)>,
    namespace: &Arc<str>,
    name: &str,
    old: Option<i64>,
    new: Option<i64>,
) {
    if old == new {
        return;
    }
    let key = |second| (second, Arc::clone(namespace), name.into());
    if let Some(second) = old {
        due.remove(&key(second));
    }
    if let Some(second) = new {
        due.insert(key(second));
    }
}

#[cfg(test)]
mod tests;
