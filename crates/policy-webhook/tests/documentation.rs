//! The page of the webhook has every key, with its variable and its default.

use policy_runtime::testing::undocumented;
use policy_webhook::Config;

#[test]
fn every_key_is_documented_with_its_variable_and_default() {
    let page = include_str!("../../../docs/policy-webhook.md");
    assert_eq!(undocumented::<Config>(page), [""; 0]);
}
