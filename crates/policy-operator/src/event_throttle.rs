//! Which Event about a change of a policy's class is published, and when. Pure.
//!
//! kube-runtime's `Recorder` is not used: it names an Event `<object>.<16 hexadecimal digits>`, and
//! the API server refuses that (422) where the object's name is longer than 236 bytes. client-go
//! had the same fault: <https://github.com/kubernetes/kubernetes/issues/127594>.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Resource as _;
use policy_core::Timestamp;
use policy_core::api::ClusterDevOpsPolicy;
use policy_core::score::Classification;
use policy_core::text::truncated;
use policy_core::view::PolicyView;

use crate::limits::object_name;
use crate::writer::MANAGER;

/// The least time between two Events of a policy, so that a score at the limit of two classes does
/// not flood the namespace.
pub(crate) const PAUSE_SECONDS: i64 = 60;
/// An Event that repeats one of at most this age increments its count, as in client-go.
const SERIES_SECONDS: i64 = 6 * 60;
/// The longest note and the longest name of an instance that the API server accepts, in bytes.
const LONGEST_NOTE: usize = 1_024;
const LONGEST_INSTANCE: usize = 128;
/// The namespace of the Events about objects that have none; the API server accepts no other:
/// <https://github.com/kubernetes/kubernetes/blob/v1.37.0/pkg/apis/core/validation/events.go>.
pub(crate) const WITHOUT_NAMESPACE: &str = "default";

/// The recent Events of one policy.
#[derive(Debug, Default)]
pub(crate) struct EventThrottle {
    is_initialized: bool,
    /// The class of the last Event.
    class: Option<Classification>,
    /// The second (since 1970) of the last Event.
    published: Option<i64>,
    /// The Events whose count can still be incremented, one of each class.
    recent: Vec<RecentEvent>,
}

/// A published Event, as far as it is needed to count it up: each policy has one after its start.
#[derive(Debug)]
struct RecentEvent {
    class: Classification,
    /// When it was published first, which names it.
    first: Timestamp,
    count: i32,
    /// The second (since 1970) at which it was counted last.
    last: i64,
}

impl RecentEvent {
    fn of(class: Classification, event: &Event) -> Option<Self> {
        let first = event.event_time.as_ref()?.0;
        let series = event.series.as_ref();
        let last = series.map_or(first, |series| series.last_observed_time.0).as_second();
        Some(Self { class, first, count: series.map_or(1, |series| series.count), last })
    }

    fn is_recent(&self, now: Timestamp) -> bool {
        (0..SERIES_SECONDS).contains(&(now.as_second() - self.last))
    }
}

/// Whether an Event is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClassChange {
    /// The class is the same.
    None,
    /// The class changed, and an Event is due.
    Due { previous: Option<Classification> },
    /// The class changed, and an Event is due at that second (since 1970).
    Throttled { until: i64 },
}

impl EventThrottle {
    /// Assumes that a class was published, by any replica.
    pub(crate) fn assume(&mut self, class: Option<Classification>) {
        self.is_initialized = true;
        self.class = class;
    }

    /// Assumes that a class was published if none is known yet, because the start of a process is no
    /// change.
    pub(crate) fn initialize(&mut self, class: Option<Classification>) {
        if !self.is_initialized {
            self.assume(class);
        }
    }

    /// Whether an Event is due for a policy of that class.
    pub(crate) fn change(&self, class: Classification, now: Timestamp) -> ClassChange {
        if self.class == Some(class) {
            return ClassChange::None;
        }
        let second = now.as_second();
        // A time in the future was set before the clock was set back.
        let published = self.published.filter(|published| *published <= second);
        match published.map(|published| published + PAUSE_SECONDS) {
            Some(until) if until > second => ClassChange::Throttled { until },
            _ => ClassChange::Due { previous: self.class },
        }
    }

    /// The Event for a class: a new one, or a recent one of the class with its count incremented.
    pub(crate) fn event(
        &self,
        class: Classification,
        policy: ObjectReference,
        note: String,
        instance: &str,
        now: Timestamp,
    ) -> Event {
        let recent = self.recent.iter().find(|recent| recent.class == class);
        let recent = recent.filter(|recent| recent.is_recent(now));
        let is_fine = matches!(class, Classification::Healthy | Classification::Stable);
        let first = recent.map_or(now, |recent| recent.first);
        // One reason per class, because an Event only increments one with the same reason.
        let event = event(policy, (class.as_str(), "Judge"), is_fine, note, instance, first);
        let series = recent.map(|recent| EventSeries {
            count: recent.count + 1,
            last_observed_time: MicroTime(now),
        });
        Event { series, ..event }
    }

    /// Records that the Event for a class was published; `None` if that failed. It is not retried,
    /// because it would be outdated.
    pub(crate) fn sent(&mut self, class: Classification, event: Option<Event>, now: Timestamp) {
        self.assume(Some(class));
        self.published = Some(now.as_second());
        self.recent.retain(|recent| recent.class != class && recent.is_recent(now));
        self.recent.reserve_exact(1);
        self.recent.extend(event.and_then(|event| RecentEvent::of(class, &event)));
    }
}

/// What an Event about a policy refers to.
pub(crate) fn reference(policy: &PolicyView) -> ObjectReference {
    let mut reference = policy.object_ref(&());
    if policy.cluster.is_some() {
        reference.kind = Some(ClusterDevOpsPolicy::kind(&()).into_owned());
    }
    reference
}

/// An Event about a policy, with its reason and action.
pub(crate) fn event(
    policy: ObjectReference,
    (reason, action): (&str, &str),
    is_fine: bool,
    note: String,
    instance: &str,
    now: Timestamp,
) -> Event {
    let end = format!(".{:x}", now.as_nanosecond());
    Event {
        metadata: ObjectMeta {
            name: Some(object_name(policy.name.as_deref().unwrap_or_default(), &end)),
            namespace: Some(policy.namespace.as_deref().unwrap_or(WITHOUT_NAMESPACE).to_owned()),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(now)),
        type_: Some(if is_fine { "Normal" } else { "Warning" }.to_owned()),
        reason: Some(reason.to_owned()),
        action: Some(action.to_owned()),
        note: Some(truncated(note.into(), usize::MAX, LONGEST_NOTE).into_owned()),
        regarding: Some(policy),
        reporting_controller: Some(MANAGER.to_owned()),
        reporting_instance: Some(
            truncated(instance.into(), usize::MAX, LONGEST_INSTANCE).into_owned(),
        ),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Classification::{Degraded, Healthy, Stable};

    const START: i64 = 1_800_000_000;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(START + second).unwrap()
    }

    fn event(throttle: &EventThrottle, class: Classification, second: i64) -> Event {
        let policy = ObjectReference { name: Some("strict".to_owned()), ..Default::default() };
        throttle.event(class, policy, "score 50".to_owned(), "pod-1", at(second))
    }

    /// Publishes an Event, and returns its name and count.
    fn publish(throttle: &mut EventThrottle, class: Classification, second: i64) -> (String, i32) {
        let event = event(throttle, class, second);
        throttle.sent(class, Some(event.clone()), at(second));
        (event.metadata.name.unwrap(), event.series.map_or(1, |series| series.count))
    }

    #[test]
    fn a_class_is_published_once_and_not_too_often() {
        let mut throttle = EventThrottle::default();
        assert_eq!(throttle.change(Healthy, at(0)), ClassChange::Due { previous: None });
        publish(&mut throttle, Healthy, 0);
        assert_eq!(throttle.change(Healthy, at(600)), ClassChange::None);
        let until = START + PAUSE_SECONDS;
        assert_eq!(throttle.change(Stable, at(1)), ClassChange::Throttled { until });
        assert_eq!(throttle.change(Healthy, at(2)), ClassChange::None, "it is the old one again");
        let due = ClassChange::Due { previous: Some(Healthy) };
        assert_eq!(throttle.change(Degraded, at(PAUSE_SECONDS)), due);
        assert_eq!(throttle.change(Degraded, at(-5)), due, "the clock was set back");
    }

    #[test]
    fn the_class_of_the_status_counts_as_published() {
        let mut throttle = EventThrottle::default();
        throttle.initialize(Some(Stable));
        assert_eq!(throttle.change(Stable, at(0)), ClassChange::None);
        throttle.initialize(Some(Healthy));
        assert_eq!(throttle.change(Stable, at(0)), ClassChange::None, "it is known already");
        throttle.assume(Some(Healthy));
        let due = ClassChange::Due { previous: Some(Healthy) };
        assert_eq!(throttle.change(Stable, at(0)), due);
    }

    #[test]
    fn a_repeated_event_is_counted_up() {
        let mut throttle = EventThrottle::default();
        let (first, count) = publish(&mut throttle, Healthy, 0);
        assert_eq!((first.as_str(), count), ("strict.18fae27693b40000", 1));
        publish(&mut throttle, Stable, 60);
        assert_eq!(publish(&mut throttle, Healthy, 120), (first.clone(), 2));
        assert_eq!(publish(&mut throttle, Healthy, 180), (first.clone(), 3));
        let (second, count) = publish(&mut throttle, Healthy, 180 + SERIES_SECONDS);
        assert!(second != first && count == 1, "{second} {count}");
        throttle.sent(Healthy, None, at(600));
        let (_, count) = publish(&mut throttle, Healthy, 660);
        assert_eq!(count, 1, "one that may be gone is created again");
    }

    #[test]
    fn an_event_fits_the_limits_for_any_names() {
        let long = "p".repeat(253);
        let policy = ObjectReference { name: Some(long.clone()), ..Default::default() };
        let (note, instance) = ("n".repeat(2_000), "i".repeat(259));
        let event = EventThrottle::default().event(Degraded, policy, note, &instance, at(0));
        let name = event.metadata.name.unwrap();
        assert_eq!(name, format!("{}.18fae27693b40000", "p".repeat(236)));
        assert_eq!(event.regarding.unwrap().name, Some(long), "found by the whole name");
        assert!(event.note.unwrap().len() <= 1_024);
        assert!(event.reporting_instance.unwrap().len() <= 128);
        assert_eq!(event.type_.as_deref(), Some("Warning"));
    }
}
