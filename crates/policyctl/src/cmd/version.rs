//! `policyctl version`

use crate::exit::Exit;
use crate::output;

pub(crate) fn run() -> anyhow::Result<Exit> {
    output::result(concat!("policyctl version ", env!("CARGO_PKG_VERSION"), "\n"))?;
    Ok(Exit::Fine)
}
