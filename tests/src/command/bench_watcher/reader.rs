//! The baseline: a watch by the same client that discards each event.

use std::path::Path;

use anyhow::{Result, ensure};
use futures::AsyncBufReadExt as _;
use kube::Client;
use serde::de::IgnoredAny;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::super::bench_live;

/// Reads a streamed list up to its end. API servers ignore the parameter `reader`.
pub(super) async fn streamed_list(client: &Client) -> Result<()> {
    let watch = "/api/v1/pods?watch=true&allowWatchBookmarks=true&sendInitialEvents=true\
                 &resourceVersionMatch=NotOlderThan&reader=true";
    let request = http::Request::get(watch).body(Vec::new())?;
    let mut stream = client.request_stream(request).await?;
    let mut line = Vec::new();
    loop {
        line.clear();
        ensure!(stream.read_until(b'\n', &mut line).await? > 0, "the list broke off");
        serde_json::from_slice::<IgnoredAny>(&line)?;
        if line.starts_with(br#"{"type":"BOOKMARK""#) {
            return Ok(());
        }
    }
}

/// A watch that ends after this many events.
pub(super) struct Reading(JoinHandle<Result<()>>);

impl Reading {
    pub(super) fn start(runtime: &Runtime, kubeconfig: &Path, events: usize) -> Result<Self> {
        let client = runtime.block_on(bench_live::client(kubeconfig))?;
        Ok(Self(runtime.spawn(async move {
            let watch = "/api/v1/pods?watch=true&reader=true&resourceVersion=1";
            let request = http::Request::get(watch).body(Vec::new())?;
            let mut stream = client.request_stream(request).await?;
            let mut line = Vec::new();
            for _ in 0..events {
                line.clear();
                ensure!(stream.read_until(b'\n', &mut line).await? > 0, "the watch ended");
                serde_json::from_slice::<IgnoredAny>(&line)?;
            }
            Ok(())
        })))
    }

    pub(super) fn wait(self, runtime: &Runtime) -> Result<()> {
        runtime.block_on(self.0)?
    }
}
