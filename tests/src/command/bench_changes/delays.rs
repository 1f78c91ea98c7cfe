//! The times from the answer to a change until it counts.

use std::collections::BTreeMap;
use std::time::Duration;

use e2e::say;
use serde_json::{Map, Value, json};

use super::steps::Step;

/// Where a change counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Webhook,
    Operator,
    Watcher,
}

impl Place {
    fn name(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Operator => "operator",
            Self::Watcher => "watcher",
        }
    }
}

/// The times by place and by what was changed.
#[derive(Default)]
pub(super) struct Delays(BTreeMap<(Place, &'static str), Vec<Duration>>);

impl Delays {
    pub(super) fn add(&mut self, place: Place, step: Step, delay: Duration) {
        self.0.entry((place, step.changed())).or_default().push(delay);
    }

    pub(super) fn and(mut self, other: Self) -> Self {
        for (key, delays) in other.0 {
            self.0.entry(key).or_default().extend(delays);
        }
        self
    }

    /// Prints them, and adds each 99th percentile in milliseconds to the results.
    pub(super) fn report(self, prefix: &str, results: &mut Map<String, Value>) {
        for ((place, changed), mut delays) in self.0 {
            delays.sort_unstable();
            let ms = |part: usize| {
                let place = (delays.len() * part / 100).min(delays.len() - 1);
                delays[place].as_secs_f64() * 1e3
            };
            let key = format!("{prefix}{}_{changed}_p99_ms", place.name());
            say(&format!(
                "{key}: {} changes, {:.1} ms in the median, 99 of 100 within {:.1} ms, at most {:.1} ms",
                delays.len(),
                ms(50),
                ms(99),
                ms(100)
            ));
            results.insert(key, json!(ms(99)));
        }
    }
}
