//! Rounds of requests whose responses are all checked.

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

/// Threads of the client, each with connections of its own. Threads that share connections wake each
/// other and poll for work, which costs more the longer a response takes: the client took a fifth
/// more time for a response of the webhook than for one of the baseline.
const THREADS: usize = 2;
/// Deadline of a round, on any machine.
const LONGEST: Duration = Duration::from_secs(300);

/// The requests of a round.
pub(in crate::command) struct Load {
    tls: TlsConnector,
    requests: Vec<Vec<u8>>,
    /// The expected response to each.
    answer: Vec<u8>,
}

/// The result of a round.
pub(in crate::command) struct Round {
    /// Requests per second.
    pub(in crate::command) rate: f64,
    /// The latency of each request.
    pub(super) latencies: Vec<Duration>,
}

impl Load {
    /// Requests that are allowed without a warning, in this many namespaces in turn.
    pub(super) fn new(tls: TlsConnector, namespaces: usize) -> Self {
        Self::of(tls, review::requests(namespaces), review::allowing_answer())
    }

    /// These requests in turn, each of which has that answer.
    pub(in crate::command) fn of(
        tls: TlsConnector,
        requests: Vec<Vec<u8>>,
        answer: Vec<u8>,
    ) -> Self {
        Self { tls, requests, answer }
    }

    /// Sends this many requests over connections that are opened before the time counts, on each
    /// connection one after the other. Fails at the first unexpected response.
    pub(in crate::command) fn round(
        &self,
        service: &Service<'_>,
        connections: usize,
        requests: usize,
    ) -> Result<Round> {
        let threads = THREADS.min(connections);
        // All connections are opened before the first thread waits at the barrier.
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
                        // Also after an error, as the other threads wait at the barrier.
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
        .with_context(|| format!("cannot send requests to {}", service.name()))?;
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
        ensure!(answer == self.answer, "wrong response: {}", String::from_utf8_lossy(answer));
        Ok(took)
    }
}

/// Lets this thread no longer preempt others when it becomes runnable (`SCHED_BATCH` of sched(7)). In
/// production the client runs on another machine. Here each response woke a thread of the client,
/// which preempted the server within the next request: the webhook nearly once per request, the
/// baseline at every third one.
#[cfg(target_os = "linux")]
fn interrupt_nobody() -> Result<()> {
    use thread_priority::unix::{
        NormalThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy,
        thread_native_id,
    };
    use thread_priority::{ThreadPriority, ThreadPriorityValue};

    /// The library's value, of 0 to 99, for a niceness of 0.
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
    timeout(LONGEST, work).await.context("responses are missing")?
}

/// Measures both sides, one right after the other, in alternating order.
pub(in crate::command) fn in_turn<T>(
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
