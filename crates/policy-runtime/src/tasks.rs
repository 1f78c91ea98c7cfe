//! Supervised tasks. A task that ends before the service stops ends the process: a service of which
//! a part is missing is worse than a restart.

use std::borrow::Cow;
use std::collections::HashMap;

use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, timeout_at};

/// Tasks with their names.
#[derive(Default)]
pub(crate) struct Tasks {
    tasks: JoinSet<()>,
    names: HashMap<Id, Cow<'static, str>>,
}

/// A task that has ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct EndedTask {
    pub(crate) name: Cow<'static, str>,
    pub(crate) panicked: bool,
}

impl Tasks {
    pub(crate) fn spawn(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let id = self.tasks.spawn(task).id();
        self.names.insert(id, name.into());
    }

    /// Waits until a task ends; for ever where there is none.
    pub(crate) async fn next(&mut self) -> EndedTask {
        let Some(ended) = self.tasks.join_next_with_id().await else {
            return std::future::pending().await;
        };
        let (id, panicked) = match ended {
            Ok((id, ())) => (id, false),
            Err(error) => (error.id(), error.is_panic()),
        };
        EndedTask { name: self.names.remove(&id).unwrap_or(Cow::Borrowed("?")), panicked }
    }

    /// Waits until all tasks have ended. The error names those that have not, or that panicked.
    pub(crate) async fn end(&mut self, deadline: Instant) -> Result<(), String> {
        let mut panicked = Vec::new();
        let all = async {
            while !self.names.is_empty() {
                let ended = self.next().await;
                if ended.panicked {
                    panicked.push(ended.name);
                }
            }
        };
        if timeout_at(deadline, all).await.is_err() {
            let mut late: Vec<_> = self.names.values().cloned().collect();
            late.sort_unstable();
            return Err(format!("{} did not end", late.join(", ")));
        }
        if panicked.is_empty() { Ok(()) } else { Err(format!("{} panicked", panicked.join(", "))) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn deadline() -> Instant {
        Instant::now() + Duration::from_secs(1)
    }

    #[tokio::test(start_paused = true)]
    async fn tasks_are_named_whether_they_end_or_not() {
        let mut tasks = Tasks::default();
        tasks.spawn("short", async {});
        tasks.spawn("long", std::future::pending());
        assert_eq!(tasks.next().await, EndedTask { name: "short".into(), panicked: false });
        assert_eq!(tasks.end(deadline()).await, Err("long did not end".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_at_the_end_is_reported() {
        let mut tasks = Tasks::default();
        tasks.spawn("fine", async {});
        tasks.spawn("broken", async { panic!("for the test") });
        assert_eq!(tasks.end(deadline()).await, Err("broken panicked".to_owned()));
        assert_eq!(tasks.end(deadline()).await, Ok(()));
    }
}
