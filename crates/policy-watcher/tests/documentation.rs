//! The page of the watcher lists every key, from the schema of its configuration.

use policy_runtime::testing::check_key_table;
use policy_watcher::Config;

#[test]
fn the_page_has_the_table_of_keys() {
    assert_eq!(check_key_table::<Config>("policy-watcher"), Ok(()));
}
