//! Where enforce mode is off.

use super::*;

#[tokio::test(start_paused = true)]
async fn nothing_is_written_to_workloads_where_remediation_is_disabled() {
    let cluster = cluster(&["web"]);
    let disabled = RemediationConfig { enabled: false, ..RemediationConfig::default() };
    let operator = Operator::start(&cluster, disabled);
    let writes = operator.run(10 * MINUTE).await;
    assert_eq!(of_workloads(&writes), [""; 0]);
    assert_eq!(cluster.0.lock().reads, 0);
    assert_eq!(operator.condition(), ("False".to_owned(), "Disabled".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn an_audit_policy_reads_and_writes_no_workload() {
    let cluster = cluster(&["web"]);
    cluster.0.lock().policy["spec"]["enforcementMode"] = "audit".into();
    let operator = Operator::start(&cluster, RemediationConfig::default());
    let writes = operator.run(10 * MINUTE).await;
    assert_eq!((of_workloads(&writes), cluster.0.lock().reads), (vec![], 0));
    assert_eq!(operator.status().remediation, None);
    assert!(CompiledPolicy::default_profile().remediation().is_none());
}
