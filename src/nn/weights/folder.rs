//! A checkpoint folder as `save_pretrained` writes it: one file of tensors, or shards with an index that says which tensor
//! lies where.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{WeightError, file::TensorFile};

/// Indices and single files, in the order in which the released code looks for them.
const NAMES: [(&str, bool); 4] = [
    ("model.safetensors", false),
    ("model.safetensors.index.json", true),
    ("pytorch_model.bin", false),
    ("pytorch_model.bin.index.json", true),
];

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Whether a folder holds weights at all.
pub fn holds_weights(folder: &Path) -> bool {
    NAMES.iter().any(|(name, _)| folder.join(name).is_file())
}

/// Opens all files of a folder's checkpoint.
///
/// # Errors
/// [`WeightError::Read`] if there are none, the index names a file that is not there, or a shard does not hold what the
/// index says.
pub fn open(folder: &Path) -> Result<Vec<TensorFile>, WeightError> {
    let found = NAMES
        .iter()
        .map(|(name, index)| (folder.join(name), *index))
        .find(|(path, _)| path.is_file());
    match found {
        Some((path, false)) => Ok(vec![TensorFile::open(&path)?]),
        Some((path, true)) => shards(folder, &path),
        None => Err(WeightError::Read {
            path: folder.into(),
            reason: "it holds no model.safetensors, no pytorch_model.bin and no index of shards"
                .into(),
        }),
    }
}

fn shards(folder: &Path, index: &Path) -> Result<Vec<TensorFile>, WeightError> {
    let failed = |path: &Path, reason: String| WeightError::Read {
        path: path.into(),
        reason,
    };
    let text = std::fs::read_to_string(index).map_err(|e| failed(index, e.to_string()))?;
    let parsed: Index = serde_json::from_str(&text)
        .map_err(|e| failed(index, format!("it is no index of shards ({e})")))?;
    let mut by_file: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (tensor, file) in &parsed.weight_map {
        by_file.entry(file).or_default().push(tensor);
    }
    if by_file.is_empty() {
        return Err(failed(index, "it names no tensor".into()));
    }
    // All absences are told before anything is opened: fetching one shard after another helps nobody.
    let mut absent = Vec::new();
    for file in by_file.keys() {
        if Path::new(file).components().count() != 1 || file.contains(['/', '\\']) {
            return Err(failed(
                index,
                format!("it names a file outside of its folder, {file}"),
            ));
        }
        if !folder.join(file).is_file() {
            absent.push(*file);
        }
    }
    if !absent.is_empty() {
        return Err(failed(
            index,
            format!("it names {}, which is not there", absent.join(", ")),
        ));
    }
    let mut out = Vec::with_capacity(by_file.len());
    for (file, tensors) in by_file {
        let path: PathBuf = folder.join(file);
        let opened = TensorFile::open(&path)?;
        let held: std::collections::BTreeSet<_> =
            opened.tensors().into_iter().map(|(name, _)| name).collect();
        if let Some(lost) = tensors.iter().find(|t| !held.contains(*t)) {
            return Err(failed(
                &path,
                format!(
                    "it does not hold {lost}, which the index places there: the shard was swapped or belongs to another \
                     checkpoint"
                ),
            ));
        }
        out.push(opened);
    }
    Ok(out)
}
