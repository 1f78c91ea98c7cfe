//! Faults of the cluster: the operator recovers, and does not retry in a tight loop.

use std::thread::sleep;
use std::time::Duration;

use e2e::{Parts, Signal};

use super::{SURELY, apply_pod, apply_policy, installed, is_leader, start, wait_for_status};

/// Longer than the renew deadline of the lease.
const PAUSE: Duration = Duration::from_secs(20);

#[test]
fn the_operator_recovers_from_a_store_that_hangs() {
    let (testbed, kubeconfig) = installed(&Parts::new("store"));
    let operator = start(&testbed, "operator", &kubeconfig);
    let shop = testbed.namespace("shop").unwrap();
    let strict = (shop.as_str(), "strict");
    apply_policy(&testbed, &shop, "strict", "{forbidLatestTag: true}");
    apply_pod(&testbed, &shop, "one", "nginx");
    wait_for_status(&testbed, &operator, strict, |status| status["totalViolations"] == 1);
    testbed.signal_store(Signal::Stop).unwrap();
    sleep(PAUSE);
    assert!(!is_leader(&operator), "the lease cannot have been renewed");
    let metrics = operator.metrics().unwrap();
    assert!(!metrics.has("devopspolicy_health_score"));
    testbed.signal_store(Signal::Cont).unwrap();
    testbed.wait_for("the store", SURELY, || Ok(is_leader(&operator))).unwrap();
    apply_pod(&testbed, &shop, "two", "nginx");
    wait_for_status(&testbed, &operator, strict, |status| status["totalViolations"] == 2);
    let metrics = operator.metrics().unwrap();
    let reconciles = metrics.value("devopspolicy_reconcile_total", &[]).unwrap();
    assert!(reconciles < 60.0, "{reconciles} reconciles of one policy");
}
