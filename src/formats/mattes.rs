//! Mattes, for compositors and for tools that take one binary image per object: `CLIP/001_NAME/00000.png`, white inside
//! and black outside, one for every frame of every object; images (if wanted) under `JPEGImages/CLIP/00000.jpg`. Objects
//! are numbered in the order of the list, and may overlap.
//!
//! `CLIP/mattes.json` holds what pictures cannot: ids, names and phrases, which video it is, and of every mask who made it
//! and whether a person vouches for it. A black picture that it does not speak of is one that nobody looked at.
//!
//! Read are also the folders of others, of a clip or of several: each folder of PNGs is an object, each PNG vouches for
//! what is in it and for what is not, and a frame is the number that a file's name ends with, in that order. The layout of
//! SA-V's splits is one of them: `Annotations_6fps/CLIP/000/00000.png` beside `JPEGImages_24fps/CLIP/00000.jpg`.

mod bare;
mod picture;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Component, Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    ExportJob, ExportOptions, Format, FormatError, Imported, Kept, Loss, MAX_SIDE, PUT_VIDEO,
    Watcher,
    coco_json::{Info, plain_kept},
    davis::frame_name,
    file_name, file_stem, files_with, folders_in, images_in, loss,
    originals::Originals,
    plain_name, write_file, write_json,
};
use crate::project::{
    Document, DriftSignal, FrameIndex, FrameMask, Object, ObjectId, Provenance, Rle, Size,
    Thresholds, VideoInfo, counted, have, were,
};

pub(super) use bare::looks_like_mattes;
use bare::read_bare;
use picture::{encode, read_mask};

/// What pictures cannot hold, in the clip's folder.
const ABOUT: &str = "mattes.json";
/// The folder of the clips' images, and how SA-V's begin.
const IMAGES: &str = "JPEGImages";
/// Frame rate of folders that do not say.
const FPS: f64 = 24.0;
/// Letters of an object's name that its folder keeps: with its number within what file systems take, whatever the script.
const NAME_LETTERS: usize = 48;
/// The format.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mattes;

#[derive(Debug, Serialize, Deserialize)]
struct File {
    #[serde(default)]
    info: Info,
    video: Video,
    #[serde(default)]
    objects: Vec<Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Video {
    width: u32,
    height: u32,
    /// Number of frames.
    frames: u32,
    #[serde(default)]
    fps: Option<f64>,
    /// Path as opened, and content hash.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    path: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    hash: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    /// Name of the folder of its pictures, in that of the clip.
    folder: String,
    id: u32,
    #[serde(default)]
    name: String,
    #[serde(default)]
    phrase: String,
    /// By frame, also where the object is known to be absent.
    #[serde(default)]
    frames: BTreeMap<u32, Said>,
}

/// What is known of a mask beside its pixels.
#[derive(Debug, Serialize, Deserialize)]
struct Said {
    provenance: Provenance,
    anchor: bool,
    #[serde(default)]
    score: Option<f32>,
    #[serde(default)]
    iou: Option<f32>,
}

impl Said {
    fn of(mask: &FrameMask) -> Self {
        Self {
            provenance: mask.provenance,
            anchor: mask.anchor,
            score: Some(mask.score),
            iou: Some(mask.iou),
        }
    }

    fn mask(&self, rle: Rle) -> FrameMask {
        let number = |v: Option<f32>| v.filter(|v| v.is_finite()).unwrap_or(1.0);
        FrameMask {
            rle,
            score: number(self.score),
            iou: number(self.iou),
            provenance: self.provenance,
            anchor: self.anchor,
            drift: DriftSignal::default(),
        }
    }
}

/// The folder of the object at `place` of the list: its number tells apart what is called the same.
fn folder_of(place: usize, object: &Object) -> String {
    let plain = plain_name(&object.name, "");
    let letters: String = plain.chars().take(NAME_LETTERS).collect();
    // Some systems take no point at the end of a name, and what is left of a name of signs alone tells nothing.
    let name = letters.trim_matches(['.', '_']);
    let name = if name.is_empty() { "object" } else { name };
    format!("{:03}_{name}", place + 1)
}

fn build(doc: &Document, options: &ExportOptions) -> File {
    let objects = doc.objects.iter().enumerate().map(|(place, object)| {
        let masks = object.frames.iter().filter(|(_, m)| options.wants(m));
        Entry {
            folder: folder_of(place, object),
            id: object.id.0,
            name: object.name.clone(),
            phrase: object.phrase.clone(),
            frames: masks.map(|(f, m)| (f.0, Said::of(m))).collect(),
        }
    });
    let v = &doc.video;
    File {
        info: Info::ours(),
        objects: objects.collect(),
        video: Video {
            width: v.size.width,
            height: v.size.height,
            frames: v.frames,
            fps: Some(v.fps),
            path: v.path.clone(),
            hash: v.hash.clone(),
        },
    }
}

/// A clip on disk.
struct Clip {
    name: String,
    dir: PathBuf,
}

impl Clip {
    fn at(dir: PathBuf) -> Self {
        Self {
            name: file_name(&dir),
            dir,
        }
    }

    fn has_list(&self) -> bool {
        self.dir.join(ABOUT).is_file()
    }

    /// The folder of the clip's images: in `JPEGImages` beside it, or in a folder called so beside that of the masks.
    fn images(&self) -> Option<PathBuf> {
        let masks = self.dir.parent()?;
        let near = masks.join(IMAGES).join(&self.name);
        if near.is_dir() {
            return Some(near);
        }
        let beside = folders_in(masks.parent().filter(|_| is_sampled(masks))?);
        beside
            .into_iter()
            .filter(|dir| file_name(dir).starts_with(IMAGES))
            .map(|dir| dir.join(&self.name))
            .find(|dir| dir.is_dir())
    }
}

/// Whether a folder is called as SA-V calls those of its masks: `Annotations_6fps`.
fn is_sampled(dir: &Path) -> bool {
    file_name(dir).starts_with("Annotations_") && rate_of(dir).is_some()
}

/// The frame rate in a folder's name: 24 of `JPEGImages_24fps`.
fn rate_of(dir: &Path) -> Option<f64> {
    let name = file_name(dir);
    let (_, rate) = name.strip_suffix("fps")?.rsplit_once('_')?;
    rate.parse()
        .ok()
        .filter(|r: &f64| r.is_finite() && *r > 0.0)
}

/// The folders of a clip that hold PNGs, by the numbers that they begin with and then by name.
fn object_folders(clip: &Path) -> Vec<PathBuf> {
    let mut out: Vec<(u64, String, PathBuf)> = folders_in(clip)
        .into_iter()
        .filter(|dir| is_object(dir))
        .map(|dir| (file_name(&dir), dir))
        .map(|(name, dir)| (leading(&name).0, name, dir))
        .collect();
    out.sort();
    out.into_iter().map(|(_, _, dir)| dir).collect()
}

/// Whether a folder of a clip is shown and holds PNGs.
fn is_object(dir: &Path) -> bool {
    !file_name(dir).starts_with('.')
        && files_with(dir, &["png"]).is_ok_and(|files| !files.is_empty())
}

/// The number that a name begins with, the largest there is if it begins with none, and what follows.
fn leading(name: &str) -> (u64, &str) {
    let rest = name.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = &name[..name.len() - rest.len()];
    (digits.parse().unwrap_or(u64::MAX), rest)
}

fn is_clip(dir: &Path) -> bool {
    dir.join(ABOUT).is_file() || folders_in(dir).iter().any(|d| is_object(d))
}

/// The clips at `path`: the folder itself, a list in it, folders in it, or those of SA-V's masks in it.
fn clips(path: &Path) -> Result<Vec<Clip>, FormatError> {
    let itself = if path.is_file() && file_name(path) == ABOUT {
        path.parent()
    } else {
        Some(path).filter(|dir| is_clip(dir))
    };
    if let Some(dir) = itself {
        return Ok(vec![Clip::at(dir.to_path_buf())]);
    }
    let clips_in = |dir: &Path| -> Vec<Clip> {
        let inside = folders_in(dir).into_iter();
        let shown = inside.filter(|dir| !file_name(dir).starts_with('.'));
        shown.filter(|dir| is_clip(dir)).map(Clip::at).collect()
    };
    let mut out = clips_in(path);
    if out.is_empty() {
        let sampled = folders_in(path).into_iter().find(|dir| is_sampled(dir));
        out = sampled.map_or_else(Vec::new, |dir| clips_in(&dir));
    }
    if out.is_empty() {
        return Err(FormatError::NotADataset {
            format: "mattes",
            reason: "no folders with a folder of PNGs for each object".to_owned(),
            path: path.to_path_buf(),
        });
    }
    Ok(out)
}

/// Whether there are mattes at `path` with a list of ours, which no other format has.
pub(super) fn has_list(path: &Path) -> bool {
    clips(path).is_ok_and(|clips| clips.iter().any(Clip::has_list))
}

impl Format for Mattes {
    fn name(&self) -> &'static str {
        "mattes"
    }

    fn title(&self) -> &'static str {
        "Mattes: black and white PNG per object and frame"
    }

    fn plan(
        &self,
        doc: &Document,
        options: &ExportOptions,
    ) -> Result<(Kept, Vec<Loss>), FormatError> {
        let kept = plain_kept(doc, options)?;
        let mut losses = loss::common(doc, options.verified_only);
        // Our list tells them apart; whoever takes the pictures alone takes black for an absence.
        let frames = (0..doc.video.frames).map(FrameIndex).collect();
        let tells = |m: &FrameMask| options.wants(m);
        losses.extend(loss::not_looked_at(doc.objects.iter(), &frames, tells));
        Ok((kept, losses))
    }

    fn write(&self, job: &mut ExportJob<'_>) -> Result<(), FormatError> {
        let (doc, options) = (job.doc, job.options);
        let name = options.sequence_name(doc);
        let clip = job.dir.join(&name);
        let images = job.dir.join(IMAGES).join(&name);
        let file = build(doc, options);
        let about = clip.join(ABOUT);
        write_json(&about, serde_json::to_vec_pretty(&file))?;
        let black = encode(&Rle::empty(doc.video.size))
            .map_err(|reason| FormatError::damaged(&clip, reason))?;
        let originals = Originals::of(job.doc, job.options);
        for frame in 0..doc.video.frames {
            job.step(u64::from(frame), u64::from(doc.video.frames))?;
            let index = FrameIndex(frame);
            let stem = frame_name(frame, doc.video.frames);
            for (object, entry) in doc.objects.iter().zip(&file.objects) {
                let path = clip.join(&entry.folder).join(format!("{stem}.png"));
                let mask = object.frames.get(&index);
                let mask = mask.filter(|m| options.wants(m) && !m.rle.is_empty());
                let drawn = mask
                    .map(|m| encode(&m.rle))
                    .transpose()
                    .map_err(|reason| FormatError::damaged(&path, reason))?;
                write_file(&path, drawn.as_ref().unwrap_or(&black))?;
            }
            if let Some(image) = originals.image(job, index)? {
                write_file(&images.join(stem + ".jpg"), &image)?;
            }
        }
        Ok(())
    }

    fn sequences(&self, path: &Path) -> Result<Vec<String>, FormatError> {
        Ok(clips(path)?.into_iter().map(|c| c.name).collect())
    }

    fn read(
        &self,
        path: &Path,
        name: &str,
        watch: &mut Watcher<'_>,
    ) -> Result<Imported, FormatError> {
        let found = clips(path)?.into_iter().find(|c| c.name == name);
        let Some(clip) = found else {
            return Err(FormatError::NoSequence(path.join(name)));
        };
        if clip.has_list() {
            read_ours(&clip, watch)
        } else {
            read_bare(&clip, watch)
        }
    }
}

/// The video that a list speaks of: the clip's images if they are all of its frames.
fn video_of(
    clip: &Clip,
    video: &Video,
    warnings: &mut Vec<String>,
) -> Result<VideoInfo, FormatError> {
    let images = clip.images();
    let whole = match &images {
        Some(dir) => {
            let files = images_in(dir)?;
            let names = (0..video.frames).map(|f| frame_name(f, video.frames));
            files.iter().map(|f| file_stem(f)).eq(names)
        }
        None => false,
    };
    let (path, hash) = match &images {
        // Its content is that of the images, not of the video they were taken from.
        Some(images) if whole => (images.display().to_string(), String::new()),
        _ => (video.path.clone(), video.hash.clone()),
    };
    if path.is_empty() {
        let why = match images {
            Some(_) => "the dataset's images are not every frame of the video",
            None => "the dataset has no images",
        };
        warnings.push(format!("{why}: {PUT_VIDEO}"));
    }
    Ok(VideoInfo {
        path,
        size: Size::new(video.width, video.height),
        frames: video.frames,
        fps: video.fps.unwrap_or(FPS),
        hash,
    })
}

/// A clip with a list: what the list says of the masks, and the pictures' pixels.
fn read_ours(clip: &Clip, watch: &mut Watcher<'_>) -> Result<Imported, FormatError> {
    let path = clip.dir.join(ABOUT);
    let bytes = fs::read(&path).map_err(|e| FormatError::io(&path, &e))?;
    let file: File = serde_json::from_slice(&bytes)
        .map_err(|e| FormatError::damaged(&path, format!("not a list of mattes ({e})")))?;
    if file.video.width > MAX_SIDE || file.video.height > MAX_SIDE {
        return Err(FormatError::damaged(&path, "the frames are too large"));
    }
    let mut warnings = Vec::new();
    let info = video_of(clip, &file.video, &mut warnings)?;
    let (size, frames) = (info.size, info.frames);
    let mut doc = Document::new(info, "", Thresholds::default());
    let total = file.objects.len() as u64 * u64::from(frames);
    let (mut done, mut missing) = (0, 0);
    for entry in &file.objects {
        let wrong =
            |what: &str| FormatError::damaged(&path, format!("object {}: {what}", entry.id));
        if doc.object(ObjectId(entry.id)).is_some() {
            return Err(wrong("two objects have this id"));
        }
        let mut parts = Path::new(&entry.folder).components();
        let is_inside = matches!(
            (parts.next(), parts.next()),
            (Some(Component::Normal(_)), None)
        );
        if !is_inside {
            return Err(wrong("its folder is not one of the clip's"));
        }
        let mut object = doc.new_object(entry.phrase.clone());
        object.id = ObjectId(entry.id);
        object.name.clone_from(&entry.name);
        object.colour = doc.objects.len() as u32;
        for png in files_with(&clip.dir.join(&entry.folder), &["png"])? {
            if !watch(done, total) {
                return Err(FormatError::Cancelled);
            }
            done += 1;
            let number = file_stem(&png).parse::<u32>().ok();
            let Some(frame) = number.filter(|&f| f < frames) else {
                return Err(FormatError::damaged(&png, "it is no frame of the clip"));
            };
            let rle = read_mask(&png, size)?;
            let mask = match entry.frames.get(&frame) {
                Some(said) => said.mask(rle),
                // Nobody had looked, and another program has drawn here since.
                None if !rle.is_empty() => FrameMask::by_hand(rle),
                None => continue,
            };
            object.frames.insert(FrameIndex(frame), mask);
        }
        let is_lost = |f: &&u32| !object.frames.contains_key(&FrameIndex(**f));
        missing += entry.frames.keys().filter(is_lost).count();
        doc.next_id = doc.next_id.max(entry.id.saturating_add(1));
        doc.objects.push(object);
    }
    if missing > 0 {
        let what = counted(missing, "mask");
        warnings.push(format!("{what} of the list {} no picture", have(missing)));
    }
    let known: BTreeSet<&str> = file.objects.iter().map(|e| e.folder.as_str()).collect();
    let others = object_folders(&clip.dir).into_iter();
    let others = others.filter(|dir| !known.contains(file_name(dir).as_str()));
    let others = others.count();
    if others > 0 {
        let what = counted(others, "folder");
        let were = were(others);
        warnings.push(format!("{what} that {ABOUT} does not name {were} left out"));
    }
    Ok(Imported {
        document: doc,
        warnings,
    })
}
