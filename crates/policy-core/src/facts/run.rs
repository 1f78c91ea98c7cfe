//! How the containers of a pod run, as far as they are in trouble.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::{ContainerFacts, ContainerRole};
use crate::view::{ContainerStatusView, PodStatusView, TerminatedView};

/// The longest reason that is stored, in characters. Kubernetes' own have at most 30.
const MAX_REASON: usize = 64;

/// How a container runs. Only one that restarted, waits or failed has these facts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunFacts {
    /// The index in [`CheckedFacts::containers`](super::CheckedFacts::containers).
    pub container: usize,
    /// How often it restarted.
    pub restarts: u32,
    /// Why it waits now, such as `CrashLoopBackOff`.
    pub waiting: Option<Arc<str>>,
    /// How it ended the last time, where the kubelet still knows.
    pub last_end: Option<End>,
    /// Whether that is its state now: it has not been started again.
    pub has_ended: bool,
}

/// How the containers of a pod run that are in trouble, in their order. A thin pointer, because each
/// pod has it and few have trouble.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs(Option<Box<Box<[RunFacts]>>>);

impl Deref for Runs {
    type Target = [RunFacts];

    fn deref(&self) -> &[RunFacts] {
        self.0.as_deref().map_or(&[], |runs| runs)
    }
}

impl DerefMut for Runs {
    fn deref_mut(&mut self) -> &mut [RunFacts] {
        self.0.as_deref_mut().map_or(&mut [], |runs| runs)
    }
}

impl FromIterator<RunFacts> for Runs {
    fn from_iter<I: IntoIterator<Item = RunFacts>>(runs: I) -> Self {
        let runs: Box<[_]> = runs.into_iter().collect();
        Self((!runs.is_empty()).then(|| runs.into()))
    }
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// When, in seconds since 1970 by the kubelet's clock.
    pub at: Option<i64>,
    /// Such as `OOMKilled`; `None` where it only repeats that the exit code is or is not 0.
    pub reason: Option<Arc<str>>,
    /// The exit code of its process.
    pub exit_code: i64,
    /// The signal that ended it, where the container runtime reports it beside the exit code.
    pub signal: Option<i64>,
}

/// The cause in a few words: the reason, else the exit code and the signal.
impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(reason) = &self.reason {
            return f.write_str(reason);
        }
        // A process ended by a signal has no exit code. Container runtimes write 128 + its number,
        // as shells do; Linux has the signals 1 to 64.
        let of_code =
            Some(self.exit_code.saturating_sub(128)).filter(|signal| (1..=64).contains(signal));
        write!(f, "exit code {}", self.exit_code)?;
        match self.signal.or(of_code) {
            Some(signal) => write!(f, ", signal {signal}"),
            None => Ok(()),
        }
    }
}

impl End {
    fn of(state: &TerminatedView) -> Self {
        let says_more = |reason: &str| !matches!(reason, "Error" | "Completed");
        Self {
            // The kubelet writes the zero time, or 1970, where it does not know.
            at: state.finished_at.as_ref().map(|time| time.0.as_second()).filter(|at| *at > 0),
            reason: state.reason.as_deref().filter(|text| says_more(text)).and_then(reason),
            exit_code: state.exit_code,
            signal: state.signal.filter(|signal| *signal > 0),
        }
    }
}

/// A reason as Kubernetes writes them: one word. Other texts are no reason, and could break out of
/// the line that shows it.
fn reason(text: &str) -> Option<Arc<str>> {
    let is_word = text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (is_word && !text.is_empty() && text.len() <= MAX_REASON).then(|| text.into())
}

impl RunFacts {
    /// The reasons, of which many pods have the same.
    pub fn reasons_mut(&mut self) -> impl Iterator<Item = &mut Arc<str>> {
        let of_end = self.last_end.as_mut().and_then(|end| end.reason.as_mut());
        self.waiting.as_mut().into_iter().chain(of_end)
    }

    /// The facts in the status of a container; `None` where there is no trouble.
    fn of(container: usize, status: &ContainerStatusView) -> Option<Self> {
        let count = status.restart_count.unwrap_or_default().max(0);
        let now = status.state.terminated.as_ref();
        let last = now.or(status.last_state.terminated.as_ref());
        let waiting = status.state.waiting.as_ref().and_then(|waiting| waiting.reason.as_deref());
        let has_failed = now.is_some_and(|end| end.exit_code != 0);
        (count > 0 || waiting.is_some() || has_failed).then(|| Self {
            container,
            restarts: u32::try_from(count).unwrap_or(u32::MAX),
            waiting: waiting.and_then(reason),
            last_end: last.map(End::of),
            has_ended: now.is_some(),
        })
    }
}

/// The statuses by container name.
#[derive(Default)]
pub(super) struct StatusesByName<'a> {
    containers: BTreeMap<&'a str, &'a ContainerStatusView>,
    init_containers: BTreeMap<&'a str, &'a ContainerStatusView>,
}

impl<'a> StatusesByName<'a> {
    pub(super) fn of(status: &'a PodStatusView) -> Self {
        let by_name = |statuses: &'a [ContainerStatusView]| {
            let in_trouble = statuses.iter().filter(|status| {
                let has_restarted = status.restart_count.is_some_and(|count| count > 0);
                has_restarted || status.state.waiting.is_some() || !status.ready
            });
            in_trouble.filter_map(|status| Some((status.name.as_deref()?, status))).collect()
        };
        Self {
            containers: by_name(&status.container_statuses),
            init_containers: by_name(&status.init_container_statuses),
        }
    }

    /// The facts of the containers that are in trouble.
    pub(super) fn of_containers(&self, containers: &[ContainerFacts]) -> Runs {
        let in_trouble = containers.iter().enumerate().filter_map(|(index, container)| {
            let statuses = match container.role {
                ContainerRole::Regular => &self.containers,
                ContainerRole::Sidecar | ContainerRole::Init => &self.init_containers,
                ContainerRole::Ephemeral | ContainerRole::ImageVolume => return None,
            };
            RunFacts::of(index, statuses.get(&*container.name)?)
        });
        in_trouble.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(json: &str) -> End {
        End::of(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn the_cause_is_the_reason_or_the_exit_code_and_the_signal() {
        for (state, cause) in [
            (r#"{"reason": "OOMKilled", "exitCode": 137}"#, "OOMKilled"),
            (r#"{"reason": "Error", "exitCode": 1}"#, "exit code 1"),
            (r#"{"reason": "Error", "exitCode": 137}"#, "exit code 137, signal 9"),
            (r#"{"reason": "Error", "exitCode": 255}"#, "exit code 255"),
            (r#"{"exitCode": 2, "signal": 11}"#, "exit code 2, signal 11"),
            (r#"{"reason": "Completed", "exitCode": 0}"#, "exit code 0"),
            (r#"{"reason": "StartError", "exitCode": 128}"#, "StartError"),
            (r#"{"reason": "a\nb", "exitCode": -1073741819}"#, "exit code -1073741819"),
            (r#"{"reason": null, "exitCode": null}"#, "exit code 0"),
        ] {
            assert_eq!(end(state).to_string(), cause, "{state}");
        }
        let long = format!(r#"{{"reason": "{}", "exitCode": 3}}"#, "x".repeat(MAX_REASON + 1));
        assert_eq!(end(&long).to_string(), "exit code 3");
    }

    #[test]
    fn a_time_that_is_not_known_is_none() {
        for time in [r#""0001-01-01T00:00:00Z""#, r#""1970-01-01T00:00:00Z""#, "null", r#""now""#] {
            assert_eq!(end(&format!(r#"{{"finishedAt": {time}}}"#)).at, None, "{time}");
        }
        assert_eq!(end(r#"{"finishedAt": "1970-01-01T00:01:00Z"}"#).at, Some(60));
    }
}
