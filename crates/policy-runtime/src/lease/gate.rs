//! The leader gate: whether this process is the leader. Writers and exporters ask it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;

/// The permission to act as the leader, until an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leadership {
    /// How many holders the Lease has had. A later leader has a higher number, unless the
    /// Lease was deleted in between.
    pub term: u32,
    pub(crate) until: Instant,
}

impl Leadership {
    /// How long it lasts unless the Lease is renewed: the deadline of a write that starts now.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }
}

/// What `/debug` endpoints show of a leader election.
#[derive(Serialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct LeaderReport {
    /// The identity of this candidate.
    pub identity: String,
    /// Whether it is the leader.
    pub is_leader: bool,
    /// How many holders the Lease has had, where this candidate is the leader.
    pub term: Option<u32>,
    /// The lease holder, as this process last read it.
    pub holder: Option<String>,
}

/// Whether this process is the leader. Cheap to clone and to ask.
#[derive(Clone, Debug)]
pub struct LeaderGate {
    identity: Arc<str>,
    state: Arc<RwLock<State>>,
    changes: watch::Receiver<Option<u32>>,
}

#[derive(Debug, Default)]
struct State {
    leadership: Option<Leadership>,
    holder: Option<Arc<str>>,
}

impl LeaderGate {
    /// The leadership as of now. Ask right before each write: the answer holds for
    /// [`Leadership::remaining`] and ends by time alone, without any task having to run.
    #[must_use]
    pub fn check(&self) -> Option<Leadership> {
        self.state.read().leadership.filter(|leadership| Instant::now() < leadership.until)
    }

    /// Whether this process is the leader now. For metrics; a write needs [`LeaderGate::check`].
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.check().is_some()
    }

    /// The lease holder when the Lease was last read. It may be this process although the gate is
    /// closed, or a process that has crashed since.
    #[must_use]
    pub fn holder(&self) -> Option<Arc<str>> {
        self.state.read().holder.clone()
    }

    /// The state for `/debug` endpoints.
    #[must_use]
    pub fn report(&self) -> LeaderReport {
        let term = self.check().map(|leadership| leadership.term);
        let holder = self.holder().map(|holder| holder.to_string());
        LeaderReport {
            identity: self.identity.to_string(),
            is_leader: term.is_some(),
            term,
            holder,
        }
    }

    /// The identity of this candidate.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Notifies when this process became the leader (the term) and when it no longer is (`None`),
    /// but not of renewals. Unlike [`LeaderGate::check`] this needs the election's task to run.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Option<u32>> {
        self.changes.clone()
    }
}

/// Opens and closes a [`LeaderGate`]. The gate closes when this is dropped.
#[derive(Debug)]
#[cfg_attr(
    not(feature = "testing"),
    expect(unreachable_pub, reason = "exported for the tests of services only")
)]
pub struct GateControl {
    state: Arc<RwLock<State>>,
    changes: watch::Sender<Option<u32>>,
}

/// What [`GateControl::set`] changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct GateChange {
    pub(super) has_won: bool,
    pub(super) has_lost: bool,
    /// The new lease holder, where it is another one than before.
    pub(super) holder: Option<Arc<str>>,
}

impl GateControl {
    /// A closed gate and its control.
    pub(crate) fn new(identity: Arc<str>) -> (Self, LeaderGate) {
        let state = Arc::<RwLock<State>>::default();
        let (sender, changes) = watch::channel(None);
        let control = Self { state: Arc::clone(&state), changes: sender };
        (control, LeaderGate { identity, state, changes })
    }

    /// Opens or closes the gate, and notifies only after that.
    pub(crate) fn set(
        &self,
        leadership: Option<Leadership>,
        holder: Option<Arc<str>>,
    ) -> GateChange {
        let mut change = GateChange::default();
        {
            let mut state = self.state.write();
            state.leadership = leadership;
            if state.holder != holder {
                change.holder.clone_from(&holder);
                state.holder = holder;
            }
        }
        let term = leadership.map(|leadership| leadership.term);
        self.changes.send_if_modified(|last| {
            let is_new = *last != term;
            change.has_lost = is_new && last.is_some();
            change.has_won = is_new && term.is_some();
            *last = term;
            is_new
        });
        change
    }
}

impl Drop for GateControl {
    fn drop(&mut self) {
        let holder = self.state.read().holder.clone();
        self.set(None, holder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leadership(term: u32, seconds: u64) -> Leadership {
        Leadership { term, until: Instant::now() + Duration::from_secs(seconds) }
    }

    #[tokio::test(start_paused = true)]
    async fn closes_by_time() {
        let (control, gate) = GateControl::new("a".into());
        assert!(!gate.is_open());
        control.set(Some(leadership(7, 10)), Some("a".into()));
        tokio::time::advance(Duration::from_millis(9_999)).await;
        let last = gate.check().unwrap();
        assert_eq!((last.term, last.remaining()), (7, Duration::from_millis(1)));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(gate.check(), None);
        assert_eq!(last.remaining(), Duration::ZERO);
        assert_eq!((gate.holder().as_deref(), gate.identity()), (Some("a"), "a"));
    }

    #[tokio::test(start_paused = true)]
    async fn notifies_of_changes_and_not_of_renewals() {
        let (control, gate) = GateControl::new("a".into());
        let mut changes = gate.changes();
        let won = control.set(Some(leadership(1, 10)), Some("a".into()));
        assert!(won.has_won && !won.has_lost && won.holder.is_some());
        assert_eq!(*changes.borrow_and_update(), Some(1));
        let renewed = control.set(Some(leadership(1, 20)), Some("a".into()));
        assert_eq!(renewed, GateChange::default());
        assert!(!changes.has_changed().unwrap());
        let another = control.set(Some(leadership(3, 20)), Some("a".into()));
        assert!(another.has_won && another.has_lost);
        assert!(control.set(None, None).has_lost);
        assert_eq!(*changes.borrow_and_update(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn closes_with_its_control() {
        let (control, gate) = GateControl::new("a".into());
        control.set(Some(leadership(1, 10)), Some("a".into()));
        drop(control);
        assert!(!gate.is_open());
        assert!(gate.changes().has_changed().is_err());
    }
}
