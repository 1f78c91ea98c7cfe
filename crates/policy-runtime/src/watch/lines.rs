//! The lines of a watch, into one buffer.

use std::io;
use std::time::Duration;

use futures::{AsyncBufRead, AsyncBufReadExt as _};
use tokio::time::timeout;

/// Longer than any object that an API server stores (etcd takes 1.5 MiB), as JSON.
const LONGEST: usize = 16 << 20;
/// What a buffer keeps between two lines.
const KEPT: usize = 256 << 10;

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    Whole(&'a [u8]),
    /// It was longer than [`LONGEST`], and is left out.
    TooLong,
    /// The server ended the stream.
    End,
}

/// Reads lines; a line that does not come within `idle` is an error.
pub(super) struct Lines<R> {
    stream: R,
    buffer: Vec<u8>,
    idle: Duration,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    pub(super) fn new(stream: R, idle: Duration) -> Self {
        Self { stream, buffer: Vec::new(), idle }
    }

    pub(super) async fn next(&mut self) -> io::Result<Line<'_>> {
        self.buffer.clear();
        self.buffer.shrink_to(KEPT);
        let mut is_too_long = false;
        loop {
            let chunk = timeout(self.idle, self.stream.fill_buf()).await;
            let chunk = chunk.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            if chunk.is_empty() {
                // A line without an end was cut off; the resumed watch sends it again.
                return Ok(Line::End);
            }
            let end = memchr::memchr(b'\n', chunk);
            let text = &chunk[..end.unwrap_or(chunk.len())];
            is_too_long |= self.buffer.len() + text.len() > LONGEST;
            if !is_too_long {
                self.buffer.extend_from_slice(text);
            }
            let used = text.len() + usize::from(end.is_some());
            self.stream.consume_unpin(used);
            if end.is_some() {
                break;
            }
        }
        Ok(if is_too_long { Line::TooLong } else { Line::Whole(&self.buffer) })
    }
}

#[cfg(test)]
mod tests {
    use futures::io::{BufReader, Cursor};

    use super::*;

    #[tokio::test]
    async fn lines_are_whole_whatever_the_chunks() {
        let stream = BufReader::with_capacity(3, Cursor::new(b"one\ntwo two\n\ncut off".to_vec()));
        let mut lines = Lines::new(stream, Duration::from_secs(1));
        for expected in [&b"one"[..], b"two two", b""] {
            assert_eq!(lines.next().await.unwrap(), Line::Whole(expected));
        }
        assert_eq!(lines.next().await.unwrap(), Line::End);
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_affects_no_other() {
        let mut text = vec![b'x'; LONGEST + 1];
        text.extend_from_slice(b"\nnext\n");
        let mut lines = Lines::new(BufReader::new(Cursor::new(text)), Duration::from_secs(1));
        assert_eq!(lines.next().await.unwrap(), Line::TooLong);
        assert_eq!(lines.next().await.unwrap(), Line::Whole(b"next"));
    }
}
