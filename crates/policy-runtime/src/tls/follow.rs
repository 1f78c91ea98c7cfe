//! Follows the files of a certificate, and its expiry.
//!
//! The two files of a pair are read one after the other, so in the middle of a change they may not
//! match: such a pair is refused, and read again soon.

use std::path::PathBuf;
use std::time::Duration;

use metrics::counter;
use policy_kube::files;
use tokio::time::timeout;
use tracing::{info, warn};

use super::{CertificateStore, Time, TlsConfig, TlsError};
use crate::backoff::jittered;
use crate::poll::poll;
use crate::readiness::{Hold, Readiness};

/// How often the files are read, and the expiry is checked.
const POLL: Duration = Duration::from_secs(10);
/// How often the files are read after they were refused.
const POLL_REFUSED: Duration = Duration::from_secs(1);
/// The largest file: the limit of a Secret.
const LARGEST: u64 = 1 << 20;
/// What a service without a valid certificate waits for.
const PENDING: &str = "a valid certificate";
/// The label of `dropped_total` for refused files.
const DROPPED: &str = "certificates";

/// Updates a store from the files that the configuration names, if any.
#[derive(Debug)]
pub(crate) struct CertificateFollower {
    store: CertificateStore,
    pair: Option<Files>,
    clients: Option<Files>,
    client_names: Vec<String>,
    period: Duration,
}

/// Files that are used together.
#[derive(Debug)]
struct Files {
    /// Their keys and paths, for messages.
    names: String,
    paths: Vec<PathBuf>,
    /// The last contents, or why they could not be read.
    contents: Option<Result<Vec<Vec<u8>>, String>>,
    is_refused: bool,
}

impl CertificateFollower {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// A file cannot be read or used, or the certificate is expired.
    pub(crate) fn open(config: &TlsConfig) -> Result<Self, TlsError> {
        let TlsConfig { cert, key, client_ca, client_names, .. } = config;
        let pair = cert.as_ref().zip(key.as_ref());
        let mut follower = Self {
            store: CertificateStore::new(),
            pair: pair.map(|(cert, key)| Files::new(&[("tls.cert", cert), ("tls.key", key)])),
            clients: client_ca.as_ref().map(|ca| Files::new(&[("tls.clientCa", ca)])),
            client_names: client_names.clone(),
            period: POLL,
        };
        follower.refresh().into_iter().next().map_or(Ok(follower), Err)
    }

    /// The store that is updated.
    pub(crate) fn store(&self) -> CertificateStore {
        self.store.clone()
    }

    #[cfg(test)]
    pub(crate) fn every(self, period: Duration) -> Self {
        Self { period, ..self }
    }

    /// Polls the files, and holds readiness while there is no valid certificate. Never ends.
    pub(crate) async fn run(self, readiness: Readiness) {
        counter!("dropped_total", "what" => DROPPED).increment(0);
        let store = self.store();
        let pause = self.pause();
        tokio::select! {
            () = poll(self, pause, Self::check) => {}
            () = hold_without_certificate(&store, &readiness) => {}
        }
    }

    /// Reads the files. Returns the pause before the next time.
    fn check(&mut self) -> Duration {
        for error in self.refresh() {
            counter!("dropped_total", "what" => DROPPED).increment(1);
            warn!(%error, "the changed TLS files are refused; the service uses the previous ones");
        }
        self.pause()
    }

    fn pause(&self) -> Duration {
        let is_refused = [&self.pair, &self.clients].into_iter().flatten().any(|f| f.is_refused);
        jittered(if is_refused { POLL_REFUSED.min(self.period) } else { self.period })
    }

    /// Uses the files that changed. Returns each problem once.
    pub(super) fn refresh(&mut self) -> Vec<TlsError> {
        let Self { store, pair, clients, client_names, .. } = self;
        let clients = clients.as_mut().map(|files| {
            files.refresh(|contents| match contents {
                [ca] => {
                    store.set_clients(ca, client_names).map(|()| info!("using a new client CA"))
                }
                _ => Ok(()),
            })
        });
        let pair = pair.as_mut().map(|files| {
            files.refresh(|contents| match contents {
                [cert, key] => store.set(cert, key).map(|new| {
                    let (serial, expires) = (new.serial, new.not_after);
                    info!(serial, %expires, "serving a new certificate");
                }),
                _ => Ok(()),
            })
        });
        [clients, pair].into_iter().flatten().filter_map(Result::err).collect()
    }
}

impl Files {
    fn new(files: &[(&str, &PathBuf)]) -> Self {
        let names = files.iter().map(|(key, path)| format!("{key} ({})", path.display()));
        Self {
            names: names.collect::<Vec<_>>().join(" with "),
            paths: files.iter().map(|(_, path)| (*path).clone()).collect(),
            contents: None,
            is_refused: false,
        }
    }

    /// Reads the files, and uses their contents where they changed.
    fn refresh(
        &mut self,
        set: impl FnOnce(&[Vec<u8>]) -> Result<(), TlsError>,
    ) -> Result<(), TlsError> {
        let read = self.paths.iter().map(|path| {
            files::read(path, LARGEST)
                .map_err(|source| TlsError::Read { path: path.clone(), source })
        });
        let read = read.collect::<Result<Vec<_>, _>>();
        let contents = read.as_ref().map(Clone::clone).map_err(ToString::to_string);
        if self.contents.as_ref() == Some(&contents) {
            return Ok(());
        }
        self.contents = Some(contents);
        let result = read.and_then(|contents| set(&contents));
        self.is_refused = result.is_err();
        result.map_err(|error| TlsError::In { files: self.names.clone(), source: error.into() })
    }
}

/// Holds readiness exactly while no valid certificate is served. Never ends.
async fn hold_without_certificate(store: &CertificateStore, readiness: &Readiness) {
    let mut hold = None;
    loop {
        hold = update_hold(store, Time::now(), readiness, hold);
        let _ = timeout(jittered(POLL), store.changed()).await;
    }
}

pub(super) fn update_hold(
    store: &CertificateStore,
    now: Time,
    readiness: &Readiness,
    hold: Option<Hold>,
) -> Option<Hold> {
    let current = store.current();
    let is_valid = current.as_ref().is_some_and(|current| !current.is_expired(now));
    match (is_valid, hold) {
        (true, Some(hold)) => {
            hold.release();
            None
        }
        (false, None) => {
            if let Some(current) = current {
                let (serial, expired) = (current.serial, current.not_after);
                warn!(serial, %expired, "the certificate has expired; it is used until there is a new one");
            }
            Some(readiness.hold(PENDING))
        }
        (_, hold) => hold,
    }
}
