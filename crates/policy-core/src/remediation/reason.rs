//! Why a workload is not changed, or not in every respect.

/// Why a workload, or one field of it, is left as it is. Its code is the `reason` in a status.
#[derive(
    Clone, Debug, PartialEq, Eq, thiserror::Error, strum::IntoStaticStr, strum::VariantNames,
)]
pub enum Reason {
    /// Its namespace is a system namespace.
    #[error("system namespaces and those under excludedNamespaces are never changed")]
    ExcludedNamespace,
    /// The annotation of the workload or its namespace says so.
    #[error("the annotation devops.stochastic.io/remediation of the {0} is `disabled`")]
    OptedOut(&'static str),
    /// Another controller would undo the change.
    #[error("it belongs to {0}, which would undo a change; set what is missing there")]
    ForeignOwner(String),
    /// Its kind has no pod template that can be patched.
    #[error("a {0} cannot be patched; set what is missing in the object that creates the pod")]
    UnpatchableKind(String),
    /// It is being deleted.
    #[error("it is being deleted")]
    Deleted,
    /// It does not roll out.
    #[error("it is paused; resume it, and it is remediated")]
    Paused,
    /// It has no pods.
    #[error("it is scaled to zero")]
    ScaledToZero,
    /// The method of the policy is `propose`.
    #[error("remediation.method of the policy is propose")]
    MethodPropose,
    /// The method of the policy is `patch`, and the owner would be locked out.
    #[error(
        "it belongs to {0}, whose next apply would fail where the operator owns a field; use \
         remediation.method auto or admission"
    )]
    OwnerLockedOut(String),
    /// Nobody would give way to the owner.
    #[error(
        "the mutating webhook, which drops a filled in value when the owner sets another one, is \
         not installed; see docs/remediation.md"
    )]
    NoMutatingWebhook,
    /// The update strategy stops all pods at once.
    #[error("its strategy is Recreate, which stops all pods at once")]
    Recreate,
    /// The update strategy waits for somebody to delete pods.
    #[error("its updateStrategy is OnDelete, so that a change takes effect by deleting pods only")]
    OnDelete,
    /// The update strategy is limited to some pods.
    #[error("its rolling update has a partition, so that a change would reach some pods only")]
    Partitioned,
    /// A rollout would interrupt its service.
    #[error("a rollout would stop its only pod before the next one is ready")]
    SinglePod,
    /// The update strategy allows that no pod is available.
    #[error("its strategy allows all pods to be unavailable at once")]
    AllUnavailable,
    /// The revision that the owner may need to go back to would be dropped.
    #[error(
        "its revisionHistoryLimit is {0}: a rollout would drop the revision that `kubectl rollout \
         undo` goes back to"
    )]
    SmallHistory(i64),
    /// It is not healthy before anything is changed.
    #[error("its pods are not all ready, so that a failure of the change could not be seen")]
    NotReady,
    /// The port is a guess.
    #[error(
        "container {0} declares no TCP port, so that the probe's port is a guess; declare it, or \
         set the annotation devops.stochastic.io/remediation: enabled"
    )]
    GuessedPort(String),
    /// An autoscaler computes with that resource.
    #[error("{0} computes with its {1}")]
    Autoscaler(String, &'static str),
    /// A limit of the namespace refuses the value.
    #[error("the LimitRange {0} refuses the pod: {1}")]
    LimitRange(String, String),
    /// New pods get a value from the namespace.
    #[error("the LimitRange {0} gives it to each new pod")]
    LimitRangeDefault(String),
    /// The pod has resources of its own
    /// ([KEP-2837](https://github.com/kubernetes/enhancements/issues/2837)).
    #[error(
        "the pod sets {0} for all of its containers (`resources` of the pod), and what is filled in \
         in one of them may not fit into that; set it there"
    )]
    PodResources(&'static str),
    /// No memory limit is safe without the use.
    #[error(
        "the memory use of container {0} is not known (metrics.k8s.io), so that no memory limit is \
         safe"
    )]
    UnknownMemoryUse(String),
    /// The policy has no value for it.
    #[error("the policy has no {0}")]
    NoDefault(&'static str),
    /// An older policy of the namespace fills it in.
    #[error("policy {0}, which is older, fills it in")]
    OlderPolicy(String),
    /// The owner has removed what was filled in.
    #[error(
        "its owner has removed or taken over what was filled in; it is left alone until the pod \
         template changes"
    )]
    Withdrawn,
    /// What was filled in was taken back.
    #[error("what was filled in was taken back; it is left alone until the pod template changes")]
    Reverted,
    /// Its template has so many containers that a verdict joins some.
    #[error("its pod template has more containers than can be patched ({0})")]
    TooManyContainers(usize),
}

impl Reason {
    /// The codes of all reasons.
    pub const CODES: &'static [&'static str] = <Self as strum::VariantNames>::VARIANTS;

    /// The reason in one word, such as `GuessedPort`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.into()
    }
}
