//! Those whose body is still on its way.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Requests that wait for the rest of their body, in the order they came. There is room for so
/// many: the next one displaces the oldest, so that slow ones keep nobody out.
#[derive(Debug)]
pub(super) struct Readers {
    most: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    by_age: BTreeMap<u64, Arc<Notify>>,
}

/// One of them, while it waits.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    readers: &'a Readers,
    id: u64,
    told: Arc<Notify>,
}

impl Readers {
    pub(super) fn new(most: usize) -> Self {
        Self { most, waiting: Mutex::default() }
    }

    pub(super) fn enter(&self) -> Turn<'_> {
        let told = Arc::new(Notify::new());
        let id = self.update(|waiting| {
            if waiting.by_age.len() >= self.most {
                waiting.displace_oldest();
            }
            waiting.next += 1;
            waiting.by_age.insert(waiting.next, Arc::clone(&told));
            waiting.next
        });
        Turn { readers: self, id, told }
    }

    /// For want of something that the oldest has most likely had for too long.
    pub(super) fn displace_oldest(&self) {
        self.update(Waiting::displace_oldest);
    }

    fn update<T>(&self, work: impl FnOnce(&mut Waiting) -> T) -> T {
        work(&mut self.waiting.lock())
    }
}

impl Waiting {
    fn displace_oldest(&mut self) {
        if let Some((_, told)) = self.by_age.pop_first() {
            told.notify_one();
        }
    }
}

impl Turn<'_> {
    /// Comes to an end when somebody else needs the room.
    pub(super) async fn displaced(&self) {
        self.told.notified().await;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.readers.update(|waiting| waiting.by_age.remove(&self.id));
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn the_oldest_gives_way() {
        let readers = Readers::new(2);
        let is_displaced = |turn: &Turn<'_>| turn.displaced().now_or_never().is_some();
        let first = readers.enter();
        let second = readers.enter();
        assert!(!is_displaced(&first));
        let third = readers.enter();
        assert!(is_displaced(&first) && !is_displaced(&second));
        drop((first, second));
        let fourth = readers.enter();
        assert!(!is_displaced(&third), "two left before");
        readers.displace_oldest();
        assert!(is_displaced(&third) && !is_displaced(&fourth));
    }
}
