//! The files that the authors release, found in a folder and put together under the names that the networks ask for.
//!
//! A checkpoint of SPARROW is spread over four programs' habits: a folder of the language model with everything that was
//! trained, CLIP's folder, a single file of InternVideo2, and the proposer's folder. Which folder is which is told by what
//! its `config.json` says, not by how it is called; lone files say nothing of themselves, so their names must begin as
//! their authors have them. [`config`] adapts a model's description to what the files say of
//! themselves, [`report`] compares tensors with what the networks ask
//! for, [`registry`] remembers where files are,
//! [`fetch`] downloads them. Reading files is [`crate::nn::weights`]'s.

pub mod config;
pub mod fetch;
pub mod registry;
pub mod report;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::nn::weights::{WeightError, file::TensorFile, folder, set::TensorSet};

use super::model::ModelError;

/// What a set of files is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The trained model: language model, projections, SAM2, filtration heads.
    Sparrow,
    /// The spatial tower.
    Clip,
    /// The temporal tower.
    InternVideo2,
    /// The proposer with its image encoder.
    Proposer,
    /// SAM2 alone, for a checkpoint that lacks it.
    Sam2,
}

impl Role {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Sparrow => "the SPARROW checkpoint",
            Self::Clip => "CLIP ViT-L/14-336",
            Self::InternVideo2 => "InternVideo2",
            Self::Proposer => "the proposer (ddetr_sam2)",
            Self::Sam2 => "SAM2",
        }
    }

    /// The name that a network asks for, from the name in this role's own files; `None` for what belongs to other parts of
    /// the authors' programs.
    fn rename(self, name: &str) -> Option<String> {
        match self {
            Self::Sparrow => Some(match name.strip_prefix(SAM2) {
                Some(rest) => in_sam2(rest),
                None => name.to_owned(),
            }),
            Self::Clip => name
                .starts_with("vision_model.")
                .then(|| format!("model.image_vision_tower.vision_tower.{name}")),
            Self::InternVideo2 => (name.starts_with("vision_encoder.")
                || name.starts_with("vision_proj."))
            .then(|| format!("model.vision_tower.{name}")),
            Self::Proposer => Some(format!("detector.{name}")),
            Self::Sam2 => Some(in_sam2(name)),
        }
    }
}

/// Where SAM2 stands among a checkpoint's tensors.
const SAM2: &str = "model.visual_model.";

/// The name that is asked for of one of SAM2's own tensors. Its authors call the memory encoder's layer scale `gamma`, the
/// library that SPARROW was saved with `weight`: were both kept, a checkpoint beside SAM2's file would hold it twice.
fn in_sam2(name: &str) -> String {
    let scale = name
        .strip_prefix("memory_encoder.fuser.layers.")
        .and_then(|rest| rest.strip_suffix(".gamma"));
    match scale {
        Some(layer) => format!("{SAM2}memory_encoder.fuser.layers.{layer}.weight"),
        None => format!("{SAM2}{name}"),
    }
}

/// Where the files of each role are: a folder or a file.
pub type Parts = BTreeMap<Role, PathBuf>;

/// Folders that are looked through at most.
const FOLDERS: usize = 2000;
/// Depth to which they are.
const DEPTH: usize = 4;

#[derive(Deserialize)]
struct Kind {
    #[serde(default)]
    model_type: String,
    #[serde(default)]
    architectures: Option<Vec<String>>,
    #[serde(default)]
    image_mm_vision_tower: Option<String>,
}

/// What a checkpoint folder is, by its configuration; `None` if it is none, or another program's.
///
/// # Errors
/// [`ModelError::Parts`] if there are weights, and a configuration that cannot be read.
fn role_of_folder(path: &Path) -> Result<Option<Role>, ModelError> {
    let config = path.join("config.json");
    if !folder::holds_weights(path) || !config.is_file() {
        return Ok(None);
    }
    let damaged = |reason: String| ModelError::Parts {
        place: config.display().to_string(),
        reason: format!("it is damaged ({reason})"),
    };
    let text = std::fs::read_to_string(&config).map_err(|e| damaged(e.to_string()))?;
    let says: serde_json::Value =
        serde_json::from_str(&text).map_err(|e| damaged(e.to_string()))?;
    Ok(serde_json::from_value(says).ok().and_then(role_of_kind))
}

fn role_of_kind(kind: Kind) -> Option<Role> {
    match kind.model_type.as_str() {
        "VideoGPT+" => return Some(Role::Sparrow),
        "ddetr_sam2" => return Some(Role::Proposer),
        "clip" | "clip_vision_model" => return Some(Role::Clip),
        _ => {}
    }
    let sparrow = kind.architectures.unwrap_or_default().iter().any(|a| {
        let a = a.to_lowercase();
        a.contains("sparrow") || a.contains("videoglamm")
    });
    (sparrow || kind.image_mm_vision_tower.is_some()).then_some(Role::Sparrow)
}

/// What a lone file is, by the beginning of its name: such files carry no description.
fn role_of_file(path: &Path) -> Option<Role> {
    let name = path.file_name()?.to_str()?.to_lowercase();
    let known = ["pt", "pth", "bin", "safetensors"];
    let extension = path.extension()?.to_str()?.to_lowercase();
    if !known.contains(&extension.as_str()) {
        return None;
    }
    if name.starts_with("internvideo2") {
        Some(Role::InternVideo2)
    } else if name.starts_with("sam2_hiera") || name.starts_with("sam2.1_hiera") {
        Some(Role::Sam2)
    } else {
        None
    }
}

/// Looks for every role's files in a folder and its subfolders. A configuration that cannot be read may be another program's:
/// it is told where a `wanted` role is missing.
///
/// # Errors
/// [`ModelError::Parts`] if the folder cannot be read, two places claim the same role, or what is wanted may be what is damaged.
pub fn find(root: &Path, wanted: &[Role]) -> Result<Parts, ModelError> {
    let failed = |reason: String| ModelError::Parts {
        place: root.display().to_string(),
        reason,
    };
    let mut parts = Parts::new();
    let mut queue = vec![(root.to_owned(), 0)];
    let mut seen = 0;
    let mut damaged = None;
    while let Some((path, depth)) = queue.pop() {
        seen += 1;
        if seen > FOLDERS {
            return Err(failed(
                "it holds too many folders to look through: give a folder closer to the files"
                    .into(),
            ));
        }
        let mut found: Vec<(Role, PathBuf)> = Vec::new();
        match role_of_folder(&path) {
            Ok(role) => found.extend(role.map(|role| (role, path.clone()))),
            Err(e) => damaged = damaged.or(Some(e)),
        }
        let entries = std::fs::read_dir(&path)
            .map_err(|e| failed(format!("{} cannot be read: {e}", path.display())))?;
        let mut entries: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
        entries.sort();
        for entry in entries {
            if entry.is_dir() {
                let hidden = entry
                    .file_name()
                    .is_none_or(|n| n.to_string_lossy().starts_with('.'));
                if depth < DEPTH && !hidden {
                    queue.push((entry, depth + 1));
                }
            } else if let Some(role) = role_of_file(&entry) {
                found.push((role, entry));
            }
        }
        for (role, place) in found {
            if let Some(other) = parts.insert(role, place.clone()) {
                return Err(failed(format!(
                    "{} and {} both hold {}: leave one of them there",
                    other.display(),
                    place.display(),
                    role.words()
                )));
            }
        }
    }
    match damaged {
        Some(damaged) if lacks(&parts, wanted) => Err(damaged),
        _ => Ok(parts),
    }
}

/// Whether one of the roles has neither files of its own nor a copy in the checkpoint.
fn lacks(parts: &Parts, roles: &[Role]) -> bool {
    if roles.iter().all(|role| parts.contains_key(role)) {
        return false;
    }
    !open(parts).is_ok_and(|set| {
        let here = |role: &Role| parts.contains_key(role) || is_copied(&set, *role);
        roles.iter().all(here)
    })
}

/// Names of a tower that a SPARROW checkpoint may hold a copy of.
const TOWERS: [(Role, &str); 2] = [
    (Role::Clip, "model.image_vision_tower."),
    (Role::InternVideo2, "model.vision_tower."),
];

/// Opens every part and puts the tensors together.
///
/// Towers are always taken from their own files: the released program loads them again after the checkpoint, which may
/// hold a copy of one of them or of both.
///
/// # Errors
/// [`WeightError`] if a file cannot be read or an index is wrong.
pub fn open(parts: &Parts) -> Result<TensorSet, WeightError> {
    let mut set = TensorSet::new();
    // SAM2's own file first, so that the checkpoint's tensors win.
    let order = [
        Role::Sam2,
        Role::Sparrow,
        Role::Clip,
        Role::InternVideo2,
        Role::Proposer,
    ];
    for role in order {
        let Some(place) = parts.get(&role) else {
            continue;
        };
        let files = if place.is_dir() {
            folder::open(place)?
        } else {
            vec![TensorFile::open(place)?]
        };
        let copies: Vec<_> = TOWERS
            .iter()
            .filter(|(tower, _)| role == Role::Sparrow && parts.contains_key(tower))
            .map(|(_, prefix)| *prefix)
            .collect();
        for file in files {
            set.add(file, |name| {
                let copied = copies.iter().any(|prefix| name.starts_with(prefix));
                role.rename(name).filter(|_| !copied)
            });
        }
    }
    Ok(set)
}

/// Prefixes of the proposer's own image encoder, and of SAM2's.
const ENCODERS: [&str; 2] = ["detector.vis_encoder.", "model.visual_model.image_encoder."];

/// Whether every tensor of the proposer's own image encoder is SAM2's; `None` if it has none. Ends at the first that is not,
/// beginning with the smallest.
///
/// # Errors
/// [`WeightError`] if a file cannot be read.
pub fn encoders_are_same(set: &TensorSet) -> Result<Option<bool>, WeightError> {
    let [own, sam2] = ENCODERS;
    let mut pairs: Vec<(&str, String)> = set
        .names()
        .filter_map(|name| Some((name, format!("{sam2}{}", name.strip_prefix(own)?))))
        .collect();
    pairs.sort_by_key(|(name, _)| set.info(name).map_or(0, |info| info.count()));
    for (name, other) in &pairs {
        if !set.are_same(name, other)? {
            return Ok(Some(false));
        }
    }
    Ok((!pairs.is_empty()).then_some(true))
}

/// The roles that a checkpoint cannot do without.
pub const NEEDED: [Role; 4] = [
    Role::Sparrow,
    Role::Clip,
    Role::InternVideo2,
    Role::Proposer,
];

/// The roles that a checkpoint cannot do without and that no part fills.
pub fn absent(parts: &Parts) -> Vec<Role> {
    NEEDED
        .into_iter()
        .filter(|role| !parts.contains_key(role))
        .collect()
}

/// Whether a tower that has no files of its own is in the checkpoint (its exporter left some of them in).
pub fn is_copied(set: &TensorSet, role: Role) -> bool {
    TOWERS
        .iter()
        .filter(|(tower, _)| *tower == role)
        .any(|(_, prefix)| set.names().any(|name| name.starts_with(prefix)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_damaged_configuration_of_another_program_is_told_only_where_a_part_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let folder = |name: &str, config: &str| {
            let path = dir.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::write(path.join("config.json"), config).unwrap();
            fs::write(path.join("pytorch_model.bin"), "weights").unwrap();
            path
        };
        folder("own", r#"{"model_type": "VideoGPT+"}"#);
        folder("proposer", r#"{"model_type": "ddetr_sam2"}"#);
        folder("another", "{");
        let clip = folder("clip", r#"{"model_type": "clip"}"#);
        fs::write(dir.path().join("internvideo2.pt"), "weights").unwrap();
        let parts = find(dir.path(), &NEEDED).unwrap();
        assert!(absent(&parts).is_empty(), "{parts:?}");
        fs::remove_dir_all(clip).unwrap();
        let error = find(dir.path(), &NEEDED).unwrap_err().to_string();
        assert!(
            error.contains("another") && error.contains("damaged"),
            "{error}"
        );
        assert_eq!(find(dir.path(), &[Role::Proposer]).unwrap().len(), 3);
    }
}
