//! Lines for whoever waits.

use std::io::Write as _;

/// Prints one line to standard error, also inside a test, where the print macros are captured.
pub fn say(line: &str) {
    // Nobody to read it is no reason to fail.
    let _ = writeln!(std::io::stderr(), "{line}");
}
