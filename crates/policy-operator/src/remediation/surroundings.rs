//! What limits the workloads of a namespace: read when it is needed, and kept for a while.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use policy_core::facts::PodFacts;
use policy_core::remediation::{Gathering, Source, Surroundings};
use policy_kube::ErrorKind;
use tokio::time::Instant;

use crate::write_error::WriteError;
use crate::writer::Writer;

/// What was read of a namespace is used for so long.
const FRESH: Duration = Duration::from_secs(30);

/// The surroundings of the namespaces that were needed lately.
#[derive(Debug, Default)]
pub(crate) struct SurroundingsCache(Mutex<HashMap<Arc<str>, ReadAt>>);

type ReadAt = (Instant, Arc<Surroundings>);

impl SurroundingsCache {
    /// Those of a namespace, with these pods.
    pub(crate) async fn get(
        &self,
        writer: &Writer,
        namespace: &Arc<str>,
        pods: &[Arc<PodFacts>],
    ) -> Result<Arc<Surroundings>, WriteError> {
        let now = Instant::now();
        {
            let mut known = self.0.lock();
            known.retain(|_, (read, _)| now.duration_since(*read) < FRESH);
            if let Some((_, surroundings)) = known.get(namespace) {
                return Ok(Arc::clone(surroundings));
            }
        }
        let surroundings = Arc::new(read(writer, namespace, pods).await?);
        self.0.lock().insert(Arc::clone(namespace), (now, Arc::clone(&surroundings)));
        Ok(surroundings)
    }
}

async fn read(
    writer: &Writer,
    namespace: &str,
    pods: &[Arc<PodFacts>],
) -> Result<Surroundings, WriteError> {
    let mut gathering = Gathering::of(pods.iter().map(|pod| &**pod));
    for source in Source::ALL {
        let path = source.path(namespace);
        let read = if source.is_list() {
            writer.read_each(&path, |object| gathering.take_in(source, object)).await
        } else {
            writer.read(&path).await.map(|found| {
                if let Some(object) = &found {
                    gathering.take_in(source, object);
                }
            })
        };
        match read {
            // An add-on serves it, which may be down.
            Err(error)
                if source == Source::PodMetrics && error.kind() != Some(ErrorKind::Forbidden) =>
            {
                gathering.assume(source);
            }
            read => read?,
        }
    }
    Ok(gathering.finish())
}
