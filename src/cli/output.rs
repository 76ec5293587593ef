//! Where results go: lines to stdout, files and folders that appear whole or not at all.
//!
//! A target is claimed before the long work, so that a name that is taken or a folder that cannot be written is said at
//! once; its content is written beside it under a temporary name and renamed at the end.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::{NamedTempFile, TempDir};

/// Writes a line to stdout. A reader that has gone away (`sparrow … | head`) is no error.
pub(super) fn say(line: impl AsRef<str>) -> Result<()> {
    match writeln!(io::stdout().lock(), "{}", line.as_ref()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write to standard output"),
    }
}

/// Writes a line to stderr; there is nobody to tell if that fails.
pub(super) fn note(line: impl AsRef<str>) {
    drop(writeln!(io::stderr().lock(), "{}", line.as_ref()));
}

fn refuse_existing(path: &Path, force: bool) -> Result<()> {
    ensure!(
        force || !path.exists(),
        "{} exists already: choose another name, or add --force to replace it",
        path.display()
    );
    Ok(())
}

/// The folder that will hold `path`.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    }
}

/// A file to come.
pub(super) struct NewFile {
    file: NamedTempFile,
    target: PathBuf,
}

impl NewFile {
    /// Claims `target`.
    pub(super) fn claim(target: &Path, force: bool) -> Result<Self> {
        refuse_existing(target, force)?;
        ensure!(
            !target.is_dir(),
            "{} is a folder: give the name of a file",
            target.display()
        );
        let folder = parent(target);
        let file = tempfile::Builder::new()
            .prefix(".sparrow-")
            .tempfile_in(folder)
            .with_context(|| format!("cannot write into the folder {}", folder.display()))?;
        Ok(Self {
            file,
            target: target.into(),
        })
    }

    /// Writes everything and gives the file its name.
    pub(super) fn finish(self, content: &[u8]) -> Result<()> {
        let target = self.target.clone();
        self.finish_with(|file| {
            file.write_all(content)
                .with_context(|| format!("cannot write {}", target.display()))
        })
    }

    /// Lets `write` fill the file and gives it its name; nothing is left behind if it fails.
    pub(super) fn finish_with(self, write: impl FnOnce(&mut fs::File) -> Result<()>) -> Result<()> {
        let Self { mut file, target } = self;
        let failed = || format!("cannot write {}", target.display());
        write(file.as_file_mut())?;
        file.as_file().sync_all().with_context(failed)?;
        readable_by_others(file.path());
        file.persist(&target).with_context(failed)?;
        Ok(())
    }
}

/// Temporary files are private; what the user asked for gets the usual permissions.
#[cfg(unix)]
fn readable_by_others(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = if path.is_dir() { 0o755 } else { 0o644 };
    // The content is right either way.
    drop(fs::set_permissions(path, fs::Permissions::from_mode(mode)));
}

#[cfg(not(unix))]
fn readable_by_others(_: &Path) {}

/// A JSON result: to stdout for `-`, else into a file.
pub(super) enum JsonTarget {
    Stdout,
    File(NewFile),
}

impl JsonTarget {
    /// Claims the target that `--json` names.
    pub(super) fn claim(name: Option<&Path>, force: bool) -> Result<Option<Self>> {
        Ok(match name {
            None => None,
            Some(name) if name == Path::new("-") => Some(Self::Stdout),
            Some(name) => Some(Self::File(NewFile::claim(name, force)?)),
        })
    }

    /// Writes the value.
    pub(super) fn finish(self, value: &impl serde::Serialize) -> Result<()> {
        let text =
            serde_json::to_string_pretty(value).context("cannot write the result as JSON")?;
        match self {
            Self::Stdout => say(text),
            Self::File(file) => file.finish(format!("{text}\n").as_bytes()),
        }
    }
}

/// A folder to come.
pub(super) struct NewFolder {
    temporary: TempDir,
    target: PathBuf,
}

impl NewFolder {
    /// Claims `target`; an empty folder of that name is as good as none.
    pub(super) fn claim(target: &Path, force: bool) -> Result<Self> {
        if target.exists() {
            ensure!(
                target.is_dir(),
                "{} is a file: give the name of a folder",
                target.display()
            );
            let empty = fs::read_dir(target)
                .with_context(|| format!("cannot list the folder {}", target.display()))?
                .next()
                .is_none();
            ensure!(
                force || empty,
                "{} is not empty: choose another folder, or add --force to replace earlier results in it",
                target.display()
            );
        }
        let folder = parent(target);
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let temporary = tempfile::Builder::new()
            .prefix(".sparrow-")
            .tempdir_in(folder)
            .with_context(|| format!("cannot write into the folder {}", folder.display()))?;
        Ok(Self {
            temporary,
            target: target.into(),
        })
    }

    /// Where to write.
    pub(super) fn path(&self) -> &Path {
        self.temporary.path()
    }

    /// Gives the folder its name. In a folder that exists, only entries of the same names are replaced.
    pub(super) fn finish(self) -> Result<()> {
        let failed = || format!("cannot write {}", self.target.display());
        readable_by_others(self.temporary.path());
        if !self.target.exists() {
            fs::rename(self.temporary.path(), &self.target).with_context(failed)?;
            return Ok(());
        }
        for entry in fs::read_dir(self.temporary.path()).with_context(failed)? {
            let entry = entry.with_context(failed)?;
            let place = self.target.join(entry.file_name());
            if place.is_dir() {
                fs::remove_dir_all(&place).with_context(failed)?;
            }
            fs::rename(entry.path(), &place).with_context(failed)?;
        }
        Ok(())
    }
}

/// A path that must be an existing file or folder to read from, checked before anything else is opened.
pub(super) fn require_input(path: &Path, what: &str) -> Result<()> {
    if !path.exists() {
        bail!("{} does not exist: give the path of {what}", path.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_appears_until_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.json");
        let file = NewFile::claim(&target, false).unwrap();
        assert!(!target.exists());
        drop(file);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        NewFile::claim(&target, false)
            .unwrap()
            .finish(b"x")
            .unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"x");
        let error = NewFile::claim(&target, false).err().unwrap().to_string();
        assert!(error.contains("exists already") && error.contains("--force"));
        NewFile::claim(&target, true).unwrap().finish(b"y").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"y");
        assert!(NewFile::claim(dir.path(), true).is_err());
        assert!(NewFile::claim(&dir.path().join("no/such/a.json"), false).is_err());
    }

    #[test]
    fn a_forced_folder_keeps_what_it_does_not_replace() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("deep/out");
        let folder = NewFolder::claim(&target, false).unwrap();
        fs::create_dir(folder.path().join("masks")).unwrap();
        fs::write(folder.path().join("masks/1.png"), b"1").unwrap();
        folder.finish().unwrap();
        fs::write(target.join("notes.txt"), b"mine").unwrap();
        assert!(NewFolder::claim(&target, false).is_err());
        let folder = NewFolder::claim(&target, true).unwrap();
        fs::create_dir(folder.path().join("masks")).unwrap();
        fs::write(folder.path().join("masks/2.png"), b"2").unwrap();
        folder.finish().unwrap();
        assert!(target.join("notes.txt").exists());
        assert!(target.join("masks/2.png").exists() && !target.join("masks/1.png").exists());
        assert_eq!(fs::read_dir(dir.path().join("deep")).unwrap().count(), 1);
    }
}
