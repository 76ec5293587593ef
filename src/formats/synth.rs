//! The synthetic benchmark as it lies on disk: `CLIP/frames/00000.jpg`, `CLIP/masks/00000.png` (indexed, the object's
//! id), `CLIP/clip.json` with objects and referring phrases. Reading only; `sparrow synth` writes it.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{FormatError, file_name, files_with, folders_in};
use crate::project::counted;

/// A referring phrase and its answer.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct SynthPhrase {
    /// The words.
    pub words: Vec<String>,
    /// What it hinges on: `attribute`, `position`, `motion`, `plural`, `no_match`…
    pub kind: String,
    /// Ids of the objects meant, ascending; empty if there is none.
    pub referents: Vec<u8>,
}

impl SynthPhrase {
    /// The phrase as typed.
    pub fn text(&self) -> String {
        self.words.join(" ")
    }
}

/// An object of a clip.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct SynthObject {
    /// Its number in the masks.
    pub id: u8,
}

#[derive(Deserialize)]
struct ClipFile {
    schema: u32,
    width: u32,
    height: u32,
    frames: u32,
    #[serde(default = "fps")]
    fps: f64,
    objects: Vec<SynthObject>,
    phrases: Vec<SynthPhrase>,
}

fn fps() -> f64 {
    8.0
}

/// One clip.
#[derive(Clone, Debug, PartialEq)]
pub struct SynthClip {
    /// Its folder's name.
    pub name: String,
    /// Its folder.
    pub dir: PathBuf,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Nominal frames per second.
    pub fps: f64,
    /// Objects.
    pub objects: Vec<SynthObject>,
    /// Phrases.
    pub phrases: Vec<SynthPhrase>,
    /// Mask files, one per frame, in order.
    pub masks: Vec<PathBuf>,
}

impl SynthClip {
    /// Folder of the frames' images.
    pub fn images(&self) -> PathBuf {
        self.dir.join("frames")
    }
}

/// The clips of a folder, sorted by name.
///
/// # Errors
/// [`FormatError`] if there is none, or a description cannot be read.
pub fn clips(root: &Path) -> Result<Vec<SynthClip>, FormatError> {
    each(root)?.into_iter().map(|(_, clip)| clip).collect()
}

/// What stands in a folder of this name.
pub type Named = (String, Result<SynthClip, FormatError>);

/// The clips of a folder by their folders' names, sorted; one that cannot be read spoils no other.
///
/// # Errors
/// [`FormatError`] if there is none.
pub fn each(root: &Path) -> Result<Vec<Named>, FormatError> {
    let dirs = folders_in(root)
        .into_iter()
        .filter(|d| d.join("clip.json").is_file());
    let clips: Vec<_> = dirs.map(|d| (file_name(&d), clip(&d))).collect();
    if clips.is_empty() {
        return Err(FormatError::NotADataset {
            format: "synth",
            reason: "no folder with a clip.json in it".to_owned(),
            path: root.to_path_buf(),
        });
    }
    Ok(clips)
}

fn clip(dir: &Path) -> Result<SynthClip, FormatError> {
    let path = dir.join("clip.json");
    let bytes = std::fs::read(&path).map_err(|e| FormatError::io(&path, &e))?;
    let file: ClipFile = serde_json::from_slice(&bytes)
        .map_err(|e| FormatError::damaged(&path, format!("no clip description ({e})")))?;
    if file.schema != 1 {
        let what = format!("layout {} is newer than this program", file.schema);
        return Err(FormatError::damaged(&path, what));
    }
    let masks = files_with(&dir.join("masks"), &["png"])?;
    if masks.len() != file.frames as usize {
        let frames = counted(file.frames, "frame");
        let what = format!("{} for {frames}", counted(masks.len(), "mask"));
        return Err(FormatError::damaged(&path, what));
    }
    Ok(SynthClip {
        name: file_name(dir),
        dir: dir.to_path_buf(),
        width: file.width,
        height: file.height,
        fps: file.fps,
        objects: file.objects,
        phrases: file.phrases,
        masks,
    })
}
