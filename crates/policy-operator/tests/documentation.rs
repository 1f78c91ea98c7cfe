//! The page of the operator lists every key, from the schema of its configuration.

use policy_operator::Config;
use policy_runtime::testing::check_key_table;

#[test]
fn the_page_has_the_table_of_keys() {
    assert_eq!(check_key_table::<Config>("policy-operator"), Ok(()));
}
