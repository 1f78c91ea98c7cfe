//! The life cycle of a service, from its command line to its exit code.

use std::borrow::Cow;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use kube::{Client, Resource};
use policy_metrics::every_service::{
    BUILD_INFO, CERTIFICATE_EXPIRY, CERTIFICATE_NOT_BEFORE, LEADER,
};
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::config::{self, About, Args, Configuration, LeaseConfig, Loaded};
use crate::endpoints::Endpoints;
use crate::lease::{self, Election, LeaderGate};
use crate::metrics::Metrics;
use crate::readiness::Readiness;
use crate::server::{Limits, Server};
use crate::stop::Signals;
use crate::tasks::{EndedTask, Tasks};
use crate::telemetry::{self, Logs};
use crate::tls::{CertificateFollower, CertificateStore};
use crate::watch::{self, Sink, Target, WatchStatus};

/// The part of the grace period that is kept for the exit and its last log lines.
const EXIT_MARGIN: Duration = Duration::from_millis(500);

/// A service that is being set up.
pub struct Service<C> {
    /// Its configuration.
    pub config: C,
    /// What it waits for until it is ready.
    pub readiness: Readiness,
    /// Its metrics.
    pub metrics: Metrics,
    /// Its endpoints.
    pub endpoints: Endpoints,
    /// The server certificate, where the configuration has TLS: the one of `tls.cert` and
    /// `tls.key`. Where these are not set the store is empty, and the service has to fill it.
    pub certificates: Option<CertificateStore>,
    /// Cancelled when the tasks have to end. Leader election and server stop only after them.
    pub stop: CancellationToken,
    tasks: Tasks,
    elections: Tasks,
    tasks_ended: CancellationToken,
}

/// Runs a service: reads the command line and the configuration, calls `start` to set up tasks and
/// endpoints, and serves until SIGTERM or SIGINT.
///
/// Exit codes: 0 after an orderly shutdown, 1 after a failure, 2 for a wrong command line or
/// configuration, 128 plus the signal's number where a second signal cut the shutdown short.
pub fn main<C: Configuration + 'static>(
    about: About,
    start: impl AsyncFnOnce(&mut Service<C>) -> anyhow::Result<()>,
) -> ExitCode {
    let loaded = match config::open::<C>(Args::parse::<C>(about)) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let logs = match Logs::start(&loaded.config.runtime().log) {
        Ok(logs) => logs,
        Err(problem) => {
            // There is no log yet.
            let _ = writeln!(io::stderr(), "{}: {problem:#}", about.name);
            return ExitCode::FAILURE;
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name(about.name)
        .enable_all()
        .build();
    let ended = runtime.context("cannot start the runtime").and_then(|runtime| {
        let ended = runtime.block_on(run(about, loaded, logs, start));
        // A hanging DNS lookup, which blocks a thread, must not delay the exit.
        runtime.shutdown_background();
        ended
    });
    ended.unwrap_or_else(|problem| {
        error!("{problem:#}");
        ExitCode::FAILURE
    })
}

async fn run<C: Configuration + 'static>(
    about: About,
    loaded: Loaded<C>,
    logs: Logs,
    start: impl AsyncFnOnce(&mut Service<C>) -> anyhow::Result<()>,
) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::catch().context("cannot catch signals")?;
    let Loaded { config, warnings, origin } = loaded;
    // Logged as an object: see `telemetry::ConfigAsObject`.
    let effective = serde_json::to_string(&config).unwrap_or_default();
    info!(service = about.name, version = about.version, config = effective, "starting");
    for warning in warnings {
        warn!("{warning}");
    }
    let addr = config.runtime().addr;
    let listener =
        TcpListener::bind(addr).await.with_context(|| format!("cannot listen on {addr}"))?;
    let mut service = Service::new(about, config)?;
    service.spawn_until_stop("log level", telemetry::follow_level::<C>(logs, origin));
    service.open_certificates()?;
    tokio::select! {
        started = start(&mut service) => started?,
        (signal, _) = signals.next() => {
            info!(signal, "stopping during the start");
            return Ok(ExitCode::SUCCESS);
        }
    }
    let addr = listener.local_addr().context("cannot read the listening address")?;
    info!(%addr, "listening");
    service.serve(listener, &mut signals).await
}

impl<C: Configuration> Service<C> {
    fn new(about: About, config: C) -> anyhow::Result<Self> {
        let metrics = Metrics::install(about.histograms).context("cannot record metrics")?;
        let readiness = Readiness::default();
        let (name, version) = (about.name, about.version);
        metrics.write_at_scrape(move |to| {
            to.family(&BUILD_INFO).series(&[("service", name), ("version", version)], 1);
        });
        let mut service = Self {
            config,
            endpoints: Endpoints::standard(&readiness, &metrics),
            metrics: metrics.clone(),
            readiness,
            certificates: None,
            stop: CancellationToken::new(),
            tasks: Tasks::default(),
            elections: Tasks::default(),
            tasks_ended: CancellationToken::new(),
        };
        service.spawn_until_stop("upkeep of metrics", metrics.upkeep());
        Ok(service)
    }

    /// Reads the certificate, where there is TLS, and follows its files.
    fn open_certificates(&mut self) -> anyhow::Result<()> {
        let Some(tls) = self.config.tls() else { return Ok(()) };
        let follower = CertificateFollower::open(tls).context("cannot serve TLS")?;
        let store = follower.store();
        self.certificates = Some(store.clone());
        self.spawn_until_stop("certificate", follower.run(self.readiness.clone()));
        self.metrics.write_at_scrape(move |to| {
            if let Some(current) = store.current() {
                to.family(&CERTIFICATE_EXPIRY).series(&[], current.not_after.0);
                to.family(&CERTIFICATE_NOT_BEFORE).series(&[], current.not_before.0);
            }
        });
        Ok(())
    }

    /// Runs a task that never ends by itself, and drops it when the service stops.
    pub fn spawn_until_stop(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let stop = self.stop.clone();
        self.spawn(name, async move {
            stop.run_until_cancelled_owned(task).await;
        });
    }

    /// Runs a task that ends when [`Service::stop`] is cancelled. If it ends earlier the service
    /// shuts down.
    pub fn spawn(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.tasks.spawn(name, task);
    }

    /// Watches all objects of a kind. The service is ready only after their initial list.
    pub fn watch<T, S>(&mut self, client: &Client, target: Target, sink: S) -> WatchStatus
    where
        T: Resource<DynamicType = ()> + DeserializeOwned + Send + 'static,
        S: Sink<T> + 'static,
    {
        let status = WatchStatus::new(target.kind);
        let listed = self.readiness.hold(format!("the initial list of {}", target.plural));
        let name = format!("watch of {}", target.plural);
        let (client, stop) = (client.clone(), self.stop.clone());
        self.spawn(name, watch::run(client, target, sink, status.clone(), Some(listed), stop));
        status
    }

    /// Watches all objects of a kind from the moment on in which `begin` is cancelled, for what is seldom
    /// needed. The service is ready without it. The state of the watch is there once it has begun.
    pub fn watch_from<T, S>(
        &mut self,
        client: &Client,
        target: Target,
        sink: S,
        begin: CancellationToken,
    ) -> Arc<OnceLock<WatchStatus>>
    where
        T: Resource<DynamicType = ()> + DeserializeOwned + Send + 'static,
        S: Sink<T> + 'static,
    {
        let state = Arc::new(OnceLock::new());
        let name = format!("watch of {} from when they are needed", target.plural);
        let (client, stop, status) = (client.clone(), self.stop.clone(), Arc::clone(&state));
        self.spawn(name, async move {
            if stop.run_until_cancelled(begin.cancelled()).await.is_some() {
                // Its series appear with it: one that is there and never set would look like a watch
                // that nobody hears from.
                let status = status.get_or_init(|| WatchStatus::new(target.kind)).clone();
                watch::run(client, target, sink, status, None, stop).await;
            }
        });
        state
    }

    /// Takes part in the leader election by this Lease, and releases the Lease once all tasks have
    /// ended.
    ///
    /// # Errors
    /// The durations do not fit together, as [`LeaseConfig::check`] also reports.
    pub fn elect(&mut self, client: Client, config: &LeaseConfig) -> anyhow::Result<LeaderGate> {
        // The name of the pod, in a cluster.
        let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "unknown".to_owned());
        let identity = lease::identity(&host);
        let (election, gate) =
            Election::new(client, &config.namespace, &config.name, &identity, config.timing()?);
        self.elections.spawn("leader election", election.run(self.tasks_ended.clone()));
        let leader = gate.clone();
        self.metrics.write_at_scrape(move |to| {
            to.family(&LEADER).series(&[], u8::from(leader.is_open()));
        });
        Ok(gate)
    }

    async fn serve(
        mut self,
        listener: TcpListener,
        signals: &mut Signals,
    ) -> anyhow::Result<ExitCode> {
        let stop_serving = CancellationToken::new();
        let mut endpoints = std::mem::take(&mut self.endpoints);
        if self.config.tls().is_some_and(|tls| tls.client_ca_covers_metrics) {
            endpoints.require_certificate();
        }
        let router = endpoints.router();
        let https = Server {
            make_service: move |caller| router.service(caller),
            certificates: self.certificates.clone(),
            limits: Limits::default(),
        };
        let mut server = Tasks::default();
        server.spawn("server", https.serve(listener, stop_serving.clone()));
        let failed = tokio::select! {
            (signal, _) = signals.next() => {
                info!(signal, "stopping");
                false
            }
            ended = self.ended(&mut server) => ended_early(&ended),
        };
        let shutdown = &self.config.runtime().shutdown;
        let (grace, drain) = (shutdown.grace(), shutdown.drain());
        let deadline = Instant::now() + grace.saturating_sub(EXIT_MARGIN);
        let stopped = async {
            // Never released: load balancers have to use other replicas.
            let _ = self.readiness.hold("the end of the process");
            let failed = failed || self.drain(&mut server, drain).await;
            self.stop_all(&mut server, &stop_serving, deadline).await.map(|()| failed)
        };
        tokio::select! {
            stopped = stopped => Ok(match stopped {
                Ok(false) => ExitCode::SUCCESS,
                Ok(true) => ExitCode::FAILURE,
                Err(problem) => {
                    error!("cannot shut down in order within {grace:?}: {problem}");
                    ExitCode::FAILURE
                }
            }),
            (signal, code) = second_signal(signals, failed) => {
                warn!(signal, "stopping at once");
                Ok(ExitCode::from(code))
            }
        }
    }

    /// Waits for a task that ends by itself.
    async fn ended(&mut self, server: &mut Tasks) -> EndedTask {
        tokio::select! {
            ended = self.tasks.next() => ended,
            ended = self.elections.next() => ended,
            ended = server.next() => ended,
        }
    }

    /// Serves on while not ready, until clients use other replicas. Returns early, and true, where
    /// a task fails.
    async fn drain(&mut self, server: &mut Tasks, drain: Duration) -> bool {
        if drain.is_zero() {
            return false;
        }
        timeout(drain, self.ended(server)).await.is_ok_and(|ended| ended_early(&ended))
    }

    /// Stops everything in order: tasks, leader election, server. The error names what does not
    /// end in time.
    async fn stop_all(
        &mut self,
        server: &mut Tasks,
        stop_serving: &CancellationToken,
        deadline: Instant,
    ) -> Result<(), String> {
        self.stop.cancel();
        self.tasks.end(deadline).await?;
        self.tasks_ended.cancel();
        self.elections.end(deadline).await?;
        stop_serving.cancel();
        server.end(deadline).await
    }
}

/// Logs a task that ended before the shutdown, which is a failure.
fn ended_early(ended: &EndedTask) -> bool {
    let how = if ended.panicked { "panicked" } else { "ended" };
    error!("the task `{}` {how}: shutting down", ended.name);
    true
}

/// The signal that cuts a shutdown short: the second one. Where a failure started the shutdown, the
/// first signal asks for nothing more.
async fn second_signal(signals: &mut Signals, is_failure: bool) -> (&'static str, u8) {
    if is_failure {
        let (signal, _) = signals.next().await;
        info!(signal, "already stopping");
    }
    signals.next().await
}

#[cfg(test)]
mod tests;
