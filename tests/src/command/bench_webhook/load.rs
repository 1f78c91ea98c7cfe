//! Rounds of requests, each answer looked at.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::Service;
use futures::future::try_join_all;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::client::Connection;
use super::review;

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
    pub(super) fn new(tls: TlsConnector, namespaces: usize) -> Arc<Self> {
        let (requests, answer) = (review::requests(namespaces), review::allowing_answer());
        Arc::new(Self { tls, requests, answer })
    }

    /// Sends so many requests, over connections that are opened before the time counts: on each
    /// the next request as soon as the last one is answered. Any answer but the right one fails.
    pub(super) fn round(
        self: &Arc<Self>,
        service: &Service<'_>,
        connections: usize,
        requests: usize,
    ) -> Result<Round> {
        let round = async {
            let round = timeout(LONGEST, self.send(service, connections, requests)).await;
            round.context("there are answers that do not come")?
        };
        runtime(connections)?.block_on(round).with_context(|| format!("asking {}", service.name()))
    }

    async fn send(
        self: &Arc<Self>,
        service: &Service<'_>,
        connections: usize,
        requests: usize,
    ) -> Result<Round> {
        let open = (0..connections).map(|_| Connection::open(&self.tls, service.addr()));
        let mut open = try_join_all(open).await?;
        for connection in &mut open {
            self.ask(connection, 0).await?;
        }
        let next = Arc::new(AtomicUsize::new(0));
        let start = Instant::now();
        let asking = open.into_iter().map(|mut connection| {
            let (load, next) = (Arc::clone(self), Arc::clone(&next));
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= requests {
                        return anyhow::Ok(latencies);
                    }
                    latencies.push(load.ask(&mut connection, number).await?);
                }
            })
        });
        let asking: Vec<_> = asking.collect();
        let mut latencies = Vec::with_capacity(requests);
        for each in asking {
            latencies.extend(each.await??);
        }
        Ok(Round { rate: requests as f64 / start.elapsed().as_secs_f64(), latencies })
    }

    async fn ask(&self, connection: &mut Connection, number: usize) -> Result<Duration> {
        let sent = Instant::now();
        let answer = connection.ask(&self.requests[number % self.requests.len()]).await?;
        let took = sent.elapsed();
        ensure!(answer == self.answer, "a wrong answer: {}", String::from_utf8_lossy(answer));
        Ok(took)
    }
}

/// One connection has no use for a second thread, which would only have to be woken.
fn runtime(connections: usize) -> Result<Runtime> {
    let mut builder = match connections {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    Ok(builder.worker_threads(2).enable_all().build()?)
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
