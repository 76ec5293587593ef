//! YouTube-VIS, COCO for whole videos: `SPLIT/instances.json` with one annotation per object, whose lists have a place for
//! every frame; images (if wanted) under `SPLIT/JPEGImages/SEQUENCE/00000.jpg`.
//!
//! An object's name is its category. `id` of an annotation is the object's id; `phrase`, and `unverified` with the frames
//! whose masks no person vouches for, are additions that readers of the format pass over.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    ExportJob, ExportOptions, Format, FormatError, Imported, Kept, Loss, MAX_SIDE, PUT_VIDEO,
    Watcher,
    coco_json::{
        Category, Counts, Info, Segmentation, Unverified, categories, mask_of, plain_kept,
        unverified,
    },
    files_with, folders_in, loss, originals, write_json,
};
use crate::project::{
    Document, FrameIndex, FrameMask, ObjectId, Size, Thresholds, VideoInfo, counted, were,
};

/// The annotations of a split.
const INSTANCES: &str = "instances.json";
/// The format says no frame rate; its clips are sampled at this one.
const FPS: f64 = 6.0;

/// The format.
#[derive(Clone, Copy, Debug, Default)]
pub struct YoutubeVis;

#[derive(Debug, Serialize, Deserialize)]
struct File {
    #[serde(default)]
    info: Info,
    #[serde(default)]
    licenses: Vec<Value>,
    videos: Vec<Video>,
    #[serde(default)]
    categories: Vec<Category>,
    #[serde(default)]
    annotations: Vec<Annotation>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Video {
    id: u64,
    width: u32,
    height: u32,
    length: u32,
    file_names: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Annotation {
    id: u64,
    video_id: u64,
    category_id: u64,
    #[serde(default)]
    iscrowd: u64,
    segmentations: Vec<Option<Segmentation>>,
    #[serde(default)]
    bboxes: Vec<Option<[f64; 4]>>,
    #[serde(default)]
    areas: Vec<Option<f64>>,
    #[serde(default)]
    width: u32,
    #[serde(default)]
    height: u32,
    #[serde(default)]
    length: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    phrase: String,
    #[serde(default, skip_serializing_if = "Unverified::is_empty")]
    unverified: Unverified,
}

fn wanted(mask: &FrameMask, options: &ExportOptions) -> bool {
    options.wants(mask) && !mask.rle.is_empty()
}

fn build(doc: &Document, options: &ExportOptions) -> File {
    let name = options.sequence_name(doc);
    let (size, length) = (doc.video.size, doc.video.frames);
    let (categories, of) = categories(doc);
    let annotations = doc.objects.iter().zip(of).map(|(object, category_id)| {
        let masks: Vec<Option<&FrameMask>> = (0..length)
            .map(|f| object.frames.get(&FrameIndex(f)))
            .map(|m| m.filter(|m| wanted(m, options)))
            .collect();
        let boxes = masks.iter().map(|m| {
            let b = m.and_then(|m| m.rle.bounding_box())?;
            Some([b.x1, b.y1, b.width(), b.height()].map(f64::from))
        });
        Annotation {
            id: u64::from(object.id.0),
            video_id: 1,
            category_id,
            iscrowd: 0,
            bboxes: boxes.collect(),
            areas: masks
                .iter()
                .map(|m| m.map(|m| m.rle.area() as f64))
                .collect(),
            segmentations: masks
                .iter()
                .map(|m| {
                    m.map(|m| Segmentation::Runs {
                        size: [size.height, size.width],
                        // Plain lists: the format's scorers read no others in the truth.
                        counts: Counts::List(m.rle.counts.clone()),
                    })
                })
                .collect(),
            width: size.width,
            height: size.height,
            length,
            phrase: object.phrase.clone(),
            unverified: unverified(object, options),
        }
    });
    File {
        info: Info::ours(),
        licenses: Vec::new(),
        videos: vec![Video {
            id: 1,
            width: size.width,
            height: size.height,
            length,
            file_names: (0..length).map(|f| format!("{name}/{f:05}.jpg")).collect(),
        }],
        annotations: annotations.collect(),
        categories,
    }
}

/// The annotation files of a dataset: of its splits, in the folder itself, or the file itself.
fn instance_files(path: &Path) -> Result<Vec<PathBuf>, FormatError> {
    if path.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut out: Vec<PathBuf> = folders_in(path)
        .into_iter()
        .map(|split| split.join(INSTANCES))
        .filter(|file| file.is_file())
        .collect();
    if out.is_empty() {
        out = files_with(path, &["json"])?;
    }
    if out.is_empty() {
        return Err(FormatError::NotADataset {
            format: "youtube-vis",
            reason: format!("no {INSTANCES} in a folder of it, and no JSON in itself"),
            path: path.to_path_buf(),
        });
    }
    Ok(out)
}

fn load(path: &Path) -> Result<File, FormatError> {
    let bytes = std::fs::read(path).map_err(|e| FormatError::io(path, &e))?;
    serde_json::from_slice(&bytes)
        .map_err(|e| FormatError::damaged(path, format!("not a YouTube-VIS file ({e})")))
}

/// A video's name: the folder of its images.
fn video_name(video: &Video) -> String {
    let first = video.file_names.first();
    let folder = first.and_then(|f| f.rsplit_once('/')).map(|(dir, _)| dir);
    folder.map_or_else(|| video.id.to_string(), str::to_owned)
}

impl Format for YoutubeVis {
    fn name(&self) -> &'static str {
        "youtube-vis"
    }

    fn title(&self) -> &'static str {
        "YouTube-VIS: run lengths per object"
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
        if !kept.is_empty() {
            losses.push(Loss::Scores { masks: kept.len() });
        }
        Ok((kept, losses))
    }

    fn write(&self, job: &mut ExportJob<'_>) -> Result<(), FormatError> {
        let file = build(job.doc, job.options);
        let split = job.dir.join(job.options.split_name());
        let path = split.join(INSTANCES);
        write_json(&path, serde_json::to_vec(&file))?;
        let images = split.join("JPEGImages");
        let names = file.videos.into_iter().flat_map(|v| v.file_names);
        let paths = names.map(|name| images.join(name));
        originals::write_all(job, (0..).map(FrameIndex).zip(paths).collect())
    }

    fn sequences(&self, path: &Path) -> Result<Vec<String>, FormatError> {
        let mut names = BTreeSet::new();
        for path in instance_files(path)? {
            names.extend(load(&path)?.videos.iter().map(video_name));
        }
        Ok(names.into_iter().collect())
    }

    fn read(&self, path: &Path, name: &str, _: &mut Watcher<'_>) -> Result<Imported, FormatError> {
        for json in instance_files(path)? {
            let file = load(&json)?;
            if let Some(video) = file.videos.iter().find(|v| video_name(v) == name) {
                return read_video(&json, &file, video, name);
            }
        }
        Err(FormatError::NoSequence(path.join(name)))
    }
}

fn read_video(
    path: &Path,
    file: &File,
    video: &Video,
    name: &str,
) -> Result<Imported, FormatError> {
    let size = Size::new(video.width, video.height);
    if size.width > MAX_SIDE || size.height > MAX_SIDE {
        return Err(FormatError::damaged(path, "the frames are too large"));
    }
    let mut warnings = Vec::new();
    let images = path
        .parent()
        .map(|split| split.join("JPEGImages").join(name));
    let images = images.filter(|d| d.is_dir());
    if images.is_none() {
        warnings.push(format!("the dataset has no images: {PUT_VIDEO}"));
    }
    let info = VideoInfo {
        path: images.map(|d| d.display().to_string()).unwrap_or_default(),
        size,
        frames: video.length,
        fps: FPS,
        hash: String::new(),
    };
    let mut doc = Document::new(info, "", Thresholds::default());
    let mut crowds = 0;
    for annotation in file.annotations.iter().filter(|a| a.video_id == video.id) {
        if annotation.iscrowd != 0 {
            crowds += 1;
            continue;
        }
        let damaged = |what: String| {
            FormatError::damaged(path, format!("annotation {}: {what}", annotation.id))
        };
        let masks = annotation.segmentations.len();
        if masks != video.length as usize {
            return Err(damaged(format!(
                "{masks} masks for {} frames",
                video.length
            )));
        }
        let id = u32::try_from(annotation.id).map_err(|e| damaged(e.to_string()))?;
        if doc.object(ObjectId(id)).is_some() {
            return Err(damaged("two annotations have this id".to_owned()));
        }
        let category = file
            .categories
            .iter()
            .find(|c| c.id == annotation.category_id);
        let mut object = doc.new_object(annotation.phrase.clone());
        object.id = ObjectId(id);
        object.colour = doc.objects.len() as u32;
        if let Some(category) = category {
            object.name.clone_from(&category.name);
        }
        for (frame, segmentation) in (0..).zip(&annotation.segmentations) {
            if let Some(segmentation) = segmentation {
                let rle = segmentation.to_rle(size).map_err(damaged)?;
                let mask = mask_of(rle, frame, &annotation.unverified);
                object.frames.insert(FrameIndex(frame), mask);
            }
        }
        doc.next_id = doc.next_id.max(id.saturating_add(1));
        doc.objects.push(object);
    }
    if crowds > 0 {
        let (what, were) = (counted(crowds, "crowd region"), were(crowds));
        warnings.push(format!("{what} {were} left out"));
    }
    Ok(Imported {
        document: doc,
        warnings,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::{
        import,
        mevis::Mevis,
        tests::{document, place, run},
    };

    /// Every mask came back as an anchor, and no propagation could mend it.
    #[test]
    fn masks_that_nobody_vouches_for_do_not_come_back_as_anchors() {
        let mut doc = document();
        // An absence is a loss that is reported.
        for object in &mut doc.objects {
            object.frames.retain(|_, m| !m.rle.is_empty());
        }
        let facts = |doc: &Document| {
            let masks = doc.objects.iter().flat_map(|o| &o.frames);
            let facts = masks.map(|(f, m)| (f.0, m.rle.clone(), m.anchor, m.provenance));
            facts.collect::<Vec<_>>()
        };
        for format in [&YoutubeVis as &dyn Format, &Mevis] {
            let (_dir, out) = place();
            run(&doc, format, &out, &ExportOptions::default()).unwrap();
            let back = import(format, &out, None).unwrap().document;
            assert_eq!(facts(&back), facts(&doc), "{}", format.name());
        }
    }
}
