use std::collections::BTreeSet;

use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;

fn window(schedule: &str, duration_seconds: i32, time_zone: Option<&str>) -> RemediationWindow {
    let time_zone = time_zone.map(str::to_owned);
    RemediationWindow { schedule: schedule.to_owned(), duration_seconds, time_zone }
}

fn windows(schedule: &str, hours: i32, zone: &str) -> Windows {
    Windows::parse(&[window(schedule, hours * 3600, Some(zone))]).unwrap()
}

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

/// The beginnings and ends of the time in which the windows are open, to the minute.
fn openings(windows: &Windows, from: &str, to: &str) -> Vec<String> {
    let (mut now, to) = (at(from), at(to));
    let (mut was_open, mut changes) = (false, Vec::new());
    while now <= to {
        if windows.is_open(now) != was_open {
            was_open = !was_open;
            changes.push(now.to_string());
        }
        now += 1.minute();
    }
    changes
}

#[test]
fn without_windows_it_is_always_open() {
    let always = Windows::parse(&[]).unwrap();
    let now = at("2026-05-01T12:00:00Z");
    assert!(always.is_open(now));
    assert_eq!(always.next_open(now), Some(now));
}

#[test]
fn a_window_lasts_for_its_duration() {
    // 1 May 2026 is a Friday.
    let night = windows("0 22 * * 1-5", 3, "UTC");
    let found = openings(&night, "2026-05-01T12:00:00Z", "2026-05-05T00:00:00Z");
    assert_eq!(found, ["2026-05-01T22:00:00Z", "2026-05-02T01:00:00Z", "2026-05-04T22:00:00Z"]);
    assert!(!night.is_open(at("2026-05-01T21:59:59.999999999Z")));
    assert!(night.is_open(at("2026-05-02T00:59:59.999999999Z")));
    assert_eq!(night.next_open(at("2026-05-02T01:00:00Z")), Some(at("2026-05-04T22:00:00Z")));
    let within = at("2026-05-01T23:30:15Z");
    assert_eq!(night.next_open(within), Some(within));
}

#[test]
fn any_of_several_windows_is_enough() {
    let several = Windows::parse(&[
        window("0 1 * * *", 3600, None),
        window("30 1 * * *", 3600, Some("utc")),
        window("0 9 * * *", 60, Some("Asia/Tokyo")),
    ]);
    let found = openings(&several.unwrap(), "2026-05-01T00:30:01Z", "2026-05-01T12:00:00Z");
    assert_eq!(found, ["2026-05-01T01:00:01Z", "2026-05-01T02:30:01Z"]);
}

/// Berlin: at 01:00 UTC on 29 March 2026 from 02:00 to 03:00.
#[test]
fn a_beginning_that_the_clocks_skip_is_at_the_moment_of_the_skip() {
    let (from, to) = ("2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z");
    let in_gap = windows("30 2 * * *", 2, "Europe/Berlin");
    assert_eq!(openings(&in_gap, from, to), ["2026-03-29T01:00:00Z", "2026-03-29T03:00:00Z"]);
    assert_eq!(in_gap.next_open(at(from)), Some(at("2026-03-29T01:00:00Z")));
    // At the very end and the very beginning of what is skipped.
    for edge in ["0 2 * * *", "59 2 * * *", "0 3 * * *"] {
        let found = openings(&windows(edge, 1, "Europe/Berlin"), from, to);
        assert_eq!(found, ["2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"], "{edge}");
    }
    // A window that is open over the skip lasts as long as on any other day.
    let over = windows("0 1 * * *", 3, "Europe/Berlin");
    assert_eq!(openings(&over, from, to), ["2026-03-29T00:00:00Z", "2026-03-29T03:00:00Z"]);
}

/// Berlin: at 01:00 UTC on 25 October 2026 from 03:00 to 02:00.
#[test]
fn a_time_that_comes_twice_begins_twice() {
    let twice = windows("30 2 * * *", 1, "Europe/Berlin");
    let found = openings(&twice, "2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z");
    assert_eq!(found, ["2026-10-25T00:30:00Z", "2026-10-25T02:30:00Z"]);
    let short = Windows::parse(&[window("30 2 * * *", 600, Some("Europe/Berlin"))]).unwrap();
    let found = openings(&short, "2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z");
    let (first, second) = (&found[..2], &found[2..]);
    assert_eq!(first, ["2026-10-25T00:30:00Z", "2026-10-25T00:40:00Z"]);
    assert_eq!(second, ["2026-10-25T01:30:00Z", "2026-10-25T01:40:00Z"]);
    // A window without a gap stays without a gap.
    let always = Windows::parse(&[window("* * * * *", 60, Some("Europe/Berlin"))]).unwrap();
    for day in ["2026-03-29", "2026-10-25"] {
        let found = openings(&always, &format!("{day}T00:00:00Z"), &format!("{day}T06:00:00Z"));
        assert_eq!(found, [format!("{day}T00:00:00Z")]);
    }
}

#[test]
fn a_clock_that_jumps_has_the_windows_of_its_time() {
    let night = windows("0 22 * * *", 2, "UTC");
    for _ in 0..2 {
        assert!(night.is_open(at("2026-05-01T22:00:00Z")));
        assert!(!night.is_open(at("2020-05-01T03:00:00Z")));
    }
    for end in [Timestamp::MIN, Timestamp::MAX] {
        for zone in ["UTC", "Pacific/Apia", "America/New_York", "Europe/Berlin"] {
            let often = windows("0 */2 * * *", 1, zone);
            _ = (often.is_open(end), often.next_open(end));
        }
    }
}

#[test]
fn the_next_window_may_be_eight_years_away() {
    let leap_day = windows("0 0 29 2 *", 1, "UTC");
    let next = leap_day.next_open(at("2096-02-29T01:00:00Z"));
    assert_eq!(next, Some(at("2104-02-29T00:00:00Z")));
}

#[test]
fn the_fields_are_those_of_cron() {
    let minutes = |schedule: &str| {
        let found = Windows::parse(&[window(schedule, 60, None)]);
        let found = found.unwrap_or_else(|(_, problem)| panic!("{schedule}: {problem}"));
        let first = at("2026-05-01T00:00:00Z");
        let minutes = (0..60 * 24 * 9).map(|minute| first + minute.minutes());
        minutes.filter(|minute| found.is_open(*minute)).collect::<Vec<_>>()
    };
    for (schedule, same) in [
        ("0 0 * * 0", "0 0 * * 7"),
        ("0 0 * * sun", "0 0 * * 7"),
        ("0 0 * * 5-7", "0 0 * * 0,5,6"),
        ("0 0 * * Sat-Sun", "0 0 * * 6,0"),
        ("0 0 * * MON-FRI", "0 0 * * 1,2,3,4,5"),
        ("0 0 * MAY *", "0 0 * 5 *"),
        ("*/20 3 * * *", "0,20,40 3 * * *"),
        ("10-40/15 3 * * *", "10,25,40 3 * * *"),
        ("7/20 3 * * *", "7,27,47 3 * * *"),
        ("0  0\t1-31 1-12 *", "0 0 * * *"),
        // One of the two is enough where both are restricted: the 4th, and Fridays.
        ("0 0 4 * 5", "0 0 1,4,8 * *"),
        ("0 0 */3 * 5", "0 0 1,4,7,8 * *"),
        ("0 0 1-4 * *", "0 0 1,2,3,4 * *"),
    ] {
        let found = minutes(schedule);
        assert!(!found.is_empty() && found == minutes(same), "{schedule}: {found:?}");
    }
}

#[test]
fn a_mistake_is_named() {
    let long = "x".repeat(300);
    for (schedule, problem) in [
        ("0 22 * *", "must have 5 fields"),
        ("0 0 22 * * 1", "such as `0 22 * * 1-5`, not 6"),
        ("@daily", "must have 5 fields"),
        ("", "not 0"),
        ("60 * * * *", "minute `60`: a value is from 0 to 59"),
        ("-1 * * * *", "minute `-1`: a value is from 0 to 59"),
        ("+1 * * * *", "minute `+1`: a value"),
        ("1, * * * *", "minute ``: a value"),
        ("* 24 * * *", "hour `24`: a value is from 0 to 23"),
        ("* * 0 * *", "day of the month `0`: a value is from 1 to 31"),
        ("* * * 13 *", "month `13`: a value is from 1 to 12 or jan to dec"),
        ("* * * janu *", "month `janu`: a value"),
        ("* * * * 8", "day of the week `8`: a value is from 0 to 7 or sun to sat"),
        ("* 5-3 * * *", "hour `5-3`: the range ends before it begins"),
        ("*/0 * * * *", "minute `*/0`: a step is a number from 1 to 59"),
        ("*/90 * * * *", "minute `*/90`: a step is a number from 1 to 59"),
        ("*/x * * * *", "minute `*/x`: a step"),
        ("* L * * *", "hour `L`: a value"),
        ("* \u{1b}[2J * * *", "hour `\u{fffd}[2J`: a value"),
        ("99999999999999999999 * * * *", "minute `99999999999999999999`: a value"),
        ("0 0 31 2,4,6 *", "never happens"),
        ("0 0 30 feb *", "never happens"),
        (&long, "must have at most 256 characters"),
    ] {
        let (index, found) = Windows::parse(&[window(schedule, 60, None)]).unwrap_err();
        assert_eq!(index, 0);
        assert!(found.starts_with("schedule: ") && found.contains(problem), "{schedule}: {found}");
    }
    for (duration, zone, problem) in [
        (59, None, "durationSeconds: must be 60 to 604800, not 59"),
        (604_801, None, "durationSeconds: must be 60 to 604800, not 604801"),
        (60, Some("Mars/Base"), "timeZone: must be a name of the IANA time zone database"),
        (60, Some(""), "timeZone: "),
        (60, Some(long.as_str()), "xxx…`"),
        (60, Some("/etc/passwd"), "not `/etc/passwd`"),
        (-1, Some("Local"), "not -1; timeZone: must be"),
    ] {
        let good = window("* * * * *", 60, Some("America/Argentina/ComodRivadavia"));
        let bad = window("* * * * *", duration, zone);
        let (index, found) = Windows::parse(&[good, bad]).unwrap_err();
        assert!(index == 1 && found.contains(problem), "{found}");
    }
}

/// Range and lengths stand twice, in the schema and here: they have to say the same.
#[test]
fn the_schema_has_the_same_bounds() {
    let crd = serde_json::to_value(&crate::api::crds()[0]).unwrap();
    let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let window = &spec["properties"]["remediation"]["properties"]["windows"]["items"];
    let field = |name: &str, bound: &str| window["properties"][name][bound].to_string();
    assert_eq!(field("durationSeconds", "minimum"), format!("{}.0", DURATION.start()));
    assert_eq!(field("durationSeconds", "maximum"), format!("{}.0", DURATION.end()));
    assert_eq!(window["properties"]["schedule"]["maxLength"], schedule::LENGTH);
    assert_eq!(window["properties"]["timeZone"]["maxLength"], ZONE_LENGTH);
}

/// The values of a field, as text and as numbers.
fn field(least: i8, most: i8) -> impl Strategy<Value = (String, BTreeSet<i8>)> {
    let all: Vec<i8> = (least..=most).collect();
    let text = |values: &[i8]| values.iter().map(i8::to_string).collect::<Vec<_>>().join(",");
    let some = subsequence(all.clone(), 1..=3)
        .prop_map(move |values| (text(&values), values.into_iter().collect()));
    prop_oneof![Just(("*".to_owned(), all.into_iter().collect())), some]
}

/// Moments around each kind of change of the clocks.
fn moments() -> impl Strategy<Value = (&'static str, Timestamp)> {
    let changes = select(vec![
        ("Europe/Berlin", "2026-03-29T01:00:00Z"),
        ("Europe/Berlin", "2026-10-25T01:00:00Z"),
        ("America/New_York", "2026-11-01T06:00:00Z"),
        ("Australia/Lord_Howe", "2026-04-04T15:00:00Z"),
        ("Australia/Lord_Howe", "2026-10-03T15:30:00Z"),
        ("Pacific/Apia", "2011-12-30T10:00:00Z"),
        ("Asia/Kathmandu", "2026-02-28T18:15:00Z"),
        ("UTC", "2028-02-29T00:00:00Z"),
    ]);
    (changes, -200_000_i64..200_000)
        .prop_map(|((zone, change), shift)| (zone, at(change) + SignedDuration::from_secs(shift)))
}

proptest! {
    /// Minute by minute, without sets of bits and without spans of equal offset.
    #[test]
    fn is_open_agrees_with_the_clock(
        fields in (field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 6)),
        (zone_name, now) in moments(),
        duration in 60..180_000_i32,
    ) {
        let (minutes, hours, days, months, weekdays) = &fields;
        let text = [minutes, hours, days, months, weekdays].map(|field| field.0.as_str()).join(" ");
        let Ok(windows) = Windows::parse(&[window(&text, duration, Some(zone_name))]) else {
            return Ok(());
        };
        let is_either = days.0 != "*" && weekdays.0 != "*";
        let begins = |local: DateTime| {
            let day = days.1.contains(&local.day());
            let weekday = weekdays.1.contains(&local.weekday().to_sunday_zero_offset());
            minutes.1.contains(&local.minute())
                && hours.1.contains(&local.hour())
                && months.1.contains(&local.month())
                && if is_either { day || weekday } else { day && weekday }
        };
        let zone = zone(Some(zone_name)).unwrap();
        let minute = |index: i64| Timestamp::from_second(index * 60).unwrap();
        let begins_at = |index: i64| {
            let (before, local) = (zone.to_datetime(minute(index - 1)), zone.to_datetime(minute(index)));
            let mut skipped = before + 1.minute();
            let mut found = begins(local);
            while skipped < local {
                found |= begins(skipped);
                skipped += 1.minute();
            }
            found
        };
        let duration = i64::from(duration);
        let is_open = |now: i64| {
            ((now - duration).div_euclid(60) + 1..=now.div_euclid(60)).any(begins_at)
        };
        prop_assert_eq!(windows.is_open(now), is_open(now.as_second()), "{} in {}", text, zone_name);
        let until = now + SignedDuration::from_hours(30);
        let later = (now.as_second().div_euclid(60) + 1..until.as_second().div_euclid(60))
            .find(|index| begins_at(*index));
        let next = if windows.is_open(now) { Some(now) } else { later.map(minute) };
        match next {
            Some(next) => prop_assert_eq!(windows.next_open(now), Some(next)),
            None => prop_assert!(windows.next_open(now).is_some_and(|next| next > until - 2.minutes())),
        }
    }

    #[test]
    fn any_text_is_read_or_refused(schedule in "[0-9*,/a-zA-Z -]{0,40}|.{0,300}", zone in ".{0,80}") {
        if let Ok(windows) = Windows::parse(&[window(&schedule, 60, None)]) {
            prop_assert!(windows.next_open(at("2026-05-01T00:00:00Z")).is_some());
        }
        _ = Windows::parse(&[window("* * * * *", 60, Some(&zone))]);
    }
}
