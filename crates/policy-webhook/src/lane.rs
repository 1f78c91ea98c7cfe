//! The lane of large requests: they are decoded and judged one at a time, on a thread of their own,
//! and namespaces take turns. So the threads of the server stay free for all other requests, only one
//! large object is decoded at a time, and who sends many large requests waits for himself.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

/// Requests that may wait, of all namespaces and of one.
const MAX_WAITING: usize = 64;
const MAX_WAITING_OF_NAMESPACE: usize = 16;

type Job = Box<dyn FnOnce() + Send>;

/// The requests that wait, and the thread that works on them, if there are any.
pub(crate) struct Lane(Mutex<State>);

struct State {
    queue: FairQueue<Job>,
    is_running: bool,
}

/// Why a request was not worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LaneError {
    /// As many requests of its namespace wait as may.
    NamespaceFull { limit: usize },
    /// As many requests of all namespaces wait as may.
    Full,
    /// The work panicked.
    Panicked,
}

impl Lane {
    /// A lane for a server that handles so many requests at a time: those that wait here must leave
    /// most of that to others.
    pub(crate) fn new(concurrency: usize) -> Self {
        let waiting = (concurrency / 4).clamp(1, MAX_WAITING);
        let of_namespace = (waiting / 4).clamp(1, MAX_WAITING_OF_NAMESPACE);
        Self(Mutex::new(State { queue: FairQueue::new(waiting, of_namespace), is_running: false }))
    }

    /// Does the work in its turn. Work that nobody waits for any more is not done.
    pub(crate) async fn run<T: Send + 'static>(
        &'static self,
        namespace: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, LaneError> {
        let (sender, done) = oneshot::channel();
        let job = Box::new(move || {
            // The panic hook logs where.
            if !sender.is_closed()
                && let Ok(result) = catch_unwind(AssertUnwindSafe(work))
            {
                let _ = sender.send(result);
            }
        });
        let starts = {
            let mut state = self.0.lock();
            state.queue.push(namespace, job)?;
            !std::mem::replace(&mut state.is_running, true)
        };
        if starts {
            spawn_blocking(|| self.work());
        }
        done.await.map_err(|_| LaneError::Panicked)
    }

    fn work(&self) {
        while let Some(job) = self.next() {
            job();
        }
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.0.lock();
        let next = state.queue.pop();
        state.is_running = next.is_some();
        next
    }
}

/// A bounded queue from which namespaces take turns.
struct FairQueue<T> {
    waiting: usize,
    max_waiting: usize,
    max_waiting_of_namespace: usize,
    /// Each namespace of which something waits, the next one first.
    turns: VecDeque<Arc<str>>,
    /// What waits of each.
    namespaces: HashMap<Arc<str>, VecDeque<T>>,
}

impl<T> FairQueue<T> {
    fn new(max_waiting: usize, max_waiting_of_namespace: usize) -> Self {
        Self {
            waiting: 0,
            max_waiting,
            max_waiting_of_namespace,
            turns: VecDeque::new(),
            namespaces: HashMap::new(),
        }
    }

    /// Adds a member, if there is room for one of that namespace.
    fn push(&mut self, namespace: &str, member: T) -> Result<(), LaneError> {
        let of_namespace = self.namespaces.get(namespace).map_or(0, VecDeque::len);
        if of_namespace >= self.max_waiting_of_namespace {
            return Err(LaneError::NamespaceFull { limit: self.max_waiting_of_namespace });
        }
        if self.waiting >= self.max_waiting {
            return Err(LaneError::Full);
        }
        if let Some(members) = self.namespaces.get_mut(namespace) {
            members.push_back(member);
        } else {
            let namespace: Arc<str> = namespace.into();
            self.turns.push_back(Arc::clone(&namespace));
            self.namespaces.insert(namespace, VecDeque::from([member]));
        }
        self.waiting += 1;
        Ok(())
    }

    /// Takes the oldest member of the namespace whose turn it is.
    fn pop(&mut self) -> Option<T> {
        let namespace = self.turns.pop_front()?;
        let members = self.namespaces.get_mut(&namespace)?;
        let member = members.pop_front()?;
        self.waiting -= 1;
        if members.is_empty() {
            self.namespaces.remove(&namespace);
        } else {
            self.turns.push_back(namespace);
        }
        Some(member)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use proptest::prelude::*;
    use tokio::time::timeout;

    use super::*;

    fn drained<T>(queue: &mut FairQueue<T>) -> Vec<T> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn namespaces_take_turns() {
        let mut queue = FairQueue::new(64, 16);
        for member in 0..16 {
            queue.push("greedy", ("greedy", member)).unwrap();
        }
        for other in [("shop", 0), ("shop", 1), ("bank", 0)] {
            queue.push(other.0, other).unwrap();
        }
        assert_eq!(
            drained(&mut queue)[..6],
            [("greedy", 0), ("shop", 0), ("bank", 0), ("greedy", 1), ("shop", 1), ("greedy", 2)]
        );
        assert!(queue.namespaces.is_empty() && queue.turns.is_empty() && queue.waiting == 0);
    }

    #[test]
    fn one_namespace_fills_its_own_part_only() {
        let mut queue = FairQueue::new(8, 3);
        let pushed = (0..9).filter(|_| queue.push("greedy", ()).is_ok()).count();
        assert_eq!(pushed, 3);
        let full = Err(LaneError::NamespaceFull { limit: 3 });
        assert_eq!(queue.push("greedy", ()), full);
        let others = (0..9).filter(|number| queue.push(&number.to_string(), ()).is_ok()).count();
        assert_eq!(others, 5, "eight of all");
        assert_eq!(queue.push("one more", ()), Err(LaneError::Full));
        assert_eq!(queue.push("greedy", ()), full, "its own limit is what it is told");
        drained(&mut queue);
        assert_eq!(queue.push("greedy", ()), Ok(()));
    }

    proptest! {
        /// Between two turns of a namespace each other one that waits has exactly one.
        #[test]
        fn no_namespace_overtakes(pushes in prop::collection::vec(0..6_usize, 0..64)) {
            let mut queue = FairQueue::new(64, 64);
            for namespace in &pushes {
                prop_assert_eq!(queue.push(&namespace.to_string(), *namespace), Ok(()));
            }
            let order = drained(&mut queue);
            prop_assert_eq!(order.len(), pushes.len());
            let mut had = [0_usize; 6];
            for namespace in order {
                let total = |of: usize| pushes.iter().filter(|one| **one == of).count();
                for other in 0..6 {
                    prop_assert!(had[other] == total(other) || had[other] >= had[namespace]);
                }
                had[namespace] += 1;
            }
        }
    }

    fn lane(concurrency: usize) -> &'static Lane {
        Box::leak(Box::new(Lane::new(concurrency)))
    }

    /// Work that ends when the sender is used, and that has begun when the receiver gets something.
    fn blocking() -> (mpsc::Sender<()>, oneshot::Receiver<()>, impl FnOnce() + Send + 'static) {
        let ((end, ended), (started, begun)) = (mpsc::channel(), oneshot::channel());
        let work = move || {
            started.send(()).unwrap();
            ended.recv().unwrap();
        };
        (end, begun, work)
    }

    #[tokio::test]
    async fn work_is_done_in_turn_and_the_thread_of_the_caller_stays_free() {
        let lane = lane(256);
        let (end, begun, work) = blocking();
        let (order, ordered) = mpsc::channel();
        let blocking = lane.run("greedy", work);
        let work = |namespace: &'static str, number: usize| {
            let order = order.clone();
            lane.run(namespace, move || order.send((namespace, number)).unwrap())
        };
        let all = async {
            begun.await.unwrap();
            tokio::join!(
                biased;
                work("greedy", 1),
                work("greedy", 2),
                work("greedy", 3),
                work("shop", 1),
                // The thread of this runtime, the only one, has been free all the time.
                async { end.send(()).unwrap() },
            )
        };
        let (first, all) = tokio::join!(biased; blocking, all);
        assert_eq!((first, all.3), (Ok(()), Ok(())));
        let order: Vec<_> = ordered.try_iter().collect();
        assert_eq!(order, [("greedy", 1), ("shop", 1), ("greedy", 2), ("greedy", 3)]);
        // A panic harms nobody else, and the lane starts again when it has come to rest.
        let panicked: Result<(), _> = lane.run("shop", || panic!("as the test wants")).await;
        assert_eq!(panicked, Err(LaneError::Panicked));
        assert_eq!(lane.run("shop", || 7).await, Ok(7));
    }

    #[tokio::test]
    async fn work_that_nobody_waits_for_is_not_done() {
        let lane = lane(256);
        let (end, begun, work) = blocking();
        let (done, dones) = mpsc::channel();
        let blocking = lane.run("greedy", work);
        let given_up = async {
            begun.await.unwrap();
            let work = lane.run("greedy", move || done.send(()).unwrap());
            assert!(timeout(Duration::from_millis(10), work).await.is_err(), "the lane is busy");
            end.send(()).unwrap();
        };
        let (first, ()) = tokio::join!(biased; blocking, given_up);
        assert_eq!((first, lane.run("shop", || 7).await), (Ok(()), Ok(7)));
        assert!(dones.try_recv().is_err());
    }

    #[tokio::test]
    async fn more_than_may_wait_is_refused_at_once() {
        let lane = lane(16);
        let (end, begun, work) = blocking();
        let blocking = lane.run("greedy", work);
        let rest = async {
            begun.await.unwrap();
            let one = lane.run("greedy", || ());
            let more = async {
                let greedy = lane.run("greedy", || ()).await;
                assert_eq!(greedy, Err(LaneError::NamespaceFull { limit: 1 }));
                end.send(()).unwrap();
            };
            tokio::join!(biased; one, lane.run("shop", || ()), more)
        };
        let (first, (one, shop, ())) = tokio::join!(biased; blocking, rest);
        assert_eq!((first, one, shop), (Ok(()), Ok(()), Ok(())));
    }
}
