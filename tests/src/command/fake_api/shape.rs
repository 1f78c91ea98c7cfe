//! How many pods there are, of which workloads in which namespaces.

use super::pods::Pod;

/// The replicas of five workloads: twenty on average, most of them small.
const REPLICAS: [usize; 5] = [2, 4, 9, 25, 60];
/// The pods of those.
const PODS: usize = 100;
/// In uneven clusters three of four namespaces have a workload, so that this many have those
/// workloads three times.
const BLOCK: usize = 20;
/// The restarts of a failing pod in a list.
const TOO_MANY: u64 = 4;

/// The pods of the cluster.
#[derive(Clone, Copy)]
pub(in crate::command) struct Shape {
    pub(super) pods: usize,
    spread: Spread,
    /// One pod in this many restarts too often.
    failing: Option<usize>,
}

#[derive(Clone, Copy)]
enum Spread {
    /// Over that many namespaces: pod 0 is in the first, pod 1 in the second, and so on in turn.
    Even(usize),
    /// A workload in each of three of four namespaces. Pods are numbered by namespace.
    Uneven,
}

impl Shape {
    /// So many pods in each namespace, of several workloads.
    pub(in crate::command) fn even(pods: usize, namespaces: usize) -> Self {
        Self { pods, spread: Spread::Even(namespaces), failing: None }
    }

    /// Fifteen pods for each namespace on average: none, or all those of one workload.
    pub(in crate::command) fn uneven(namespaces: usize) -> Self {
        Self { pods: namespaces / BLOCK * 3 * PODS, spread: Spread::Uneven, failing: None }
    }

    /// One pod in this many restarts too often.
    pub(in crate::command) fn failing(self, every: usize) -> Self {
        Self { failing: Some(every), ..self }
    }

    /// How many namespaces there are.
    pub(super) fn namespaces(self) -> usize {
        match self.spread {
            Spread::Even(namespaces) => namespaces,
            Spread::Uneven => self.pods / (3 * PODS) * BLOCK,
        }
    }

    /// The number of the pod at a position of a list. Lists are ordered by namespace, as those of
    /// etcd are, so that a client stores the pods of a namespace close together.
    pub(super) fn at(self, place: usize) -> usize {
        let Spread::Even(namespaces) = self.spread else { return place };
        let each = self.pods / namespaces;
        if place < each * namespaces { place % each * namespaces + place / each } else { place }
    }

    /// The pod of a number.
    pub(super) fn pod(self, number: usize) -> Pod {
        match self.spread {
            Spread::Even(namespaces) => {
                let workload = workload(number / namespaces);
                Pod { number, namespace: number % namespaces, workload }
            }
            Spread::Uneven => {
                let (block, workload) = (number / (3 * PODS), workload(number % (3 * PODS)));
                let namespace = block * BLOCK + workload / 3 * 4 + workload % 3;
                Pod { number, namespace, workload: 0 }
            }
        }
    }

    /// The restarts of a pod in a list.
    pub(super) fn restarts(self, number: usize) -> u64 {
        let index = match self.spread {
            Spread::Even(namespaces) => number / namespaces,
            Spread::Uneven => number,
        };
        let is_failing = self.failing.is_some_and(|every| index.is_multiple_of(every));
        if is_failing { TOO_MANY } else { 0 }
    }
}

/// The number of the workload of a pod, both counted from the first.
fn workload(pod: usize) -> usize {
    let mut rest = pod % PODS;
    let smaller = REPLICAS.iter().take_while(|replicas| {
        let is_after = rest >= **replicas;
        rest = rest.saturating_sub(**replicas);
        is_after
    });
    pod / PODS * REPLICAS.len() + smaller.count()
}
