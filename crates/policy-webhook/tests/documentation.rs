//! The page of the webhook lists every key, from the schema of its configuration.

use policy_runtime::testing::check_key_table;
use policy_webhook::Config;

#[test]
fn the_page_has_the_table_of_keys() {
    assert_eq!(check_key_table::<Config>("policy-webhook"), Ok(()));
}
