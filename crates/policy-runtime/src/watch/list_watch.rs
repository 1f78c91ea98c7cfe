//! One request that lists and watches. It ends when the server closes it, when it fails, or when
//! the server has dropped the resource version.

use std::time::Duration;

use futures::AsyncBufRead;
use kube::core::Status;
use kube::{Client, Resource};
use policy_kube::{ErrorKind, body, reason};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout};
use tracing::info;

use super::lines::{Line, Lines};
use super::wire::{Loose, Named, WireEvent};
use super::{RawEvent, Sink, Target, WatchStatus};
use crate::readiness::Hold;

/// For the head of an answer.
const ANSWER: Duration = Duration::from_secs(30);
/// The longest time without a line. An idle server sends a bookmark each minute, so a connection
/// that is silent for longer is dead; resuming at the same version costs little where it was not.
const IDLE: Duration = Duration::from_secs(90);
/// The server ends a watch after so many seconds, and up to [`SPREAD`] more, chosen at random so
/// that the watches of all replicas do not reconnect at the same time.
const LONGEST: u32 = 270;
const SPREAD: u32 = 60;

/// Why a request ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The server closed the stream, as it does from time to time.
    ByServer,
    /// The server no longer has the version to resume from (410).
    VersionGone,
    /// The server does not serve the kind, which is optional.
    NotServed,
    Failed(String),
}

/// Lists and watches one kind; keeps what the next request starts from.
pub(super) struct ListWatch {
    client: Client,
    target: Target,
    status: WatchStatus,
    /// The last version that was seen; `None` before the first complete list.
    version: Option<String>,
    /// Whether the kind was not served when it was last asked for.
    is_absent: bool,
    /// Whether the present request brought anything: a complete list, or a later version.
    pub(super) made_progress: bool,
}

impl ListWatch {
    pub(super) fn new(client: Client, target: Target, status: WatchStatus) -> Self {
        Self { client, target, status, version: None, is_absent: false, made_progress: false }
    }

    /// Sends one request: an initial list where there is no version to resume from.
    pub(super) async fn run<T, S>(&mut self, sink: &mut S, ready: &mut Option<Hold>) -> Ended
    where
        T: Resource<DynamicType = ()> + DeserializeOwned,
        S: Sink<T>,
    {
        self.made_progress = false;
        let stream = match self.open().await {
            Ok(stream) => stream,
            Err(ended) => {
                if matches!(ended, Ended::NotServed) {
                    self.not_served(sink, ready);
                }
                return ended;
            }
        };
        if std::mem::take(&mut self.is_absent) {
            info!(kind = self.target.kind, "the API server serves the kind from now on");
        }
        if self.version.is_none() {
            sink.list_begins();
        }
        // A list that the server never completes must end as well.
        let end = Instant::now() + Duration::from_secs((LONGEST + SPREAD).into()) + IDLE;
        let mut lines = Lines::new(stream, IDLE);
        let mut is_first = true;
        while Instant::now() < end {
            let ended = match lines.next().await {
                Ok(Line::Whole(line)) => self.take(line, sink, ready),
                Ok(Line::TooLong) => Some(self.relist("an event is too long")),
                Ok(Line::End) => break,
                Err(error) => {
                    // Not one line after the version: the server may not know that version at
                    // all, as after a restore of etcd from a backup.
                    if is_first {
                        self.version = None;
                    }
                    Some(Ended::Failed(format!("the watch broke off: {error}")))
                }
            };
            is_first = false;
            if let Some(ended) = ended {
                return ended;
            }
        }
        match self.version {
            Some(_) => Ended::ByServer,
            None => Ended::Failed("the list broke off".to_owned()),
        }
    }

    /// Lets the next request list again.
    pub(super) fn list_again(&mut self) {
        self.version = None;
    }

    async fn open(&mut self) -> Result<impl AsyncBufRead + use<>, Ended> {
        let seconds = LONGEST + fastrand::u32(..SPREAD);
        let path = self.target.path;
        let from = match &self.version {
            Some(version) => format!("resourceVersion={version}"),
            None => "sendInitialEvents=true&resourceVersionMatch=NotOlderThan".to_owned(),
        };
        let uri =
            format!("{path}?watch=true&allowWatchBookmarks=true&timeoutSeconds={seconds}&{from}");
        let answer = timeout(ANSWER, body::open(&self.client, &uri)).await;
        let answer = answer.map_err(|_| Ended::Failed(format!("no answer within {ANSWER:?}")))?;
        answer.map_err(|error| match ErrorKind::of(&error) {
            ErrorKind::Expired => self.version_gone(),
            ErrorKind::NotFound if self.target.is_optional => Ended::NotServed,
            // The server may refuse the version, which it may never have given out.
            ErrorKind::Invalid if self.version.is_some() => self.relist(&reason(&error)),
            ErrorKind::Invalid => Ended::Failed(format!(
                "{}; streaming lists need Kubernetes 1.34, or the feature gate WatchList",
                reason(&error)
            )),
            _ => Ended::Failed(reason(&error)),
        })
    }

    fn version_gone(&mut self) -> Ended {
        self.version = None;
        Ended::VersionGone
    }

    /// Of a kind that is not served there are no objects. Said once.
    fn not_served<T, S: Sink<T>>(&mut self, sink: &mut S, ready: &mut Option<Hold>) {
        if std::mem::replace(&mut self.is_absent, true) {
            return;
        }
        let Target { kind, plural, .. } = self.target;
        info!(kind, "the API server does not serve the kind: there are no {plural}");
        sink.list_begins();
        self.list_completed(sink, None, ready);
    }

    /// An event was lost: only a list brings it back.
    fn relist(&mut self, why: &str) -> Ended {
        self.version = None;
        Ended::Failed(format!("{why}; listing again"))
    }

    /// The server's own `Status`, inside an event or instead of one.
    fn refused(&mut self, status: Box<Status>) -> Ended {
        match status.code {
            410 => self.version_gone(),
            _ => Ended::Failed(reason(&kube::Error::Api(status))),
        }
    }

    fn list_completed<T, S: Sink<T>>(
        &mut self,
        sink: &mut S,
        version: Option<String>,
        ready: &mut Option<Hold>,
    ) {
        self.version = version;
        self.made_progress = true;
        sink.list_completes();
        self.status.list_completed();
        if let Some(ready) = ready.take() {
            ready.release();
        }
    }

    /// Takes one line. `Some` where the request is over.
    fn take<T, S>(&mut self, line: &[u8], sink: &mut S, ready: &mut Option<Hold>) -> Option<Ended>
    where
        T: Resource<DynamicType = ()> + DeserializeOwned,
        S: Sink<T>,
    {
        match serde_json::from_slice::<WireEvent<T>>(line) {
            Ok(WireEvent::Added(object) | WireEvent::Modified(object)) => {
                self.saw(object.meta().resource_version.as_deref().unwrap_or_default());
                sink.applied_from(object, RawEvent::new(line));
            }
            Ok(WireEvent::Deleted(named)) => {
                self.saw(named.version());
                sink.deleted(named.namespace(), named.name());
            }
            Ok(WireEvent::Bookmark(named)) if self.version.is_none() && named.ends_list() => {
                if named.version().is_empty() {
                    return Some(self.relist("the list has no version"));
                }
                self.list_completed(sink, Some(named.version().to_owned()), ready);
            }
            Ok(WireEvent::Bookmark(named)) => self.saw(named.version()),
            Ok(WireEvent::Error(status)) => return Some(self.refused(status)),
            Err(error) => match serde_json::from_slice(line) {
                Ok(Loose { object }) => {
                    self.saw(object.version());
                    self.skip(&object, &error, sink);
                }
                Err(_) => {
                    return Some(match serde_json::from_slice::<Status>(line) {
                        Ok(status) if status.code != 0 => self.refused(Box::new(status)),
                        _ => self.relist(&format!("an event cannot be read ({})", shape(&error))),
                    });
                }
            },
        }
        if self.status.received() {
            info!(kind = self.target.kind, "the watch has recovered");
        }
        None
    }

    /// Resumes from that version. Not before the list is complete: an incomplete list cannot be
    /// resumed.
    fn saw(&mut self, version: &str) {
        if let Some(last) = self.version.as_mut().filter(|_| !version.is_empty()) {
            version.clone_into(last);
            self.made_progress = true;
        }
    }

    /// Passes over an object that is no `T`.
    fn skip<T, S: Sink<T>>(&self, object: &Named, error: &serde_json::Error, sink: &mut S) {
        self.status.undecodable(&object.full_name(), &shape(error));
        sink.undecodable(object.namespace(), object.name());
    }
}

/// Where an object is not as expected. The error's own text would quote the object, which may hold
/// a secret.
fn shape(error: &serde_json::Error) -> String {
    format!("{:?} error at column {}", error.classify(), error.column())
}
