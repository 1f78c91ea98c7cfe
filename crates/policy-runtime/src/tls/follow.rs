//! Following the files of a certificate, and its expiry.
//!
//! By content: the kubelet swaps a symbolic link further up, of which watches of the file hear
//! nothing. Read file by file, a pair may be half old and half new: it does not fit, is refused,
//! and is looked at again soon.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use metrics::counter;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::{error, info, warn};

use super::{CertificateStore, Time, TlsConfig, TlsError};
use crate::backoff::jittered;
use crate::readiness::{Hold, Readiness};

/// How often the files are read, give or take a tenth.
const EVERY: Duration = Duration::from_secs(10);
/// The same after they were refused.
const SOON: Duration = Duration::from_secs(1);
/// As large as a Secret may be.
const LARGEST: u64 = 1 << 20;
/// What a service waits for that has no certificate, or one whose time is over.
const PENDING: &str = "a certificate that is valid";
/// What those that were refused are counted as.
const DROPPED: &str = "certificates";

/// Keeps a store by the files that the configuration names, if any.
#[derive(Debug)]
pub(crate) struct Follower {
    store: CertificateStore,
    pair: Option<Files>,
    clients: Option<Files>,
    names: Vec<String>,
    every: Duration,
}

/// Files that are taken together.
#[derive(Debug)]
struct Files {
    /// Their keys and paths.
    place: String,
    paths: Vec<PathBuf>,
    /// What was read last, or why it could not be.
    seen: Option<Result<Vec<Vec<u8>>, String>>,
    is_refused: bool,
}

impl Follower {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// A file cannot be read or used, or the certificate is expired.
    pub(crate) fn open(config: &TlsConfig) -> Result<Self, TlsError> {
        let TlsConfig { cert, key, client_ca, client_names } = config;
        let pair = cert.as_ref().zip(key.as_ref());
        let mut follower = Self {
            store: CertificateStore::new(),
            pair: pair.map(|(cert, key)| Files::new(&[("tls.cert", cert), ("tls.key", key)])),
            clients: client_ca.as_ref().map(|ca| Files::new(&[("tls.clientCa", ca)])),
            names: client_names.clone(),
            every: EVERY,
        };
        follower.look().into_iter().next().map_or(Ok(follower), Err)
    }

    /// What is kept.
    pub(crate) fn store(&self) -> CertificateStore {
        self.store.clone()
    }

    #[cfg(test)]
    pub(crate) fn every(self, every: Duration) -> Self {
        Self { every, ..self }
    }

    /// Looks at the files from time to time, and keeps the service from being ready while there is
    /// no valid certificate. Never ends.
    pub(crate) async fn run(mut self, readiness: Readiness) {
        counter!("dropped_total", "what" => DROPPED).increment(0);
        let store = self.store();
        let mut hold = None;
        loop {
            hold = held(&store, Time::now(), &readiness, hold);
            let is_refused = [&self.pair, &self.clients];
            let is_refused = is_refused.into_iter().flatten().any(|files| files.is_refused);
            let every = if is_refused { SOON.min(self.every) } else { self.every };
            if timeout(jittered(every), store.changed()).await.is_ok() {
                continue;
            }
            // Reading may block, on a disk that is slow or gone.
            let looked = spawn_blocking(move || {
                for error in self.look() {
                    counter!("dropped_total", "what" => DROPPED).increment(1);
                    warn!(%error, "what the files hold now is not served; the old one is");
                }
                self
            });
            self = match looked.await {
                Ok(follower) => follower,
                Err(error) => {
                    error!(%error, "certificates are no longer looked at");
                    return;
                }
            };
        }
    }

    /// Takes what is new; gives, once, what is wrong with it.
    pub(super) fn look(&mut self) -> Vec<TlsError> {
        let Self { store, pair, clients, names, .. } = self;
        let clients = clients.as_mut().map(|files| {
            files.look(|contents| match contents {
                [ca] => store.set_clients(ca, names).map(|()| info!("callers have a new CA")),
                _ => Ok(()),
            })
        });
        let pair = pair.as_mut().map(|files| {
            files.look(|contents| match contents {
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
        let place = files.iter().map(|(key, path)| format!("{key} ({})", path.display()));
        Self {
            place: place.collect::<Vec<_>>().join(" with "),
            paths: files.iter().map(|(_, path)| (*path).clone()).collect(),
            seen: None,
            is_refused: false,
        }
    }

    /// Reads the files, and takes what they hold if that is new.
    fn look(
        &mut self,
        take: impl FnOnce(&[Vec<u8>]) -> Result<(), TlsError>,
    ) -> Result<(), TlsError> {
        let read = self
            .paths
            .iter()
            .map(|path| read(path).map_err(|source| TlsError::Read { path: path.clone(), source }));
        let read = read.collect::<Result<Vec<_>, _>>();
        let now = read.as_ref().map(Clone::clone).map_err(ToString::to_string);
        if self.seen.as_ref() == Some(&now) {
            return Ok(());
        }
        self.seen = Some(now);
        let taken = read.and_then(|contents| take(&contents));
        self.is_refused = taken.is_err();
        taken.map_err(|error| error.at(&self.place))
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut contents = Vec::new();
    let size = File::open(path)?.take(LARGEST + 1).read_to_end(&mut contents)?;
    if size as u64 > LARGEST {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    Ok(contents)
}

/// Keeps the service from being ready exactly while no valid certificate is served.
pub(super) fn held(
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
                warn!(serial, %expired, "the certificate expired; it is served on");
            }
            Some(readiness.hold(PENDING))
        }
        (_, hold) => hold,
    }
}
