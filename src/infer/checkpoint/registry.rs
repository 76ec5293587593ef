//! Where on this machine a model's files are: a small file that a person may read and edit.
//!
//! `models.json` in the program's data folder maps an id to a bundle, to a folder of released files, or to a place for each
//! part. Nothing else is remembered, and a place that is gone is named as such when the model is asked for.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{super::model::ModelError, Parts};

/// Where a model's files are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Place {
    /// A bundle, or a folder with all of them.
    One(PathBuf),
    /// A folder or a file for each part.
    Parts(Parts),
}

impl Place {
    fn paths(&self) -> Vec<&Path> {
        match self {
            Self::One(path) => vec![path],
            Self::Parts(parts) => parts.values().map(PathBuf::as_path).collect(),
        }
    }

    /// The same with paths that do not depend on where the program runs.
    fn absolute(&self) -> Result<Self, ModelError> {
        let absolute = |path: &Path| path.canonicalize().map_err(|e| failed(path, e));
        Ok(match self {
            Self::One(path) => Self::One(absolute(path)?),
            Self::Parts(parts) => Self::Parts(
                parts
                    .iter()
                    .map(|(role, path)| Ok((*role, absolute(path)?)))
                    .collect::<Result<_, ModelError>>()?,
            ),
        })
    }
}

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

fn read(path: &Path) -> Result<BTreeMap<String, Place>, ModelError> {
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
pub fn place(id: &str) -> Result<Option<Place>, ModelError> {
    let Some(path) = file() else {
        return Ok(None);
    };
    let Some(place) = read(&path)?.remove(id) else {
        return Ok(None);
    };
    if let Some(gone) = place.paths().into_iter().find(|p| !p.exists()) {
        return Err(failed(
            gone,
            format!(
                "they were there and are gone: `sparrow models fetch {id} --from FOLDER` says where they are now"
            ),
        ));
    }
    Ok(Some(place))
}

/// Remembers where a model's files are.
///
/// # Errors
/// [`ModelError::Parts`] if the list cannot be read or written.
pub fn remember(id: &str, place: &Place) -> Result<(), ModelError> {
    let path = file().ok_or_else(|| {
        failed(
            Path::new("models.json"),
            format!("there is no folder for data: set {DATA_VARIABLE}"),
        )
    })?;
    let place = place.absolute()?;
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
