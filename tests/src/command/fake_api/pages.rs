//! Pages of the list of pods. They are rendered once, so that a measurement is one of the client.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Bytes;

use super::wire::Call;

/// The pages that were asked for.
#[derive(Default)]
pub(super) struct Pages {
    /// By the first pod and the number of pods.
    rendered: Mutex<BTreeMap<(usize, usize), Bytes>>,
    pause: Mutex<Duration>,
}

impl Pages {
    /// How long the server waits before it answers a page.
    pub(super) fn pause(&self) -> Duration {
        *self.pause.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_pause(&self, pause: Duration) {
        *self.pause.lock().unwrap_or_else(PoisonError::into_inner) = pause;
    }

    /// The page that a call asks for, of so many pods, each of which `write` writes.
    pub(super) fn get(
        &self,
        call: &Call,
        pods: usize,
        write: impl Fn(&mut Vec<u8>, usize),
    ) -> Bytes {
        let number = |name| call.query(name).and_then(|text| text.parse::<usize>().ok());
        let first = number("continue").unwrap_or(0);
        let count = number("limit").unwrap_or(pods).min(pods.saturating_sub(first));
        let mut rendered = self.rendered.lock().unwrap_or_else(PoisonError::into_inner);
        let page = rendered.entry((first, count)).or_insert_with(|| {
            let (next, remaining) = (first + count, pods - first - count);
            let next = if remaining > 0 { next.to_string() } else { String::new() };
            let mut text = format!(
                "{{\"kind\":\"PodList\",\"apiVersion\":\"v1\",\"metadata\":{{\"resourceVersion\":\
                 \"500\",\"continue\":\"{next}\",\"remainingItemCount\":{remaining}}},\"items\":["
            )
            .into_bytes();
            for place in first..first + count {
                if place > first {
                    text.push(b',');
                }
                write(&mut text, place);
            }
            text.extend_from_slice(b"]}");
            text.into()
        });
        page.clone()
    }
}
