//! Says to other windows that a project is open here: a lock of the system on a file of its own, which ends with the
//! program however that ends. The project itself is not locked: SQLite does that, for as long as it writes.

use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

/// A project that is open here, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Claim {
    _locked: File,
}

/// Whether a project is open elsewhere.
#[derive(Debug)]
pub(crate) enum Claimed {
    Here(Claim),
    /// In another window.
    Elsewhere,
    /// The system does not tell.
    Unknown,
}

impl Claim {
    /// Claims a project for this window.
    pub(crate) fn of(project: &Path) -> Claimed {
        let name = project
            .canonicalize()
            .unwrap_or_else(|_| project.to_path_buf());
        let hash = Sha256::digest(name.as_os_str().as_encoded_bytes());
        let name: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let folder = folder();
        let file = std::fs::create_dir_all(&folder).and_then(|()| {
            let mut options = File::options();
            options.create(true).truncate(false).write(true);
            options.open(folder.join(name))
        });
        let Ok(file) = file else {
            return Claimed::Unknown;
        };
        match file.try_lock() {
            Ok(()) => Claimed::Here(Self { _locked: file }),
            Err(TryLockError::WouldBlock) => Claimed::Elsewhere,
            Err(TryLockError::Error(_)) => Claimed::Unknown,
        }
    }
}

/// A folder of this user that is emptied now and then.
fn folder() -> PathBuf {
    let var = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty());
    if let Some(runtime) = var("XDG_RUNTIME_DIR") {
        return PathBuf::from(runtime).join("sparrow");
    }
    let mut name = std::ffi::OsString::from("sparrow-open-");
    name.push(var("USER").or_else(|| var("USERNAME")).unwrap_or_default());
    std::env::temp_dir().join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_is_claimed_once_until_the_claim_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sparrow");
        std::fs::write(&path, "a project").unwrap();
        let Claimed::Here(first) = Claim::of(&path) else {
            panic!("nobody has it");
        };
        assert!(matches!(Claim::of(&path), Claimed::Elsewhere));
        // The same file by another name, and another file.
        let name = dir.path().join(".").join("a.sparrow");
        assert!(matches!(Claim::of(&name), Claimed::Elsewhere));
        let other = dir.path().join("b.sparrow");
        assert!(matches!(Claim::of(&other), Claimed::Here(_)));
        drop(first);
        assert!(matches!(Claim::of(&path), Claimed::Here(_)));
    }
}
