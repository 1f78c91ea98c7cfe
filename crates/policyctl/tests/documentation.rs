//! The commands of the README and of `cmd/`, run as they are written, with the output they show.

#[test]
fn documented_commands_print_what_they_show() {
    // They are written to be run in the project's root.
    std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).unwrap();
    trycmd::TestCases::new().case("README.md").case("crates/policyctl/tests/cmd/*.md").run();
}
