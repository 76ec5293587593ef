//! The JSON of COCO, with the fields that per-frame video datasets add. Leaves what they mean to [`super::coco`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

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
