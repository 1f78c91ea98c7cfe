//! `policyctl version`

use serde_json::json;

use crate::exit::Exit;
use crate::global::Global;
use crate::output::{self, Output};

const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(crate) fn run(global: &Global) -> anyhow::Result<Exit> {
    let format = global.output(&[Output::Table, Output::Json, Output::Yaml], &[])?;
    output::value(&json!({ "version": VERSION }), format, || {
        format!("policyctl version {VERSION}\n")
    })?;
    Ok(Exit::Fine)
}
