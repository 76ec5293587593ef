//! Where results go: lines to stdout, files and folders that appear whole or not at all.
//!
//! A target is claimed before the long work, so that a name that is taken or a folder that cannot be written is said at
//! once; its content is written beside it under a temporary name and renamed at the end.

use std::{
    ffi::OsString,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::{NamedTempFile, TempDir};

use crate::formats::manifest;

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
        // A device or a pipe would be replaced, not written to.
        ensure!(
            !target.exists() || target.is_file(),
            "{} is no file that can be replaced: give the name of a file",
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

/// A path without links and relative steps, also of a file that is still to come.
fn resolved(path: &Path) -> PathBuf {
    if let Ok(whole) = path.canonicalize() {
        return whole;
    }
    let folder = parent(path).canonicalize();
    match (folder, path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => path.into(),
    }
}

/// Refuses outputs that are an input or each other: `--force` must never replace what is being read.
pub(super) fn keep_apart(inputs: &[&Path], outputs: &[&Path]) -> Result<()> {
    let inputs: Vec<PathBuf> = inputs.iter().map(|p| resolved(p)).collect();
    let mut seen: Vec<PathBuf> = Vec::new();
    for output in outputs.iter().filter(|p| **p != Path::new("-")) {
        let place = resolved(output);
        ensure!(
            !inputs.contains(&place),
            "{} is what is read: choose another name for the output",
            output.display()
        );
        ensure!(
            !seen.contains(&place),
            "{} is named for two outputs: choose another name for one of them",
            output.display()
        );
        seen.push(place);
    }
    Ok(())
}

/// What a folder of results is called in its list of files.
const KIND: &str = "sparrow results";
/// The folders that results consist of.
const RESULTS: [&str; 2] = ["masks", "overlays"];

/// A folder to come.
pub(super) struct NewFolder {
    temporary: TempDir,
    target: PathBuf,
}

impl NewFolder {
    /// Claims `target`; an empty folder of that name is as good as none. With `force`, [`RESULTS`] in it are replaced if
    /// an earlier run wrote every file of them; whatever else is there stays.
    pub(super) fn claim(target: &Path, force: bool) -> Result<Self> {
        if target.exists() {
            ensure!(
                target.is_dir(),
                "{} is a file: give the name of a folder",
                target.display()
            );
            let listing = || format!("cannot list the folder {}", target.display());
            let empty = fs::read_dir(target).with_context(listing)?.next().is_none();
            ensure!(
                force || empty,
                "{} is not empty: choose another folder, or add --force to replace earlier results in it",
                target.display()
            );
            if let Some(found) = manifest::foreign(target, KIND, &RESULTS).with_context(listing)? {
                bail!(
                    "{} holds {}, which no earlier run wrote, and was not replaced: choose another folder",
                    target.display(),
                    found.display()
                );
            }
        }
        let folder = parent(target);
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let temporary = tempfile::Builder::new()
            .prefix(".sparrow-")
            .tempdir_in(folder)
            .with_context(|| format!("cannot write into the folder {}", folder.display()))?;
        let new = temporary.path().join("new");
        fs::create_dir(&new)
            .with_context(|| format!("cannot write into the folder {}", folder.display()))?;
        Ok(Self {
            temporary,
            target: target.into(),
        })
    }

    /// Where to write.
    pub(super) fn path(&self) -> PathBuf {
        self.temporary.path().join("new")
    }

    /// Gives the folder its name. In a folder that exists, what was there before gives way entry by entry, by renaming;
    /// if that fails half-way, it is put back.
    pub(super) fn finish(self) -> Result<()> {
        let failed = || format!("cannot write {}", self.target.display());
        let new = self.path();
        manifest::write(&new, KIND).with_context(failed)?;
        readable_by_others(&new);
        if !self.target.exists() {
            return fs::rename(&new, &self.target).with_context(failed);
        }
        let old = self.temporary.path().join("old");
        fs::create_dir(&old).with_context(failed)?;
        let (mut moved, mut placed): (Vec<OsString>, Vec<OsString>) = Default::default();
        let mut swap = || -> io::Result<()> {
            for name in RESULTS.into_iter().chain([manifest::MANIFEST]) {
                let place = self.target.join(name);
                if place.exists() {
                    fs::rename(&place, old.join(name))?;
                    moved.push(name.into());
                }
            }
            let names = fs::read_dir(&new)?.map(|entry| Ok(entry?.file_name()));
            let mut names = names.collect::<io::Result<Vec<OsString>>>()?;
            names.sort();
            for name in names {
                fs::rename(new.join(&name), self.target.join(&name))?;
                placed.push(name);
            }
            Ok(())
        };
        if let Err(e) = swap() {
            // As far as the system lets us; what is new first, for it stands where the old was.
            for name in placed {
                drop(fs::rename(self.target.join(&name), new.join(&name)));
            }
            for name in moved {
                drop(fs::rename(old.join(&name), self.target.join(&name)));
            }
            return Err(e).with_context(failed);
        }
        Ok(())
    }
}

/// Makes the folder of a file that is to be written.
pub(super) fn make_parent(file: &Path) -> Result<()> {
    let folder = parent(file);
    fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))
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
    fn a_forced_folder_replaces_earlier_results_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("deep/out");
        let write = |name: &str, force| -> Result<()> {
            let folder = NewFolder::claim(&target, force)?;
            fs::create_dir(folder.path().join("masks"))?;
            fs::write(folder.path().join("masks").join(name), b"1")?;
            folder.finish()
        };
        write("1.png", false).unwrap();
        assert!(write("2.png", false).is_err());
        write("2.png", true).unwrap();
        assert!(target.join("masks/2.png").exists() && !target.join("masks/1.png").exists());
        fs::write(target.join("notes.txt"), b"mine").unwrap();
        write("2.png", true).unwrap();
        assert!(target.join("notes.txt").exists());
        // A person's own file among ours is never lost.
        fs::write(target.join("masks/mine.png"), b"mine").unwrap();
        let error = write("3.png", true).unwrap_err().to_string();
        assert!(error.contains("mine.png"), "{error}");
        assert!(target.join("masks/mine.png").exists() && target.join("masks/2.png").exists());
        assert_eq!(fs::read_dir(dir.path().join("deep")).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_cannot_be_replaced_whole_keeps_its_earlier_results() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("out");
        let new = || {
            let folder = NewFolder::claim(&target, true).unwrap();
            for name in RESULTS {
                fs::create_dir(folder.path().join(name)).unwrap();
            }
            folder
        };
        let first = new();
        fs::write(first.path().join("masks/1.png"), b"1").unwrap();
        first.finish().unwrap();
        fs::remove_dir(target.join("overlays")).unwrap();
        let second = new();
        fs::write(second.path().join("masks/2.png"), b"2").unwrap();
        // Something in the way of the second entry that came after the look: a folder never takes the place of a link.
        std::os::unix::fs::symlink("nowhere", target.join("overlays")).unwrap();
        second.finish().unwrap_err();
        assert!(target.join("masks/1.png").exists() && !target.join("masks/2.png").exists());
        assert!(target.join(manifest::MANIFEST).exists());
    }

    #[test]
    fn an_output_is_never_an_input_or_another_output() {
        let dir = tempfile::tempdir().unwrap();
        let video = dir.path().join("v.mp4");
        fs::write(&video, b"v").unwrap();
        let other = dir.path().join("sub/../v.mp4");
        fs::create_dir(dir.path().join("sub")).unwrap();
        assert!(keep_apart(&[&video], &[&other]).is_err());
        let new = dir.path().join("new.json");
        assert!(keep_apart(&[&video], &[&new, &new]).is_err());
        let stdout = Path::new("-");
        assert!(keep_apart(&[&video], &[&new, stdout, stdout]).is_ok());
    }
}
