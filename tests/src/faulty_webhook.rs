//! The webhook with a judge that fails where an image asks for it: `fault.example/panic` panics,
//! `fault.example/slow-500` takes half a second.

use std::process::ExitCode;
use std::time::Duration;

use policy_core::Timestamp;
use policy_core::admission::{AdmissionVerdict, FailOpenReason, NamespacePolicies, Request, admit};
use policy_webhook::testing::{Judge, run_with};
use tokio::time::Instant;

struct Faulty;

impl Judge for Faulty {
    async fn judge(
        &self,
        request: Request<'_>,
        policies: &NamespacePolicies,
        until: Instant,
    ) -> Result<AdmissionVerdict, FailOpenReason> {
        let containers = request.spec.iter().flat_map(|spec| &spec.containers);
        let images = containers.filter_map(|container| container.value.image.as_deref());
        for fault in images.filter_map(|image| image.strip_prefix("fault.example/")) {
            let (fault, _) = fault.split_once(':').unwrap_or((fault, ""));
            let millis = fault.strip_prefix("slow-").and_then(|millis| millis.parse().ok());
            tokio::time::sleep(Duration::from_millis(millis.unwrap_or(0))).await;
            assert_ne!(fault, "panic", "as the image asks for");
        }
        admit(request, policies, Timestamp::now(), || Instant::now() < until)
    }
}

fn main() -> ExitCode {
    run_with(Faulty)
}
