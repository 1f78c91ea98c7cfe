//! `e2e bench-operator`: what policy-operator costs, and how soon a status is current.
#![expect(clippy::cast_precision_loss, reason = "pods and changes are far below 2^52")]

mod changes;
mod latency;
mod reconciles;
mod scale;

use std::io::{self, Write as _};

use anyhow::Result;
use e2e::{Parts, Testbed, released_program, say};
use serde_json::json;

pub(crate) fn run() -> Result<()> {
    let program = released_program("policy-operator")?;
    let reconciles = reconciles::per_second()?;
    say(&format!("{reconciles:.0} reconciles per second"));
    let testbed = Testbed::start(&Parts::new("bench"))?;
    let scale = scale::measure(&testbed, &program)?;
    let changes = latency::measure(&testbed, &program)?;
    let results = json!({
        "rss_mib": scale.rss_mib,
        "change_to_status_ms": changes.status_ms,
        "reconciles_per_second": reconciles,
        "cost_growth": scale.cost_growth,
        "api_writes_per_changed_verdict": changes.writes_per_verdict,
    });
    writeln!(io::stdout(), "{results}")?;
    Ok(())
}
