//! Troubles of the cluster itself: everything converges, and nothing spins.

use std::thread::sleep;
use std::time::Duration;

use e2e::{Parts, Signal};

use super::{SURELY, apply_pod, apply_policy, installed, leads, start, wait_for_status};

/// Longer than a leader may go without renewing its Lease.
const PAUSE: Duration = Duration::from_secs(20);

#[test]
fn a_store_that_stands_still_is_waited_for() {
    let (testbed, kubeconfig) = installed(&Parts::new("store"));
    let operator = start(&testbed, "operator", &kubeconfig);
    let shop = testbed.namespace("shop").unwrap();
    let strict = (shop.as_str(), "strict");
    apply_policy(&testbed, &shop, "strict", "{forbidLatestTag: true}");
    apply_pod(&testbed, &shop, "one", "nginx");
    wait_for_status(&testbed, &operator, strict, |status| status["totalViolations"] == 1);
    testbed.signal_store(Signal::Stop).unwrap();
    sleep(PAUSE);
    assert!(!leads(&operator), "nobody can be sure to lead");
    let metrics = operator.metrics().unwrap();
    assert!(!metrics.has("devopspolicy_health_score"));
    testbed.signal_store(Signal::Cont).unwrap();
    testbed.wait_for("the store", SURELY, || Ok(leads(&operator))).unwrap();
    apply_pod(&testbed, &shop, "two", "nginx");
    wait_for_status(&testbed, &operator, strict, |status| status["totalViolations"] == 2);
    let metrics = operator.metrics().unwrap();
    let looks = metrics.value("devopspolicy_reconcile_total", &[]).unwrap();
    assert!(looks < 60.0, "{looks} looks at one policy");
}
