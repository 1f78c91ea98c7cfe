//! Carries out what a [`Tracker`] decides: requests with deadlines, and pauses.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use policy_kube::{ClusterError, ErrorKind, with_deadline};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::gate::{GateControl, LeaderGate, Leadership};
use super::timing::{LONGEST, Timing};
use super::tracker::{Claim, LeaseState, NextRelease, NextRequest, Tracker};
use crate::log_throttle::LogThrottle;

/// How many attempts to release the Lease are made, and the deadline of each of their requests. A
/// process that ends has little time; if all fail, a standby takes over when the lease has expired.
const RELEASE_ATTEMPTS: u32 = 2;
const RELEASE_DEADLINE: Duration = Duration::from_millis(400);
/// The same failure of the same operation is logged again after this time.
const LOG_PERIOD: Duration = Duration::from_secs(30);

/// A candidate in the leader election by one Lease.
#[derive(Debug)]
pub struct Election {
    tracker: Tracker,
    gate: GateControl,
    timing: Timing,
    identity: Arc<str>,
    api: Api<Lease>,
    name: String,
    /// For the log: `Lease namespace/name`.
    object: String,
    /// As last read, so that a write keeps what others put into it.
    lease: Lease,
    throttle: LogThrottle<(&'static str, ErrorKind)>,
    duration_throttle: LogThrottle,
}

impl Election {
    /// A candidate and its gate, which stays closed until [`Election::run`] runs.
    ///
    /// The client should not retry by itself: a request has a deadline of three seconds, and a
    /// retry within it delays the next attempt. It would be safe nevertheless.
    ///
    /// `identity` must be one that no other candidate has or had: see [`identity`].
    #[must_use]
    pub fn new(
        client: Client,
        namespace: &str,
        name: &str,
        identity: &str,
        timing: Timing,
    ) -> (Self, LeaderGate) {
        let identity: Arc<str> = identity.into();
        let (control, gate) = GateControl::new(Arc::clone(&identity));
        let election = Self {
            tracker: Tracker::new(Arc::clone(&identity), timing, Instant::now()),
            gate: control,
            timing,
            identity,
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            object: format!("Lease {namespace}/{name}"),
            lease: Lease::default(),
            throttle: LogThrottle::new(LOG_PERIOD),
            duration_throttle: LogThrottle::new(LOG_PERIOD),
        };
        (election, gate)
    }

    /// Competes for the Lease until `stop` is cancelled; then closes the gate and releases the
    /// Lease, within two seconds. Failures are logged and retried, and never end it.
    ///
    /// Cancel `stop` only when everything that writes under the gate has ended: the next leader may
    /// follow within milliseconds, and a write that is still under way could conflict with its own.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            // A round that is dropped may leave a write under way, which the tracker remembers.
            let round = stop.run_until_cancelled(self.round()).await;
            let Some(next) = round else { break };
            if stop.run_until_cancelled(sleep_until(next)).await.is_none() {
                break;
            }
        }
        self.tracker.resign();
        self.publish();
        self.release().await;
    }

    /// Sends the requests that are due; returns the time of the next round.
    async fn round(&mut self) -> Instant {
        let jitter = self.timing.retry.mul_f64(fastrand::f64() / 10.0);
        self.tracker.begin(Instant::now(), jitter);
        loop {
            // Also a leadership that ended by time.
            self.publish();
            let now = Instant::now();
            let deadline = self.tracker.deadline(now);
            match self.tracker.next_request(now) {
                NextRequest::Read => self.read(deadline).await,
                NextRequest::Write(claim) => self.claim(&claim, deadline).await,
                NextRequest::NotBefore(next) => return next,
            }
        }
    }

    async fn read(&mut self, deadline: Instant) {
        let operation = "read";
        match self.send(operation, deadline, self.api.get(&self.name)).await {
            Ok(lease) => {
                let state = self.store(lease);
                self.tracker.read(Some(state), Instant::now());
            }
            Err(error) if error.kind == ErrorKind::NotFound => {
                self.lease = Lease::default();
                self.tracker.read(None, Instant::now());
            }
            Err(error) => self.fail(operation, &error),
        }
    }

    async fn claim(&mut self, claim: &Claim, deadline: Instant) {
        let operation = match claim {
            Claim { version: None, .. } => "create",
            Claim { is_takeover: true, .. } => "acquire",
            _ => "renew",
        };
        let lease = self.claimed(claim);
        let sent = Instant::now();
        match self.write(operation, &lease, deadline).await {
            Ok(lease) => {
                let state = self.store(lease);
                self.tracker.wrote(state, sent, Instant::now());
            }
            Err(error) if error.kind == ErrorKind::Conflict => {
                tracing::debug!("cannot {operation} {}: another candidate wrote it", self.object);
                self.tracker.refused();
            }
            Err(error) => self.fail(operation, &error),
        }
    }

    async fn write(
        &self,
        operation: &str,
        lease: &Lease,
        deadline: Instant,
    ) -> Result<Lease, ClusterError> {
        let parameters = PostParams::default();
        if lease.metadata.resource_version.is_some() {
            self.send(operation, deadline, self.api.replace(&self.name, &parameters, lease)).await
        } else {
            self.send(operation, deadline, self.api.create(&parameters, lease)).await
        }
    }

    async fn send(
        &self,
        operation: &str,
        deadline: Instant,
        request: impl Future<Output = kube::Result<Lease>>,
    ) -> Result<Lease, ClusterError> {
        let operation = format!("cannot {operation} {}", self.object);
        let limit = deadline.saturating_duration_since(Instant::now());
        with_deadline(limit, &operation, request).await
    }

    async fn release(&mut self) {
        for _ in 0..RELEASE_ATTEMPTS {
            if self.try_release(Instant::now() + RELEASE_DEADLINE).await {
                return;
            }
        }
    }

    /// Whether the Lease is released, or is not ours to release.
    async fn try_release(&mut self, deadline: Instant) -> bool {
        let operation = "release";
        let mut next = self.tracker.next_release();
        if next == NextRelease::Read {
            self.read(deadline).await;
            next = self.tracker.next_release();
        }
        let version = match next {
            NextRelease::Done => return true,
            NextRelease::Read => return false,
            NextRelease::Write { version } => version,
        };
        match self.write(operation, &self.released(version.as_deref()), deadline).await {
            Ok(_) => {
                tracing::info!("{} released {}", self.identity, self.object);
                return true;
            }
            Err(error) if error.kind == ErrorKind::Conflict => self.tracker.refused(),
            Err(error) => self.fail(operation, &error),
        }
        false
    }

    fn fail(&mut self, operation: &'static str, error: &ClusterError) {
        self.tracker.failed();
        if self.throttle.permits((operation, error.kind)) {
            tracing::warn!("{error}");
        } else {
            tracing::debug!("{error}");
        }
    }

    /// Opens or closes the gate, and logs changes.
    fn publish(&self) {
        let leadership = self.tracker.leadership(Instant::now());
        let change = self.gate.set(leadership, self.tracker.holder().cloned());
        let Self { identity, object, .. } = self;
        if change.has_lost {
            tracing::info!("{identity} is no longer the leader ({object})");
        }
        match (leadership, change.holder) {
            (Some(Leadership { term, .. }), _) if change.has_won => {
                tracing::info!("{identity} is the leader ({object}, term {term})");
            }
            (_, Some(holder)) if holder != *identity => {
                tracing::info!("{holder} holds {object}; this replica is a standby");
            }
            _ => {}
        }
    }

    /// Stores a Lease that the server sent.
    fn store(&mut self, mut lease: Lease) -> LeaseState {
        // The server keeps its own.
        lease.metadata.managed_fields = None;
        let state = lease_state(&lease);
        if state.duration > LONGEST && state.holder.is_some() && self.duration_throttle.permits(())
        {
            let (object, stated) = (&self.object, state.duration);
            tracing::warn!("{object} states a duration of {stated:?}: {LONGEST:?} of it count");
        }
        self.lease = lease;
        state
    }

    fn claimed(&self, claim: &Claim) -> Lease {
        // The times are for display; no candidate decides by them.
        let now = MicroTime(Timestamp::now());
        let spec = self.lease.spec.clone().unwrap_or_default();
        let since = spec.acquire_time.filter(|_| !claim.is_takeover);
        let spec = LeaseSpec {
            holder_identity: Some(self.identity.as_ref().to_owned()),
            lease_duration_seconds: Some(self.timing.seconds()),
            lease_transitions: Some(i32::try_from(claim.transitions).unwrap_or(i32::MAX)),
            acquire_time: Some(since.unwrap_or_else(|| now.clone())),
            renew_time: Some(now),
            ..spec
        };
        self.with(claim.version.as_deref(), spec)
    }

    fn released(&self, version: Option<&str>) -> Lease {
        let spec = LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(1),
            renew_time: Some(MicroTime(Timestamp::now())),
            ..self.lease.spec.clone().unwrap_or_default()
        };
        self.with(version, spec)
    }

    fn with(&self, version: Option<&str>, spec: LeaseSpec) -> Lease {
        let metadata = ObjectMeta {
            name: Some(self.name.clone()),
            resource_version: version.map(ToOwned::to_owned),
            ..self.lease.metadata.clone()
        };
        Lease { metadata, spec: Some(spec) }
    }
}

/// Any field may be missing: a Lease can be created by hand.
fn lease_state(lease: &Lease) -> LeaseState {
    let empty = LeaseSpec::default();
    let spec = lease.spec.as_ref().unwrap_or(&empty);
    let holder = spec.holder_identity.as_deref().filter(|holder| !holder.is_empty());
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    let transitions = spec.lease_transitions.and_then(|count| u32::try_from(count).ok());
    LeaseState {
        holder: holder.map(Arc::from),
        version: lease.metadata.resource_version.as_deref().map(Arc::from),
        duration: Duration::from_secs(seconds.unwrap_or_default()),
        transitions: transitions.unwrap_or_default(),
    }
}

/// The identity of a candidate: `base`, such as the name of the pod, with a random suffix, so that
/// a restarted container of the same pod is a new candidate.
#[must_use]
pub fn identity(base: &str) -> String {
    let suffix = std::iter::repeat_with(fastrand::alphanumeric).take(8);
    format!("{base}-{}", suffix.collect::<String>().to_lowercase())
}
