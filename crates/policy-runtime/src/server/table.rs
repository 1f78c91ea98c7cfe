//! Who is connected, and who has to go when there is no more room.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use metrics::{Counter, counter};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::Limits;
use crate::endpoints::Routes;
use crate::tls::Peer;

/// How long to wait, where all are being answered, until one of them may be done.
const RETRY: Duration = Duration::from_millis(10);

/// All connections. A new one that finds no room takes that of the one that has been quiet for the
/// longest: so those that only sit there, or never finish a handshake, a head or a body, keep
/// nobody out, however many they are.
#[derive(Debug)]
pub(super) struct Table {
    limits: Limits,
    began: Instant,
    entries: Mutex<Entries>,
    left: Notify,
    dropped: Counter,
}

#[derive(Debug, Default)]
struct Entries {
    next: u64,
    by_id: BTreeMap<u64, Arc<Entry>>,
    /// How many of them were told to leave and are still there.
    leaving: usize,
    is_stopping: bool,
}

/// What is known of a connection.
#[derive(Debug)]
pub(super) struct Entry {
    began: Instant,
    /// Requests that are being answered; those whose body is awaited are not.
    answering: AtomicUsize,
    /// When that number came down for the last time, in milliseconds after the server began.
    quiet_since: AtomicU64,
    /// Whether there was a whole head of a request ever.
    has_asked: AtomicBool,
    /// Whether being quiet for long shows that nobody is there. Over HTTP/2 one can ask.
    has_to_ask: AtomicBool,
    /// When its life is over.
    end: Instant,
    word: Mutex<Option<Word>>,
    told: Notify,
}

/// What a connection is told; of several words the last one of these counts, which gives it the
/// least time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Word {
    /// Nobody has asked anything for long.
    Idle,
    /// Its life is over.
    Old,
    /// The server stops.
    Stop,
    /// Somebody else needs the room.
    MakeRoom,
}

/// The room of a connection; free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    table: Arc<Table>,
    id: u64,
    pub(super) entry: Arc<Entry>,
}

/// Who calls, for those who answer.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(super) routes: Routes,
    pub(super) peer: Arc<Peer>,
    pub(super) entry: Arc<Entry>,
}

/// While it lasts, a request is being answered.
pub(super) struct Answering<'a>(&'a Entry);

/// While it lasts, a request waits for its caller.
pub(crate) struct Quiet<'a>(&'a Entry);

impl Table {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            began: Instant::now(),
            entries: Mutex::default(),
            left: Notify::new(),
            dropped: counter!("dropped_total", "what" => "connections"),
        })
    }

    /// Makes room for a connection. Waits only where all others are being answered.
    pub(super) async fn enter(self: &Arc<Self>) -> Place {
        loop {
            if let Some(place) = self.try_enter() {
                return place;
            }
            let _ = timeout(RETRY, self.left.notified()).await;
        }
    }

    /// Takes a connection, room or not.
    pub(super) fn enter_anyway(self: &Arc<Self>) -> Place {
        self.update(|entries| self.insert(entries))
    }

    fn try_enter(self: &Arc<Self>) -> Option<Place> {
        self.update(|entries| {
            let is_full = entries.by_id.len() - entries.leaving >= self.limits.connections;
            let has_room = !is_full || self.evict_longest_quiet(entries);
            has_room.then(|| self.insert(entries))
        })
    }

    fn insert(self: &Arc<Self>, entries: &mut Entries) -> Place {
        entries.next += 1;
        // Not all at the same time that came at the same time.
        let life = self.limits.life.mul_f64(0.9 + fastrand::f64() / 5.0);
        let entry = Arc::new(Entry::new(self.began, life));
        if entries.is_stopping {
            entry.tell(Word::Stop);
        }
        entries.by_id.insert(entries.next, Arc::clone(&entry));
        Place { table: Arc::clone(self), id: entries.next, entry }
    }

    /// Has a connection leave, to get back what it takes. Says whether there was one to be had.
    pub(super) fn evict(&self) -> bool {
        self.update(|entries| self.evict_longest_quiet(entries))
    }

    fn evict_longest_quiet(&self, entries: &mut Entries) -> bool {
        // Those that leave may take a moment for it; there are never many of them.
        if entries.leaving >= self.limits.leaving {
            return false;
        }
        let quiet =
            entries.by_id.values().filter(|entry| !entry.is_answering() && !entry.is_evicted());
        let longest = quiet.min_by_key(|entry| entry.quiet_since.load(Ordering::Relaxed));
        let Some(entry) = longest else { return false };
        entry.tell(Word::MakeRoom);
        entries.leaving += 1;
        self.dropped.increment(1);
        true
    }

    /// Tells all that the server stops, and whoever comes from now on.
    pub(super) fn stop(&self) {
        self.update(|entries| {
            entries.is_stopping = true;
            entries.by_id.values().for_each(|entry| entry.tell(Word::Stop));
        });
    }

    /// Tells those whose time is over. Done now and then for all, it costs a request nothing; a
    /// timer for each of them would be set and taken back twice.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        self.update(|entries| {
            for entry in entries.by_id.values() {
                if entry.end <= now {
                    entry.tell(Word::Old);
                } else if entry.has_to_ask.load(Ordering::Relaxed)
                    && !entry.is_answering()
                    && entry.quiet_for(now) >= self.limits.head
                {
                    entry.tell(Word::Idle);
                }
            }
        });
    }

    fn update<T>(&self, work: impl FnOnce(&mut Entries) -> T) -> T {
        work(&mut self.entries.lock())
    }
}

impl Entry {
    fn new(began: Instant, life: Duration) -> Self {
        let entry = Self {
            began,
            answering: AtomicUsize::new(0),
            quiet_since: AtomicU64::new(0),
            has_asked: AtomicBool::new(false),
            has_to_ask: AtomicBool::new(false),
            end: Instant::now() + life,
            word: Mutex::default(),
            told: Notify::new(),
        };
        entry.is_quiet_now();
        entry
    }

    /// Waits for what the table has to say.
    pub(super) async fn told(&self) -> Word {
        loop {
            self.told.notified().await;
            if let Some(word) = *self.word() {
                return word;
            }
        }
    }

    /// Says it, where nothing was said yet that gives no more time.
    fn tell(&self, word: Word) {
        let mut told = self.word();
        if *told < Some(word) {
            *told = Some(word);
            self.told.notify_one();
        }
    }

    fn word(&self) -> MutexGuard<'_, Option<Word>> {
        self.word.lock()
    }

    fn is_evicted(&self) -> bool {
        *self.word() == Some(Word::MakeRoom)
    }

    /// From now on to ask nothing for long is to be idle.
    pub(super) fn expect_requests(&self) {
        self.is_quiet_now();
        self.has_to_ask.store(true, Ordering::Relaxed);
    }

    /// Says it once more, to whoever asks next.
    pub(super) fn tell_again(&self) {
        self.told.notify_one();
    }

    pub(super) fn is_answering(&self) -> bool {
        self.answering.load(Ordering::Relaxed) > 0
    }

    fn is_quiet_now(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.quiet_since.store(now, Ordering::Relaxed);
    }

    fn quiet_for(&self, now: Instant) -> Duration {
        let since = Duration::from_millis(self.quiet_since.load(Ordering::Relaxed));
        now.duration_since(self.began).saturating_sub(since)
    }

    pub(super) fn has_asked(&self) -> bool {
        self.has_asked.load(Ordering::Relaxed)
    }

    fn begin(&self) {
        self.has_asked.store(true, Ordering::Relaxed);
        self.answering.fetch_add(1, Ordering::Relaxed);
    }

    fn end(&self) {
        self.is_quiet_now();
        self.answering.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.table.update(|entries| {
            entries.by_id.remove(&self.id);
            entries.leaving -= usize::from(self.entry.is_evicted());
        });
        self.table.left.notify_one();
    }
}

impl Caller {
    /// Who that is.
    pub(crate) fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// One whose connection there is not.
    #[cfg(test)]
    pub(crate) fn nobody() -> Self {
        let peer = Arc::new(Peer::unknown(([127, 0, 0, 1], 1).into()));
        let routes = crate::endpoints::Endpoints::default().routes();
        Self { routes, peer, entry: Arc::new(Entry::new(Instant::now(), Duration::from_secs(1))) }
    }

    /// To be held while a request waits for its caller.
    pub(crate) fn wait(&self) -> Quiet<'_> {
        self.entry.end();
        Quiet(&self.entry)
    }

    /// To be held while a request is answered.
    pub(super) fn answering(&self) -> Answering<'_> {
        self.entry.begin();
        Answering(&self.entry)
    }
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        self.0.begin();
    }
}
