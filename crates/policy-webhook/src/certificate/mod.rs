//! The certificate that the webhook issues to itself, where nobody brings one along.
//!
//! ```text
//! Secret ─ Kept ─┬─ next_step ─ Secret        one write, unless another replica was first
//!                │            └ caBundle      of the webhook's configuration
//!                └─ CertificateStore          the next handshake
//! ```
//!
//! All replicas do the same, and none leads: a write is only taken where nobody else has written
//! since, so each step is made once. The key of an authority is thrown away once it has signed its
//! one certificate.

mod cluster;
mod kept;
mod step;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use metrics::{counter, describe_counter};
use policy_kube::certificate::{CertificateNames, IssuedCertificate, issue};
use policy_runtime::backoff::{Backoff, jittered};
use policy_runtime::tls::{CertificateStore, Time};
use time::OffsetDateTime;
use tokio::time::sleep;
use tracing::{info, warn};

use self::cluster::{Cluster, Failure, Operation, Problem, Told};
use self::kept::{Contents, Data, Kept};
use self::step::{Sighting, Step, next_step};
use crate::config::CertificateConfig;

/// How often both objects are looked at, give or take a tenth.
const EVERY: Duration = Duration::from_secs(10);
/// The same after a step or a failure; longer from time to time, where it goes on like that.
const SOON: Duration = Duration::from_millis(100);

/// What those that the API server is told of no more are counted as.
const AUTHORITIES: &str = "authorities";
/// Counts what failed, by operation.
const ERRORS: &str = "certificate_errors_total";

/// Keeps the certificate of the webhook, and what the API server is told of it.
pub(crate) struct SelfManaged {
    cluster: Cluster,
    names: CertificateNames,
    lifetime: Duration,
    store: CertificateStore,
    /// The certificate that was given to the store last.
    served: String,
    sighting: Sighting,
    complaints: Complaints,
}

/// How a look ended.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    /// All is as it should be.
    Quiet,
    /// Something was written, or could not be: another look is due soon.
    Again,
}

impl SelfManaged {
    pub(crate) fn new(client: Client, config: &CertificateConfig, store: CertificateStore) -> Self {
        describe_counter!(ERRORS, "Steps of the certificate that failed.");
        for operation in Operation::ALL {
            counter!(ERRORS, "operation" => operation.as_str()).increment(0);
        }
        counter!("dropped_total", "what" => AUTHORITIES).increment(0);
        Self {
            cluster: Cluster::new(client, config),
            names: config.all_names(),
            lifetime: config.lifetime(),
            store,
            served: String::new(),
            sighting: Sighting::default(),
            complaints: Complaints::default(),
        }
    }

    /// Looks at both objects from time to time, and makes the step that is due. Never ends.
    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::new(SOON, EVERY);
        loop {
            let pause = match self.turn().await {
                Turn::Again => backoff.delay(),
                Turn::Quiet => {
                    backoff.reset();
                    jittered(EVERY)
                }
            };
            sleep(pause).await;
        }
    }

    /// One look, and one step.
    async fn turn(&mut self) -> Turn {
        // In this order: what is written there later on is written for a Secret that is newer than
        // what was read first, or is refused.
        let told = self.cluster.told().await;
        let told = self.complaints.hear(Operation::ReadConfiguration, told);
        let secret = self.cluster.secret().await;
        let Some(secret) = self.complaints.hear(Operation::ReadSecret, secret) else {
            // What happened until the next look, nobody has seen.
            self.sighting = Sighting::default();
            return Turn::Again;
        };
        let now = Time::now();
        let kept = self.read(&secret, now);
        let bundle = told.as_ref().map(|told| told.bundle.as_slice());
        let told_for = self.sighting.look(bundle, &kept.bundle(), Instant::now());
        let step = next_step(&kept, bundle, told_for, &self.names, now);
        let is_quiet = step == Step::Nothing && told.is_some();
        if is_quiet {
            // What could not be written has been by another replica, or need not be any more.
            self.complaints.settle(&[
                Operation::WriteSecret,
                Operation::WriteConfiguration,
                Operation::Issue,
            ]);
        }
        let was_told = bundle.is_some_and(|bundle| bundle == kept.bundle().as_bytes());
        let is_told = self.make(step, &kept, secret, told, now).await || was_told;
        // Whoever is to be shown a new certificate hears of its authority before; but for the
        // first one, and one in the place of one that nobody takes any more.
        let is_needed = self.store.current().is_none_or(|current| current.is_expired(now));
        if is_told || is_needed {
            self.serve(&kept);
        }
        if is_quiet { Turn::Quiet } else { Turn::Again }
    }

    fn read(&mut self, secret: &Secret, now: Time) -> Kept {
        let empty = Data::new();
        let (kept, faults) = Kept::read(secret.data.as_ref().unwrap_or(&empty), now);
        let words: Vec<String> = faults.iter().map(ToString::to_string).collect();
        let read = if words.is_empty() {
            Ok(())
        } else {
            Err(self.cluster.failed(Operation::Use, Problem::Other(words.join("; "))))
        };
        self.complaints.hear(Operation::Use, read);
        kept
    }

    /// Makes a step, and says whether it told the API server. One that fails is made again after
    /// the next look, if it is still due.
    async fn make(
        &mut self,
        step: Step,
        kept: &Kept,
        secret: Secret,
        told: Option<Told>,
        now: Time,
    ) -> bool {
        let contents = match step {
            Step::Nothing => None,
            Step::PutBundle => return self.tell(told, kept, now).await,
            Step::Issue => self.issue(kept, now).map(|issued| kept.issued(&issued, now)),
            Step::Rotate => self.issue(kept, now).map(|issued| kept.with_next(&issued, now)),
            Step::Promote => Some(kept.promoted(now)),
            Step::Prune => Some(kept.pruned(now)),
        };
        if let Some(contents) = contents {
            self.write(step, secret, contents).await;
        }
        false
    }

    fn issue(&mut self, kept: &Kept, now: Time) -> Option<IssuedCertificate> {
        let names = kept.next_names(&self.names);
        let issued = OffsetDateTime::from_unix_timestamp(now.0)
            .map_err(|error| error.to_string())
            .and_then(|now| issue(&names, now, self.lifetime).map_err(|error| error.to_string()));
        let issued =
            issued.map_err(|error| self.cluster.failed(Operation::Issue, Problem::Other(error)));
        self.complaints.hear(Operation::Issue, issued)
    }

    async fn write(&mut self, step: Step, secret: Secret, contents: Contents) {
        let written = self.cluster.write_secret(secret, contents).await;
        if self.complaints.hear_unless_conflict(Operation::WriteSecret, written).is_some() {
            match step {
                Step::Issue => info!("issued a certificate, since there was none to serve"),
                Step::Rotate => info!("issued the certificate that is served next"),
                Step::Promote => info!("the next certificate is served from now on"),
                _ => info!("took out of the Secret what is of no use any more"),
            }
        }
    }

    async fn tell(&mut self, told: Option<Told>, kept: &Kept, now: Time) -> bool {
        let Some(told) = told else { return false };
        let written = self.cluster.tell(&told, kept.bundle()).await;
        let written = self.complaints.hear_unless_conflict(Operation::WriteConfiguration, written);
        if written.is_none() {
            return false;
        }
        info!("told the API server which authorities to trust");
        let unknown = kept.unknown_of(&told.bundle, now);
        if unknown > 0 {
            counter!("dropped_total", "what" => AUTHORITIES).increment(unknown as u64);
            warn!(
                unknown,
                "the API server trusted authorities that the Secret does not have; it does not \
                 any more. If they are somebody's, put them into ca.crt of the Secret"
            );
        }
        true
    }

    /// Gives what the Secret holds to the next handshake. What is served already goes on where
    /// there is nothing.
    fn serve(&mut self, kept: &Kept) {
        let Some(leaf) = &kept.served else { return };
        if leaf.pair.certificate == self.served {
            return;
        }
        let set = self.store.set(leaf.pair.certificate.as_bytes(), leaf.pair.key.as_bytes());
        let set = set.map_err(|error| {
            self.cluster.failed(Operation::Serve, Problem::Other(error.to_string()))
        });
        if let Some(new) = self.complaints.hear(Operation::Serve, set) {
            let (serial, expires) = (new.serial, new.not_after);
            info!(serial, %expires, "serving a new certificate");
            self.served.clone_from(&leaf.pair.certificate);
        }
    }
}

/// What is wrong at present, so that it is told once, and not at each look.
#[derive(Default)]
struct Complaints(BTreeMap<Operation, String>);

impl Complaints {
    /// Notes that nothing is left to be done of these.
    fn settle(&mut self, operations: &[Operation]) {
        for operation in operations {
            if self.0.remove(operation).is_some() {
                info!(operation = operation.as_str(), "what failed before is in order again");
            }
        }
    }

    /// Takes in how something ended. What fails is counted, and told if that is new.
    fn hear<T>(&mut self, operation: Operation, ended: Result<T, Failure>) -> Option<T> {
        match ended {
            Ok(value) => {
                self.settle(&[operation]);
                Some(value)
            }
            Err(failure) => {
                counter!(ERRORS, "operation" => failure.operation.as_str()).increment(1);
                let words = failure.to_string();
                if self.0.get(&operation) != Some(&words) {
                    warn!("{words}; what is served is served on");
                    self.0.insert(operation, words);
                }
                None
            }
        }
    }

    /// The same for a write, where it is no failure that another replica was first.
    fn hear_unless_conflict<T>(
        &mut self,
        operation: Operation,
        ended: Result<T, Failure>,
    ) -> Option<T> {
        match ended {
            Err(failure) if failure.is_conflict() => None,
            ended => self.hear(operation, ended),
        }
    }
}
