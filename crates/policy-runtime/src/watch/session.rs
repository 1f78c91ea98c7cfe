//! One list-and-watch: it ends by the server's will, by a failure, or because what was asked for
//! is forgotten.

use std::time::Duration;

use futures::AsyncBufRead;
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout};
use tracing::info;

use super::lines::{Line, Lines};
use super::wire::{Loose, Named, WireEvent};
use super::{Sink, Target, WatchStatus, list};
use crate::client::{self, reason};
use crate::readiness::Hold;

/// For the head of an answer.
const ANSWER: Duration = Duration::from_secs(30);
/// A server with nothing to tell sends a bookmark each minute; who is silent for longer is gone,
/// and asking again at the same version costs little where it was not.
const SILENCE: Duration = Duration::from_secs(90);
/// The server ends a watch after so many seconds, and some more at random, so that the watches of
/// all replicas do not come back at once.
const LONGEST: u32 = 270;
const SPREAD: u32 = 60;

/// Why a session ended.
pub(super) enum Ended {
    /// The server closed the stream, as it does from time to time.
    ByServer,
    /// The server no longer has the version to go on from (410).
    VersionGone,
    Failed(String),
}

/// What a server says instead of streaming.
enum Refused {
    /// It no longer has the version.
    Version,
    /// It does not understand what it is asked for, as a list that streams.
    Question(String),
    Otherwise(String),
}

impl Refused {
    fn of(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 410 => Self::Version,
            kube::Error::Api(status) if matches!(status.code, 400 | 422) => {
                Self::Question(reason(error))
            }
            error => Self::Otherwise(reason(error)),
        }
    }
}

/// What is kept from session to session.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) target: Target,
    pub(super) status: WatchStatus,
    /// The last version that was seen; `None` before the first whole list.
    version: Option<String>,
    /// Whether the server can stream lists, as far as is known.
    streams_lists: bool,
    /// Whether the present session brought anything: a whole list, or a later version.
    pub(super) made_progress: bool,
}

impl Session {
    pub(super) fn new(client: Client, target: Target, status: WatchStatus) -> Self {
        Self { client, target, status, version: None, streams_lists: true, made_progress: false }
    }

    /// Lists where there is no version to go on from, and watches from there.
    pub(super) async fn run<T, S>(&mut self, sink: &mut S, ready: &mut Option<Hold>) -> Ended
    where
        T: Resource<DynamicType = ()> + DeserializeOwned,
        S: Sink<T>,
    {
        self.made_progress = false;
        let (stream, is_list) = match self.start(sink, ready).await {
            Ok(started) => started,
            Err(ended) => return ended,
        };
        if is_list {
            sink.list_begins();
        }
        // A server that never ends a list is no reason to wait for it for ever.
        let end = Instant::now() + Duration::from_secs((LONGEST + SPREAD).into()) + SILENCE;
        let mut lines = Lines::new(stream, SILENCE);
        let mut is_silent = true;
        while Instant::now() < end {
            let ended = match lines.next().await {
                Ok(Line::Whole(line)) => self.take(line, sink, ready),
                Ok(Line::TooLong) => Some(self.lost("an event is too long")),
                Ok(Line::End) => break,
                Err(error) => {
                    // Nothing at all came after the version: the server may not know it at all,
                    // as after its store was restored from a backup.
                    if is_silent {
                        self.version = None;
                    }
                    Some(Ended::Failed(format!("the watch broke off: {error}")))
                }
            };
            is_silent = false;
            if let Some(ended) = ended {
                return ended;
            }
        }
        if self.version.is_some() {
            return Ended::ByServer;
        }
        // A list that took the whole time and has no end is better asked for in pages.
        self.streams_lists = Instant::now() + Duration::from_secs(SPREAD.into()) < end;
        Ended::Failed("the list broke off".to_owned())
    }

    /// Opens the stream, and says whether it begins with a list. Where the server streams no
    /// lists, the list is read first.
    async fn start<T, S>(
        &mut self,
        sink: &mut S,
        ready: &mut Option<Hold>,
    ) -> Result<(impl AsyncBufRead + use<T, S>, bool), Ended>
    where
        T: Resource<DynamicType = ()> + DeserializeOwned,
        S: Sink<T>,
    {
        if self.version.is_none() && self.streams_lists {
            match self.open("&sendInitialEvents=true&resourceVersionMatch=NotOlderThan").await {
                Err(Refused::Question(reason)) => {
                    info!(kind = self.target.kind, "listing in pages: {reason}");
                    self.streams_lists = false;
                }
                opened => return self.opened(opened, true),
            }
        }
        if self.version.is_none() {
            sink.list_begins();
            match list::read(self, sink).await {
                Ok(version) => self.list_completed(sink, version, ready),
                Err(reason) => return Err(Ended::Failed(reason)),
            }
        }
        let version = self.version.as_deref().unwrap_or_default();
        let opened = self.open(&format!("&resourceVersion={version}")).await;
        self.opened(opened, false)
    }

    async fn open(&self, from: &str) -> Result<impl AsyncBufRead + use<>, Refused> {
        let seconds = LONGEST + fastrand::u32(..SPREAD);
        let path = &self.target.path;
        let uri =
            format!("{path}?watch=true&allowWatchBookmarks=true&timeoutSeconds={seconds}{from}");
        match timeout(ANSWER, client::read(&self.client, &uri)).await {
            Err(_) => Err(Refused::Otherwise(format!("no answer within {ANSWER:?}"))),
            Ok(answer) => answer.map_err(|error| Refused::of(&error)),
        }
    }

    fn opened<R>(&mut self, opened: Result<R, Refused>, is_list: bool) -> Result<(R, bool), Ended> {
        opened.map(|stream| (stream, is_list)).map_err(|refused| match refused {
            Refused::Version => self.forgotten(),
            // What it does not understand may be the version.
            Refused::Question(reason) => self.lost(&reason),
            Refused::Otherwise(reason) => Ended::Failed(reason),
        })
    }

    fn forgotten(&mut self) -> Ended {
        self.version = None;
        Ended::VersionGone
    }

    /// Something happened that nobody knows: only a list tells what.
    fn lost(&mut self, why: &str) -> Ended {
        self.version = None;
        Ended::Failed(format!("{why}; listing anew"))
    }

    fn list_completed<T, S: Sink<T>>(
        &mut self,
        sink: &mut S,
        version: String,
        ready: &mut Option<Hold>,
    ) {
        self.version = Some(version);
        self.made_progress = true;
        sink.list_completes();
        self.status.list_completes();
        if let Some(ready) = ready.take() {
            ready.release();
        }
    }

    /// Takes an event. `Some` where the session is over.
    fn take<T, S>(&mut self, line: &[u8], sink: &mut S, ready: &mut Option<Hold>) -> Option<Ended>
    where
        T: Resource<DynamicType = ()> + DeserializeOwned,
        S: Sink<T>,
    {
        match serde_json::from_slice::<WireEvent<T>>(line) {
            Ok(WireEvent::Added(object) | WireEvent::Modified(object)) => {
                self.saw(object.meta().resource_version.as_deref().unwrap_or_default());
                sink.applied(object);
            }
            Ok(WireEvent::Deleted(named)) => {
                self.saw(named.version());
                sink.deleted(named.namespace(), named.name());
            }
            Ok(WireEvent::Bookmark(named)) if self.version.is_none() && named.ends_list() => {
                if named.version().is_empty() {
                    return Some(self.lost("the list has no version"));
                }
                self.list_completed(sink, named.version().to_owned(), ready);
            }
            Ok(WireEvent::Bookmark(named)) => self.saw(named.version()),
            Ok(WireEvent::Error(status)) if status.code == 410 => return Some(self.forgotten()),
            Ok(WireEvent::Error(status)) => {
                return Some(Ended::Failed(reason(&kube::Error::Api(status))));
            }
            Err(error) => {
                let Ok(Loose { object }) = serde_json::from_slice(line) else {
                    let why = format!("an event cannot be read ({})", shape(&error));
                    return Some(self.lost(&why));
                };
                self.saw(object.version());
                self.skip(&object, &error, sink);
            }
        }
        self.status.heard();
        None
    }

    /// Goes on from that version. Not before the list is whole: a list cannot be gone on with.
    fn saw(&mut self, version: &str) {
        if let Some(last) = self.version.as_mut().filter(|_| !version.is_empty()) {
            version.clone_into(last);
            self.made_progress = true;
        }
    }

    /// Passes over an object that is no `T`.
    pub(super) fn skip<T, S: Sink<T>>(
        &self,
        object: &Named,
        error: &serde_json::Error,
        sink: &mut S,
    ) {
        self.status.undecodable(&object.full_name(), &shape(error));
        sink.undecodable(object.namespace(), object.name());
    }
}

/// Where an object is not as expected. What it says is nobody's business: the error's own words
/// would quote it.
fn shape(error: &serde_json::Error) -> String {
    format!("{:?} error at column {}", error.classify(), error.column())
}
