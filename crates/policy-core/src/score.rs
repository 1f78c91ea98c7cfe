//! Counting findings and turning the counts into a score. Integers only.

use std::fmt;

use crate::checks::{CHECK_COUNT, CheckId};
use crate::custom::CustomViolation;
use crate::evaluate::FoundBy;
use crate::policy::CompiledPolicy;
use crate::severity::Severity;

pub use crate::classification::Classification;

/// The findings of one pod, by check. Small, because an index has one for each pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodTally(Numbers);

/// The large form is used only where the numbers do not fit into the small one, which has no exempted
/// findings and none of custom checks, so equal numbers are equal values.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Numbers {
    Small(Rows<u8>),
    Large(Box<LargeNumbers>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LargeNumbers {
    rows: Rows<u32>,
    exempted: [u32; CHECK_COUNT],
    custom: CustomNumbers<u32>,
}

/// The findings of all custom checks. Each has a weight of its own, so their points are summed up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct CustomNumbers<T> {
    /// By severity, the most severe first.
    findings: [T; Severity::ALL.len()],
    points: T,
    exempted: T,
}

/// The position of a severity in [`CustomNumbers::findings`].
fn position(severity: Severity) -> usize {
    Severity::Critical as usize - severity as usize
}

impl Numbers {
    /// In the small form where the numbers fit.
    fn of(numbers: LargeNumbers) -> Self {
        let LargeNumbers { rows, exempted, custom } = numbers;
        let small = |numbers: [u32; CHECK_COUNT]| {
            let mut small = [0_u8; CHECK_COUNT];
            for (to, number) in small.iter_mut().zip(numbers) {
                *to = u8::try_from(number).ok()?;
            }
            Some(small)
        };
        match (small(rows.findings), small(rows.counts)) {
            (Some(findings), Some(counts))
                if exempted == [0; CHECK_COUNT] && custom == CustomNumbers::default() =>
            {
                Self::Small(Rows { findings, counts })
            }
            _ => Self::Large(Box::new(numbers)),
        }
    }
}

/// Numbers by check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rows<T> {
    findings: [T; CHECK_COUNT],
    counts: [T; CHECK_COUNT],
}

impl Default for PodTally {
    fn default() -> Self {
        Self(Numbers::Small(Rows { findings: [0; CHECK_COUNT], counts: [0; CHECK_COUNT] }))
    }
}

impl PodTally {
    /// Adds one finding; its weight is multiplied by `count`.
    pub fn add(&mut self, check: &FoundBy, count: u32) {
        let i = match check {
            FoundBy::Registered(check) => check.index(),
            FoundBy::Custom(violation) => {
                return self.change_custom(violation, u32::saturating_add);
            }
        };
        match &mut self.0 {
            Numbers::Small(Rows { findings, counts }) => {
                let more = u8::try_from(count).ok().and_then(|count| counts[i].checked_add(count));
                if let (Some(one_more), Some(more)) = (findings[i].checked_add(1), more) {
                    (findings[i], counts[i]) = (one_more, more);
                    return;
                }
                self.0 = Numbers::Large(Box::new(self.numbers()));
                self.add(check, count);
            }
            Numbers::Large(large) => {
                let rows = &mut large.rows;
                rows.findings[i] = rows.findings[i].saturating_add(1);
                rows.counts[i] = rows.counts[i].saturating_add(count);
            }
        }
    }

    /// Subtracts one finding that was added before, with the same count.
    pub fn subtract(&mut self, check: &FoundBy, count: u32) {
        let i = match check {
            FoundBy::Registered(check) => check.index(),
            FoundBy::Custom(violation) => {
                return self.change_custom(violation, u32::saturating_sub);
            }
        };
        let mut numbers = self.numbers();
        let Rows { findings, counts } = &mut numbers.rows;
        findings[i] = findings[i].saturating_sub(1);
        counts[i] = counts[i].saturating_sub(count);
        self.0 = Numbers::of(numbers);
    }

    /// Adds one exempted finding, which has no weight.
    pub fn exempt(&mut self, check: &FoundBy) {
        self.change_exempted(check, |number| number.saturating_add(1));
    }

    /// Subtracts one exempted finding that was added before.
    pub fn subtract_exempted(&mut self, check: &FoundBy) {
        self.change_exempted(check, |number| number.saturating_sub(1));
    }

    fn change_custom(&mut self, violation: &CustomViolation, change: fn(u32, u32) -> u32) {
        let mut numbers = self.numbers();
        let CustomNumbers { findings, points, .. } = &mut numbers.custom;
        let findings = &mut findings[position(violation.severity)];
        *findings = change(*findings, 1);
        *points = change(*points, u32::from(violation.weight));
        self.0 = Numbers::of(numbers);
    }

    fn change_exempted(&mut self, check: &FoundBy, change: impl Fn(u32) -> u32) {
        let mut numbers = self.numbers();
        let number = match check {
            FoundBy::Registered(check) => &mut numbers.exempted[check.index()],
            FoundBy::Custom(_) => &mut numbers.custom.exempted,
        };
        *number = change(*number);
        self.0 = Numbers::of(numbers);
    }

    /// Whether the pod has no finding but exempted ones.
    #[must_use]
    pub fn is_compliant(&self) -> bool {
        let LargeNumbers { rows, custom, .. } = self.numbers();
        rows.findings.iter().chain(&custom.findings).all(|n| *n == 0)
    }

    fn numbers(&self) -> LargeNumbers {
        match &self.0 {
            Numbers::Small(Rows { findings, counts }) => LargeNumbers {
                rows: Rows { findings: findings.map(u32::from), counts: counts.map(u32::from) },
                exempted: [0; CHECK_COUNT],
                custom: CustomNumbers::default(),
            },
            Numbers::Large(numbers) => **numbers,
        }
    }
}

/// The pods and findings of a namespace or a cluster, by check. Adding and subtracting pods in any
/// order gives the same as a recount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pods: u64,
    compliant_pods: u64,
    findings: [u64; CHECK_COUNT],
    counts: [u64; CHECK_COUNT],
    exempted: [u64; CHECK_COUNT],
    custom: CustomNumbers<u64>,
}

impl Tally {
    fn of(pod: &PodTally) -> Self {
        let LargeNumbers { rows: Rows { findings, counts }, exempted, custom } = pod.numbers();
        Self {
            custom: CustomNumbers {
                findings: custom.findings.map(u64::from),
                points: custom.points.into(),
                exempted: custom.exempted.into(),
            },
            exempted: exempted.map(u64::from),
            pods: 1,
            compliant_pods: u64::from(pod.is_compliant()),
            findings: findings.map(u64::from),
            counts: counts.map(u64::from),
        }
    }

    /// Adds a pod.
    pub fn add(&mut self, pod: &PodTally) {
        self.merge(&Self::of(pod));
    }

    /// Subtracts a pod that was added before.
    pub fn subtract(&mut self, pod: &PodTally) {
        self.unmerge(&Self::of(pod));
    }

    /// Adds all pods of another tally.
    pub fn merge(&mut self, other: &Self) {
        self.combine(other, |number, other| *number += other);
    }

    /// Subtracts all pods of another tally, which were added before.
    pub fn unmerge(&mut self, other: &Self) {
        self.combine(other, |number, other| *number -= other);
    }

    fn combine(&mut self, other: &Self, operation: impl Fn(&mut u64, u64)) {
        operation(&mut self.pods, other.pods);
        operation(&mut self.compliant_pods, other.compliant_pods);
        for i in 0..CHECK_COUNT {
            operation(&mut self.findings[i], other.findings[i]);
            operation(&mut self.counts[i], other.counts[i]);
            operation(&mut self.exempted[i], other.exempted[i]);
        }
        let (own, other) = (&mut self.custom, &other.custom);
        own.findings.iter_mut().zip(other.findings).for_each(|(own, other)| operation(own, other));
        operation(&mut own.points, other.points);
        operation(&mut own.exempted, other.exempted);
    }

    /// How many pods are counted.
    #[must_use]
    pub fn pods(&self) -> u64 {
        self.pods
    }

    /// How many of the pods have no finding but exempted ones.
    #[must_use]
    pub fn compliant_pods(&self) -> u64 {
        self.compliant_pods
    }

    /// How many findings a check has.
    #[must_use]
    pub fn findings(&self, check: CheckId) -> u64 {
        self.findings[check.index()]
    }

    /// The sum of the counts of a check's findings, by which its weight is multiplied.
    #[must_use]
    pub fn count(&self, check: CheckId) -> u64 {
        self.counts[check.index()]
    }

    /// How many exempted findings a check has.
    #[must_use]
    pub fn exempted(&self, check: CheckId) -> u64 {
        self.exempted[check.index()]
    }

    /// How many findings of that severity the custom checks have.
    #[must_use]
    pub fn custom_findings_of(&self, severity: Severity) -> u64 {
        self.custom.findings[position(severity)]
    }

    /// How many findings the custom checks have.
    #[must_use]
    pub fn custom_findings(&self) -> u64 {
        self.custom.findings.iter().sum()
    }

    /// How many exempted findings the custom checks have.
    #[must_use]
    pub fn custom_exempted(&self) -> u64 {
        self.custom.exempted
    }

    /// The points that the findings of the custom checks subtract, over all pods.
    #[must_use]
    pub fn custom_points(&self) -> u64 {
        self.custom.points
    }

    /// How many exempted findings there are in all.
    #[must_use]
    pub fn total_exempted(&self) -> u64 {
        self.exempted.iter().sum::<u64>() + self.custom.exempted
    }

    /// How many findings there are in all, without exempted ones.
    #[must_use]
    pub fn total_findings(&self) -> u64 {
        self.findings.iter().sum::<u64>() + self.custom_findings()
    }

    /// The points that the findings of a check subtract, over all pods: weight × count.
    #[must_use]
    pub fn points(&self, check: CheckId, policy: &CompiledPolicy) -> u64 {
        policy.points(check, self.count(check))
    }

    /// The points that all findings subtract, over all pods: Σ weight × count.
    #[must_use]
    pub fn total_points(&self, policy: &CompiledPolicy) -> u64 {
        let points = CheckId::all().map(|check| self.points(check, policy));
        points.fold(self.custom_points(), u64::saturating_add)
    }

    /// `100 − min(⌊Σ weight × count / pods⌋, 100)`; 100 without pods.
    #[must_use]
    pub fn score(&self, policy: &CompiledPolicy) -> Score {
        Score::of(self.total_points(policy), self.pods)
    }
}

/// Health from 0 (worst) to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Score(u8);

impl Score {
    /// The score of a number of pods whose findings subtract these points in total. To compute the
    /// effect of a fix, subtract its points and keep the number of pods: a fixed pod still counts.
    #[must_use]
    pub fn of(points: u64, pods: u64) -> Self {
        let mean = points.checked_div(pods).unwrap_or(0);
        Self(100 - u8::try_from(mean.min(100)).unwrap_or(100))
    }

    /// The number, 0 to 100.
    #[must_use]
    pub const fn value(self) -> u8 {
        self.0
    }

    /// The class that the number falls into.
    #[must_use]
    pub const fn classification(self) -> Classification {
        Classification::of(self.0)
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tally(pods: u64, counts: &[(&str, u64)]) -> Tally {
        let mut tally = Tally { pods, ..Tally::default() };
        for (id, count) in counts {
            tally.counts[CheckId::from_name(id).unwrap().index()] = *count;
        }
        tally
    }

    fn score(pods: u64, counts: &[(&str, u64)]) -> u8 {
        tally(pods, counts).score(&CompiledPolicy::default_profile()).value()
    }

    #[test]
    fn each_weight_is_the_contracts() {
        for (id, points) in [
            ("latest-tag", 5),
            ("missing-liveness", 3),
            ("missing-readiness", 2),
            ("missing-resources", 0),
            ("high-restarts", 6),
            ("pending", 4),
            ("not-ready", 4),
        ] {
            assert_eq!(score(1, &[(id, 1)]), 100 - points, "{id}");
        }
    }

    #[test]
    fn the_mean_is_rounded_down_before_it_is_subtracted() {
        assert_eq!(score(2, &[("latest-tag", 1)]), 98, "5/2 is 2");
        assert_eq!(score(6, &[("latest-tag", 1)]), 100, "5/6 is 0");
        assert_eq!(score(3, &[("latest-tag", 1), ("pending", 1)]), 97, "9/3 is 3");
        // The example of the printed summary: 2, 5, 3, restarts 4, pending 1 on 12 pods.
        let counts = [
            ("latest-tag", 2),
            ("missing-liveness", 5),
            ("missing-readiness", 3),
            ("high-restarts", 4),
            ("pending", 1),
        ];
        assert_eq!(score(12, &counts), 96, "59/12 is 4");
    }

    #[test]
    fn no_pods_are_100_and_many_findings_0() {
        assert_eq!(score(0, &[]), 100);
        assert_eq!(score(1, &[("high-restarts", 17)]), 0);
        assert_eq!(score(1, &[("high-restarts", u64::MAX / 2)]), 0);
    }

    #[test]
    fn the_classes_meet_at_80_60_40() {
        use Classification::{Critical, Degraded, Healthy, Stable};
        for (number, class) in [
            (100, Healthy),
            (80, Healthy),
            (79, Stable),
            (60, Stable),
            (59, Degraded),
            (40, Degraded),
            (39, Critical),
            (0, Critical),
        ] {
            assert_eq!(Score(number).classification(), class, "{number}");
        }
    }

    proptest! {
        #[test]
        fn a_pods_numbers_are_exact_however_large(
            adds in proptest::collection::vec((0..CHECK_COUNT, 0_u32..400), 0..600),
        ) {
            let checks: Vec<CheckId> = CheckId::all().collect();
            let (mut pod, mut tally) = (PodTally::default(), Tally::default());
            for (check, count) in &adds {
                pod.add(&FoundBy::Registered(checks[*check]), *count);
                if count % 3 == 0 {
                    pod.exempt(&FoundBy::Registered(checks[*check]));
                }
            }
            tally.add(&pod);
            for (i, check) in checks.iter().enumerate() {
                let of_check = adds.iter().filter(|add| add.0 == i);
                prop_assert_eq!(tally.findings(*check), of_check.clone().count() as u64);
                let exempted = of_check.clone().filter(|add| add.1 % 3 == 0).count() as u64;
                prop_assert_eq!(tally.exempted(*check), exempted);
                prop_assert_eq!(tally.count(*check), of_check.map(|add| u64::from(add.1)).sum::<u64>());
            }
            prop_assert_eq!(pod.is_compliant(), adds.is_empty());
            tally.subtract(&pod);
            prop_assert_eq!(tally, Tally::default());
            // Findings that go leave what the others alone would have given.
            let (gone, stay) = adds.split_at(adds.len() / 2);
            let mut expected = PodTally::default();
            for (check, count) in gone {
                pod.subtract(&FoundBy::Registered(checks[*check]), *count);
                if count % 3 == 0 {
                    pod.subtract_exempted(&FoundBy::Registered(checks[*check]));
                }
            }
            for (check, count) in stay {
                expected.add(&FoundBy::Registered(checks[*check]), *count);
                if count % 3 == 0 {
                    expected.exempt(&FoundBy::Registered(checks[*check]));
                }
            }
            prop_assert_eq!(pod, expected);
        }

        #[test]
        fn a_score_is_bounded_and_falls_with_each_finding(
            pods in 0_u64..1000, counts in proptest::collection::vec(0_u64..100_000, CHECK_COUNT), more in 0..CHECK_COUNT,
        ) {
            let policy = CompiledPolicy::default_profile();
            let mut tally = Tally { pods, ..Tally::default() };
            tally.counts.copy_from_slice(&counts);
            let before = tally.score(&policy);
            prop_assert!(before.value() <= 100);
            tally.counts[more] += 1;
            prop_assert!(tally.score(&policy) <= before);
        }
    }
}
