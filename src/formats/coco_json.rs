//! The JSON of COCO, with the fields that per-frame video datasets add. Leaves what they mean to [`super::coco`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ExportOptions, FormatError, Kept, polygon};
use crate::project::{Document, FrameMask, Object, Provenance, Rle, Size};

/// A whole file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct File {
    #[serde(default)]
    pub(super) info: Info,
    #[serde(default)]
    pub(super) licenses: Vec<Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) videos: Vec<Video>,
    pub(super) images: Vec<Image>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) tracks: Vec<Track>,
    #[serde(default)]
    pub(super) annotations: Vec<Annotation>,
    #[serde(default)]
    pub(super) categories: Vec<Category>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Info {
    #[serde(default)]
    pub(super) description: String,
    #[serde(default)]
    pub(super) version: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Video {
    pub(super) id: u64,
    #[serde(default)]
    pub(super) name: String,
    pub(super) width: u32,
    pub(super) height: u32,
    /// Number of frames.
    #[serde(default)]
    pub(super) length: u32,
    #[serde(default)]
    pub(super) fps: Option<f64>,
    /// Path as opened, and content hash.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) path: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) hash: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Image {
    pub(super) id: u64,
    pub(super) file_name: String,
    pub(super) width: u32,
    pub(super) height: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) video_id: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) frame_index: Option<u32>,
}

/// One object of a video, as in TAO.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Track {
    pub(super) id: u32,
    pub(super) video_id: u64,
    pub(super) category_id: u64,
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) phrase: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Annotation {
    pub(super) id: u64,
    pub(super) image_id: u64,
    pub(super) category_id: u64,
    pub(super) segmentation: Segmentation,
    #[serde(default)]
    pub(super) area: f64,
    #[serde(default)]
    pub(super) bbox: Vec<f64>,
    #[serde(default)]
    pub(super) iscrowd: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) track_id: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) score: Option<f32>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) attributes: BTreeMap<String, Value>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Segmentation {
    Runs { size: [u32; 2], counts: Counts },
    Polygons(Vec<Vec<f64>>),
}

impl Info {
    /// Of the files that we write.
    pub(super) fn ours() -> Self {
        Self {
            description: "Exported by Sparrow".to_owned(),
            version: "1.0".to_owned(),
        }
    }
}

/// The names of a document's objects as categories, and the category of each object.
pub(super) fn categories(doc: &Document) -> (Vec<Category>, Vec<u64>) {
    let mut all: Vec<Category> = Vec::new();
    let mut of = Vec::with_capacity(doc.objects.len());
    for object in &doc.objects {
        let name = match object.name.as_str() {
            "" => "object",
            name => name,
        };
        let known = all.iter().find(|c| c.name == name).map(|c| c.id);
        of.push(known.unwrap_or_else(|| {
            let id = all.len() as u64 + 1;
            all.push(Category {
                id,
                name: name.to_owned(),
                supercategory: String::new(),
            });
            id
        }));
    }
    (all, of)
}

/// The masks that a format keeps which holds every mask that is not empty, as it is.
pub(super) fn plain_kept(doc: &Document, options: &ExportOptions) -> Result<Kept, FormatError> {
    let mut kept = Kept::new();
    for object in &doc.objects {
        for (&frame, mask) in &object.frames {
            mask.rle
                .check()
                .map_err(|source| FormatError::Document { frame, source })?;
            if options.wants(mask) && !mask.rle.is_empty() {
                kept.insert((object.id, frame), mask.rle.clone());
            }
        }
    }
    Ok(kept)
}

impl Segmentation {
    /// As run lengths of a frame of `size`; else a clause saying why not.
    pub(super) fn to_rle(&self, size: Size) -> Result<Rle, String> {
        match self {
            Self::Runs { size: own, .. } if *own != [size.height, size.width] => {
                Err("the mask has another size than its image".to_owned())
            }
            Self::Runs { counts, .. } => match counts {
                Counts::Text(text) => Rle::from_coco_string(size, text),
                Counts::List(list) => Rle::new(size, list.clone()),
            }
            .map_err(|e| e.to_string()),
            Self::Polygons(parts) => {
                let mut filled = parts.iter().map(|part| polygon::fill(size, part));
                let joined = filled.try_fold(Rle::empty(size), |mask, part| mask.union(&part));
                joined.map_err(|e| e.to_string())
            }
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Counts {
    Text(String),
    List(Vec<u32>),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Category {
    pub(super) id: u64,
    pub(super) name: String,
    #[serde(default)]
    pub(super) supercategory: String,
}

pub(super) fn provenance_text(provenance: Provenance) -> &'static str {
    match provenance {
        Provenance::Human => "human",
        Provenance::Model => "model",
        Provenance::Propagated => "propagated",
    }
}

/// A foreign dataset's mask is the truth as somebody made it.
pub(super) fn provenance_of(text: Option<&str>) -> Provenance {
    match text {
        Some("model") => Provenance::Model,
        Some("propagated") => Provenance::Propagated,
        _ => Provenance::Human,
    }
}

/// Frames whose masks no person vouches for, and who made them: an addition that other readers pass over.
pub(super) type Unverified = BTreeMap<u32, String>;

pub(super) fn unverified(object: &Object, options: &ExportOptions) -> Unverified {
    let masks = object.frames.iter();
    let masks = masks.filter(|(_, m)| !m.anchor && !m.rle.is_empty() && !options.verified_only);
    masks
        .map(|(frame, m)| (frame.0, provenance_text(m.provenance).to_owned()))
        .collect()
}

/// A mask as it was written beside such a list.
pub(super) fn mask_of(rle: Rle, frame: u32, unverified: &Unverified) -> FrameMask {
    let mut mask = FrameMask::by_hand(rle);
    if let Some(text) = unverified.get(&frame) {
        mask.provenance = provenance_of(Some(text));
        mask.anchor = false;
    }
    mask
}
