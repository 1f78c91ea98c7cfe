//! Does what a [`Tracker`] decides: requests with deadlines, and sleep.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::failure::{Complaints, Failure};
use super::gate::{Gate, Keeper};
use super::timing::Timing;
use super::tracker::{Claim, Record, Release, Step, Tracker};

/// How often a Lease is tried to be handed back, and how long each time. A process that ends has
/// little time; if it fails, others take over when the lease has expired.
const RELEASE_TRIES: u32 = 2;
const RELEASE_LIMIT: Duration = Duration::from_millis(400);

/// A candidate for the leadership that one Lease stands for.
#[derive(Debug)]
pub struct Election {
    tracker: Tracker,
    keeper: Keeper,
    timing: Timing,
    identity: Arc<str>,
    api: Api<Lease>,
    name: String,
    /// For the log: `Lease namespace/name`.
    object: String,
    /// As last read, so that a write keeps what others put into it.
    lease: Lease,
    complaints: Complaints,
}

impl Election {
    /// A candidate and the gate that tells of it. The gate stays closed until [`Election::run`]
    /// runs.
    ///
    /// The client should not repeat requests by itself (`Config::default_retry = false`): an answer
    /// is waited for no longer than three seconds, and what is repeated meanwhile delays the next
    /// try. It would be safe nevertheless.
    ///
    /// `identity` is to be one that nobody else has or had: see [`identity`].
    #[must_use]
    pub fn new(
        client: Client,
        namespace: &str,
        name: &str,
        identity: &str,
        timing: Timing,
    ) -> (Self, Gate) {
        let identity: Arc<str> = identity.into();
        let (keeper, gate) = Keeper::new(Arc::clone(&identity));
        let election = Self {
            tracker: Tracker::new(Arc::clone(&identity), timing, Instant::now()),
            keeper,
            timing,
            identity,
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            object: format!("Lease {namespace}/{name}"),
            lease: Lease::default(),
            complaints: Complaints::default(),
        };
        (election, gate)
    }

    /// Takes part until `stop`; then closes the gate and hands the Lease back, which takes two
    /// seconds at most. Ends only then: failures are logged and tried again.
    ///
    /// Cancel `stop` only when all that wrote under the gate has ended: a write that is on its way
    /// could meet those of the next leader, who may follow within milliseconds.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            // A round that is dropped may leave a write under way; the tracker knows of it.
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

    /// Reads or writes as is due; gives the time of the next round.
    async fn round(&mut self) -> Instant {
        let jitter = self.timing.retry().mul_f64(fastrand::f64() / 10.0);
        self.tracker.begin(Instant::now(), jitter);
        loop {
            // Tells of a lead that ended by time, too.
            self.publish();
            let now = Instant::now();
            let by = self.tracker.deadline(now);
            match self.tracker.step(now) {
                Step::Read => self.read(by).await,
                Step::Write(claim) => self.claim(&claim, by).await,
                Step::Rest(next) => return next,
            }
        }
    }

    async fn read(&mut self, by: Instant) {
        match within(by, self.api.get(&self.name)).await {
            Ok(lease) => {
                let record = self.keep(lease);
                self.tracker.found(Some(record), Instant::now());
            }
            Err(failure) if failure.is_missing() => {
                self.lease = Lease::default();
                self.tracker.found(None, Instant::now());
            }
            Err(failure) => self.fail("read", &failure),
        }
    }

    async fn claim(&mut self, claim: &Claim, by: Instant) {
        let operation = match claim {
            Claim { version: None, .. } => "create",
            Claim { is_takeover: true, .. } => "acquire",
            _ => "renew",
        };
        let lease = self.claimed(claim);
        let sent = Instant::now();
        match self.write(&lease, by).await {
            Ok(lease) => {
                let record = self.keep(lease);
                self.tracker.wrote(record, sent, Instant::now());
            }
            Err(failure) if failure.is_conflict() => {
                tracing::debug!("cannot {operation} {}: somebody else wrote it", self.object);
                self.tracker.refused();
            }
            Err(failure) => self.fail(operation, &failure),
        }
    }

    async fn write(&self, lease: &Lease, by: Instant) -> Result<Lease, Failure> {
        let parameters = PostParams::default();
        if lease.metadata.resource_version.is_some() {
            within(by, self.api.replace(&self.name, &parameters, lease)).await
        } else {
            within(by, self.api.create(&parameters, lease)).await
        }
    }

    async fn release(&mut self) {
        for _ in 0..RELEASE_TRIES {
            if self.try_release(Instant::now() + RELEASE_LIMIT).await {
                return;
            }
        }
    }

    /// Whether nothing is left to be done.
    async fn try_release(&mut self, by: Instant) -> bool {
        let mut step = self.tracker.release();
        if step == Release::Read {
            self.read(by).await;
            step = self.tracker.release();
        }
        let version = match step {
            Release::Done => return true,
            Release::Read => return false,
            Release::Write { version } => version,
        };
        match self.write(&self.released(version.as_deref()), by).await {
            Ok(_) => {
                tracing::info!("{} released {}", self.identity, self.object);
                return true;
            }
            Err(failure) if failure.is_conflict() => self.tracker.refused(),
            Err(failure) => self.fail("release", &failure),
        }
        false
    }

    fn fail(&mut self, operation: &'static str, failure: &Failure) {
        self.tracker.failed();
        self.complaints.warn(operation, &self.object, failure);
    }

    /// Lets everybody know, in the log too.
    fn publish(&self) {
        let lead = self.tracker.lead(Instant::now());
        let change = self.keeper.set(lead, self.tracker.holder().cloned());
        if change.has_lost {
            tracing::info!("{} no longer leads by {}", self.identity, self.object);
        }
        match (lead, change.holder) {
            (Some(lead), _) if change.has_won => {
                tracing::info!("{} leads by {}, term {}", self.identity, self.object, lead.term);
            }
            (_, Some(holder)) if holder != self.identity => {
                tracing::info!("{holder} leads by {}", self.object);
            }
            _ => {}
        }
    }

    /// Remembers an object that the server sent.
    fn keep(&mut self, mut lease: Lease) -> Record {
        // The server goes on with its own.
        lease.metadata.managed_fields = None;
        let record = record(&lease);
        self.lease = lease;
        record
    }

    fn claimed(&self, claim: &Claim) -> Lease {
        // The times are for people to read; nobody's decision depends on them.
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

/// An answer until an instant.
async fn within<T>(
    by: Instant,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, Failure> {
    match timeout_at(by, request).await {
        Ok(answer) => answer.map_err(|error| Failure::of(&error)),
        Err(_) => Err(Failure::timeout()),
    }
}

/// Any field may be missing: a Lease can be made by hand.
fn record(lease: &Lease) -> Record {
    let empty = LeaseSpec::default();
    let spec = lease.spec.as_ref().unwrap_or(&empty);
    let holder = spec.holder_identity.as_deref().filter(|holder| !holder.is_empty());
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    let transitions = spec.lease_transitions.and_then(|count| u32::try_from(count).ok());
    Record {
        holder: holder.map(Arc::from),
        version: lease.metadata.resource_version.as_deref().map(Arc::from),
        duration: Duration::from_secs(seconds.unwrap_or_default()),
        transitions: transitions.unwrap_or_default(),
    }
}

/// A candidate's name: `base`, such as the name of the pod, and something random, so that a
/// container that starts again in the same pod does not take itself for the one before.
#[must_use]
pub fn identity(base: &str) -> String {
    let suffix = std::iter::repeat_with(fastrand::alphanumeric).take(8);
    format!("{base}-{}", suffix.collect::<String>().to_lowercase())
}
