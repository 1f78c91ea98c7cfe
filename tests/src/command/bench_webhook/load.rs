//! Rounds of requests, each answer looked at.

use std::panic::resume_unwind;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use e2e::Service;
use futures::TryStreamExt as _;
use futures::future::try_join_all;
use futures::stream::FuturesUnordered;
use tokio::runtime::Builder;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::client::Connection;
use super::review;

/// Each has its share of the connections for itself. Threads that share them wake each other, and
/// look for work when there is none, which costs the more the longer an answer takes: the client
/// took a fifth more for an answer of the webhook than for one of the floor.
const THREADS: usize = 2;
/// For a round, on whatever machine.
const LONGEST: Duration = Duration::from_secs(300);

/// What is asked again and again.
pub(super) struct Load {
    tls: TlsConnector,
    requests: Vec<Vec<u8>>,
    /// What has to be answered to each.
    answer: Vec<u8>,
}

/// What came of a round.
pub(super) struct Round {
    /// Requests a second.
    pub(super) rate: f64,
    /// How long each took.
    pub(super) latencies: Vec<Duration>,
}

impl Load {
    /// Requests that are allowed without a warning, in that many namespaces by turns.
    pub(super) fn new(tls: TlsConnector, namespaces: usize) -> Self {
        let (requests, answer) = (review::requests(namespaces), review::allowing_answer());
        Self { tls, requests, answer }
    }

    /// Sends so many requests, over connections that are opened before the time counts: on each
    /// the next request as soon as the last one is answered. Any answer but the right one fails.
    pub(super) fn round(
        &self,
        service: &Service<'_>,
        connections: usize,
        requests: usize,
    ) -> Result<Round> {
        let threads = THREADS.min(connections);
        // Made before anybody waits for the others.
        let runtimes: Vec<_> = (0..threads)
            .map(|_| Builder::new_current_thread().enable_all().build())
            .collect::<Result<_, _>>()?;
        let (next, all_are_open) = (AtomicUsize::new(0), Barrier::new(threads + 1));
        let (latencies, took) = thread::scope(|scope| {
            let (next, all_are_open) = (&next, &all_are_open);
            let asking: Vec<_> = runtimes
                .into_iter()
                .map(|runtime| {
                    scope.spawn(move || {
                        let may_ask = interrupt_nobody();
                        let open = self.open(service, connections / threads);
                        let open = runtime.block_on(in_time(open));
                        // Whether that went well or not, the others wait.
                        all_are_open.wait();
                        may_ask?;
                        runtime.block_on(in_time(self.ask_all(open?, next, requests)))
                    })
                })
                .collect();
            all_are_open.wait();
            let start = Instant::now();
            let latencies = asking.into_iter().map(|thread| match thread.join() {
                Ok(latencies) => latencies,
                Err(panic) => resume_unwind(panic),
            });
            let latencies = latencies.collect::<Result<Vec<_>>>()?.concat();
            anyhow::Ok((latencies, start.elapsed()))
        })
        .with_context(|| format!("asking {}", service.name()))?;
        Ok(Round { rate: requests as f64 / took.as_secs_f64(), latencies })
    }

    async fn open(&self, service: &Service<'_>, connections: usize) -> Result<Vec<Connection>> {
        let open = (0..connections).map(|_| Connection::open(&self.tls, service.addr()));
        let mut open = try_join_all(open).await?;
        for connection in &mut open {
            self.ask(connection, 0).await?;
        }
        Ok(open)
    }

    async fn ask_all(
        &self,
        open: Vec<Connection>,
        next: &AtomicUsize,
        requests: usize,
    ) -> Result<Vec<Duration>> {
        let asking = open.into_iter().map(async |mut connection| {
            let mut latencies = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= requests {
                    return anyhow::Ok(latencies);
                }
                latencies.push(self.ask(&mut connection, number).await?);
            }
        });
        let latencies: Vec<_> = asking.collect::<FuturesUnordered<_>>().try_collect().await?;
        Ok(latencies.concat())
    }

    async fn ask(&self, connection: &mut Connection, number: usize) -> Result<Duration> {
        let sent = Instant::now();
        let answer = connection.ask(&self.requests[number % self.requests.len()]).await?;
        let took = sent.elapsed();
        ensure!(answer == self.answer, "a wrong answer: {}", String::from_utf8_lossy(answer));
        Ok(took)
    }
}

/// From now on this thread does not take the processor from another one at the moment when there is
/// something to do for it (`SCHED_BATCH` of sched(7)). Servers are elsewhere than those who ask;
/// here an answer woke a thread of the client, and that took the processor from the server in the
/// middle of the next one: from the webhook nearly once a request, from the floor at every third.
#[cfg(target_os = "linux")]
fn interrupt_nobody() -> Result<()> {
    use thread_priority::unix::{
        NormalThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy,
        thread_native_id,
    };
    use thread_priority::{ThreadPriority, ThreadPriorityValue};

    /// Of 0 to 99, what the library makes the usual niceness of 0 of.
    const AS_EVERYBODY: u8 = 47;

    let priority = ThreadPriorityValue::try_from(AS_EVERYBODY).map_err(anyhow::Error::msg)?;
    let batch = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Batch);
    set_thread_priority_and_policy(
        thread_native_id(),
        ThreadPriority::Crossplatform(priority),
        batch,
    )
    .map_err(|error| anyhow!("cannot become a batch thread: {error:?}"))
}

#[cfg(not(target_os = "linux"))]
fn interrupt_nobody() -> Result<()> {
    Ok(())
}

async fn in_time<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(LONGEST, work).await.context("there are answers that do not come")?
}

/// Measures both sides, one right after the other: each is the first one by turns.
pub(super) fn in_turn<T>(
    pair: usize,
    mut measure: impl FnMut(usize) -> Result<T>,
) -> Result<[T; 2]> {
    if pair.is_multiple_of(2) {
        Ok([measure(0)?, measure(1)?])
    } else {
        let second = measure(1)?;
        Ok([measure(0)?, second])
    }
}
