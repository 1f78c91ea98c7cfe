//! Answers that are not sent yet, and what becomes of callers that do not read them.
//!
//! An answer is held in memory until the network has taken it, which is up to the caller: over
//! HTTP/2 it keeps the window of a stream closed, over HTTP/1.1 it does not read. hyper drops a body
//! as soon as it has handed its data to h2, which keeps the data until the window opens. So an answer
//! is registered by its data: the last part of the server that holds them removes the entry.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use metrics::{Counter, counter};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::connections::{CloseReason, Connection};

/// The label of `dropped_total` for connections that are closed because of their unsent answers.
const STALLED: &str = "stalled connections";

/// The limits of answers that are not sent yet, of all connections together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnsentLimits {
    /// How many there may be. A burst of requests over several connections, which are answered
    /// before the first answer is sent, stays below it.
    pub(crate) answers: usize,
    /// The bytes of the large ones, which are those of more than this divided by `answers`. Bytes
    /// that several answers share count once. A single answer may be larger.
    pub(crate) bytes: usize,
    /// How old one may get.
    pub(crate) age: Duration,
}

/// All unsent answers. One beyond the limits closes the connection with the oldest one, as does one
/// that gets too old. A caller that reads never has the oldest one for long. Where large answers
/// take too many bytes, the small ones of the API server stay.
#[derive(Debug)]
pub(super) struct UnsentAnswers {
    limits: UnsentLimits,
    table: Mutex<Table>,
    stalled: Counter,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    by_age: BTreeMap<u64, Entry>,
    /// The data of large answers, and their bytes.
    large: usize,
    bytes: usize,
    /// How many answers have the same data, by the address of these.
    shared: HashMap<usize, usize>,
}

#[derive(Debug)]
struct Entry {
    connection: Arc<Connection>,
    since: Instant,
    large: Option<LargeData>,
}

#[derive(Clone, Copy, Debug)]
struct LargeData {
    size: usize,
    /// The address of data that others hold as well.
    shared: Option<usize>,
}

/// The data of an answer. The entry goes first, so that no other data have their address before.
struct UnsentAnswer {
    _registration: Registration,
    data: Bytes,
}

struct Registration {
    connection: Arc<Connection>,
    id: u64,
}

/// A body whose data are registered, from when hyper takes them until they are sent.
pub(super) struct RegisteredBody<B> {
    body: B,
    connection: Arc<Connection>,
}

impl Default for UnsentLimits {
    fn default() -> Self {
        Self { answers: 1024, bytes: 16 << 20, age: Duration::from_secs(10) }
    }
}

impl UnsentAnswers {
    pub(super) fn new(limits: UnsentLimits) -> Self {
        let stalled = counter!("dropped_total", "what" => STALLED);
        stalled.increment(0);
        Self { limits, table: Mutex::default(), stalled }
    }

    /// Registers an answer. The result has the same bytes; once it is dropped, the answer is sent.
    fn register(connection: &Arc<Connection>, data: Bytes) -> Bytes {
        if data.is_empty() {
            return data;
        }
        let id = connection.unsent.insert(connection, &data);
        let registration = Registration { connection: Arc::clone(connection), id };
        Bytes::from_owner(UnsentAnswer { _registration: registration, data })
    }

    fn insert(&self, connection: &Arc<Connection>, data: &Bytes) -> u64 {
        connection.activity.add_unsent();
        let UnsentLimits { answers, bytes, .. } = self.limits;
        let large = (data.len() > bytes / answers).then(|| LargeData {
            size: data.len(),
            shared: (!data.is_unique()).then(|| data.as_ptr().addr()),
        });
        let entry = Entry { connection: Arc::clone(connection), since: Instant::now(), large };
        let mut table = self.table.lock();
        let id = table.insert(entry);
        let excess = table.remove_excess(answers, bytes);
        drop(table);
        self.close(excess);
        id
    }

    /// Closes the connections whose answers have not been sent for too long.
    pub(super) fn sweep(&self, now: Instant) {
        let old = self.table.lock().remove_old(now, self.limits.age);
        self.close(old);
    }

    /// The entries do not wait for the connections to end: what is being closed must not make others
    /// be closed.
    fn close(&self, entries: Vec<Entry>) {
        for Entry { connection, .. } in entries {
            if connection.close(CloseReason::Stalled) {
                self.stalled.increment(1);
            }
        }
    }
}

impl Table {
    fn insert(&mut self, entry: Entry) -> u64 {
        if let Some(LargeData { size, shared }) = entry.large {
            let others = shared.map_or(0, |address| {
                let count = self.shared.entry(address).or_default();
                *count += 1;
                *count - 1
            });
            if others == 0 {
                self.large += 1;
                self.bytes += size;
            }
        }
        let id = self.next;
        self.next += 1;
        self.by_age.insert(id, entry);
        id
    }

    /// `None` where the entry was removed before.
    fn remove(&mut self, id: u64) -> Option<Entry> {
        let entry = self.by_age.remove(&id)?;
        if let Some(LargeData { size, shared }) = entry.large {
            let others = shared.map_or(0, |address| {
                let count = self.shared.get(&address).map_or(0, |count| count - 1);
                match count {
                    0 => self.shared.remove(&address),
                    _ => self.shared.insert(address, count),
                };
                count
            });
            if others == 0 {
                self.large -= 1;
                self.bytes -= size;
            }
        }
        Some(entry)
    }

    /// Removes the oldest answers beyond a number, and the oldest large ones beyond these bytes.
    fn remove_excess(&mut self, answers: usize, bytes: usize) -> Vec<Entry> {
        let mut removed = Vec::new();
        while self.by_age.len() > answers || (self.bytes > bytes && self.large > 1) {
            let is_wanted = |entry: &Entry| self.by_age.len() > answers || entry.large.is_some();
            let oldest = self.by_age.iter().find(|(_, entry)| is_wanted(entry));
            let Some((&id, _)) = oldest else { break };
            removed.extend(self.remove(id));
        }
        removed
    }

    fn remove_old(&mut self, now: Instant, age: Duration) -> Vec<Entry> {
        let mut removed = Vec::new();
        while let Some((&id, oldest)) = self.by_age.first_key_value()
            && now.duration_since(oldest.since) >= age
        {
            removed.extend(self.remove(id));
        }
        removed
    }
}

impl AsRef<[u8]> for UnsentAnswer {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.connection.activity.remove_unsent();
        self.connection.unsent.table.lock().remove(self.id);
    }
}

impl<B> RegisteredBody<B> {
    pub(super) fn new(body: B, connection: Arc<Connection>) -> Self {
        Self { body, connection }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for RegisteredBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let register = |data| UnsentAnswers::register(&self.connection, data);
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(register))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Full};
    use tokio::time::advance;

    use super::*;
    use crate::server::Limits;
    use crate::server::connections::{ConnectionSlot, Connections};

    const SECOND: Duration = Duration::from_secs(1);

    fn connections(answers: usize, bytes: usize) -> Arc<Connections> {
        let unsent = UnsentLimits { answers, bytes, age: 10 * SECOND };
        Connections::new(Limits { unsent, ..Limits::default() })
    }

    fn answer(slot: &ConnectionSlot, size: usize) -> Bytes {
        UnsentAnswers::register(&slot.connection, vec![b'a'; size].into())
    }

    fn is_stalled(slot: &ConnectionSlot) -> bool {
        slot.connection.close_reason() == Some(CloseReason::Stalled)
    }

    fn held(slot: &ConnectionSlot) -> (usize, usize) {
        let table = slot.connection.unsent.table.lock();
        (table.by_age.len(), table.bytes)
    }

    #[tokio::test]
    async fn one_answer_too_many_closes_the_connection_with_the_oldest() {
        let connections = connections(3, 1000);
        let [first, second, third] = [(); 3].map(|()| connections.enter_unbounded());
        let answers = [answer(&first, 1), answer(&second, 1), answer(&second, 1)];
        // Those that were sent are none of them.
        drop([answer(&third, 0), answer(&first, 0)]);
        assert!(![&first, &second, &third].into_iter().any(is_stalled));
        let more = answer(&third, 1);
        assert!(is_stalled(&first) && !is_stalled(&second) && !is_stalled(&third));
        assert_eq!(held(&first), (3, 0));
        drop((answers, more));
        assert_eq!(held(&first), (0, 0));
    }

    #[tokio::test]
    async fn answers_that_are_sent_make_room_for_others() {
        let connections = connections(3, 1000);
        let slow = connections.enter_unbounded();
        let reads = connections.enter_unbounded();
        let _unread = answer(&slow, 400);
        for _ in 0..100 {
            let _burst = [answer(&reads, 300), answer(&reads, 300)];
        }
        assert!(!is_stalled(&slow) && !is_stalled(&reads));
    }

    #[tokio::test]
    async fn bytes_too_many_close_the_connections_with_the_oldest_large_answers() {
        let connections = connections(100, 1000);
        let [small, first, second, third] = [(); 4].map(|()| connections.enter_unbounded());
        let _answers = [answer(&small, 10), answer(&first, 300), answer(&second, 600)];
        assert!(!is_stalled(&first));
        let large = answer(&third, 5000);
        assert!(is_stalled(&first) && is_stalled(&second) && !is_stalled(&small));
        let _small = answer(&small, 10);
        assert!(!is_stalled(&third), "a single answer may be larger");
        assert_eq!(held(&third), (3, 5000));
        drop(large);
        assert_eq!(held(&third), (2, 0));
    }

    #[tokio::test]
    async fn shared_bytes_count_once() {
        let connections = connections(100, 1000);
        let slots: Vec<_> = (0..10).map(|_| connections.enter_unbounded()).collect();
        for size in [600, 700] {
            let rendering = Bytes::from(vec![b'a'; size]);
            let share = |slot: &ConnectionSlot| {
                UnsentAnswers::register(&slot.connection, rendering.clone())
            };
            let shared: Vec<_> = slots.iter().map(share).collect();
            assert_eq!(held(&slots[0]), (10, size));
            assert!(shared.iter().all(|data| data.as_ptr() == rendering.as_ptr()), "copied");
            drop(rendering);
            assert_eq!(held(&slots[0]), (10, size));
        }
        assert_eq!(held(&slots[0]), (0, 0));
        // Two of them that are held at the same time count both.
        let renderings = [600, 700].map(|size| Bytes::from(vec![b'a'; size]));
        let [first, second] = &renderings;
        let _first = UnsentAnswers::register(&slots[0].connection, first.clone());
        assert!(!is_stalled(&slots[0]));
        let _second = UnsentAnswers::register(&slots[1].connection, second.clone());
        assert!(is_stalled(&slots[0]) && !is_stalled(&slots[1]));
        assert_eq!(held(&slots[0]), (1, 700));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_too_old_closes_its_connection() {
        let connections = connections(100, 1000);
        let [old, young, reads] = [(); 3].map(|()| connections.enter_unbounded());
        let _old = answer(&old, 1);
        advance(5 * SECOND).await;
        let _young = answer(&young, 1);
        for _ in 0..5 {
            drop(answer(&reads, 1));
            connections.sweep();
            assert!(!is_stalled(&old));
            advance(SECOND).await;
        }
        connections.sweep();
        assert!(is_stalled(&old) && !is_stalled(&young) && !is_stalled(&reads));
        advance(5 * SECOND).await;
        connections.sweep();
        assert!(is_stalled(&young) && !is_stalled(&reads));
    }

    #[tokio::test]
    async fn a_body_is_registered_as_it_is_taken() {
        let slot = connections(100, 1000).enter_unbounded();
        let body = || RegisteredBody::new(Full::from("answer"), Arc::clone(&slot.connection));
        assert_eq!(body().size_hint().exact(), Some(6));
        drop(body());
        assert_eq!(held(&slot), (0, 0));
        let data = body().frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!((held(&slot), &*data), ((1, 0), &b"answer"[..]));
        // As h2 sends a part of it.
        let rest = data.slice(3..);
        drop(data);
        assert_eq!(held(&slot), (1, 0));
        drop(rest);
        assert_eq!(held(&slot), (0, 0));
        let empty = RegisteredBody::new(Full::from(""), Arc::clone(&slot.connection));
        assert!(empty.is_end_stream(), "no body over HTTP/2");
    }
}
