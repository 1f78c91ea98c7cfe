//! The times at which a remediation may start.

mod schedule;
#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;

use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp};

use self::schedule::Schedule;
use crate::api::RemediationWindow;
use crate::text::{printable, truncated};

/// How long a window may last, in seconds.
const DURATION: RangeInclusive<i32> = 60..=604_800;
/// How many characters a time zone may have.
const ZONE_LENGTH: usize = 64;
/// How far ahead the next window is searched: from 29 February 2096 to that of 2104.
const HORIZON: SignedDuration = SignedDuration::from_hours(24 * 366 * 8);
const INSTANT: SignedDuration = SignedDuration::from_nanos(1);

/// The windows of a policy. Without any, a remediation may start at any time.
///
/// A window begins at each minute whose local time is in the schedule, so twice where the clocks
/// are put back over it. A beginning that the clocks skip is at the moment of the skip. The window
/// lasts for its duration in elapsed time. Nothing is remembered, so a clock that jumps has the
/// windows of the time that it shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows(Vec<Window>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Window {
    schedule: Schedule,
    duration: SignedDuration,
    zone: TimeZone,
}

impl Windows {
    /// Compiles the windows of a policy.
    ///
    /// # Errors
    /// The index of the first invalid window, and its field with what is wrong with it.
    pub fn parse(windows: &[RemediationWindow]) -> Result<Self, (usize, String)> {
        let parse = |(index, window)| {
            Window::parse(window).map_err(|problems| {
                let problems =
                    problems.iter().map(|(field, problem)| format!("{field}: {problem}"));
                (index, problems.collect::<Vec<_>>().join("; "))
            })
        };
        windows.iter().enumerate().map(parse).collect::<Result<_, _>>().map(Self)
    }

    /// Whether a remediation may start now.
    #[must_use]
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.0.is_empty() || self.0.iter().any(|window| window.is_open(now))
    }

    /// When a remediation may start: now, or at the beginning of the next window.
    #[must_use]
    pub fn next_open(&self, now: Timestamp) -> Option<Timestamp> {
        if self.is_open(now) {
            return Some(now);
        }
        let until = now.saturating_add(HORIZON).unwrap_or(Timestamp::MAX);
        self.0.iter().filter_map(|window| window.first(now, until)).min()
    }
}

impl Window {
    /// The invalid fields with their problems, where there are any.
    fn parse(window: &RemediationWindow) -> Result<Self, Vec<(&'static str, String)>> {
        let mut problems = Vec::new();
        let schedule = Schedule::parse(&window.schedule);
        let schedule = schedule.map_err(|problem| problems.push(("schedule", problem))).ok();
        if !DURATION.contains(&window.duration_seconds) {
            let (min, max) = DURATION.into_inner();
            let problem = format!("must be {min} to {max}, not {}", window.duration_seconds);
            problems.push(("durationSeconds", problem));
        }
        let zone = zone(window.time_zone.as_deref());
        let zone = zone.map_err(|problem| problems.push(("timeZone", problem))).ok();
        match (schedule, zone) {
            (Some(schedule), Some(zone)) if problems.is_empty() => {
                let duration = SignedDuration::from_secs(window.duration_seconds.into());
                Ok(Self { schedule, duration, zone })
            }
            _ => Err(problems),
        }
    }

    fn is_open(&self, now: Timestamp) -> bool {
        let after = now.saturating_sub(self.duration).unwrap_or(Timestamp::MIN);
        self.first(after, now).is_some()
    }

    /// The first beginning after `after` and not after `until`.
    fn first(&self, mut after: Timestamp, until: Timestamp) -> Option<Timestamp> {
        let mut offset = self.zone.to_offset(after);
        for change in self.zone.following(after) {
            if change.timestamp() > until {
                break;
            }
            let before = change.timestamp().saturating_sub(INSTANT).ok()?;
            let (old, new) = (offset.to_datetime(before), change.offset().to_datetime(before));
            if let Some(found) = self.schedule.first(offset.to_datetime(after), old) {
                return offset.to_timestamp(found).ok();
            }
            // Nothing where the clocks are put back: `new` is before `old`.
            if self.schedule.first(old, new).is_some() {
                return Some(change.timestamp());
            }
            (after, offset) = (before, change.offset());
        }
        let found = self.schedule.first(offset.to_datetime(after), offset.to_datetime(until))?;
        offset.to_timestamp(found).ok()
    }
}

/// The invalid fields of a window, each with what is wrong with it.
pub(crate) fn problems(window: &RemediationWindow) -> Vec<(&'static str, String)> {
    Window::parse(window).err().unwrap_or_default()
}

/// The time zone of that name, by the data that are part of the program: this crate does no I/O,
/// and the images have no time zone files.
fn zone(name: Option<&str>) -> Result<TimeZone, String> {
    let Some(name) = name else {
        return Ok(TimeZone::UTC);
    };
    let known = (name.len() <= ZONE_LENGTH).then(|| TimeZoneDatabase::bundled().get(name).ok());
    known.flatten().ok_or_else(|| {
        let name = truncated(printable(name), ZONE_LENGTH, usize::MAX);
        format!(
            "must be a name of the IANA time zone database, such as Europe/Berlin, not `{name}`"
        )
    })
}
