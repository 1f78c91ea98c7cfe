//! What the rest of a process may know of its election.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;

/// The permission to act as the leader, for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lead {
    /// How many holders the Lease has had. A later leader has a higher number, unless somebody
    /// deleted the Lease in between.
    pub term: u32,
    pub(super) until: Instant,
}

impl Lead {
    /// How long it lasts if it is not renewed: the deadline of a write that starts now.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// The end of that time.
    #[must_use]
    pub fn until(&self) -> Instant {
        self.until
    }
}

/// What `/debug` endpoints show of an election.
#[derive(Serialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct LeaderReport<'a> {
    /// The name under which this process is a candidate.
    pub identity: &'a str,
    /// Whether it leads.
    pub is_leader: bool,
    /// How many holders the Lease has had, where it leads.
    pub term: Option<u32>,
    /// Who leads, as this process last read.
    pub holder: Option<&'a str>,
}

/// Tells whether this process leads. Cheap to clone and to ask.
#[derive(Clone, Debug)]
pub struct Gate {
    shared: Arc<Shared>,
    changes: watch::Receiver<Option<u32>>,
}

#[derive(Debug)]
struct Shared {
    identity: Arc<str>,
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    lead: Option<Lead>,
    holder: Option<Arc<str>>,
}

impl Gate {
    /// The lead as of now. To be asked right before each write: the answer holds for
    /// [`Lead::remaining`] and ends by time alone, without any task having to run.
    #[must_use]
    pub fn check(&self) -> Option<Lead> {
        self.shared.read().lead.filter(|lead| Instant::now() < lead.until)
    }

    /// Whether this process leads now. For metrics and the like; a write needs [`Gate::check`].
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.check().is_some()
    }

    /// Whom the Lease named when it was last read. It may be this process although the gate is
    /// closed, and somebody who crashed since.
    #[must_use]
    pub fn holder(&self) -> Option<Arc<str>> {
        self.shared.read().holder.clone()
    }

    /// The state as people are shown it. `holder` is what [`Gate::holder`] says.
    #[must_use]
    pub fn report<'a>(&'a self, holder: Option<&'a str>) -> LeaderReport<'a> {
        let lead = self.check();
        LeaderReport {
            identity: self.identity(),
            is_leader: lead.is_some(),
            term: lead.map(|lead| lead.term),
            holder,
        }
    }

    /// The name under which this process is a candidate.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.shared.identity
    }

    /// Tells when this process became the leader (the term) and when it no longer is (`None`), but
    /// not of renewals. This needs the election's task to run; only [`Gate::check`] does not.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Option<u32>> {
        self.changes.clone()
    }
}

impl Shared {
    // A reader or writer that panicked leaves a whole state: it is replaced by plain assignments.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read()
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write()
    }
}

/// The election's side of a gate. When it is dropped the gate closes.
#[derive(Debug)]
pub(super) struct Keeper {
    shared: Arc<Shared>,
    changes: watch::Sender<Option<u32>>,
}

/// What a [`Keeper`] changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) has_won: bool,
    pub(super) has_lost: bool,
    /// Another process than before is named by the Lease.
    pub(super) holder: Option<Arc<str>>,
}

impl Keeper {
    pub(super) fn new(identity: Arc<str>) -> (Self, Gate) {
        let shared = Arc::new(Shared { identity, state: RwLock::default() });
        let (sender, changes) = watch::channel(None);
        (Self { shared: Arc::clone(&shared), changes: sender }, Gate { shared, changes })
    }

    /// Opens or closes the gate, and only then tells of it.
    pub(super) fn set(&self, lead: Option<Lead>, holder: Option<Arc<str>>) -> Change {
        let mut change = Change::default();
        {
            let mut state = self.shared.write();
            state.lead = lead;
            if state.holder != holder {
                change.holder.clone_from(&holder);
                state.holder = holder;
            }
        }
        let term = lead.map(|lead| lead.term);
        self.changes.send_if_modified(|told| {
            let is_new = *told != term;
            change.has_lost = is_new && told.is_some();
            change.has_won = is_new && term.is_some();
            *told = term;
            is_new
        });
        change
    }
}

/// Opens and closes a gate by a test's hand, without any election.
#[cfg(feature = "testing")]
#[derive(Debug)]
pub struct Lever(Keeper);

#[cfg(feature = "testing")]
impl Lever {
    /// A gate that is closed. It closes for good when this is dropped.
    #[must_use]
    pub fn new() -> (Self, Gate) {
        let (keeper, gate) = Keeper::new("test".into());
        (Self(keeper), gate)
    }

    /// Opens it for a year.
    pub fn open(&self) {
        let until = Instant::now() + Duration::from_secs(365 * 24 * 3600);
        self.0.set(Some(Lead { term: 1, until }), Some("test".into()));
    }

    /// Closes it.
    pub fn close(&self) {
        self.0.set(None, None);
    }

    /// Closes it, as another candidate leads.
    pub fn hold_by(&self, holder: &str) {
        self.0.set(None, Some(holder.into()));
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let holder = self.shared.read().holder.clone();
        self.set(None, holder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lead(term: u32, seconds: u64) -> Lead {
        Lead { term, until: Instant::now() + Duration::from_secs(seconds) }
    }

    #[tokio::test(start_paused = true)]
    async fn closes_by_time() {
        let (keeper, gate) = Keeper::new("a".into());
        assert!(!gate.is_open());
        keeper.set(Some(lead(7, 10)), Some("a".into()));
        tokio::time::advance(Duration::from_millis(9_999)).await;
        let last = gate.check().unwrap();
        assert_eq!((last.term, last.remaining()), (7, Duration::from_millis(1)));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(gate.check(), None);
        assert_eq!(last.remaining(), Duration::ZERO);
        assert_eq!((gate.holder().as_deref(), gate.identity()), (Some("a"), "a"));
    }

    #[tokio::test(start_paused = true)]
    async fn tells_of_changes_only() {
        let (keeper, gate) = Keeper::new("a".into());
        let mut changes = gate.changes();
        let won = keeper.set(Some(lead(1, 10)), Some("a".into()));
        assert!(won.has_won && !won.has_lost && won.holder.is_some());
        assert_eq!(*changes.borrow_and_update(), Some(1));
        assert_eq!(keeper.set(Some(lead(1, 20)), Some("a".into())), Change::default());
        assert!(!changes.has_changed().unwrap());
        let another = keeper.set(Some(lead(3, 20)), Some("a".into()));
        assert!(another.has_won && another.has_lost);
        assert!(keeper.set(None, None).has_lost);
        assert_eq!(*changes.borrow_and_update(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn closes_with_its_keeper() {
        let (keeper, gate) = Keeper::new("a".into());
        keeper.set(Some(lead(1, 10)), Some("a".into()));
        drop(keeper);
        assert!(!gate.is_open());
        assert!(gate.changes().has_changed().is_err());
    }

    #[test]
    fn is_shared_between_threads() {
        fn check<T: Clone + Send + Sync>(_: &T) {}
        check(&Keeper::new("a".into()).1);
    }
}
