//! A webhook that hangs up on everybody, and counts them.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Where the API server's calls go. The thread behind it ends with the test process.
pub(crate) struct Calls {
    port: u16,
    count: Arc<AtomicUsize>,
}

impl Calls {
    pub(crate) fn listen() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        thread::spawn(move || {
            for stream in listener.incoming() {
                // Counted before the connection is closed: the caller continues only then, so a test
                // that reads the number after the API server's answer misses no call.
                counted.fetch_add(1, Ordering::SeqCst);
                drop(stream);
            }
        });
        Self { port, count }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// Connections so far.
    pub(crate) fn so_far(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}
