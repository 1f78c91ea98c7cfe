//! Waiting for a condition by polling.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// Calls `condition` until it returns a value, and returns that.
///
/// `None` means not yet. An error of the condition is returned at once. After `within` the error
/// reads "waited for {what}".
pub fn wait_for<T>(
    what: &str,
    within: Duration,
    mut condition: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        if let Some(found) = condition()? {
            return Ok(found);
        }
        if start.elapsed() >= within {
            bail!("waited {} s for {what}, in vain", within.as_secs_f32());
        }
        sleep(pause);
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_until_there_is_something() {
        let mut asked = 0;
        let found = wait_for("the third answer", Duration::from_secs(10), || {
            asked += 1;
            Ok((asked == 3).then_some(asked))
        });
        assert_eq!(found.unwrap(), 3);
    }

    #[test]
    fn ends_at_the_deadline_and_at_an_error() {
        let never = wait_for("rain", Duration::ZERO, || Ok(None::<()>));
        assert_eq!(never.unwrap_err().to_string(), "waited 0 s for rain, in vain");
        let broken = wait_for("rain", Duration::from_secs(60), || bail!("the gauge is gone"));
        assert_eq!(broken.map(|()| "dry").unwrap_err().to_string(), "the gauge is gone");
    }
}
