//! `policyctl multi-cluster watch`: the states of the policies of several clusters, and each change.

mod state;

use std::io::{self, ErrorKind as IoErrorKind, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::future::join_all;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use policy_core::Timestamp;
use policy_core::text::printable;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use self::state::{Look, Seen, State, Verdict};
use crate::cluster::fleet::{Fleet, Selection};
use crate::cluster::namespaced::Event;
use crate::cluster::{self, Cluster, ClusterError, Context, ErrorKind};
use crate::exit::Exit;
use crate::global::{Global, Scope};
use crate::output::{self, Output};
use crate::policies::{self, PolicyApi};

const EXAMPLES: &str = "\
Examples:
  policyctl multi-cluster watch
  policyctl multi-cluster watch --contexts 'prod-*' --interval 30

Shows the score that the operator wrote into the status of each policy, then a line for each change:
of a score, of a policy, and of a cluster that falls silent or answers again. Asks each cluster for
its policies every 10 seconds (--interval); one that does not answer is asked less and less often, at
least every 5 minutes. On a terminal the states stand below the changes. Ends with Ctrl-C.
Output: table.";

/// The longest pause between two attempts to reach a cluster.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// How many clusters are asked at a time.
const LOOKING: usize = 64;
/// States that wait to be shown.
const WAITING: usize = 64;

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    selection: Selection,

    /// The pause between two looks at a cluster, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    interval: u64,
}

pub(super) fn run(args: &Args, global: &Global) -> anyhow::Result<Exit> {
    global.output(&[Output::Table], &Scope::CLUSTER)?;
    let fleet = args.selection.fleet(global)?;
    let namespace = global.target.namespace.as_deref();
    let interval = Duration::from_secs(args.interval);
    cluster::run(async {
        let (looks, shown) = channel(WAITING);
        let looking = Semaphore::new(LOOKING);
        let watching = fleet.chosen.iter().enumerate().map(|(place, context)| {
            let looks = looks.clone();
            let watched =
                Watched { fleet: &fleet, context, namespace, interval, looking: &looking };
            async move { watched.follow(place, looks).await }
        });
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = join_all(watching) => {}
            shown = Screen::new(&fleet.chosen).show(shown) => shown?,
        }
        Ok(Exit::Fine)
    })
}

/// A cluster that is watched.
struct Watched<'a> {
    fleet: &'a Fleet,
    context: &'a Context,
    namespace: Option<&'a str>,
    interval: Duration,
    /// Permits to look.
    looking: &'a Semaphore,
}

impl Watched<'_> {
    /// Looks at the cluster until nobody wants to know.
    async fn follow(self, place: usize, looks: Sender<(usize, Look)>) {
        let (mut cluster, mut failures) = (None, 0);
        loop {
            // It is never closed.
            let permit = self.looking.acquire().await;
            let start = Instant::now();
            let look = match self.fleet.within(self.look(&mut cluster)).await {
                Ok(seen) => Look::Seen(seen),
                Err(error) => Look::Silent(error.reason().to_owned()),
            };
            drop(permit);
            failures = if matches!(look, Look::Seen(_)) { 0 } else { failures + 1 };
            if failures > 0 {
                cluster = None;
            }
            if looks.send((place, look)).await.is_err() {
                return;
            }
            let took = start.elapsed();
            tokio::time::sleep(pause(self.interval, took, failures, fastrand::f64())).await;
        }
    }

    /// Looks once, and connects where there is no connection.
    async fn look(&self, cluster: &mut Option<Cluster>) -> Result<Seen, ClusterError> {
        if cluster.is_none() {
            *cluster = Some(self.fleet.connect_to(self.context).await?);
        }
        let Some(cluster) = cluster else { return Ok(Seen::default()) };
        let mut seen = Seen::default();
        let Some(api) = PolicyApi::find(cluster).await? else { return Ok(seen) };
        let mut gaps = Vec::new();
        if self.namespace.is_none() {
            match api.read_cluster(|object| seen.add(object, true)).await {
                Err(error) if error.kind == ErrorKind::Unreachable => return Err(error),
                Err(error) => gaps.push(error.to_string()),
                Ok(()) => {}
            }
        }
        let mut unreachable = None;
        let mut take = |event: Event<Value>| match event {
            Event::Page(page) => page.objects.iter().for_each(|object| seen.add(object, false)),
            Event::NotRead { error, .. } if error.kind == ErrorKind::Unreachable => {
                unreachable = Some(error);
            }
            Event::NotRead { part, error } => gaps.push(format!("{part}: {}", error.reason())),
        };
        api.read(self.namespace, &mut take).await;
        if let Some(error) = unreachable {
            return Err(error);
        }
        seen.gap = (!gaps.is_empty()).then(|| gaps.join("; "));
        Ok(seen)
    }
}

/// The pause after a look: nine times what the look took at least, so that a slow cluster is not
/// asked all the time, and twice as long after each failure. `chance`, from 0 to 1, makes it differ:
/// clusters that one proxy hides, and everybody who watches them, are not to ask at the same time.
fn pause(interval: Duration, took: Duration, failures: u32, chance: f64) -> Duration {
    if failures == 0 {
        return interval.max(took * 9).mul_f64(1.0 + chance / 10.0);
    }
    let doubled = interval.saturating_mul(1 << (failures - 1).min(16));
    doubled.min(LONGEST_PAUSE.max(interval)).mul_f64(1.0 - chance / 5.0)
}

/// The states, and where they are shown.
struct Screen<'a> {
    contexts: &'a [Context],
    states: Vec<State>,
    /// The table below the changes; hidden where standard output is no terminal.
    table: ProgressBar,
}

impl<'a> Screen<'a> {
    fn new(contexts: &'a [Context]) -> Self {
        let table = if io::stdout().is_terminal() {
            ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout())
        } else {
            ProgressBar::hidden()
        };
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            table.set_style(style);
        }
        let states = contexts.iter().map(|_| State::default()).collect();
        Self { contexts, states, table }
    }

    /// Shows the changes as they come, until standard output is closed.
    async fn show(mut self, mut looks: Receiver<(usize, Look)>) -> anyhow::Result<()> {
        while let Some((place, look)) = looks.recv().await {
            let Some((context, state)) = self.contexts.get(place).zip(self.states.get_mut(place))
            else {
                continue;
            };
            let time = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
            for line in state.update(look) {
                let line = format!("{time}  {}  {line}", context.name);
                let line = printable(&line);
                if !self.table.is_hidden() {
                    self.table.println(line);
                    continue;
                }
                match writeln!(io::stdout(), "{line}") {
                    Err(error) if error.kind() == IoErrorKind::BrokenPipe => return Ok(()),
                    written => written.context("cannot write to standard output")?,
                }
            }
            let rows = rows(self.contexts, &self.states);
            if rows != self.table.message() {
                self.table.set_message(rows);
            }
        }
        Ok(())
    }
}

impl Drop for Screen<'_> {
    /// The table stays.
    fn drop(&mut self) {
        self.table.abandon();
    }
}

/// The table of all states.
fn rows(contexts: &[Context], states: &[State]) -> String {
    let titles = ["CONTEXT", "POLICY", "SCORE", "STATUS", "PODS", "FINDINGS"];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    for (context, state) in contexts.iter().zip(states) {
        let name = || context.name.clone();
        if state.silent.is_some() {
            rows.push(vec![name(), "does not answer".to_owned()]);
            continue;
        }
        for ((namespace, policy), verdict) in &state.policies {
            let Verdict { score, class, pods, findings } = verdict;
            let score = score.map_or_else(|| "-".to_owned(), |score| score.to_string());
            let policy = policies::full_name(namespace, policy);
            let numbers = [score, (*class).to_owned(), pods.to_string(), findings.to_string()];
            rows.push([name(), policy].into_iter().chain(numbers).collect());
        }
    }
    output::columns(&rows).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_cluster_is_asked_less_and_less_often() {
        let [interval, quick] = [10, 0].map(Duration::from_secs);
        let pauses =
            [1, 2, 3, 5, 6, 40].map(|failures| pause(interval, quick, failures, 0.0).as_secs());
        assert_eq!(pauses, [10, 20, 40, 160, 300, 300]);
        assert_eq!(pause(interval, quick, 0, 0.0), interval);
        assert_eq!(pause(interval, Duration::from_secs(3), 0, 0.0).as_secs(), 27);
        assert_eq!(pause(Duration::from_secs(900), quick, 3, 0.0).as_secs(), 900);
    }

    #[test]
    fn pauses_differ_within_their_limits() {
        let [interval, quick] = [10, 0].map(Duration::from_secs);
        let longest = |failures| pause(interval, quick, failures, 1.0);
        // Never longer than a dead cluster may wait, nor shorter than a tenth of the time.
        assert_eq!([longest(40), longest(0)], [240, 11].map(Duration::from_secs));
    }
}
