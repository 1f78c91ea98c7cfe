//! The requests that take back what the operator owns of one workload.

use std::collections::BTreeSet;

use anyhow::bail;
use policy_core::api::{DevOpsPolicy, PATCHED_BY};
use policy_core::remediation::{Fields, Release, Target, present, release, removable, removal};
use policy_kube::names::is_subdomain;
use serde::Serialize;
use serde_json::Value;

use crate::cluster::workloads::{WorkloadName, WorkloadPatch};
use crate::cluster::{Cluster, ErrorKind};
use crate::policies::PolicyApi;

/// What became of the fields of a workload, each as `container: field=value`.
#[derive(Serialize, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(super) struct Released {
    /// They are gone.
    pub(super) removed: Vec<String>,
    /// They are the owner's now, who has them in his manifest as well.
    pub(super) handed_over: Vec<String>,
    /// They are not the operator's any more, but another field manager has set the same.
    pub(super) kept: Vec<String>,
    /// How it was done, where that is unusual.
    pub(super) notes: Vec<&'static str>,
}

pub(super) struct Releaser<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) dry_run: bool,
}

impl Releaser<'_> {
    /// Takes back everything; `None` where there is nothing.
    pub(super) async fn release(&self, name: &WorkloadName) -> anyhow::Result<Option<Released>> {
        let Some(workload) = name.get(self.cluster).await? else {
            bail!("there is no {name}");
        };
        let target = read(&workload)?;
        match (release(&target, &workload), &target.patched_by) {
            (Some(release), _) => {
                self.release_owned(name, &target, &workload, &release).await.map(Some)
            }
            (None, Some(policy)) => {
                let policy = policy.clone();
                self.remove_known(name, &target, &workload, &policy).await.map(Some)
            }
            (None, None) => Ok(None),
        }
    }

    async fn release_owned(
        &self,
        name: &WorkloadName,
        target: &Target,
        workload: &Value,
        release: &Release,
    ) -> anyhow::Result<Released> {
        let mut notes = Vec::new();
        let (mut handed_over, all) = (BTreeSet::new(), each(&target.ours));
        let answer = match release {
            Release::Patch(body) => {
                handed_over = &all - &each(&removable(workload, &target.ours));
                self.patch(name, WorkloadPatch::Json(body)).await?
            }
            Release::Apply(body) => {
                let apply = WorkloadPatch::Apply(body);
                match name.patch(self.cluster, apply, self.dry_run).await {
                    Ok(answer) => answer,
                    // Somebody has added to a field of ours what is invalid without it.
                    Err(error) if error.kind == ErrorKind::Invalid => {
                        let Some(patch) = removal(workload, &target.ours) else {
                            return Err(error.into());
                        };
                        notes.push("removed by a JSON patch, as the API server refused the apply");
                        let removed = self.patch(name, WorkloadPatch::Json(&patch)).await?;
                        if read(&removed)?.is_ours && !self.dry_run {
                            self.patch(name, apply).await?
                        } else {
                            removed
                        }
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        };
        if !self.dry_run && read(&answer)?.is_ours {
            bail!(
                "the API server accepted the release, but the operator still owns fields; see \
                 `kubectl get --show-managed-fields`"
            );
        }
        if target.ours.is_empty() {
            notes.push("only names of containers were left of it");
        }
        let still = each(&present(&answer, &target.ours));
        let removed = &all - &(&still | &handed_over);
        let kept = &still - &handed_over;
        Ok(Released {
            removed: removed.into_iter().collect(),
            handed_over: handed_over.into_iter().collect(),
            kept: kept.into_iter().collect(),
            notes,
        })
    }

    /// Removes what the status of the policy names, where `managedFields` were cleared.
    async fn remove_known(
        &self,
        name: &WorkloadName,
        target: &Target,
        workload: &Value,
        policy: &str,
    ) -> anyhow::Result<Released> {
        let known = self.known(name, target, policy).await?;
        let found = removable(workload, &known);
        let Some(patch) = removal(workload, &found) else {
            bail!(
                "its managedFields do not say what the operator set, and no field that policy \
                 {policy} lists has its value any more; remove the annotation {PATCHED_BY} \
                 yourself where nothing else is left"
            );
        };
        let answer = self.patch(name, WorkloadPatch::Json(&patch)).await?;
        let kept = &each(&present(workload, &known)) - &each(&found);
        let removed = &each(&found) - &each(&present(&answer, &found));
        Ok(Released {
            removed: removed.into_iter().collect(),
            handed_over: kept.into_iter().collect(),
            kept: Vec::new(),
            notes: vec!["removed by a JSON patch, as managedFields do not name the operator"],
        })
    }

    /// The fields of the workload in the status of the policy `namespace/name`.
    async fn known(
        &self,
        name: &WorkloadName,
        target: &Target,
        policy: &str,
    ) -> anyhow::Result<Fields> {
        // Anybody who may change the workload may have written the annotation.
        let named = policy.split_once('/').filter(|(_, name)| is_subdomain(name));
        let Some((namespace, policy)) = named else {
            bail!(
                "its annotation {PATCHED_BY} does not name a policy, and its managedFields do \
                   not name the operator"
            );
        };
        if namespace != name.namespace {
            bail!("its annotation {PATCHED_BY} names a policy of another namespace");
        }
        let object = PolicyApi::of(self.cluster).await?.get(namespace, policy).await?;
        let policy: DevOpsPolicy = serde_json::from_value(serde_json::to_value(&object)?)?;
        let status = policy.status.and_then(|status| status.remediation).unwrap_or_default();
        let listed = status.workloads.into_iter().find(|listed| {
            listed.workload == target.label() && (listed.uid.is_empty() || listed.uid == target.uid)
        });
        let lines = listed.map(|listed| listed.fields).unwrap_or_default();
        Ok(Fields::parse(lines.iter().map(String::as_str)))
    }

    async fn patch(&self, name: &WorkloadName, patch: WorkloadPatch<'_>) -> anyhow::Result<Value> {
        Ok(name.patch(self.cluster, patch, self.dry_run).await?)
    }
}

fn read(workload: &Value) -> anyhow::Result<Target> {
    Target::read(workload).map_err(anyhow::Error::msg)
}

/// Each field with its container.
fn each(fields: &Fields) -> BTreeSet<String> {
    let lines = fields.lines();
    let lines = lines.iter().filter_map(|line| line.split_once(": "));
    let fields = |(container, fields): (&str, &str)| {
        fields.split(' ').map(|field| format!("{container}: {field}")).collect::<Vec<_>>()
    };
    lines.flat_map(fields).collect()
}
