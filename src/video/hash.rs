//! Identity of a video by its content, so that a project finds it again after it was moved and notices if it was changed.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use sha2::{Digest as _, Sha256};

use super::folder;
use crate::task::{Cancelled, Progress};

/// Why a video could not be hashed.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Path as given.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// Stopped on request.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// SHA-256 as lower-case hex: of a file's bytes, or of a folder's image names and sizes in frame order (reading every
/// image of a large folder would take minutes). Reports bytes done of bytes in all.
///
/// # Errors
/// [`HashError`] if the file cannot be read or the work was cancelled.
pub fn content_hash(path: &Path, progress: &mut Progress<'_>) -> Result<String, HashError> {
    if !path.is_dir() {
        return file_hash(path, "reading the video", progress).map(|(_, hash)| hash);
    }
    let failed = cannot_read(path);
    let mut hasher = Sha256::new();
    for file in folder::image_files(path).map_err(failed)? {
        let bytes = file.metadata().map_err(failed)?.len();
        hasher.update(format!("{}\0{bytes}\n", folder::file_name(&file)));
    }
    Ok(hex(&hasher.finalize()))
}

/// Length of a file and SHA-256 of its bytes as lower-case hex. Reports bytes done of bytes in all as `stage`.
///
/// # Errors
/// [`HashError`] if the file cannot be read or the work was cancelled.
pub(crate) fn file_hash(
    path: &Path,
    stage: &str,
    progress: &mut Progress<'_>,
) -> Result<(u64, String), HashError> {
    let failed = cannot_read(path);
    let mut file = File::open(path).map_err(failed)?;
    let total = file.metadata().map_err(failed)?.len();
    let (mut hasher, mut done) = (Sha256::new(), 0);
    let mut buffer = vec![0; 1 << 20];
    loop {
        progress.step(done, total, stage)?;
        let n = file.read(&mut buffer).map_err(failed)?;
        if n == 0 {
            return Ok((total, hex(&hasher.finalize())));
        }
        hasher.update(&buffer[..n]);
        done += n as u64;
    }
}

fn cannot_read(path: &Path) -> impl Fn(io::Error) -> HashError + Copy {
    move |source| HashError::Read {
        path: path.display().to_string(),
        source,
    }
}

/// Bytes as lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_is_the_standard_one() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = dir.path().join("a.bin");
        std::fs::write(&file, b"abc").expect("a temporary file");
        let hash = content_hash(&file, &mut Progress::silent()).expect("readable");
        assert_eq!(
            hash,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn hashing_can_be_cancelled() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = dir.path().join("a.bin");
        std::fs::write(&file, b"abc").expect("a temporary file");
        let mut progress = Progress::silent();
        progress.cancel.cancel();
        let end = content_hash(&file, &mut progress);
        assert!(matches!(end, Err(HashError::Cancelled(Cancelled))));
        assert!(content_hash(&dir.path().join("none"), &mut Progress::silent()).is_err());
    }
}
