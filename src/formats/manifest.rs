//! Which files of a folder are our own: a list beside them, so that replacing an earlier output never takes anything else
//! with it. Leaves writing and replacing to the callers.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

/// Name of the list.
pub const MANIFEST: &str = ".sparrow-files";

/// How the line begins that says what the folder is of.
const ABOUT: &str = "# ";

/// What the folder is of, if its list says so.
///
/// # Errors
/// If the list cannot be read.
pub fn about(dir: &Path) -> io::Result<Option<String>> {
    let second = lines(dir)?.into_iter().nth(1);
    Ok(second.and_then(|line| line.strip_prefix(ABOUT).map(str::to_owned)))
}

/// The list's lines, none without a list.
fn lines(dir: &Path) -> io::Result<Vec<String>> {
    match fs::read_to_string(dir.join(MANIFEST)) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

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
    write_about(dir, kind, None)
}

/// [`write`] with a line on what the folder is of, which [`about`] gives back.
///
/// # Errors
/// If the folder cannot be read or the list not be written.
pub fn write_about(dir: &Path, kind: &str, about: Option<&str>) -> io::Result<()> {
    let mut text = format!("{kind}\n");
    if let Some(about) = about {
        text += &format!("{ABOUT}{about}\n");
    }
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
    let lines = lines(dir)?;
    let ours: BTreeSet<&str> = match lines.split_first() {
        Some((first, names)) if first == kind => names.iter().map(String::as_str).collect(),
        _ => BTreeSet::new(),
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

    #[test]
    fn what_a_folder_is_of_is_no_file_of_it() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(about(dir.path()).unwrap(), None);
        fs::write(dir.path().join("1.png"), b"1").unwrap();
        write(dir.path(), "a").unwrap();
        assert_eq!(about(dir.path()).unwrap(), None);
        write_about(dir.path(), "a", Some("a clip")).unwrap();
        assert_eq!(about(dir.path()).unwrap().as_deref(), Some("a clip"));
        assert_eq!(foreign(dir.path(), "a", &[]).unwrap(), None);
    }
}
