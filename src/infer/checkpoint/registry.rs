//! Where on this machine a model's files are: a small file that a person may read and edit.
//!
//! `models.json` in the program's data folder maps an id to a bundle or to a folder of released files. Nothing else is
//! remembered, and a place that is gone is named as such when the model is asked for.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::super::model::ModelError;

/// Overrides the data folder, for tests and for machines that are shared.
const DATA_VARIABLE: &str = "SPARROW_DATA";

/// The program's data folder: where it is told, else the platform's place.
pub fn data_folder() -> Option<PathBuf> {
    let variable = |name: &str| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    if let Some(own) = variable(DATA_VARIABLE) {
        return Some(own);
    }
    let base = if cfg!(target_os = "windows") {
        variable("LOCALAPPDATA")?
    } else if cfg!(target_os = "macos") {
        variable("HOME")?.join("Library/Application Support")
    } else {
        variable("XDG_DATA_HOME").or_else(|| Some(variable("HOME")?.join(".local/share")))?
    };
    Some(base.join("sparrow"))
}

fn file() -> Option<PathBuf> {
    data_folder().map(|folder| folder.join("models.json"))
}

fn failed(path: &Path, reason: impl std::fmt::Display) -> ModelError {
    ModelError::Parts {
        place: path.display().to_string(),
        reason: reason.to_string(),
    }
}

fn read(path: &Path) -> Result<BTreeMap<String, PathBuf>, ModelError> {
    if !path.is_file() {
        return Ok(BTreeMap::new());
    }
    let text = std::fs::read_to_string(path).map_err(|e| failed(path, e))?;
    serde_json::from_str(&text)
        .map_err(|e| failed(path, format!("the list of models is damaged ({e})")))
}

/// The remembered place of a model's files.
///
/// # Errors
/// [`ModelError::Parts`] if the list is damaged or the place is gone.
pub fn place(id: &str) -> Result<Option<PathBuf>, ModelError> {
    let Some(path) = file() else {
        return Ok(None);
    };
    match read(&path)?.remove(id) {
        Some(place) if !place.exists() => Err(failed(
            &place,
            format!(
                "they were there and are gone: `sparrow models fetch {id} --from FOLDER` says where they are now"
            ),
        )),
        place => Ok(place),
    }
}

/// Remembers where a model's files are.
///
/// # Errors
/// [`ModelError::Parts`] if the list cannot be read or written.
pub fn remember(id: &str, place: &Path) -> Result<(), ModelError> {
    let path = file().ok_or_else(|| {
        failed(
            Path::new("models.json"),
            format!("there is no folder for data: set {DATA_VARIABLE}"),
        )
    })?;
    let place = place.canonicalize().map_err(|e| failed(place, e))?;
    let mut all = read(&path)?;
    all.insert(id.to_owned(), place);
    let text = serde_json::to_string_pretty(&all).map_err(|e| failed(&path, e))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(|e| failed(folder, e))?;
    let temporary = tempfile::NamedTempFile::new_in(folder).map_err(|e| failed(folder, e))?;
    std::fs::write(temporary.path(), text + "\n").map_err(|e| failed(&path, e))?;
    temporary
        .persist(&path)
        .map(drop)
        .map_err(|e| failed(&path, e.error))
}
