//! MeViS, the layout of referring video segmentation: `SPLIT/meta_expressions.json` says which objects each phrase means,
//! `SPLIT/mask_dict.json` holds one list of run lengths per object, a place for every frame; images (if wanted) under
//! `SPLIT/JPEGImages/SEQUENCE/00000.jpg`.
//!
//! `unverified` of a video is an addition that other readers pass over: the frames whose masks no person vouches for.
//! Objects of one phrase are one expression. Objects without a phrase keep their masks, but no expression leads to them.
//! Ref-YouTube-VOS shares the file of expressions; its masks are PNGs, which [`super::davis`] writes.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    ExportJob, ExportOptions, Format, FormatError, Imported, Kept, Loss, MAX_SIDE, PUT_VIDEO,
    Watcher,
    coco_json::{Counts, Segmentation, Unverified, mask_of, plain_kept, unverified},
    folders_in, loss, originals, write_json,
};
use crate::project::{
    Document, FrameIndex, FrameMask, Object, ObjectId, Size, Thresholds, VideoInfo, counted, were,
};

/// The expressions of a split.
const EXPRESSIONS: &str = "meta_expressions.json";
/// The masks of a split.
const MASKS: &str = "mask_dict.json";
/// MeViS says no frame rate; its clips are sampled from videos at about this one.
const FPS: f64 = 6.0;

/// The format.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mevis;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Meta {
    videos: BTreeMap<String, Video>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Video {
    expressions: BTreeMap<String, Expression>,
    #[serde(default)]
    vid_id: u64,
    /// Names of the frames without extension.
    frames: Vec<String>,
    /// In pixels; MeViS itself leaves that to the masks, of which there may be none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    width: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    height: Option<u32>,
    /// By object: an addition that other readers pass over.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    unverified: BTreeMap<u64, Unverified>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Expression {
    exp: String,
    /// Absent in test splits, as are the masks.
    #[serde(default)]
    obj_id: Vec<u64>,
    #[serde(default)]
    anno_id: Vec<u64>,
}

/// One object's masks, frame by frame.
type Track = Vec<Option<Segmentation>>;

fn wanted(mask: &FrameMask, options: &ExportOptions) -> bool {
    options.wants(mask) && !mask.rle.is_empty()
}

/// Objects by phrase, in the order in which the phrases first appear.
fn by_phrase(doc: &Document) -> Vec<(&str, Vec<&Object>)> {
    let mut out: Vec<(&str, Vec<&Object>)> = Vec::new();
    for object in doc.objects.iter().filter(|o| !o.phrase.trim().is_empty()) {
        let phrase = object.phrase.trim();
        match out.iter_mut().find(|(p, _)| *p == phrase) {
            Some((_, objects)) => objects.push(object),
            None => out.push((phrase, vec![object])),
        }
    }
    out
}

fn meta(doc: &Document, name: &str, options: &ExportOptions) -> Meta {
    let expressions = by_phrase(doc)
        .into_iter()
        .enumerate()
        .map(|(i, (phrase, objects))| {
            let ids: Vec<u64> = objects.iter().map(|o| u64::from(o.id.0)).collect();
            let expression = Expression {
                exp: phrase.to_owned(),
                obj_id: ids.clone(),
                anno_id: ids,
            };
            (i.to_string(), expression)
        })
        .collect();
    let unverified = doc
        .objects
        .iter()
        .map(|o| (u64::from(o.id.0), unverified(o, options)))
        .filter(|(_, frames)| !frames.is_empty())
        .collect();
    let video = Video {
        expressions,
        vid_id: 0,
        frames: (0..doc.video.frames).map(frame_name).collect(),
        width: Some(doc.video.size.width),
        height: Some(doc.video.size.height),
        unverified,
    };
    Meta {
        videos: BTreeMap::from([(name.to_owned(), video)]),
    }
}

fn masks(doc: &Document, options: &ExportOptions) -> BTreeMap<String, Track> {
    let size = doc.video.size;
    doc.objects
        .iter()
        .map(|object| {
            let track = (0..doc.video.frames)
                .map(|frame| {
                    let mask = object.frames.get(&FrameIndex(frame));
                    let mask = mask.filter(|m| wanted(m, options))?;
                    Some(Segmentation::Runs {
                        size: [size.height, size.width],
                        counts: Counts::Text(mask.rle.to_coco_string()),
                    })
                })
                .collect();
            (object.id.0.to_string(), track)
        })
        .collect()
}

fn frame_name(frame: u32) -> String {
    format!("{frame:05}")
}

fn from_json<T: DeserializeOwned>(path: &Path) -> Result<T, FormatError> {
    let bytes = std::fs::read(path).map_err(|e| FormatError::io(path, &e))?;
    serde_json::from_slice(&bytes)
        .map_err(|e| FormatError::damaged(path, format!("not a MeViS file ({e})")))
}

/// The folders of a dataset that hold expressions: the folder itself, or its splits.
fn splits(path: &Path) -> Result<Vec<PathBuf>, FormatError> {
    let is_split = |dir: &PathBuf| dir.join(EXPRESSIONS).is_file();
    let mut out: Vec<PathBuf> = vec![path.to_path_buf()];
    out.extend(folders_in(path));
    out.retain(is_split);
    if out.is_empty() {
        return Err(FormatError::NotADataset {
            format: "mevis",
            reason: format!("no {EXPRESSIONS} in it or in a folder of it"),
            path: path.to_path_buf(),
        });
    }
    Ok(out)
}

impl Format for Mevis {
    fn name(&self) -> &'static str {
        "mevis"
    }

    fn title(&self) -> &'static str {
        "MeViS: phrases with their masks"
    }

    fn plan(
        &self,
        doc: &Document,
        options: &ExportOptions,
    ) -> Result<(Kept, Vec<Loss>), FormatError> {
        let kept = plain_kept(doc, options)?;
        let mut losses = loss::common(doc, options.verified_only);
        let frames = (0..doc.video.frames).map(FrameIndex).collect();
        losses.extend(loss::of_presence(doc, options.verified_only, &frames));
        let unnamed = doc.objects.iter().filter(|o| o.phrase.trim().is_empty());
        let unnamed: Vec<ObjectId> = unnamed.map(|o| o.id).collect();
        if !unnamed.is_empty() {
            losses.push(Loss::WithoutPhrase(unnamed));
        }
        if !kept.is_empty() {
            losses.push(Loss::Scores { masks: kept.len() });
        }
        Ok((kept, losses))
    }

    fn write(&self, job: &mut ExportJob<'_>) -> Result<(), FormatError> {
        let (doc, options) = (job.doc, job.options);
        let name = options.sequence_name(doc);
        let split = job.dir.join(options.split_name());
        let meta = serde_json::to_vec(&meta(doc, &name, options));
        write_json(&split.join(EXPRESSIONS), meta)?;
        let masks = serde_json::to_vec(&masks(doc, options));
        write_json(&split.join(MASKS), masks)?;
        let images = split.join("JPEGImages").join(&name);
        let frames = 0..doc.video.frames;
        let each = frames.map(|f| (FrameIndex(f), images.join(frame_name(f) + ".jpg")));
        originals::write_all(job, each.collect())
    }

    fn sequences(&self, path: &Path) -> Result<Vec<String>, FormatError> {
        let mut names = BTreeSet::new();
        for split in splits(path)? {
            let meta: Meta = from_json(&split.join(EXPRESSIONS))?;
            names.extend(meta.videos.into_keys());
        }
        Ok(names.into_iter().collect())
    }

    fn read(&self, path: &Path, name: &str, _: &mut Watcher<'_>) -> Result<Imported, FormatError> {
        for split in splits(path)? {
            let mut meta: Meta = from_json(&split.join(EXPRESSIONS))?;
            let alone = meta.videos.len() == 1;
            if let Some(video) = meta.videos.remove(name) {
                return read_video(&split, name, &video, alone);
            }
        }
        Err(FormatError::NoSequence(path.join(name)))
    }
}

/// `alone`: all masks of the split belong to this video, also those that no expression names.
fn read_video(
    split: &Path,
    name: &str,
    video: &Video,
    alone: bool,
) -> Result<Imported, FormatError> {
    let path = split.join(MASKS);
    let tracks: BTreeMap<String, Track> = from_json(&path)?;
    let mut warnings = Vec::new();
    // Phrase of each object; the first one that names it alone, else the first that names it.
    let mut phrases: BTreeMap<u64, (&str, bool)> = BTreeMap::new();
    let mut more = 0;
    for expression in video.expressions.values() {
        let alone = expression.anno_id.len() == 1;
        for &id in &expression.anno_id {
            match phrases.get(&id) {
                None => {
                    phrases.insert(id, (expression.exp.trim(), alone));
                }
                Some((_, false)) if alone => {
                    more += 1;
                    phrases.insert(id, (expression.exp.trim(), true));
                }
                Some(_) => more += 1,
            }
        }
    }
    if more > 0 {
        let (what, were) = (counted(more, "further expression"), were(more));
        warnings.push(format!(
            "objects keep one phrase each; {what} of them {were} left out"
        ));
    }
    let mut ids: BTreeSet<u64> = phrases.keys().copied().collect();
    if alone {
        ids.extend(tracks.keys().filter_map(|k| k.parse::<u64>().ok()));
    }
    let said = video.width.zip(video.height);
    let size = said.map(|(w, h)| Size::new(w, h)).or_else(|| {
        let masks = ids.iter().filter_map(|id| tracks.get(&id.to_string()));
        masks.flatten().find_map(|s| match s {
            Some(Segmentation::Runs { size, .. }) => Some(Size::new(size[1], size[0])),
            _ => None,
        })
    });
    let Some(size) = size.filter(|s| s.width <= MAX_SIDE && s.height <= MAX_SIDE) else {
        let what = format!("no mask of video {name} tells the frames' size");
        return Err(FormatError::damaged(&path, what));
    };
    let images = split.join("JPEGImages").join(name);
    let images = Some(images).filter(|d| d.is_dir());
    if images.is_none() {
        warnings.push(format!("the dataset has no images: {PUT_VIDEO}"));
    }
    let info = VideoInfo {
        path: images.map(|d| d.display().to_string()).unwrap_or_default(),
        size,
        frames: video.frames.len() as u32,
        fps: FPS,
        hash: String::new(),
    };
    let mut doc = Document::new(info, "", Thresholds::default());
    for id in ids {
        let damaged =
            |what: String| FormatError::damaged(&path, format!("annotation {id}: {what}"));
        let number = u32::try_from(id).map_err(|e| damaged(e.to_string()))?;
        let Some(track) = tracks.get(&id.to_string()) else {
            return Err(damaged(
                "an expression names it, and it is not there".into(),
            ));
        };
        if track.len() != video.frames.len() {
            let (masks, frames) = (track.len(), video.frames.len());
            return Err(damaged(format!("{masks} masks for {frames} frames")));
        }
        let phrase = phrases.get(&id).map_or("", |(p, _)| *p);
        let mut object = doc.new_object(phrase);
        object.id = ObjectId(number);
        object.colour = doc.objects.len() as u32;
        if phrase.is_empty() {
            object.name = format!("object {id}");
        }
        let none = Unverified::new();
        let unverified = video.unverified.get(&id).unwrap_or(&none);
        for (frame, segmentation) in (0..).zip(track) {
            if let Some(segmentation) = segmentation {
                let rle = segmentation.to_rle(size).map_err(damaged)?;
                let mask = mask_of(rle, frame, unverified);
                object.frames.insert(FrameIndex(frame), mask);
            }
        }
        doc.next_id = doc.next_id.max(number.saturating_add(1));
        doc.objects.push(object);
    }
    Ok(Imported {
        document: doc,
        warnings,
    })
}
