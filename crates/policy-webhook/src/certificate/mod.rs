//! The self-managed certificate of the webhook, for installations that provide none.
//!
//! ```text
//! Secret ─ StoredCertificates ─┬─ next_action ─┬─ Secret
//!                              │               └─ caBundle of the webhook configurations
//!                              └─ CertificateStore: the next handshake
//! ```
//!
//! All replicas do the same, and none is a leader: a write succeeds only if the object has not
//! changed since it was read, so each action is done once. The private key of a CA is discarded as
//! soon as it has signed its one certificate.

mod cluster;
mod next_action;
mod stored;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use metrics::counter;
use policy_kube::certificate::{CertificateNames, IssuedCertificate, PemPair, issue};
use policy_kube::{ClusterError, ErrorKind};
use policy_runtime::backoff::{Backoff, jittered};
use policy_runtime::tls::{CertificateStore, Time};
use time::OffsetDateTime;
use tokio::time::sleep;
use tracing::{info, warn};

use self::cluster::{Cluster, Configuration, Operation, PublishedCaBundle};
use self::next_action::{NextAction, PublishedSince, next_action};
use self::stored::{Data, SecretContents, StoredCertificates};
use crate::config::CertificateConfig;
use policy_metrics::webhook::CERTIFICATE_ERRORS;

/// The pause between two rounds, give or take a tenth.
const POLL: Duration = Duration::from_secs(10);
/// The first pause after an action or a failure; it grows to [`POLL`] while they continue.
const RETRY: Duration = Duration::from_millis(100);

/// The label of `dropped_total` for CA certificates that were removed from the `caBundle`.
const DROPPED: &str = "authorities";
/// Issues and rotates the certificate of the webhook, and publishes its CA.
pub(crate) struct CertificateRotation {
    cluster: Cluster,
    names: CertificateNames,
    lifetime: Duration,
    store: CertificateStore,
    /// The certificate that was last put into the store.
    served: String,
    published_since: PublishedSince,
    failing: FailingOperations,
}

impl CertificateRotation {
    pub(crate) fn new(client: Client, config: &CertificateConfig, store: CertificateStore) -> Self {
        policy_runtime::metrics::describe(&CERTIFICATE_ERRORS);
        for operation in Operation::ALL {
            counter!(CERTIFICATE_ERRORS.name, "operation" => operation.as_str()).increment(0);
        }
        counter!("dropped_total", "what" => DROPPED).increment(0);
        Self {
            cluster: Cluster::new(client, config),
            names: config.all_names(),
            lifetime: config.lifetime(),
            store,
            served: String::new(),
            published_since: PublishedSince::default(),
            failing: FailingOperations::default(),
        }
    }

    /// Runs round after round. Never ends.
    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::new(RETRY, POLL);
        loop {
            let pause = if self.round().await {
                backoff.reset();
                jittered(POLL)
            } else {
                backoff.delay()
            };
            sleep(pause).await;
        }
    }

    /// Reads the objects and executes the action that is due. Returns whether nothing is left to
    /// do; otherwise the next round should follow soon.
    async fn round(&mut self) -> bool {
        // The configurations first: a caBundle that is published below then comes from a Secret
        // that is newer than the configuration that it replaces, or the API server refuses it.
        let published = self.published().await;
        let secret = self.cluster.secret().await;
        let Some(secret) = self.failing.record(Operation::ReadSecret, secret) else {
            // Changes until the next round go unobserved.
            self.published_since = PublishedSince::default();
            return false;
        };
        let now = Time::now();
        let stored = self.read(&secret, now);
        let ca_bundle = stored.ca_bundle();
        let pem = published.pem(&ca_bundle);
        let published_for = self.published_since.observe(pem, &ca_bundle, Instant::now());
        let action = next_action(&stored, pem, published_for, &self.names, now);
        let is_settled = action == NextAction::None && published.is_known;
        if is_settled {
            // Another replica did what failed here, or it is no longer necessary.
            self.failing.resolve(&[
                Operation::WriteSecret,
                Operation::WriteConfiguration,
                Operation::WriteMutating,
                Operation::Issue,
            ]);
        }
        let was_published = pem.is_some_and(|pem| pem == ca_bundle.as_bytes());
        let is_published =
            self.execute(action, &stored, secret, published, now).await || was_published;
        // A new certificate is served only once its CA is published, unless there is no valid one
        // that could be served until then.
        let has_none = self.store.current().is_none_or(|current| current.is_expired(now));
        if is_published || has_none {
            self.serve(&stored);
        }
        is_settled
    }

    fn read(&mut self, secret: &Secret, now: Time) -> StoredCertificates {
        let empty = Data::new();
        let (stored, problems) =
            StoredCertificates::read(secret.data.as_ref().unwrap_or(&empty), now);
        let result = if problems.is_empty() {
            Ok(())
        } else {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            Err(self.cluster.error(Operation::Use, problems.join("; ")))
        };
        self.failing.record(Operation::Use, result);
        stored
    }

    /// Executes an action, and returns whether it published the `caBundle`. One that fails is
    /// executed again in the next round, if it is still due.
    async fn execute(
        &mut self,
        action: NextAction,
        stored: &StoredCertificates,
        secret: Secret,
        published: Published,
        now: Time,
    ) -> bool {
        let contents = match action {
            NextAction::None => None,
            NextAction::PublishCaBundle => return self.publish(published, stored, now).await,
            NextAction::Issue => self.issue(stored, now).map(|issued| stored.issued(&issued, now)),
            NextAction::Rotate => {
                self.issue(stored, now).map(|issued| stored.with_next(&issued, now))
            }
            NextAction::Promote => Some(stored.promoted(now)),
            NextAction::Prune => Some(stored.pruned(now)),
        };
        if let Some(contents) = contents {
            self.write(action, secret, contents).await;
        }
        false
    }

    fn issue(&mut self, stored: &StoredCertificates, now: Time) -> Option<IssuedCertificate> {
        let names = stored.next_names(&self.names);
        let issued = OffsetDateTime::from_unix_timestamp(now.0)
            .map_err(|error| error.to_string())
            .and_then(|now| issue(&names, now, self.lifetime).map_err(|error| error.to_string()))
            .map_err(|reason| self.cluster.error(Operation::Issue, reason));
        self.failing.record(Operation::Issue, issued)
    }

    async fn write(&mut self, action: NextAction, secret: Secret, contents: SecretContents) {
        let written = self.cluster.write_secret(secret, contents).await;
        if self.failing.record_write(Operation::WriteSecret, written).is_some() {
            match action {
                NextAction::Issue => info!("issued a certificate, as there was none to serve"),
                NextAction::Rotate => info!("rotation: issued the next certificate"),
                NextAction::Promote => {
                    info!("rotation: serving the next certificate from now on");
                }
                _ => info!("removed expired or unusable certificates from the Secret"),
            }
        }
    }

    /// Reads the configurations. The mutating one need not exist.
    async fn published(&mut self) -> Published {
        let validating = self.cluster.published_ca_bundle(Configuration::Validating).await;
        let validating = self.failing.record(Operation::ReadConfiguration, validating);
        let mutating = match self.cluster.published_ca_bundle(Configuration::Mutating).await {
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            mutating => mutating.map(Some),
        };
        let mutating = self.failing.record(Operation::ReadMutating, mutating);
        let is_known = validating.is_some() && mutating.is_some();
        Published { is_known, bundles: validating.into_iter().chain(mutating.flatten()).collect() }
    }

    /// Publishes the `caBundle` in each configuration that has another one. Returns whether all
    /// have it now.
    async fn publish(
        &mut self,
        published: Published,
        stored: &StoredCertificates,
        now: Time,
    ) -> bool {
        let ca_bundle = stored.ca_bundle();
        let mut are_all_written = published.is_known;
        for published in published.bundles {
            if published.pem == ca_bundle.as_bytes() {
                continue;
            }
            let written = self.cluster.publish(&published, &ca_bundle).await;
            let operation = published.configuration.writing();
            if self.failing.record_write(operation, written).is_none() {
                are_all_written = false;
                continue;
            }
            info!("published the caBundle in the {}", published.configuration.kind());
            warn_of_removed(stored.missing_of(&published.pem, now));
        }
        are_all_written
    }

    /// Puts the stored certificate into the store. Without one, the last certificate stays.
    fn serve(&mut self, stored: &StoredCertificates) {
        let Some(PemPair { certificate, key }) = stored.served.as_ref().map(|served| &served.pair)
        else {
            return;
        };
        if *certificate == self.served {
            return;
        }
        let set = self.store.set(certificate.as_bytes(), key.as_bytes());
        let set = set.map_err(|error| self.cluster.error(Operation::Serve, error.to_string()));
        if let Some(new) = self.failing.record(Operation::Serve, set) {
            let (serial, expires) = (new.serial, new.not_after);
            info!(serial, %expires, "serving a new certificate");
            self.served.clone_from(certificate);
        }
    }
}

/// Reports CA certificates that were removed from a `caBundle`.
fn warn_of_removed(removed: usize) {
    if removed > 0 {
        counter!("dropped_total", "what" => DROPPED).increment(removed as u64);
        warn!(
            removed,
            "the caBundle held CA certificates that ca.crt of the Secret does not have: they \
             are removed, and no longer trusted. To keep them, add them to ca.crt"
        );
    }
}

/// What the configurations hold that exist.
struct Published {
    /// Whether each of them was read, or does not exist and need not.
    is_known: bool,
    bundles: Vec<PublishedCaBundle>,
}

impl Published {
    /// A `caBundle` that is not the wanted one; else the wanted one, where all are known.
    fn pem(&self, wanted: &str) -> Option<&[u8]> {
        let other = self.bundles.iter().find(|one| one.pem != wanted.as_bytes());
        let all = self.bundles.first().filter(|_| self.is_known);
        other.or(all).map(|one| one.pem.as_slice())
    }
}

/// The operations that fail at present, with the error that was logged: each is logged once, not in
/// each round, and once more when it succeeds again.
#[derive(Default)]
struct FailingOperations(BTreeMap<Operation, String>);

impl FailingOperations {
    /// Operations that succeeded, or are no longer necessary.
    fn resolve(&mut self, operations: &[Operation]) {
        for operation in operations {
            if self.0.remove(operation).is_some() {
                info!(operation = operation.as_str(), "an operation that failed has recovered");
            }
        }
    }

    /// Counts a failure, and logs it if it is new.
    fn record<T>(&mut self, operation: Operation, result: Result<T, ClusterError>) -> Option<T> {
        match result {
            Ok(value) => {
                self.resolve(&[operation]);
                Some(value)
            }
            Err(error) => {
                counter!(CERTIFICATE_ERRORS.name, "operation" => operation.as_str()).increment(1);
                let error = error.to_string();
                if self.0.get(&operation) != Some(&error) {
                    warn!("{error}; the certificate that is served stays");
                    self.0.insert(operation, error);
                }
                None
            }
        }
    }

    /// The same for a write, where a conflict is no failure: another replica was first.
    fn record_write<T>(
        &mut self,
        operation: Operation,
        result: Result<T, ClusterError>,
    ) -> Option<T> {
        match result {
            Err(error) if error.kind == ErrorKind::Conflict => None,
            result => self.record(operation, result),
        }
    }
}
