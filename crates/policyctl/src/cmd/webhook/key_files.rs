//! Keys and certificates on disk: all of them or none, readable by their owner only.

use std::fs::DirBuilder;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use tempfile::NamedTempFile;

/// Writes the files into a folder, which is made where it is missing (mode 0700). Each has mode
/// 0600 and is replaced atomically.
///
/// Gives `created` or `replaced` with the path of each. Without `force`, existing files are an
/// error and stay as they are.
pub(super) fn write(
    folder: &Path,
    files: &[(&str, &str)],
    force: bool,
) -> anyhow::Result<Vec<(&'static str, PathBuf)>> {
    make(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let present = present(folder, files);
    if !present.is_empty() && !force {
        let present = present.join(", ");
        bail!("{} already has {present}; --force replaces them", folder.display());
    }
    // All are written before the first one gets its name.
    let mut written = Vec::new();
    for (name, text) in files {
        let path = folder.join(name);
        let file =
            temporary(folder, text).with_context(|| format!("cannot write {}", path.display()))?;
        let done = if present.contains(name) { "replaced" } else { "created" };
        written.push((done, path, file));
    }
    let mut done = Vec::new();
    for (what, path, file) in written {
        if let Err(error) = put(file, &path, force) {
            // New files do not match old ones.
            for (_, path) in done {
                let _ = std::fs::remove_file(path);
            }
            return Err(error);
        }
        done.push((what, path));
    }
    Ok(done)
}

fn make(folder: &Path) -> std::io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// The names that exist, dangling links included.
fn present<'a>(folder: &Path, files: &[(&'a str, &str)]) -> Vec<&'a str> {
    let names = files.iter().map(|(name, _)| *name);
    names.filter(|name| folder.join(name).symlink_metadata().is_ok()).collect()
}

/// A file of mode 0600 on the same file system, which is removed unless it gets a name.
fn temporary(folder: &Path, text: &str) -> std::io::Result<NamedTempFile> {
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// Renames the file. Without `force`, a file that was created meanwhile is kept.
fn put(file: NamedTempFile, path: &Path, force: bool) -> anyhow::Result<()> {
    let put = if force { file.persist(path) } else { file.persist_noclobber(path) };
    // Drops the file, and so the key, which the error holds.
    put.map_err(|error| error.error).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use super::*;

    const FILES: [(&str, &str); 2] = [("tls.crt", "certificate"), ("tls.key", "key")];

    fn contents(folder: &Path) -> BTreeMap<String, String> {
        let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
        let read = |entry: fs::DirEntry| {
            let text = fs::read_to_string(entry.path()).unwrap_or_else(|_| "folder".to_owned());
            (entry.file_name().into_string().unwrap(), text)
        };
        entries.map(read).collect()
    }

    fn map(files: &[(&str, &str)]) -> BTreeMap<String, String> {
        files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    #[cfg(unix)]
    fn files_and_folders_are_readable_by_their_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("new/certs");
        let done = write(&folder, &FILES, false).unwrap();
        assert_eq!(done.iter().map(|(what, _)| *what).collect::<Vec<_>>(), ["created"; 2]);
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&root.path().join("new")), mode(&folder)), (0o700, 0o700));
        for (_, path) in done {
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
        assert_eq!(contents(&folder), map(&FILES), "and nothing temporary");
    }

    #[test]
    fn existing_files_stay_without_force() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("tls.key"), "old").unwrap();
        let error = write(root.path(), &FILES, false).unwrap_err().to_string();
        let expected =
            format!("{} already has tls.key; --force replaces them", root.path().display());
        assert_eq!(error, expected);
        assert_eq!(contents(root.path()), map(&[("tls.key", "old")]));
        let done = write(root.path(), &FILES, true).unwrap();
        assert_eq!(done.iter().map(|(what, _)| *what).collect::<Vec<_>>(), ["created", "replaced"]);
        assert_eq!(contents(root.path()), map(&FILES));
    }

    #[test]
    #[cfg(unix)]
    fn a_link_is_replaced_and_its_target_stays() {
        let root = tempfile::tempdir().unwrap();
        let (folder, other) = (root.path().join("certs"), root.path().join("other"));
        fs::create_dir(&folder).unwrap();
        std::os::unix::fs::symlink(&other, folder.join("tls.key")).unwrap();
        write(&folder, &FILES, false).unwrap_err();
        fs::write(&other, "not ours").unwrap();
        write(&folder, &FILES, true).unwrap();
        assert_eq!(fs::read_to_string(&other).unwrap(), "not ours");
        assert_eq!(contents(&folder), map(&FILES));
    }

    #[test]
    fn where_one_file_cannot_be_written_none_is_left() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("tls.key")).unwrap();
        let error = write(root.path(), &FILES, true).unwrap_err();
        assert!(error.to_string().ends_with("tls.key"), "{error}");
        assert_eq!(contents(root.path()), map(&[("tls.key", "folder")]));
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        let error = write(&file, &FILES, true).unwrap_err();
        assert!(error.to_string().starts_with("cannot make the folder"), "{error}");
    }
}
