//! COCO, one image per frame: `annotations/instances_SPLIT.json`, images (if wanted) under `images/SEQUENCE/00000.jpg`.
//!
//! Segmentations are compressed run lengths as text, so holes and separate parts stay, and objects may overlap.
//! `iscrowd` is 0: scorers match crowds differently. `track_id` is the object's id; `tracks` (as in TAO) holds names and
//! phrases; `attributes` holds provenance, anchor and predicted IoU. An object's name is its category. Images are the
//! frames that somebody or something has looked at; `file_name` is `SEQUENCE/00000.jpg`.
//!
//! Read are also foreign files: uncompressed run lengths, polygons, annotations without tracks.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{
    ExportJob, ExportOptions, Format, FormatError, Imported, Kept, Loss, MAX_SIDE, PUT_VIDEO,
    Watcher,
    coco_json::{
        Annotation, Counts, File, Image, Info, Segmentation, Track, Video, categories, plain_kept,
        provenance_of, provenance_text,
    },
    file_name, file_stem, files_with, images_in, loss, originals, write_json,
};
use crate::project::{
    Document, DriftSignal, FrameIndex, FrameMask, ObjectId, Provenance, Rle, Size, Thresholds,
    VideoInfo, counted, were,
};

/// Frame rate of datasets that do not say.
const FPS: f64 = 25.0;

/// The format.
#[derive(Clone, Copy, Debug, Default)]
pub struct Coco;

fn build(doc: &Document, options: &ExportOptions) -> File {
    let sequence = options.sequence_name(doc);
    let size = doc.video.size;
    let mut frames: BTreeMap<FrameIndex, Vec<(ObjectId, u64, &FrameMask)>> = BTreeMap::new();
    let (categories, of) = categories(doc);
    let mut tracks = Vec::new();
    for (object, category_id) in doc.objects.iter().zip(of) {
        tracks.push(Track {
            id: object.id.0,
            video_id: 1,
            category_id,
            name: object.name.clone(),
            phrase: object.phrase.clone(),
        });
        for (&frame, mask) in object.frames.iter().filter(|(_, m)| options.wants(m)) {
            frames
                .entry(frame)
                .or_default()
                .push((object.id, category_id, mask));
        }
    }
    let (mut images, mut annotations) = (Vec::new(), Vec::new());
    for (frame, masks) in frames {
        let image_id = images.len() as u64 + 1;
        images.push(Image {
            id: image_id,
            file_name: format!("{sequence}/{:05}.jpg", frame.0),
            width: size.width,
            height: size.height,
            video_id: Some(1),
            frame_index: Some(frame.0),
        });
        for (id, category_id, mask) in masks {
            let Some(b) = mask.rle.bounding_box() else {
                continue;
            };
            let attributes = [
                ("anchor", Value::from(mask.anchor)),
                ("iou", Value::from(mask.iou)),
                ("provenance", provenance_text(mask.provenance).into()),
            ];
            annotations.push(Annotation {
                id: annotations.len() as u64 + 1,
                image_id,
                category_id,
                segmentation: Segmentation::Runs {
                    size: [size.height, size.width],
                    counts: Counts::Text(mask.rle.to_coco_string()),
                },
                area: mask.rle.area() as f64,
                bbox: [b.x1, b.y1, b.width(), b.height()].map(f64::from).into(),
                iscrowd: Value::from(0),
                track_id: Some(id.0),
                score: Some(mask.score),
                attributes: attributes.map(|(k, v)| (k.to_owned(), v)).into(),
            });
        }
    }
    let v = &doc.video;
    File {
        info: Info::ours(),
        licenses: Vec::new(),
        videos: vec![Video {
            id: 1,
            name: sequence,
            width: size.width,
            height: size.height,
            length: v.frames,
            fps: Some(v.fps),
            path: v.path.clone(),
            hash: v.hash.clone(),
        }],
        images,
        tracks,
        annotations,
        categories,
    }
}

impl Format for Coco {
    fn name(&self) -> &'static str {
        "coco"
    }

    fn title(&self) -> &'static str {
        "COCO: run lengths per frame, with tracks"
    }

    fn plan(
        &self,
        doc: &Document,
        options: &ExportOptions,
    ) -> Result<(Kept, Vec<Loss>), FormatError> {
        let kept = plain_kept(doc, options)?;
        let mut losses = loss::common(doc, options.verified_only);
        // Scorers take an object without annotation for absent on every image that is listed.
        let masks = doc.objects.iter().flat_map(|o| &o.frames);
        let listed = masks.filter(|(_, m)| options.wants(m)).map(|(f, _)| *f);
        let listed = listed.collect();
        losses.extend(loss::of_presence(doc, options.verified_only, &listed));
        Ok((kept, losses))
    }

    fn write(&self, job: &mut ExportJob<'_>) -> Result<(), FormatError> {
        let file = build(job.doc, job.options);
        let name = format!("annotations/instances_{}.json", job.options.split_name());
        let path = job.dir.join(name);
        write_json(&path, serde_json::to_vec(&file))?;
        let images = job.dir.join("images");
        let frame = |i: &Image| FrameIndex(i.frame_index.unwrap_or(0));
        let each = file.images.iter();
        let each = each.map(|i| (frame(i), images.join(&i.file_name)));
        originals::write_all(job, each.collect())
    }

    fn sequences(&self, path: &Path) -> Result<Vec<String>, FormatError> {
        let mut names = BTreeSet::new();
        for path in json_files(path)? {
            let file = load(&path)?;
            names.extend(sequence_names(&path, &file).into_iter().map(|(n, _)| n));
        }
        Ok(names.into_iter().collect())
    }

    fn read(&self, path: &Path, name: &str, _: &mut Watcher<'_>) -> Result<Imported, FormatError> {
        for json in json_files(path)? {
            let file = load(&json)?;
            let found = sequence_names(&json, &file)
                .into_iter()
                .find(|(n, _)| n == name);
            if let Some((name, video)) = found {
                return Reading::new(&json, &file, video)?.document(&name);
            }
        }
        Err(FormatError::NoSequence(path.join(name)))
    }
}

/// The annotation files of a dataset folder, or the file itself.
fn json_files(path: &Path) -> Result<Vec<PathBuf>, FormatError> {
    if path.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    let inside = path.join("annotations");
    let dir = if inside.is_dir() { &inside } else { path };
    let files = files_with(dir, &["json"])?;
    if files.is_empty() {
        return Err(FormatError::NotADataset {
            format: "coco",
            reason: "no annotations/*.json".to_owned(),
            path: path.to_path_buf(),
        });
    }
    Ok(files)
}

fn load(path: &Path) -> Result<File, FormatError> {
    let bytes = std::fs::read(path).map_err(|e| FormatError::io(path, &e))?;
    serde_json::from_slice(&bytes)
        .map_err(|e| FormatError::damaged(path, format!("not a COCO file ({e})")))
}

/// The videos of a file by name; a file without videos is one sequence, called like the file.
fn sequence_names(path: &Path, file: &File) -> Vec<(String, Option<u64>)> {
    if file.videos.is_empty() {
        return vec![(file_stem(path), None)];
    }
    let name = |v: &Video| {
        if v.name.is_empty() {
            v.id.to_string()
        } else {
            v.name.clone()
        }
    };
    file.videos.iter().map(|v| (name(v), Some(v.id))).collect()
}

struct Reading<'a> {
    path: &'a Path,
    file: &'a File,
    video: Option<&'a Video>,
    size: Size,
    /// Frame of each image of the sequence.
    frames: BTreeMap<u64, FrameIndex>,
    /// Name of each frame's image.
    names: BTreeMap<u32, &'a str>,
    warnings: Vec<String>,
}

impl<'a> Reading<'a> {
    fn new(path: &'a Path, file: &'a File, video: Option<u64>) -> Result<Self, FormatError> {
        let damaged = |what: String| FormatError::damaged(path, what);
        let video = file.videos.iter().find(|v| Some(v.id) == video);
        let mut images: Vec<&Image> = file
            .images
            .iter()
            .filter(|i| video.is_none_or(|v| i.video_id == Some(v.id)))
            .collect();
        images.sort_by_key(|i| (i.frame_index, i.id));
        let size = match (video, images.first()) {
            (Some(v), _) => Size::new(v.width, v.height),
            (None, Some(i)) => Size::new(i.width, i.height),
            (None, None) => return Err(FormatError::NoSequence(path.to_path_buf())),
        };
        if size.width > MAX_SIDE || size.height > MAX_SIDE {
            return Err(damaged("the frames are too large".to_owned()));
        }
        let mut frames = BTreeMap::new();
        let mut names = BTreeMap::new();
        for (place, image) in images.iter().enumerate() {
            if (image.width, image.height) != (size.width, size.height) {
                return Err(damaged(format!(
                    "image {} has another size than the first: one project holds one frame size",
                    image.id
                )));
            }
            let frame = image.frame_index.unwrap_or(place as u32);
            if frame == u32::MAX {
                return Err(damaged(format!(
                    "frame {frame} of image {} is too large",
                    image.id
                )));
            }
            if names.insert(frame, image.file_name.as_str()).is_some() {
                return Err(damaged(format!("two images are frame {frame}")));
            }
            frames.insert(image.id, FrameIndex(frame));
        }
        Ok(Self {
            path,
            file,
            video,
            size,
            frames,
            names,
            warnings: Vec::new(),
        })
    }

    fn damaged(&self, annotation: &Annotation, what: impl std::fmt::Display) -> FormatError {
        FormatError::damaged(self.path, format!("annotation {}: {what}", annotation.id))
    }

    fn mask(&self, annotation: &Annotation) -> Result<Rle, FormatError> {
        annotation
            .segmentation
            .to_rle(self.size)
            .map_err(|what| self.damaged(annotation, what))
    }

    fn document(mut self, name: &str) -> Result<Imported, FormatError> {
        let last = self.frames.values().max().map_or(0, |f| f.0 + 1);
        let info = self.video_info(name, last)?;
        let mut doc = Document::new(info, "", Thresholds::default());
        // Objects in the order of the tracks, then of first annotations.
        let mut places: BTreeMap<u32, usize> = BTreeMap::new();
        for track in &self.file.tracks {
            let here = self.video.is_none_or(|v| v.id == track.video_id);
            if here && !places.contains_key(&track.id) {
                places.insert(track.id, doc.objects.len());
                let name = Some(&track.name).filter(|n| !n.is_empty());
                let name = name.or_else(|| self.category(track.category_id));
                push_object(&mut doc, track.id, name, &track.phrase);
            }
        }
        let known = self.file.tracks.iter().map(|t| t.id);
        let given = self.file.annotations.iter().filter_map(|a| a.track_id);
        let mut next = known
            .chain(given)
            .max()
            .map_or(1, |id| id.saturating_add(1));
        let (mut loose, mut crowds) = (0, 0);
        for annotation in &self.file.annotations {
            let Some(&frame) = self.frames.get(&annotation.image_id) else {
                continue;
            };
            let crowd = annotation.iscrowd.as_u64().unwrap_or(0) != 0;
            if crowd || annotation.iscrowd.as_bool() == Some(true) {
                crowds += 1;
                continue;
            }
            let id = annotation.track_id.unwrap_or_else(|| {
                loose += 1;
                next = next.saturating_add(1);
                next - 1
            });
            let place = *places.entry(id).or_insert_with(|| {
                push_object(&mut doc, id, self.category(annotation.category_id), "");
                doc.objects.len() - 1
            });
            let mask = self.frame_mask(annotation)?;
            let frames = &mut doc.objects[place].frames;
            if frames.insert(frame, mask).is_some() {
                let what = format!("object {id} has two masks on frame {}", frame.0);
                return Err(self.damaged(annotation, what));
            }
        }
        if loose > 0 {
            let what = counted(loose, "annotation");
            let what = format!("{what} without a track: each became an object of its own");
            self.warnings.push(what);
        }
        if crowds > 0 {
            let (what, were) = (counted(crowds, "crowd region"), were(crowds));
            self.warnings.push(format!("{what} {were} left out"));
        }
        Ok(Imported {
            document: doc,
            warnings: self.warnings,
        })
    }

    fn category(&self, id: u64) -> Option<&'a String> {
        let file = self.file;
        file.categories.iter().find(|c| c.id == id).map(|c| &c.name)
    }

    fn video_info(&mut self, name: &str, last: u32) -> Result<VideoInfo, FormatError> {
        let frames = self.video.map_or(0, |v| v.length).max(last);
        let folder = self.path.parent().and_then(Path::parent);
        let images = folder.map(|f| f.join("images").join(name));
        let images = images.filter(|d| d.is_dir());
        // A folder of some of the frames would number them anew.
        let whole = match &images {
            Some(images) => self.is_whole(images, frames)?,
            None => false,
        };
        let (path, hash) = match (images, self.video) {
            // Its content is that of the images, not of the video they were taken from.
            (Some(images), _) if whole => (images.display().to_string(), String::new()),
            (_, Some(v)) if !v.path.is_empty() => (v.path.clone(), v.hash.clone()),
            (images, video) => {
                let why = match images {
                    Some(_) => "the dataset's images are not every frame of the video",
                    None => "the dataset has no images",
                };
                self.warnings.push(format!("{why}: {PUT_VIDEO}"));
                (
                    String::new(),
                    video.map(|v| v.hash.clone()).unwrap_or_default(),
                )
            }
        };
        Ok(VideoInfo {
            path,
            size: self.size,
            frames,
            fps: self.video.and_then(|v| v.fps).unwrap_or(FPS),
            hash,
        })
    }

    /// Whether the images of a folder are all frames, each at its place.
    fn is_whole(&self, folder: &Path, frames: u32) -> Result<bool, FormatError> {
        let files = images_in(folder)?;
        let at_its_place = |(&frame, name): (&u32, &&str)| {
            let file = files.get(frame as usize);
            file.is_some_and(|f| file_name(f) == file_name(Path::new(name)))
        };
        Ok(files.len() == frames as usize && self.names.iter().all(at_its_place))
    }

    fn frame_mask(&self, annotation: &Annotation) -> Result<FrameMask, FormatError> {
        let attribute = |name: &str| annotation.attributes.get(name);
        let provenance = provenance_of(attribute("provenance").and_then(Value::as_str));
        let human = provenance == Provenance::Human;
        Ok(FrameMask {
            rle: self.mask(annotation)?,
            score: annotation.score.filter(|s| s.is_finite()).unwrap_or(1.0),
            iou: attribute("iou").and_then(Value::as_f64).unwrap_or(1.0) as f32,
            provenance,
            anchor: attribute("anchor")
                .and_then(Value::as_bool)
                .unwrap_or(human),
            drift: DriftSignal::default(),
        })
    }
}

fn push_object(doc: &mut Document, id: u32, name: Option<&String>, phrase: &str) {
    let mut object = doc.new_object(phrase);
    object.id = ObjectId(id);
    if let Some(name) = name {
        object.name.clone_from(name);
    }
    object.colour = doc.objects.len() as u32;
    doc.next_id = doc.next_id.max(id.saturating_add(1));
    doc.objects.push(object);
}
