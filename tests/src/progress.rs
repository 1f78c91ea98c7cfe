//! Progress on standard error.

use std::io::Write as _;

/// Prints one line to standard error, also in a test, where libtest captures the print macros.
pub fn say(line: &str) {
    // A closed standard error must not make a test fail.
    let _ = writeln!(std::io::stderr(), "{line}");
}
