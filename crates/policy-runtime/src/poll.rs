//! Polls files for changes. The kubelet updates a mounted volume by a symbolic link further up
//! (<https://github.com/kubernetes/kubernetes/blob/v1.37.0/pkg/volume/util/atomic_writer.go>), which
//! an inotify watch of the file misses.

use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::error;

/// Calls `check` again and again, each time after the pause that the last call returned. Reading
/// may block, on a disk that is slow or gone, so `check` runs on a thread of its own.
///
/// Returns only where `check` panicked.
pub async fn poll<T: Send + 'static>(
    mut state: T,
    mut pause: Duration,
    check: impl Fn(&mut T) -> Duration + Copy + Send + 'static,
) {
    loop {
        sleep(pause).await;
        let checked = spawn_blocking(move || {
            let pause = check(&mut state);
            (state, pause)
        });
        (state, pause) = match checked.await {
            Ok(checked) => checked,
            Err(error) => {
                error!(%error, "a file is no longer polled for changes");
                return;
            }
        };
    }
}
