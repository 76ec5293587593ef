//! What a result was asked with: program, model and weights, device, and whatever else tells one result file from another.
//! Leaves what is particular to a subcommand to it.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::{
    infer::{
        LoadedModel,
        model::{ModelSource, ModelThresholds, device_words},
    },
    task::{CancelToken, Progress},
    video::{HashError, file_hash, hex},
};

/// The part that every subcommand with a model says.
#[derive(Clone, Debug, Serialize)]
pub(super) struct AskedOf {
    /// Version of this program.
    program: &'static str,
    /// As typed.
    model: String,
    weights: Weights,
    /// Those that come with the weights.
    model_thresholds: ModelThresholds,
    device: String,
    /// How the weights were stored.
    precision: &'static str,
}

impl AskedOf {
    /// Looks at a model that was loaded. Its file is read once, for its hash; a stop leaves that out.
    pub(super) fn of(
        source: &ModelSource,
        typed: &str,
        model: &LoadedModel,
        progress: &mut Progress<'_>,
    ) -> Self {
        Self {
            program: env!("CARGO_PKG_VERSION"),
            model: typed.to_owned(),
            weights: Weights::of(source, progress),
            model_thresholds: model.thresholds,
            device: device_words(&model.device),
            precision: model.precision.name(),
        }
    }
}

/// Which weights they were.
#[derive(Clone, Debug, Serialize)]
struct Weights {
    /// File or folder; none for those in the program.
    place: Option<String>,
    bytes: Option<u64>,
    /// SHA-256 as lower-case hex: of a file's bytes, or of released files' names and sizes. None where it was not computed.
    hash: Option<String>,
}

impl Weights {
    fn of(source: &ModelSource, progress: &mut Progress<'_>) -> Self {
        let hashed = match &source.file {
            Some(file) => of_file(file, progress),
            None if source.parts.is_empty() => source
                .bytes()
                .map(|bytes| (bytes.len() as u64, hex(&Sha256::digest(&bytes))))
                .map_err(|e| io::Error::other(e.to_string())),
            None => of_names(source.parts.values()),
        };
        let place = source
            .file
            .as_ref()
            .or_else(|| source.parts.values().next());
        let (bytes, hash) = hashed.ok().unzip();
        Self {
            place: place.map(|path| path.display().to_string()),
            bytes,
            hash,
        }
    }
}

/// Length and hash of a file; an error where it cannot be read or the work was stopped.
fn of_file(path: &Path, progress: &mut Progress<'_>) -> io::Result<(u64, String)> {
    file_hash(path, "hashing the weights", progress).map_err(|error| match error {
        HashError::Read { source, .. } => source,
        HashError::Cancelled(stop) => io::Error::other(stop),
    })
}

/// The same of released files, which are many and large: of their names and sizes.
fn of_names<'a>(parts: impl Iterator<Item = &'a PathBuf>) -> io::Result<(u64, String)> {
    let mut sizes = BTreeMap::new();
    for part in parts {
        if part.is_dir() {
            for entry in fs::read_dir(part)? {
                let entry = entry?;
                let facts = fs::metadata(entry.path())?;
                if facts.is_file() {
                    sizes.insert(entry.path(), facts.len());
                }
            }
        } else {
            sizes.insert(part.clone(), fs::metadata(part)?.len());
        }
    }
    let mut hash = Sha256::new();
    for (path, bytes) in &sizes {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        hash.update(format!("{name}\0{bytes}\n"));
    }
    Ok((sizes.values().sum(), hex(&hash.finalize())))
}

/// SHA-256 of a file as lower-case hex.
pub(super) fn digest(path: &Path) -> io::Result<String> {
    let mut quiet = Progress::new(CancelToken::default(), |_, _, _| {});
    of_file(path, &mut quiet).map(|(_, hash)| hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_that_of_the_bytes_and_a_stop_leaves_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.safetensors");
        fs::write(&path, b"abc").unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest(&path).unwrap(), abc);
        let stop = CancelToken::default();
        stop.cancel();
        assert!(of_file(&path, &mut Progress::new(stop, |_, _, _| {})).is_err());
        // Other files of the same names have other sizes.
        let parts = [dir.path().to_path_buf()];
        let before = of_names(parts.iter()).unwrap();
        assert_eq!(before.0, 3);
        fs::write(&path, b"abcd").unwrap();
        assert_ne!(of_names(parts.iter()).unwrap(), before);
    }
}
