//! Follows the file with the policy that pods are evaluated by.

use std::path::PathBuf;
use std::time::Duration;

use metrics::{Counter, counter};
use policy_core::policy::CompiledPolicy;
use policy_metrics::every_service::DROPPED;
use policy_runtime::poll::poll;
use policy_runtime::watch::WatchStatus;
use tracing::{info, warn};

use crate::config::{policy_of, read_file};
use crate::scores::Scores;

/// How often the file is read. A changed exemption has to count within a second.
const POLL: Duration = Duration::from_millis(250);

/// Evaluates all pods again where the file has another policy. A file that cannot be used changes
/// nothing.
pub(crate) struct ProfileFollower {
    file: PathBuf,
    /// The last content, or why it could not be read.
    content: Option<Result<Vec<u8>, String>>,
    scores: Scores,
    watch: WatchStatus,
    refused: Counter,
}

impl ProfileFollower {
    pub(crate) fn new(file: PathBuf, scores: Scores, watch: WatchStatus) -> Self {
        policy_runtime::metrics::describe(&DROPPED);
        let refused = counter!(DROPPED.name, "what" => "policies");
        refused.increment(0);
        Self { file, content: None, scores, watch, refused }
    }

    /// Never ends.
    pub(crate) async fn run(self) {
        poll(self, POLL, Self::check).await;
    }

    /// Reads the file. Returns the pause before the next time.
    fn check(&mut self) -> Duration {
        let content = read_file(&self.file);
        if self.content.as_ref() == Some(&content) {
            return POLL;
        }
        match self.compile(&content) {
            Ok(policy) => self.set(policy),
            Err(problem) => {
                self.refused.increment(1);
                warn!(
                    problem,
                    "the changed policy is refused; pods are evaluated by the previous one"
                );
                self.scores.refuse_policy(Some(problem));
            }
        }
        self.content = Some(content);
        POLL
    }

    fn compile(&self, content: &Result<Vec<u8>, String>) -> Result<CompiledPolicy, String> {
        let content = content.as_ref().map_err(Clone::clone)?;
        policy_of(&self.file, content).map_err(|problems| problems.join("; "))
    }

    fn set(&self, policy: CompiledPolicy) {
        self.scores.refuse_policy(None);
        if self.scores.set_policy(policy) {
            info!(file = %self.file.display(), "the policy has changed: evaluating all pods by it");
            self.watch.list_again();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use policy_core::namespaces::ExcludedNamespaces;

    use super::*;

    #[test]
    fn a_changed_file_is_used_and_a_bad_one_is_not() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let write = |spec: &str| {
            let policy = format!(
                "apiVersion: devops.stochastic.io/v1\nkind: DevOpsPolicy\nmetadata: {{name: p}}\n\
                 spec: {spec}\n"
            );
            fs::write(file.path(), policy).unwrap();
        };
        write("{forbidLatestTag: true}");
        let policy = policy_of(file.path(), &read_file(file.path()).unwrap()).unwrap();
        let scores = Scores::new(policy, ExcludedNamespaces::default());
        let watch = WatchStatus::new("Pod");
        let mut follower = ProfileFollower::new(file.path().to_owned(), scores.clone(), watch);
        let configured = || scores.configured().exemptions().map(|all| all.iter().len());
        follower.check();
        assert_eq!((configured(), scores.refused_policy()), (None, None));
        let exemption =
            "{checks: [latest-tag], reason: r, workload: {kind: Deployment, name: web}}";
        write(&format!("{{forbidLatestTag: true, exemptions: [{exemption}]}}"));
        follower.check();
        assert_eq!((configured(), scores.refused_policy()), (Some(1), None));
        write("{forbidLatestTag: true, exemptions: [{checks: []}]}");
        follower.check();
        assert_eq!(configured(), Some(1), "the previous one stays");
        assert!(scores.refused_policy().unwrap().contains("exemptions"));
        write("{forbidLatestTag: true}");
        follower.check();
        assert_eq!((configured(), scores.refused_policy()), (None, None));
    }
}
