//! DAVIS 2017 (and 2016): `Annotations/480p/SEQUENCE/00000.png`, `JPEGImages/480p/SEQUENCE/00000.jpg`,
//! `ImageSets/2017/SPLIT.txt`. A PNG for every frame; its numbers are objects in the order of the list, 255 is void.
//!
//! Background says that no object is there, so what nobody looked at is void instead: a frame on which no object has a
//! mask, not even an empty one, is void as a whole. With only verified masks wanted, so is a frame without any verified
//! mask, and so are the pixels of unverified masks elsewhere. DAVIS' scorer of unsupervised results and `TrackEval` leave
//! void out; DAVIS' semi-supervised one reads it as background.
//!
//! On a frame with other objects, background does not tell an object that is absent from one that nobody looked for. Our own
//! pictures say so in a chunk of text ([`labels::Remark`]), as they say which masks no person vouches for; without it, as
//! in every other dataset, a picture without void vouches for all that is in it and for all that is not. Frames without a
//! picture say nothing.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
};

use super::{
    ExportJob, ExportOptions, Format, FormatError, Imported, Kept, Loss, PUT_VIDEO, Watcher,
    file_name, file_stem, files_with, folders_in, images_in,
    labels::{self, Remark, Remarks, VOID},
    loss,
    originals::Originals,
    write_file,
};
use crate::project::{
    Bitmap, Document, FrameIndex, FrameMask, ObjectId, Rle, Size, Thresholds, VideoInfo, counted,
};

/// Objects that the format has numbers for: 1 to 254.
const MAX_OBJECTS: usize = 254;

/// DAVIS' own frame rate, for datasets that say nothing else.
const FPS: f64 = 24.0;

/// The format.
#[derive(Clone, Copy, Debug, Default)]
pub struct Davis;

/// A sequence on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DavisSequence {
    /// Its name.
    pub name: String,
    /// Folder of its images, if there is one.
    pub images: Option<PathBuf>,
    /// Names of its frames without extension, in order.
    pub frames: Vec<String>,
    /// Annotated frames: index into `frames`, PNG file.
    pub annotations: BTreeMap<u32, PathBuf>,
    /// The first mask whose frame has no image, if there is one: such a sequence cannot be read.
    pub without_image: Option<PathBuf>,
}

impl DavisSequence {
    /// Whether every mask belongs to a frame.
    ///
    /// # Errors
    /// [`FormatError::Damaged`], which names the first mask that does not.
    pub fn check(&self) -> Result<(), FormatError> {
        match &self.without_image {
            None => Ok(()),
            Some(mask) => {
                let what = format!(
                    "there is no image of frame {:?} for the mask",
                    file_stem(mask)
                );
                Err(FormatError::damaged(mask, what))
            }
        }
    }
}

/// `Annotations/RESOLUTION` (or `Annotations` itself, as in YouTube-VOS): the folder of sequence folders.
fn annotation_root(root: &Path) -> Option<PathBuf> {
    for top in ["Annotations", "Annotations_unsupervised"] {
        let top = root.join(top);
        let usual = top.join("480p");
        if usual.is_dir() {
            return Some(usual);
        }
        let inside = folders_in(&top);
        if let Some(resolution) = inside.iter().find(|d| !folders_in(d).is_empty()) {
            return Some(resolution.clone());
        }
        if !inside.is_empty() {
            return Some(top);
        }
    }
    None
}

/// The sequences of a dataset, sorted by name.
///
/// # Errors
/// [`FormatError`] if the folder has no annotations or cannot be listed.
pub fn sequences(root: &Path) -> Result<Vec<DavisSequence>, FormatError> {
    let Some(annotations) = annotation_root(root) else {
        return Err(FormatError::NotADataset {
            format: "davis",
            reason: "no folder Annotations/480p with sequences in it".to_owned(),
            path: root.to_path_buf(),
        });
    };
    let images = if annotations.parent() == Some(root) {
        root.join("JPEGImages")
    } else {
        root.join("JPEGImages").join(file_name(&annotations))
    };
    folders_in(&annotations)
        .into_iter()
        .map(|dir| sequence(&dir, &images))
        .collect()
}

/// Lists of sequences by split: `ImageSets/2017/val.txt` is one of `val`, and that of `2017/val`. Several years may list the
/// same split.
fn split_lists(root: &Path) -> Vec<(String, PathBuf)> {
    let years = folders_in(&root.join("ImageSets"));
    let files = years
        .iter()
        .flat_map(|dir| files_with(dir, &["txt"]).unwrap_or_default());
    files.map(|file| (file_stem(&file), file)).collect()
}

/// Names of the splits that a dataset lists, sorted.
pub fn splits(root: &Path) -> Vec<String> {
    let names: BTreeSet<String> = split_lists(root)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    names.into_iter().collect()
}

/// Names of the sequences of a split.
///
/// # Errors
/// [`FormatError::NoSplit`], which lists the splits there are; [`FormatError::Io`] if a list cannot be read.
pub fn split(root: &Path, name: &str) -> Result<BTreeSet<String>, FormatError> {
    let lists: Vec<PathBuf> = split_lists(root)
        .into_iter()
        .filter(|(split, file)| {
            let year = file.parent().map(file_name).unwrap_or_default();
            split == name || format!("{year}/{split}") == name
        })
        .map(|(_, file)| file)
        .collect();
    if lists.is_empty() {
        let known = splits(root);
        return Err(FormatError::NoSplit {
            name: name.to_owned(),
            known: if known.is_empty() {
                "none".to_owned()
            } else {
                known.join(", ")
            },
            path: root.join("ImageSets"),
        });
    }
    let mut out = BTreeSet::new();
    for file in lists {
        let text = std::fs::read_to_string(&file).map_err(|e| FormatError::io(&file, &e))?;
        out.extend(text.lines().filter_map(listed).map(str::to_owned));
    }
    Ok(out)
}

/// The sequence that a line of a list speaks of: its name or, in DAVIS 2016, the path of an image and that of its mask.
fn listed(line: &str) -> Option<&str> {
    let first = line.split_whitespace().next()?;
    if first.contains('/') {
        first.rsplit('/').nth(1)
    } else {
        Some(first)
    }
}

fn sequence(dir: &Path, images: &Path) -> Result<DavisSequence, FormatError> {
    let name = file_name(dir);
    let pngs = files_with(dir, &["png"])?;
    let folder = Some(images.join(&name)).filter(|d| d.is_dir());
    let images = folder.as_deref().map_or(Ok(Vec::new()), images_in)?;
    if images.is_empty() {
        // Masks alone: every mask is a frame.
        let frames = pngs.iter().map(|p| file_stem(p)).collect();
        let annotations = (0..).zip(pngs).collect();
        return Ok(DavisSequence {
            name,
            images: None,
            frames,
            annotations,
            without_image: None,
        });
    }
    let frames: Vec<String> = images.iter().map(|p| file_stem(p)).collect();
    let places: HashMap<&str, u32> = frames.iter().map(String::as_str).zip(0..).collect();
    let mut annotations = BTreeMap::new();
    let mut without_image = None;
    for path in pngs {
        match places.get(file_stem(&path).as_str()) {
            Some(&at) => {
                annotations.insert(at, path);
            }
            None => without_image = without_image.or(Some(path)),
        }
    }
    Ok(DavisSequence {
        name,
        images: folder,
        frames,
        annotations,
        without_image,
    })
}

/// The frame's labels from its objects' masks, later ones on top; void where nobody looked or, if only verified masks are
/// wanted, where nobody vouches.
fn compose(doc: &Document, frame: FrameIndex, verified_only: bool) -> Vec<u8> {
    let mut data = vec![0; doc.video.size.area() as usize];
    let objects = doc.objects.iter().take(MAX_OBJECTS).enumerate();
    let masks: Vec<(u8, &FrameMask)> = objects
        .filter_map(|(i, o)| Some((i as u8 + 1, o.frames.get(&frame)?)))
        .collect();
    let wanted = |m: &FrameMask| m.anchor || !verified_only;
    if !masks.iter().any(|(_, m)| wanted(m)) {
        data.fill(VOID);
        return data;
    }
    for (_, mask) in masks.iter().filter(|(_, m)| !wanted(m)) {
        paint(&mut data, &mask.rle, VOID);
    }
    for (label, mask) in masks.iter().filter(|(_, m)| wanted(m)) {
        paint(&mut data, &mask.rle, *label);
    }
    data
}

/// What the frame's labels `data` do not tell: of which objects nothing is known, and which masks no person vouches for.
fn remarks(doc: &Document, frame: FrameIndex, data: &[u8], verified_only: bool) -> Remarks {
    let mut drawn = [false; 256];
    for &label in data {
        drawn[usize::from(label)] = true;
    }
    let objects = (1..=u8::MAX).zip(doc.objects.iter().take(MAX_OBJECTS));
    let remark = |label: u8, mask: Option<&FrameMask>| match mask {
        // Others lie over all of it.
        Some(mask) if !mask.rle.is_empty() && !drawn[usize::from(label)] => Some(Remark::Unseen),
        Some(mask) if mask.anchor => None,
        Some(mask) if !verified_only => Some(Remark::Unverified(mask.provenance)),
        _ => Some(Remark::Unseen),
    };
    objects
        .filter_map(|(label, o)| Some((label, remark(label, o.frames.get(&frame))?)))
        .collect()
}

/// Absences that background does not tell: on a frame with void pixels, and those of an object that is nowhere.
/// `above` holds the pixels that have labels.
fn absences_lost(
    doc: &Document,
    wanted: impl Fn(&FrameMask) -> bool,
    kept: &Kept,
    above: &BTreeMap<FrameIndex, Rle>,
) -> Result<usize, FormatError> {
    let written = || (1..).map(ObjectId).zip(&doc.objects).take(MAX_OBJECTS);
    let mut with_void = BTreeSet::new();
    for (&frame, mask) in written().flat_map(|(_, o)| &o.frames) {
        if let (Some(labels), false) = (above.get(&frame), wanted(mask)) {
            let void = mask.rle.difference(labels);
            if !void
                .map_err(|source| FormatError::Document { frame, source })?
                .is_empty()
            {
                with_void.insert(frame);
            }
        }
    }
    let somewhere: BTreeSet<ObjectId> = kept.keys().map(|(id, _)| *id).collect();
    let absent = written().flat_map(|(id, o)| {
        let absent = o.frames.iter().filter(|(_, m)| m.rle.is_empty());
        absent.map(move |(f, m)| (id, f, m))
    });
    let lost = |(id, frame, mask): &(ObjectId, &FrameIndex, &FrameMask)| {
        wanted(mask) && (with_void.contains(*frame) || !somewhere.contains(id))
    };
    Ok(absent.filter(lost).count())
}

fn paint(data: &mut [u8], rle: &Rle, label: u8) {
    for (value, &set) in data.iter_mut().zip(&rle.to_bitmap().data) {
        if set != 0 {
            *value = label;
        }
    }
}

/// As wide as the last of `frames` needs, so that names sort like frames for whoever sorts them by letters.
pub(super) fn frame_name(frame: u32, frames: u32) -> String {
    let width = frames.saturating_sub(1).to_string().len().max(5);
    format!("{frame:0width$}")
}

impl Format for Davis {
    fn name(&self) -> &'static str {
        "davis"
    }

    fn title(&self) -> &'static str {
        "DAVIS 2017: indexed PNG per frame"
    }

    fn plan(
        &self,
        doc: &Document,
        options: &ExportOptions,
    ) -> Result<(Kept, Vec<Loss>), FormatError> {
        let mut losses = loss::common(doc, options.verified_only);
        let written = || doc.objects.iter().take(MAX_OBJECTS);
        let wanted = |m: &FrameMask| m.anchor || !options.verified_only;
        let mut kept = Kept::new();
        let mut lost_frames = BTreeSet::new();
        let mut lost = 0;
        let empty = Rle::empty(doc.video.size);
        // From the last object to the first: what lies above is known when an object's turn comes.
        let mut above: BTreeMap<FrameIndex, Rle> = BTreeMap::new();
        for (i, object) in written().enumerate().rev() {
            let id = ObjectId(i as u32 + 1);
            for (&frame, mask) in object.frames.iter().filter(|(_, m)| wanted(m)) {
                let damaged = |source| FormatError::Document { frame, source };
                let over = above.entry(frame).or_insert_with(|| empty.clone());
                let seen = mask.rle.difference(over).map_err(damaged)?;
                *over = over.union(&mask.rle).map_err(damaged)?;
                let hidden = mask.rle.area() - seen.area();
                if hidden > 0 {
                    lost += hidden;
                    lost_frames.insert(frame);
                }
                if !seen.is_empty() {
                    kept.insert((id, frame), seen);
                }
            }
        }
        let masks = absences_lost(doc, wanted, &kept, &above)?;
        if masks > 0 {
            losses.push(Loss::Absences { masks });
        }
        // Where the pixels of an unverified mask are void, nothing is said of its object.
        let tells = |m: &FrameMask| wanted(m) || !m.rle.is_empty();
        let looked_at = above.keys().copied().collect();
        losses.extend(loss::not_looked_at(written(), &looked_at, tells));
        if lost > 0 {
            losses.push(Loss::Overlap {
                pixels: lost,
                frames: lost_frames.len() as u64,
            });
        }
        if doc.objects.len() > MAX_OBJECTS {
            losses.push(Loss::TooManyObjects {
                left_out: doc.objects.len() - MAX_OBJECTS,
                limit: MAX_OBJECTS,
            });
        }
        let ids: BTreeSet<ObjectId> = kept.keys().map(|(id, _)| *id).collect();
        let late: Vec<ObjectId> = ids
            .into_iter()
            .filter(|id| !kept.contains_key(&(*id, FrameIndex(0))))
            .map(|id| doc.objects[id.0 as usize - 1].id)
            .collect();
        if !late.is_empty() {
            losses.push(Loss::AbsentFromFirstFrame(late));
        }
        let phrases = doc.objects.len();
        if phrases > 0 {
            losses.push(Loss::Phrases { objects: phrases });
        }
        if !kept.is_empty() {
            losses.push(Loss::Scores { masks: kept.len() });
        }
        Ok((kept, losses))
    }

    fn write(&self, job: &mut ExportJob<'_>) -> Result<(), FormatError> {
        let (doc, options) = (job.doc, job.options);
        let name = options.sequence_name(doc);
        let annotations = job.dir.join("Annotations/480p").join(&name);
        let images = job.dir.join("JPEGImages/480p").join(&name);
        let list = format!("ImageSets/2017/{}.txt", options.split_name());
        write_file(&job.dir.join(list), format!("{name}\n").as_bytes())?;
        let originals = Originals::of(doc, options);
        for frame in 0..doc.video.frames {
            job.step(u64::from(frame), u64::from(doc.video.frames))?;
            let index = FrameIndex(frame);
            let data = compose(doc, index, options.verified_only);
            let stem = frame_name(frame, doc.video.frames);
            let path = annotations.join(format!("{stem}.png"));
            let remarks = remarks(doc, index, &data, options.verified_only);
            let bytes = labels::encode_with(doc.video.size, &data, &remarks)
                .map_err(|reason| FormatError::damaged(&path, reason))?;
            write_file(&path, &bytes)?;
            if let Some(image) = originals.image(job, index)? {
                write_file(&images.join(stem + ".jpg"), &image)?;
            }
        }
        Ok(())
    }

    fn sequences(&self, path: &Path) -> Result<Vec<String>, FormatError> {
        Ok(sequences(path)?.into_iter().map(|s| s.name).collect())
    }

    fn read(
        &self,
        path: &Path,
        name: &str,
        watch: &mut Watcher<'_>,
    ) -> Result<Imported, FormatError> {
        let all = sequences(path)?;
        let Some(sequence) = all.into_iter().find(|s| s.name == name) else {
            return Err(FormatError::NoSequence(path.join(name)));
        };
        read_sequence(&sequence, watch)
    }
}

fn read_sequence(
    sequence: &DavisSequence,
    watch: &mut Watcher<'_>,
) -> Result<Imported, FormatError> {
    sequence.check()?;
    let mut warnings = Vec::new();
    let Some(first) = sequence.annotations.values().next() else {
        return Err(FormatError::NoSequence(PathBuf::from(&sequence.name)));
    };
    let size = labels::read(first)?.size;
    let mut doc = Document::new(
        VideoInfo {
            path: sequence
                .images
                .as_ref()
                .map(|d| d.display().to_string())
                .unwrap_or_default(),
            size,
            frames: sequence.frames.len() as u32,
            fps: FPS,
            hash: String::new(),
        },
        "",
        Thresholds::default(),
    );
    // By label: masks on annotated frames, empty where the object is known to be absent.
    let mut masks: BTreeMap<u8, BTreeMap<u32, Rle>> = BTreeMap::new();
    let mut said: BTreeMap<u32, Remarks> = BTreeMap::new();
    let (mut decided, mut void_frames) = (Vec::new(), 0);
    let total = sequence.annotations.len() as u64;
    for (done, (&frame, path)) in (0..).zip(&sequence.annotations) {
        if !watch(done, total) {
            return Err(FormatError::Cancelled);
        }
        let map = labels::read(path)?.normalised();
        if map.size != size {
            let what = format!(
                "it has {}×{} pixels, the first mask {}×{}",
                map.size.width, map.size.height, size.width, size.height
            );
            return Err(FormatError::damaged(path, what));
        }
        let present: BTreeSet<u8> = map.data.iter().copied().collect();
        if present.contains(&VOID) {
            // One that is void as a whole says nothing, and so nothing of it is left out.
            void_frames += u32::from(present.len() > 1);
        } else {
            decided.push(frame);
        }
        for &label in present.iter().filter(|&&l| l != 0 && l != VOID) {
            let rle = one_label(size, &map.data, label);
            masks.entry(label).or_default().insert(frame, rle);
        }
        said.insert(frame, map.remarks);
    }
    let remark = |frame: u32, label: u8| said.get(&frame).and_then(|r| r.get(&label)).copied();
    for (label, mut frames) in masks {
        for &frame in &decided {
            if remark(frame, label) != Some(Remark::Unseen) {
                frames.entry(frame).or_insert_with(|| Rle::empty(size));
            }
        }
        let mut object = doc.new_object("");
        object.id = ObjectId(u32::from(label));
        object.name = format!("object {label}");
        object.colour = u32::from(label) - 1;
        object.frames = frames
            .into_iter()
            .map(|(frame, rle)| {
                let mut mask = FrameMask::by_hand(rle);
                if let Some(Remark::Unverified(provenance)) = remark(frame, label) {
                    mask.provenance = provenance;
                    mask.anchor = false;
                }
                (FrameIndex(frame), mask)
            })
            .collect();
        doc.next_id = object.id.0 + 1;
        doc.objects.push(object);
    }
    if void_frames > 0 {
        warnings.push(format!(
            "the void pixels of {} were left out",
            counted(void_frames, "frame")
        ));
    }
    if sequence.images.is_none() {
        warnings.push(format!("the dataset has no images: {PUT_VIDEO}"));
    }
    Ok(Imported {
        document: doc,
        warnings,
    })
}

/// The mask of one label.
pub(crate) fn one_label(size: Size, data: &[u8], label: u8) -> Rle {
    let data = data.iter().map(|&v| u8::from(v == label)).collect();
    Rle::from_bitmap(&Bitmap { size, data })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        formats::{
            Existing, import,
            tests::{S, art, document, mask, object, place, run},
        },
        project::Provenance,
    };

    #[test]
    fn names_of_a_very_long_clip_are_all_of_one_width() {
        assert_eq!(frame_name(7, 1), "00007");
        assert_eq!(frame_name(99_999, 100_000), "99999");
        assert_eq!(frame_name(99_999, 100_001), "099999");
        assert_eq!(frame_name(100_000, 100_001), "100000");
    }

    /// B, seen on one frame, came back with an anchor on every frame on which A was, and propagation could not fill them.
    #[test]
    fn davis_brings_the_same_masks_and_anchors_back_and_no_more() {
        let mut doc = document();
        doc.video.frames = 5;
        let corner = art(["##.....", ".......", ".......", ".......", "......."]);
        let bar = art([".......", ".......", ".......", ".......", "#######"]);
        let by = |rle: &Rle, provenance| mask(rle.clone(), provenance);
        let (human, carried) = (Provenance::Human, Provenance::Propagated);
        let nothing = Rle::empty(S);
        doc.objects = vec![
            object(
                1,
                "a",
                vec![
                    (0, by(&corner, human)),
                    (1, by(&corner, carried)),
                    (2, by(&nothing, human)),
                    (3, by(&nothing, carried)),
                ],
            ),
            object(
                2,
                "b",
                vec![(0, by(&bar, Provenance::Model)), (2, by(&bar, human))],
            ),
        ];
        let facts = |doc: &Document| {
            let objects = doc.objects.iter().map(|o| {
                let masks = o.frames.iter();
                let facts = masks.map(|(f, m)| (f.0, m.rle.clone(), m.anchor, m.provenance));
                facts.collect::<Vec<_>>()
            });
            objects.collect::<Vec<_>>()
        };
        let (_dir, out) = place();
        run(&doc, &Davis, &out, &ExportOptions::default()).unwrap();
        let back = import(&Davis, &out, None).unwrap().document;
        assert_eq!(facts(&back), facts(&doc));
        // A picture that another program has drawn anew says what its pixels say.
        let path = out.join("Annotations/480p/my_clip/00000.png");
        let data = labels::read(&path).unwrap().data;
        std::fs::write(&path, labels::encode(S, &data).unwrap()).unwrap();
        let anew = import(&Davis, &out, None).unwrap().document;
        assert!(anew.objects[1].frames[&FrameIndex(0)].anchor);
        // Of the verified masks alone, the others do not come back as absences.
        let verified = ExportOptions {
            verified_only: true,
            existing: Existing::Replace,
            ..ExportOptions::default()
        };
        run(&doc, &Davis, &out, &verified).unwrap();
        let back = import(&Davis, &out, None).unwrap().document;
        for object in &mut doc.objects {
            object.frames.retain(|_, m| m.anchor);
        }
        assert_eq!(facts(&back), facts(&doc));
    }

    /// Whoever came back from a dataset of ours was told of a loss where nobody had looked.
    #[test]
    fn a_frame_that_is_void_as_a_whole_is_no_loss() {
        let (_dir, out) = place();
        let folder = out.join("Annotations/480p/shot");
        let all = |label: u8| vec![label; S.area() as usize];
        let mut part = all(1);
        part[0] = VOID;
        for (frame, data) in [all(1), all(VOID), part].iter().enumerate() {
            let bytes = labels::encode(S, data).unwrap();
            write_file(&folder.join(format!("{frame:05}.png")), &bytes).unwrap();
        }
        let said = import(&Davis, &out, None).unwrap().warnings;
        assert_eq!(said[0], "the void pixels of 1 frame were left out");
        assert_eq!(said.len(), 2, "and that there are no images: {said:?}");
    }

    /// Its mask is under another one's: it is not absent.
    #[test]
    fn an_object_that_another_one_covers_does_not_come_back_as_absent() {
        let mut doc = document();
        let corner = art(["##.....", ".......", ".......", ".......", "......."]);
        let by_hand = |rle: &Rle| mask(rle.clone(), Provenance::Human);
        let over = vec![(1, by_hand(&corner))];
        let under = vec![(0, by_hand(&corner)), (1, by_hand(&corner))];
        doc.objects = vec![object(1, "under", under), object(2, "over", over)];
        let (_dir, out) = place();
        run(&doc, &Davis, &out, &ExportOptions::default()).unwrap();
        let back = import(&Davis, &out, None).unwrap().document;
        let frames: Vec<u32> = back.objects[0].frames.keys().map(|f| f.0).collect();
        assert_eq!(frames, [0]);
    }
}
