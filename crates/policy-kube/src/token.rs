//! Bearer tokens from files.
//!
//! kube-client puts the file's content into the `Authorization` header as it is, so a token that
//! ends in a newline makes every request fail with "failed to parse header value"
//! (kube-client 5.0, `client/auth/mod.rs`, `TokenFile`). client-go trims the content
//! (kubernetes/kubernetes#52919), and `echo TOKEN > FILE` is how people make such files. Hence
//! this layer in its place; it reads the file again every minute, as client-go does.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, Request, header::AUTHORIZATION};
use parking_lot::Mutex;

use crate::files;

/// How often the file is read; the kubelet rotates tokens long before they expire.
const REREAD: Duration = Duration::from_secs(60);
/// Larger than any token: HTTP servers refuse headers of such a size.
const LARGEST: u64 = 64 << 10;

/// The token in a file, as a header.
#[derive(Clone)]
pub(crate) struct TokenFile(Arc<Inner>);

struct Inner {
    path: PathBuf,
    cached: Mutex<Cached>,
}

struct Cached {
    header: HeaderValue,
    read: Instant,
}

impl TokenFile {
    /// Reads the file.
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        let cached = Mutex::new(Cached { header: header(path)?, read: Instant::now() });
        Ok(Self(Arc::new(Inner { path: path.to_owned(), cached })))
    }

    /// Adds the token to a request.
    pub(crate) fn authorize<B>(&self, mut request: Request<B>) -> Request<B> {
        request.headers_mut().insert(AUTHORIZATION, self.current());
        request
    }

    fn current(&self) -> HeaderValue {
        let mut cached = self.0.cached.lock();
        if cached.read.elapsed() >= REREAD {
            cached.read = Instant::now();
            // Without the file the last token stays: some remove it after the start
            // (kubernetes/kubernetes#68164).
            if let Ok(header) = header(&self.0.path) {
                cached.header = header;
            }
        }
        cached.header.clone()
    }
}

fn header(path: &Path) -> Result<HeaderValue, String> {
    let token = files::read_text(path, LARGEST)
        .map_err(|error| format!("the token file {} cannot be read: {error}", path.display()))?;
    let token = token.trim();
    if token.is_empty() {
        return Err(format!("the token file {} is empty", path.display()));
    }
    let mut header = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| format!("the token file {} holds an invalid token", path.display()))?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_around_a_token_is_no_part_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "  abc.def\r\n").unwrap();
        let request = TokenFile::open(&path).unwrap().authorize(Request::new(()));
        assert_eq!(request.headers()[AUTHORIZATION], "Bearer abc.def");
    }

    #[test]
    fn a_file_without_a_token_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let open = || TokenFile::open(&path).err().unwrap().replace(path.to_str().unwrap(), "F");
        assert!(open().starts_with("the token file F cannot be read: "), "{}", open());
        std::fs::write(&path, "\n").unwrap();
        assert_eq!(open(), "the token file F is empty");
        std::fs::write(&path, "a\nb").unwrap();
        assert_eq!(open(), "the token file F holds an invalid token");
    }

    #[test]
    fn a_token_is_read_again_after_a_minute_and_stays_without_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "one").unwrap();
        let file = TokenFile::open(&path).unwrap();
        let later = || {
            let mut cached = file.0.cached.lock();
            cached.read = cached.read.checked_sub(REREAD).unwrap();
        };
        std::fs::write(&path, "two").unwrap();
        assert_eq!(file.current(), "Bearer one");
        later();
        assert_eq!(file.current(), "Bearer two");
        std::fs::remove_file(&path).unwrap();
        later();
        assert_eq!(file.current(), "Bearer two");
    }
}
