//! The page of the operator has every key, with its variable and its default.

use policy_operator::Config;
use policy_runtime::testing::undocumented;

#[test]
fn every_key_is_documented_with_its_variable_and_default() {
    let page = include_str!("../../../docs/policy-operator.md");
    assert_eq!(undocumented::<Config>(page), [""; 0]);
}
