//! Several clusters at once: which ones, and how they are asked.
//!
//! All are asked at the same time, each until its own deadline: a dead cluster costs its deadline
//! and nothing more. Contexts of one server are asked one after the other, as they may be the same
//! cluster.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;
use futures::future::join_all;
use policy_core::text::printable;
use serde::Serialize;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::Semaphore;

use super::{Cluster, ClusterError, Context, Contexts};
use crate::exit::Exit;
use crate::global::Global;
use crate::output::{self, Console};

/// How many clusters are worked on at a time; each may hold a page of 7 MB.
const WORKING: usize = 8;
/// How many clusters are waited for at a time.
const CONNECTING: usize = 64;
/// The default deadline of a cluster, in seconds.
const TIMEOUT: u64 = 120;

/// The clusters that the user names.
#[derive(clap::Args)]
pub(crate) struct Selection {
    /// Several clusters: contexts by name or pattern (`prod-*`), separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    contexts: Vec<String>,

    /// The deadline of each of several clusters, in seconds; 120 by default
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: Option<u64>,
}

impl Selection {
    /// Whether the user names several clusters.
    ///
    /// # Errors
    /// The user gives one cluster a deadline.
    pub(crate) fn is_used(&self) -> anyhow::Result<bool> {
        if self.contexts.is_empty() && self.timeout.is_some() {
            bail!("--timeout has no effect without --contexts");
        }
        Ok(!self.contexts.is_empty())
    }

    /// The clusters of the user's contexts, else of all contexts.
    ///
    /// # Errors
    /// A context that does not exist, or that is chosen by `--context`.
    pub(crate) fn fleet(&self, global: &Global) -> anyhow::Result<Fleet> {
        if global.target.context.is_some() {
            bail!("choose clusters with --contexts, not with --context");
        }
        let names = self.contexts.iter().map(|name| name.trim());
        let names: Vec<&str> = names.filter(|name| !name.is_empty()).collect();
        if names.is_empty() && !self.contexts.is_empty() {
            bail!("--contexts names no context");
        }
        Fleet::new(&names, self.timeout.unwrap_or(TIMEOUT), global)
    }
}

/// The clusters of a command.
pub(crate) struct Fleet {
    contexts: Contexts,
    /// In the order of the user.
    pub(crate) chosen: Vec<Context>,
    limit: Duration,
    console: Console,
    runtime: Background,
}

/// A runtime whose end waits for no call that still hangs.
struct Background(Option<Runtime>);

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// A cluster that answered.
pub(crate) struct Reached<'a> {
    pub(crate) context: &'a Context,
    pub(crate) cluster: Cluster,
    /// When its deadline ends; it does not run while the cluster waits for others.
    pub(crate) deadline: Instant,
    limit: Duration,
}

/// What came of a cluster.
pub(crate) struct Answer<'a, T> {
    pub(crate) context: &'a Context,
    pub(crate) result: Result<T, ClusterError>,
}

/// The result for a cluster, as JSON and YAML have it.
#[derive(Serialize)]
pub(crate) struct OfCluster<T> {
    context: String,
    /// The URL of the API server.
    server: String,
    /// Why there is nothing of it, or not everything; `null` where there is.
    pub(crate) error: Option<String>,
    pub(crate) policies: Vec<T>,
}

impl<T> OfCluster<T> {
    pub(crate) fn new(context: &Context, error: Option<String>, policies: Vec<T>) -> Self {
        let Context { name: context, server, .. } = context.clone();
        Self { context, server, error, policies }
    }

    /// Prints what went wrong, and gives the exit code for it.
    pub(crate) fn report_error(&self) -> Exit {
        let Some(error) = &self.error else { return Exit::Fine };
        output::error(format_args!("{}: {error}", self.context));
        Exit::Cluster
    }

    /// The line above what a cluster has.
    pub(crate) fn title(&self, rest: &str) -> String {
        cluster_title(&self.context, rest)
    }
}

/// The line above what a cluster has.
pub(crate) fn cluster_title(context: &str, rest: &str) -> String {
    printable(&format!("cluster {context}{rest}")).into_owned() + "\n"
}

impl Reached<'_> {
    /// Awaits what is done with the cluster, until its deadline.
    pub(crate) fn within<T>(
        &self,
        work: impl Future<Output = Result<T, ClusterError>>,
    ) -> impl Future<Output = Result<T, ClusterError>> {
        until(self.deadline, self.limit, work)
    }

    /// Why something did not end.
    pub(crate) fn not_in_time(&self) -> String {
        format!("not read to its end within {} s (--timeout)", self.limit.as_secs())
    }
}

impl Fleet {
    /// The clusters of all contexts.
    pub(crate) fn of_all(global: &Global) -> anyhow::Result<Self> {
        Self::new(&[], TIMEOUT, global)
    }

    fn new(names: &[&str], seconds: u64, global: &Global) -> anyhow::Result<Self> {
        let contexts = Contexts::load(global.target.kubeconfig.as_deref())?;
        let chosen = contexts.matching(names)?;
        let limit = Duration::from_secs(seconds);
        let runtime = Background(Some(super::runtime()?));
        Ok(Self { contexts, chosen, limit, console: global.console(), runtime })
    }

    /// Asks each cluster; the answers are in the order of the contexts.
    pub(crate) fn each<'a, T: Send>(
        &'a self,
        work: impl AsyncFn(Reached<'a>) -> Result<T, ClusterError> + Sync,
    ) -> Vec<Answer<'a, T>> {
        let progress = self.console.progress(Some(self.chosen.len() as u64), "clusters");
        let (connecting, working) = (Semaphore::new(CONNECTING), Semaphore::new(WORKING));
        let answers = self.in_groups(
            self.chosen.iter().collect(),
            |context| context,
            async |group| {
                let connected = group.iter().map(|context| self.connect(context, &connecting));
                let mut answers = Vec::new();
                for (context, connected) in group.iter().zip(join_all(connected).await) {
                    let result = match connected {
                        Ok((cluster, left)) => {
                            // It is never closed.
                            let _permit = working.acquire().await;
                            let (deadline, limit) = (Instant::now() + left, self.limit);
                            work(Reached { context, cluster, deadline, limit }).await
                        }
                        Err(error) => Err(error),
                    };
                    progress.inc(1);
                    answers.push(Answer { context, result });
                }
                answers
            },
        );
        progress.finish_and_clear();
        answers
    }

    /// Goes on with clusters that answered, each with a deadline of its own again.
    pub(crate) fn again<I: Send, T: Send>(
        &self,
        items: Vec<(&Context, I)>,
        work: impl AsyncFn(I, Duration) -> T + Sync,
    ) -> Vec<T> {
        let working = Semaphore::new(WORKING);
        self.in_groups(
            items,
            |(context, _)| context,
            async |group| {
                let mut results = Vec::new();
                for (_, item) in group {
                    // It is never closed.
                    let _permit = working.acquire().await;
                    results.push(work(item, self.limit).await);
                }
                results
            },
        )
    }

    /// Adds a context, where the user did not choose it already.
    pub(crate) fn include(&mut self, name: &str) -> anyhow::Result<()> {
        if self.chosen.iter().any(|context| context.name == name) {
            return Ok(());
        }
        let name = self.contexts.choose(Some(name))?;
        let found = self.contexts.all().into_iter().find(|context| context.name == name);
        self.chosen.splice(0..0, found);
        Ok(())
    }

    /// Connects to a cluster, for a command that goes on with it by itself.
    pub(crate) async fn connect_to(&self, context: &Context) -> Result<Cluster, ClusterError> {
        Cluster::connect(&self.contexts, &context.name).await
    }

    /// Awaits what is done with a cluster, until the deadline.
    pub(crate) fn within<T>(
        &self,
        work: impl Future<Output = Result<T, ClusterError>>,
    ) -> impl Future<Output = Result<T, ClusterError>> {
        until(Instant::now() + self.limit, self.limit, work)
    }

    /// The namespace of objects that name none, where it is one in all clusters.
    pub(crate) fn namespace<'a>(&'a self, global: &'a Global) -> Option<&'a str> {
        let first = || self.chosen.first().map(|context| &*context.namespace);
        let is_one = || self.chosen.windows(2).all(|two| two[0].namespace == two[1].namespace);
        global.target.namespace.as_deref().or_else(|| first().filter(|_| is_one()))
    }

    /// Connects, and tells what is left of the deadline.
    async fn connect(
        &self,
        context: &Context,
        connecting: &Semaphore,
    ) -> Result<(Cluster, Duration), ClusterError> {
        // It is never closed.
        let _permit = connecting.acquire().await;
        let (start, limit) = (Instant::now(), self.limit);
        let cluster = Cluster::connect(&self.contexts, &context.name);
        let cluster = tokio::time::timeout(limit, cluster).await.unwrap_or_else(|_| {
            let operation = format!("cannot use cluster `{}`", context.name);
            Err(ClusterError::timeout(operation, limit))
        })?;
        self.console.detail(format_args!("{cluster} answered in {:.1?}", start.elapsed()));
        Ok((cluster, limit.saturating_sub(start.elapsed())))
    }

    /// Works on items of several clusters at the same time, each server on a thread of its own:
    /// decoding what a cluster answers takes a processor. The results have the order of the items.
    fn in_groups<I: Send, T: Send>(
        &self,
        items: Vec<I>,
        context: impl Fn(&I) -> &Context,
        work: impl AsyncFn(Vec<I>) -> Vec<T> + Sync,
    ) -> Vec<T> {
        let Some(runtime) = &self.runtime.0 else { return Vec::new() };
        let groups = by_server(items, context);
        let threads = groups.len().min(CONNECTING);
        let queue = Mutex::new(groups.into_iter());
        let results = Mutex::new(Vec::new());
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        let worker = |runtime: &Handle| {
            while let Some((places, items)) = next() {
                let found = runtime.block_on(work(items));
                let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                results.extend(places.into_iter().zip(found));
            }
        };
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| worker(runtime.handle()));
            }
        });
        let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        results.sort_by_key(|(place, _)| *place);
        results.into_iter().map(|(_, result)| result).collect()
    }
}

/// Awaits what is done with a cluster, until a deadline that it has had for so long.
fn until<T>(
    deadline: Instant,
    limit: Duration,
    work: impl Future<Output = Result<T, ClusterError>>,
) -> impl Future<Output = Result<T, ClusterError>> {
    // Such futures are of 20 KB.
    let work = Box::pin(work);
    async move {
        let timeout = || Err(ClusterError::timeout("cannot use the cluster", limit));
        tokio::time::timeout_at(deadline.into(), work).await.unwrap_or_else(|_| timeout())
    }
}

/// The items with their positions, grouped by server.
fn by_server<I>(items: Vec<I>, context: impl Fn(&I) -> &Context) -> Vec<(Vec<usize>, Vec<I>)> {
    let mut groups: Vec<(String, Vec<usize>, Vec<I>)> = Vec::new();
    for (place, item) in items.into_iter().enumerate() {
        let server = context(&item).server.to_ascii_lowercase();
        match groups.iter_mut().find(|(known, ..)| *known == server && !server.is_empty()) {
            Some((_, places, items)) => {
                places.push(place);
                items.push(item);
            }
            None => groups.push((server, vec![place], vec![item])),
        }
    }
    groups.into_iter().map(|(_, places, items)| (places, items)).collect()
}
