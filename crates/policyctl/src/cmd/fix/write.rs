//! Replaces a file by its edited text.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use tempfile::NamedTempFile;

/// Why a file was not replaced.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error("is a symbolic link, which is not edited; name the file that it leads to")]
    Link,
    #[error("is read-only, so that it is not edited")]
    ReadOnly,
    #[error("is not a regular file")]
    NotRegular,
    #[error("has {0} names (hard links), of which the others would keep the old text")]
    #[cfg_attr(not(unix), expect(dead_code, reason = "only Unix tells"))]
    HardLinks(u64),
    #[cfg_attr(not(unix), expect(dead_code, reason = "only Unix has owners"))]
    #[error("belongs to another user or group, to whom the edited file cannot be given: {0}")]
    Owner(io::Error),
    #[error("was changed by somebody else meanwhile, so that it is not edited")]
    Changed,
    #[error("cannot be replaced: {0}")]
    Io(#[from] io::Error),
}

/// Replaces a file at once: whoever reads it sees the old text or the new one. It keeps its
/// permissions and its owner.
pub(super) fn replace(path: &Path, original: &[u8], edited: &str) -> Result<(), WriteError> {
    let metadata = fs::symlink_metadata(path)?;
    if metadata.is_symlink() {
        return Err(WriteError::Link);
    }
    if !metadata.is_file() {
        return Err(WriteError::NotRegular);
    }
    if metadata.permissions().readonly() {
        return Err(WriteError::ReadOnly);
    }
    #[cfg(unix)]
    {
        let links = std::os::unix::fs::MetadataExt::nlink(&metadata);
        if links > 1 {
            return Err(WriteError::HardLinks(links));
        }
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut file = NamedTempFile::new_in(folder.unwrap_or_else(|| Path::new(".")))?;
    file.write_all(edited.as_bytes())?;
    #[cfg(unix)]
    keep_owner(file.as_file(), &metadata).map_err(WriteError::Owner)?;
    file.as_file().set_permissions(metadata.permissions())?;
    file.as_file().sync_all()?;
    if fs::read(path)? != original {
        return Err(WriteError::Changed);
    }
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Gives a new file to the owner of the old one.
#[cfg(unix)]
fn keep_owner(file: &fs::File, old: &fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, fchown};
    let new = file.metadata()?;
    if (new.uid(), new.gid()) == (old.uid(), old.gid()) {
        return Ok(());
    }
    fchown(file, Some(old.uid()), Some(old.gid()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_with_its_permissions() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yaml");
        fs::write(&file, "a: 1\n").unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
            replace(&file, b"a: 1\n", "a: 1\nb: 2\n").unwrap();
            let mode = fs::metadata(&file).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o640);
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "a: 1\nb: 2\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
    }

    /// Only root can give a file away, as in a container or under sudo.
    #[cfg(unix)]
    #[test]
    fn a_file_of_another_user_stays_theirs() {
        use std::os::unix::fs::{MetadataExt as _, chown};
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yaml");
        fs::write(&file, "a: 1\n").unwrap();
        if chown(&file, Some(1000), Some(1001)).is_ok() {
            replace(&file, b"a: 1\n", "b").unwrap();
            let metadata = fs::metadata(&file).unwrap();
            assert_eq!((metadata.uid(), metadata.gid()), (1000, 1001));
        }
    }

    #[test]
    fn what_should_not_be_replaced_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yaml");
        fs::write(&file, "a: 1\n").unwrap();
        let refusal = |path: &Path| replace(path, b"a: 1\n", "b").unwrap_err().to_string();
        #[cfg(unix)]
        {
            let link = folder.path().join("link.yaml");
            std::os::unix::fs::symlink(&file, &link).unwrap();
            assert!(refusal(&link).contains("symbolic link"));
            let name = folder.path().join("other.yaml");
            fs::hard_link(&file, &name).unwrap();
            assert!(refusal(&file).contains("has 2 names (hard links)"));
            fs::remove_file(&name).unwrap();
        }
        assert!(refusal(folder.path()).contains("not a regular file"));
        let changed = replace(&file, b"a: 2\n", "b").unwrap_err();
        assert!(matches!(changed, WriteError::Changed));
        let mut permissions = fs::metadata(&file).unwrap().permissions();
        permissions.set_readonly(true);
        fs::set_permissions(&file, permissions).unwrap();
        assert!(refusal(&file).contains("read-only"));
        assert_eq!(fs::read_to_string(&file).unwrap(), "a: 1\n");
    }
}
