//! The life of a service, from its command line to its exit code.

use std::borrow::Cow;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::config::{self, About, Args, Configuration, LeaseConfig, Loaded};
use crate::endpoints::Endpoints;
use crate::lease::{self, Election, Gate};
use crate::metrics::{Kind, Metrics};
use crate::readiness::Readiness;
use crate::server::{Limits, Server};
use crate::stop::Signals;
use crate::tasks::{Ended, Tasks};
use crate::telemetry::{self, Logs};
use crate::tls::{CertificateStore, Follower};
use crate::watch::{self, Sink, Target, WatchStatus};

/// What is left of the grace period for the last words.
const MARGIN: Duration = Duration::from_millis(500);

/// A service that is being set up.
pub struct Service<C> {
    /// Its configuration.
    pub config: C,
    /// What it waits for before it is ready.
    pub readiness: Readiness,
    /// Its metrics.
    pub metrics: Metrics,
    /// Its paths.
    pub endpoints: Endpoints,
    /// The certificate it serves by, where its configuration has TLS. It holds what `tls.cert` and
    /// `tls.key` name; where they are not set, it is empty, and the service has to set it.
    pub certificates: Option<CertificateStore>,
    /// Told when work has to end. Leadership and the server go on until it has.
    pub stop: CancellationToken,
    work: Tasks,
    elections: Tasks,
    work_ended: CancellationToken,
}

/// Runs a service: reads the command line and the configuration, lets `start` set up its tasks and
/// paths, and serves until SIGTERM or SIGINT.
///
/// Exit codes: 0 after a stop that was asked for, 1 where something failed, 2 where the command
/// line or the configuration is wrong, 128 and the signal's number where a second signal cut the
/// stop short.
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
            // Nobody else is there yet to be told by.
            let _ = writeln!(io::stderr(), "{}: {problem}", about.name);
            return ExitCode::FAILURE;
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name(about.name)
        .enable_all()
        .build();
    let lived = runtime.context("cannot start the runtime").and_then(|runtime| {
        let lived = runtime.block_on(live(about, loaded, logs, start));
        // A look-up of a host name that hangs would keep the process from ending.
        runtime.shutdown_background();
        lived
    });
    lived.unwrap_or_else(|problem| {
        error!("{problem:#}");
        ExitCode::FAILURE
    })
}

async fn live<C: Configuration + 'static>(
    about: About,
    loaded: Loaded<C>,
    logs: Logs,
    start: impl AsyncFnOnce(&mut Service<C>) -> anyhow::Result<()>,
) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::catch().context("cannot catch signals")?;
    let Loaded { config, warnings, origin } = loaded;
    // The log writes it as an object: see `telemetry::ConfigAsObject`.
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
            info!(signal, "stopping before the start was complete");
            return Ok(ExitCode::SUCCESS);
        }
    }
    let addr = listener.local_addr().context("cannot tell where it listens")?;
    info!(%addr, "listening");
    service.serve(listener, &mut signals).await
}

impl<C: Configuration> Service<C> {
    fn new(about: About, config: C) -> anyhow::Result<Self> {
        let metrics = Metrics::install(about.histograms).context("cannot record metrics")?;
        let readiness = Readiness::default();
        let (name, version) = (about.name, about.version);
        metrics.write_at_scrape(move |to| {
            to.family("kube_devops_build_info", Kind::Gauge, "What runs here.")
                .series(&[("service", name), ("version", version)], 1);
        });
        let mut service = Self {
            config,
            endpoints: Endpoints::standard(&readiness, &metrics),
            metrics: metrics.clone(),
            readiness,
            certificates: None,
            stop: CancellationToken::new(),
            work: Tasks::default(),
            elections: Tasks::default(),
            work_ended: CancellationToken::new(),
        };
        service.spawn_until_stop("upkeep of metrics", metrics.upkeep());
        Ok(service)
    }

    /// Reads the certificate, where there is TLS, and follows it.
    fn open_certificates(&mut self) -> anyhow::Result<()> {
        let Some(tls) = self.config.tls() else { return Ok(()) };
        let follower = Follower::open(tls).context("cannot serve by TLS")?;
        let store = follower.store();
        self.certificates = Some(store.clone());
        self.spawn_until_stop("certificate", follower.run(self.readiness.clone()));
        self.metrics.write_at_scrape(move |to| {
            if let Some(current) = store.current() {
                let help = "When the certificate expires, in seconds since 1970.";
                to.family("tls_certificate_expiry_timestamp_seconds", Kind::Gauge, help)
                    .series(&[], current.not_after.0);
            }
        });
        Ok(())
    }

    /// Runs what would never end by itself, and is cut off when the service stops.
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

    /// Runs a task that ends when [`Service::stop`] is told; one that ends earlier ends the
    /// process.
    pub fn spawn(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.work.spawn(name, task);
    }

    /// Watches all objects of a kind. The service is not ready before their first whole list.
    pub fn watch<T, S>(&mut self, client: &Client, target: Target, sink: S) -> WatchStatus
    where
        T: Resource<DynamicType = ()> + DeserializeOwned + Send + 'static,
        S: Sink<T> + 'static,
    {
        let status = WatchStatus::new(target.kind);
        let listed = self.readiness.hold(format!("the first list of {}", target.plural));
        let name = format!("watch of {}", target.plural);
        let (client, stop) = (client.clone(), self.stop.clone());
        self.spawn(name, watch::run(client, target, sink, status.clone(), listed, stop));
        status
    }

    /// Takes part in the leader election by this Lease. The Lease is released once all work has
    /// ended.
    ///
    /// # Errors
    /// The durations do not fit together, which [`LeaseConfig::check`] reports as well.
    pub fn elect(&mut self, client: Client, config: &LeaseConfig) -> anyhow::Result<Gate> {
        let identity = lease::identity(&hostname());
        let (election, gate) =
            Election::new(client, &config.namespace, &config.name, &identity, config.timing()?);
        self.elections.spawn("election", election.run(self.work_ended.clone()));
        let leader = gate.clone();
        self.metrics.write_at_scrape(move |to| {
            to.family("leader", Kind::Gauge, "Whether this replica leads.")
                .series(&[], u8::from(leader.is_open()));
        });
        Ok(gate)
    }

    async fn serve(
        mut self,
        listener: TcpListener,
        signals: &mut Signals,
    ) -> anyhow::Result<ExitCode> {
        let stop_serving = CancellationToken::new();
        let router = std::mem::take(&mut self.endpoints).router();
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
        let deadline = Instant::now() + grace.saturating_sub(MARGIN);
        let stopped = async {
            // Held for good: who asks is told to go elsewhere.
            let _ = self.readiness.hold("the end of the process");
            let failed = failed || self.drain(&mut server, drain).await;
            self.stop_all(&mut server, &stop_serving, deadline).await.map(|()| failed)
        };
        tokio::select! {
            stopped = stopped => Ok(match stopped {
                Ok(false) => ExitCode::SUCCESS,
                Ok(true) => ExitCode::FAILURE,
                Err(problem) => {
                    error!("did not stop in good order within {grace:?}: {problem}");
                    ExitCode::FAILURE
                }
            }),
            (signal, code) = second_signal(signals, failed) => {
                warn!(signal, "stopping at once");
                Ok(ExitCode::from(code))
            }
        }
    }

    /// Waits for a part that ends by itself.
    async fn ended(&mut self, server: &mut Tasks) -> Ended {
        tokio::select! {
            ended = self.work.next() => ended,
            ended = self.elections.next() => ended,
            ended = server.next() => ended,
        }
    }

    /// Goes on as before, not ready, while those who call learn to call others. Says whether
    /// something failed meanwhile, which cuts it short.
    async fn drain(&mut self, server: &mut Tasks, drain: Duration) -> bool {
        if drain.is_zero() {
            return false;
        }
        timeout(drain, self.ended(server)).await.is_ok_and(|ended| ended_early(&ended))
    }

    /// Ends all there is, each part after those that need it; else says what does not end.
    async fn stop_all(
        &mut self,
        server: &mut Tasks,
        stop_serving: &CancellationToken,
        deadline: Instant,
    ) -> Result<(), String> {
        self.stop.cancel();
        self.work.end(deadline).await?;
        self.work_ended.cancel();
        self.elections.end(deadline).await?;
        stop_serving.cancel();
        server.end(deadline).await
    }
}

/// Tells of a task that ended before it was told to.
fn ended_early(ended: &Ended) -> bool {
    let how = if ended.panicked { "panicked" } else { "ended" };
    error!("the task `{}` {how}, and so ends the process", ended.name);
    true
}

/// The signal that cuts a stop short: the second one. Where the service stops of itself, the first
/// one asks for no more than that.
async fn second_signal(signals: &mut Signals, stops_of_itself: bool) -> (&'static str, u8) {
    if stops_of_itself {
        let (signal, _) = signals.next().await;
        info!(signal, "is stopping already");
    }
    signals.next().await
}

/// The pod's name, where this runs in one.
fn hostname() -> String {
    let name = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let name = std::env::var("HOSTNAME").unwrap_or(name);
    let name = name.trim();
    if name.is_empty() { "unknown".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests;
