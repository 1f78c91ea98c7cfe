//! The schedule of a window, as in cron.

use std::ops::RangeInclusive;

use jiff::ToSpan as _;
use jiff::civil::{Date, DateTime, date};

use crate::text::printable;

pub(super) const LENGTH: usize = 256;
const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// Minutes at which a window begins, in local time. The bits of a set are the values of its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Schedule {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Whether one of `days` and `weekdays` is enough: both are restricted.
    is_either: bool,
}

/// A field of a schedule.
struct Field {
    name: &'static str,
    range: RangeInclusive<u8>,
    /// Names for the values, from the least on.
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { name: "minute", range: 0..=59, names: &[] },
    Field { name: "hour", range: 0..=23, names: &[] },
    Field { name: "day of the month", range: 1..=31, names: &[] },
    Field { name: "month", range: 1..=12, names: &MONTHS },
    // 0 and 7 are Sunday.
    Field { name: "day of the week", range: 0..=7, names: &WEEKDAYS },
];

impl Schedule {
    /// Reads the five fields.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.chars().nth(LENGTH).is_some() {
            return Err(format!("must have at most {LENGTH} characters"));
        }
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let &[minutes, hours, days, months, weekdays] = fields.as_slice() else {
            return Err(format!(
                "must have 5 fields: minute, hour, day of the month, month and day of the week, \
                 such as `0 22 * * 1-5`, not {}",
                fields.len()
            ));
        };
        let [minute, hour, day, month, weekday] = &FIELDS;
        let schedule = Self {
            minutes: minute.parse(minutes)?,
            hours: hour.parse(hours)?,
            days: day.parse(days)?,
            months: month.parse(months)?,
            weekdays: weekday.parse(weekdays)?,
            // https://pubs.opengroup.org/onlinepubs/9799919799/utilities/crontab.html
            is_either: days != "*" && weekdays != "*",
        };
        // Eight years without an exception to the leap years, so with a 29 February.
        let (first, last) = (date(2000, 1, 1), date(2008, 1, 1));
        if schedule.first(first.at(0, 0, 0, 0), last.at(0, 0, 0, 0)).is_none() {
            return Err("never happens: none of its months has that day".to_owned());
        }
        Ok(schedule)
    }

    /// The first minute of the schedule after `after` and not after `until`.
    pub(super) fn first(self, after: DateTime, until: DateTime) -> Option<DateTime> {
        let start_of_minute = after.with().second(0).subsec_nanosecond(0).build().ok()?;
        let mut at = start_of_minute.checked_add(1.minute()).ok()?;
        while at <= until {
            let (hour, minute) = (at.hour().unsigned_abs(), at.minute().unsigned_abs());
            at = match next(self.hours, hour).filter(|_| self.has_day(at.date())) {
                None => at.date().tomorrow().ok()?.to_datetime(jiff::civil::Time::midnight()),
                Some(found) if found != hour => at.date().at(found.cast_signed(), 0, 0, 0),
                Some(_) => match next(self.minutes, minute) {
                    None => at.date().at(at.hour(), 0, 0, 0).checked_add(1.hour()).ok()?,
                    Some(found) => {
                        let found = at.date().at(at.hour(), found.cast_signed(), 0, 0);
                        return (found <= until).then_some(found);
                    }
                },
            };
        }
        None
    }

    fn has_day(self, date: Date) -> bool {
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        let is_day = if self.is_either { day || weekday } else { day && weekday };
        is_day && has(self.months, date.month())
    }
}

impl Field {
    /// The values of a field: a list of values, ranges and steps.
    fn parse(&self, text: &str) -> Result<u64, String> {
        let mut values = 0;
        for item in text.split(',') {
            values |= self.item(item)?;
        }
        // Sunday has one bit.
        if values >> 7 & 1 == 1 && self.names == WEEKDAYS {
            values |= 1;
        }
        Ok(values)
    }

    fn item(&self, item: &str) -> Result<u64, String> {
        let (&min, &max) = (self.range.start(), self.range.end());
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(self.step(item, step)?)),
            None => (item, None),
        };
        let (low, mut high) = match range.split_once('-') {
            Some((low, high)) => (self.value(item, low)?, self.value(item, high)?),
            None if range == "*" => (min, max),
            None => {
                let low = self.value(item, range)?;
                // As in a CronJob of Kubernetes, `5/15` is `5-59/15`.
                (low, if step.is_some() { max } else { low })
            }
        };
        if self.names == WEEKDAYS && high == 0 && low > 0 {
            high = 7;
        }
        if low > high {
            return Err(self.problem(item, "the range ends before it begins"));
        }
        let values = (low..=high).step_by(step.unwrap_or(1).into());
        Ok(values.fold(0, |set, value| set | 1 << value))
    }

    fn step(&self, item: &str, step: &str) -> Result<u8, String> {
        let max = *self.range.end();
        let step = number(step).filter(|step| (1..=max).contains(step));
        step.ok_or_else(|| self.problem(item, &format!("a step is a number from 1 to {max}")))
    }

    fn value(&self, item: &str, text: &str) -> Result<u8, String> {
        let name = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let name = name.and_then(|index| u8::try_from(index).ok());
        let value = name.map(|index| index + self.range.start()).or_else(|| number(text));
        value.filter(|value| self.range.contains(value)).ok_or_else(|| {
            let (min, max) = (self.range.start(), self.range.end());
            let names = match self.names {
                [first, .., last] => format!(" or {first} to {last}"),
                _ => String::new(),
            };
            self.problem(item, &format!("a value is from {min} to {max}{names}"))
        })
    }

    fn problem(&self, item: &str, problem: &str) -> String {
        format!("{} `{}`: {problem}", self.name, printable(item))
    }
}

/// Digits only: no sign.
fn number(text: &str) -> Option<u8> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// The least member of the set that is not below.
fn next(set: u64, least: u8) -> Option<u8> {
    let rest = set & u64::MAX.checked_shl(least.into())?;
    (rest != 0).then(|| u8::try_from(rest.trailing_zeros()).ok())?
}

fn has(set: u64, value: i8) -> bool {
    set >> value.unsigned_abs() & 1 == 1
}
