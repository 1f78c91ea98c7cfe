//! Files read up to a limit, so that a wrong path (a device, a dump) costs no memory.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Reads a file that holds at most `most` bytes.
///
/// # Errors
/// Those of the file system; [`io::ErrorKind::FileTooLarge`] where it holds more.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    read_all(file, length, most)
}

/// The same for anything readable. `length` is what is known of its size; 0 for a pipe.
///
/// # Errors
/// Those of [`read`].
pub fn read_all(input: impl Read, length: u64, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if length <= most {
        bytes.reserve(usize::try_from(length).unwrap_or(0));
        input.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    }
    if length.max(bytes.len() as u64) > most {
        let error = format!("it is larger than {}", size(most));
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, error));
    }
    Ok(bytes)
}

/// The same for text.
///
/// # Errors
/// Those of [`read`]; [`io::ErrorKind::InvalidData`] where it is no UTF-8.
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    String::from_utf8(read(path, most)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
}

fn size(bytes: u64) -> String {
    match bytes {
        0..0x10_0000 if bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
        _ if bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        _ => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_over_the_limit_is_refused_with_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, vec![b'x'; 1025]).unwrap();
        assert_eq!(read(&path, 1025).unwrap().len(), 1025);
        let error = read_text(&path, 1024).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(error.to_string(), "it is larger than 1 KiB");
        assert_eq!(
            read(Path::new("/dev/zero"), 1 << 20).unwrap_err().to_string(),
            "it is larger than 1 MiB"
        );
    }

    #[test]
    fn bytes_that_are_not_text_are_reported() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, [0xff]).unwrap();
        assert_eq!(read_text(&path, 9).unwrap_err().to_string(), "it is not UTF-8 text");
    }
}
