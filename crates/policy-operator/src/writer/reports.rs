//! What is written for viewers of reports.

use http::Request;
use http::header::CONTENT_TYPE;
use policy_kube::ClusterError;
use serde::de::IgnoredAny;

use super::{MANAGER, Writer};
use crate::open_reports::{Content, OpenReports, path};
use crate::policy_key::PolicyKey;
use crate::write_error::WriteError;

impl Writer {
    /// Applies the Report of a policy. By force, as it is the operator's own:
    /// <https://kubernetes.io/docs/reference/using-api/server-side-apply/#using-server-side-apply-in-a-controller>.
    pub(crate) async fn open_report(
        &self,
        policy: &PolicyKey,
        namespace: &str,
        content: &Content,
    ) -> Result<(), WriteError> {
        let path = path(namespace, &content.name);
        let request = async {
            let request = Request::patch(format!("{path}?fieldManager={MANAGER}&force=true"))
                .header(CONTENT_TYPE, "application/apply-patch+yaml")
                .body(content.body.clone());
            self.client.request::<IgnoredAny>(request.map_err(kube::Error::HttpError)?).await
        };
        self.call("write the Report of", policy, request).await.map(drop)
    }

    /// Asks whether Reports are served.
    pub(crate) async fn ask_for_reports(
        &self,
        reports: &OpenReports,
    ) -> Result<bool, ClusterError> {
        reports.ask(&self.client).await
    }
}
