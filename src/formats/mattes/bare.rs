//! Folders of PNGs that nobody has written a list for: whether they are mattes, and what they hold.

use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
};

use super::{
    super::{
        FormatError, Imported, PUT_VIDEO, Watcher, file_name, file_stem, files_with, images_in,
    },
    Clip, FPS, clips, is_sampled, leading, object_folders,
    picture::{Picture, read_mask},
    rate_of,
};
use crate::project::{Document, FrameIndex, FrameMask, Thresholds, VideoInfo, frames_of};

/// Clips whose pictures are looked at before folders are taken for mattes.
const LOOKED_AT: usize = 8;

/// Whether folders without a list are mattes by their look, or by the names that SA-V gives them. Clips of images and label
/// maps lie in such folders as well.
pub(in super::super) fn looks_like_mattes(path: &Path) -> bool {
    let Ok(clips) = clips(path) else {
        return false;
    };
    let above = |clip: &Clip| clip.dir.parent().map(Path::to_path_buf);
    let named = |dir: &Path| file_name(dir).starts_with("Annotations");
    if clips
        .iter()
        .all(|c| above(c).is_some_and(|d| is_sampled(&d)))
    {
        return true;
    }
    // Inside of a dataset of another kind, where a picture of one object may be black and white.
    if named(path) || path.parent().is_some_and(named) {
        return false;
    }
    clips.iter().take(LOOKED_AT).all(|clip| {
        let mut has_white = false;
        let all = object_folders(&clip.dir).into_iter().all(|dir| {
            let files = files_with(&dir, &["png"]).unwrap_or_default();
            let some: BTreeSet<usize> = [0, files.len() / 2, files.len().saturating_sub(1)].into();
            some.into_iter().filter_map(|at| files.get(at)).all(|file| {
                Picture::open(file).is_ok_and(|picture| {
                    has_white |= picture.has_inside();
                    picture.is_matte()
                })
            })
        });
        all && has_white
    })
}

/// How files of several folders that show the same frame are told: by the number that their names end with, or by the whole
/// name where that is not one number for each.
struct Names {
    by_number: bool,
}

impl Names {
    fn of(lists: &[&[PathBuf]]) -> Self {
        let by_number = lists.iter().all(|files| {
            let mut seen = BTreeSet::new();
            let mut numbers = files.iter().map(|file| number(&file_stem(file)));
            numbers.all(|number| number.is_some_and(|n| seen.insert(n)))
        });
        Self { by_number }
    }

    /// The same for files of the same frame; of numbers, in their order.
    fn key(&self, file: &Path) -> String {
        let stem = file_stem(file);
        match number(&stem).filter(|_| self.by_number) {
            Some(number) => format!("{number:020}"),
            None => stem,
        }
    }

    /// The keys of all files, in the order of the frames.
    fn frames(&self, lists: &[&[PathBuf]]) -> Vec<String> {
        let files = lists.iter().flat_map(|files| files.iter());
        let keys: BTreeSet<String> = files.map(|file| self.key(file)).collect();
        let as_files = keys.iter().map(|key| PathBuf::from(format!("{key}.png")));
        let shown = frames_of(as_files.collect(), &["png"]);
        shown.iter().map(|file| file_stem(file)).collect()
    }
}

/// The number that a name ends with.
fn number(stem: &str) -> Option<u64> {
    let rest = stem.trim_end_matches(|c: char| c.is_ascii_digit());
    stem[rest.len()..].parse().ok()
}

/// What an object is called after its folder: `ring` of `001_ring`.
fn name_of(folder: &str) -> String {
    let (_, rest) = leading(folder);
    let is_numbered = rest.len() < folder.len();
    match rest.strip_prefix(['_', '-', ' ']) {
        Some(name) if is_numbered && !name.is_empty() => name.to_owned(),
        _ if rest.is_empty() => format!("object {folder}"),
        _ => folder.to_owned(),
    }
}

/// A clip of folders alone: every picture is the truth as somebody made it.
pub(super) fn read_bare(clip: &Clip, watch: &mut Watcher<'_>) -> Result<Imported, FormatError> {
    let folders = object_folders(&clip.dir);
    let lists = folders
        .iter()
        .map(|dir| files_with(dir, &["png"]))
        .collect::<Result<Vec<_>, _>>()?;
    let Some(first) = lists.iter().flatten().next() else {
        return Err(FormatError::NoSequence(clip.dir.clone()));
    };
    let size = Picture::open(first)?.size;
    let images = clip.images();
    let shown = images.as_deref().map_or(Ok(Vec::new()), images_in)?;
    let images = images.filter(|_| !shown.is_empty());
    let mut all: Vec<&[PathBuf]> = lists.iter().map(Vec::as_slice).collect();
    let masks = all.clone();
    all.push(&shown);
    let names = Names::of(&all);
    let frames = if images.is_some() {
        shown.iter().map(|file| names.key(file)).collect()
    } else {
        names.frames(&masks)
    };
    let places: HashMap<&str, u32> = frames.iter().map(String::as_str).zip(0..).collect();
    let sampled = clip.dir.parent().filter(|dir| is_sampled(dir));
    let rate = images.as_deref().and_then(Path::parent).or(sampled);
    let info = VideoInfo {
        path: images
            .as_ref()
            .map(|dir| dir.display().to_string())
            .unwrap_or_default(),
        size,
        frames: frames.len() as u32,
        fps: rate.and_then(rate_of).unwrap_or(FPS),
        hash: String::new(),
    };
    let mut doc = Document::new(info, "", Thresholds::default());
    let total = lists.iter().map(|files| files.len() as u64).sum();
    let mut done = 0;
    for (folder, files) in folders.iter().zip(&lists) {
        let mut object = doc.new_object("");
        object.name = name_of(&file_name(folder));
        for file in files {
            if !watch(done, total) {
                return Err(FormatError::Cancelled);
            }
            done += 1;
            let Some(&frame) = places.get(names.key(file).as_str()) else {
                let what = "there is no image of this frame for the mask";
                return Err(FormatError::damaged(file, what));
            };
            let mask = FrameMask::by_hand(read_mask(file, size)?);
            object.frames.insert(FrameIndex(frame), mask);
        }
        doc.next_id = object.id.0 + 1;
        doc.objects.push(object);
    }
    let warnings = match doc.video.path.as_str() {
        "" => vec![format!("the dataset has no images: {PUT_VIDEO}")],
        _ => Vec::new(),
    };
    Ok(Imported {
        document: doc,
        warnings,
    })
}
