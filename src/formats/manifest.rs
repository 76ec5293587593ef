//! Which files of a folder are our own: a list beside them, so that replacing an earlier output never takes anything else
//! with it. Leaves writing and replacing to the callers.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

/// Name of the list.
pub const MANIFEST: &str = ".sparrow-files";

/// Every file below a folder, relative to it, except lists of this kind.
fn files(dir: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let mut out = BTreeSet::new();
    let mut open = vec![PathBuf::new()];
    while let Some(inside) = open.pop() {
        for entry in fs::read_dir(dir.join(&inside))? {
            let entry = entry?;
            let path = inside.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                open.push(path);
            } else if entry.file_name() != MANIFEST {
                out.insert(path);
            }
        }
    }
    Ok(out)
}

/// Lists every file that is in the folder now. `kind` is what the folder is: a dataset of some format, say.
///
/// # Errors
/// If the folder cannot be read or the list not be written.
pub fn write(dir: &Path, kind: &str) -> io::Result<()> {
    let mut text = format!("{kind}\n");
    for path in files(dir)? {
        text += &format!("{}\n", path.display());
    }
    fs::write(dir.join(MANIFEST), text)
}

/// A file of the folder that its list does not name, if there is one; without a list of this `kind`, any file. Only what
/// lies within the folders `within` counts, everything if there are none.
///
/// # Errors
/// If the folder or its list cannot be read.
pub fn foreign(dir: &Path, kind: &str, within: &[&str]) -> io::Result<Option<PathBuf>> {
    let text = match fs::read_to_string(dir.join(MANIFEST)) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
        Err(e) => return Err(e),
    };
    let mut lines = text.lines();
    let ours: BTreeSet<&str> = if lines.next() == Some(kind) {
        lines.collect()
    } else {
        BTreeSet::new()
    };
    let counts = |p: &PathBuf| within.is_empty() || within.iter().any(|w| p.starts_with(w));
    Ok(files(dir)?
        .into_iter()
        .filter(counts)
        .find(|p| !ours.contains(p.display().to_string().as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_later_or_from_elsewhere_is_foreign() {
        let dir = tempfile::tempdir().unwrap();
        let at = |p: &str| dir.path().join(p);
        assert_eq!(foreign(dir.path(), "a", &[]).unwrap(), None);
        fs::create_dir(at("masks")).unwrap();
        fs::write(at("masks/1.png"), b"1").unwrap();
        assert_eq!(
            foreign(dir.path(), "a", &[]).unwrap(),
            Some("masks/1.png".into())
        );
        write(dir.path(), "a").unwrap();
        assert_eq!(foreign(dir.path(), "a", &[]).unwrap(), None);
        fs::write(at("masks/mine.png"), b"2").unwrap();
        assert_eq!(
            foreign(dir.path(), "a", &[]).unwrap(),
            Some("masks/mine.png".into())
        );
        assert!(foreign(dir.path(), "b", &[]).unwrap().is_some());
        assert_eq!(foreign(dir.path(), "b", &["other"]).unwrap(), None);
    }
}
