//! Ground truth, whatever folder layout it comes in: label maps by frame, and phrases with their referents. Leaves files
//! to [`crate::formats`].

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    rc::Rc,
};

use super::error::EvalError;
use crate::{
    formats::{
        davis,
        labels::{self, LabelMap, VOID},
        synth,
    },
    project::{Bitmap, Size},
};

/// A question with its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The referring phrase.
    pub phrase: String,
    /// What it hinges on.
    pub kind: String,
    /// Labels of the objects meant; empty if there is none.
    pub referents: Vec<u8>,
}

/// One clip with its truth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// Name.
    pub name: String,
    /// Folder of its frames' images.
    pub images: PathBuf,
    /// Number of frames.
    pub frames: u32,
    /// Annotated frames.
    pub masks: BTreeMap<u32, PathBuf>,
    /// Phrases, if the dataset has any.
    pub queries: Vec<Query>,
    /// One clause: why it cannot be measured, if it cannot.
    pub unusable: Option<String>,
}

/// Labels of one frame with void (255) apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truth {
    /// Frame size.
    pub size: Size,
    /// One label per pixel, 255 where nobody looks.
    pub labels: Vec<u8>,
}

impl Truth {
    /// The labels there are, ascending, without background and void.
    pub fn objects(&self) -> Vec<u8> {
        let mut there = [false; 256];
        for &label in &self.labels {
            there[usize::from(label)] = true;
        }
        (1..VOID).filter(|&l| there[usize::from(l)]).collect()
    }

    /// The pixels of any of the labels.
    pub fn mask(&self, labels: &[u8]) -> Bitmap {
        let data = self.labels.iter().map(|l| u8::from(labels.contains(l)));
        Bitmap {
            size: self.size,
            data: data.collect(),
        }
    }

    /// The void pixels, if there are any.
    pub fn void(&self) -> Option<Bitmap> {
        self.labels.contains(&VOID).then(|| self.mask(&[VOID]))
    }
}

impl Sequence {
    /// One that cannot be measured, with the clause that says why.
    fn unusable(name: String, why: &str) -> Self {
        Self {
            name,
            images: PathBuf::new(),
            frames: 0,
            masks: BTreeMap::new(),
            queries: Vec::new(),
            unusable: Some(why.to_owned()),
        }
    }

    /// The truth of a frame; `None` if it is not annotated, which void everywhere says as well.
    ///
    /// # Errors
    /// [`EvalError::Dataset`] if the file is damaged.
    pub fn truth(&self, frame: u32) -> Result<Option<Truth>, EvalError> {
        let Some(path) = self.masks.get(&frame) else {
            return Ok(None);
        };
        let LabelMap { size, data, .. } = labels::read(path)?.normalised();
        let nobody_looked = data.iter().all(|&label| label == VOID);
        Ok((!nobody_looked).then_some(Truth { size, labels: data }))
    }
}

/// A clip of the synthetic benchmark.
fn drawn(clip: synth::SynthClip) -> Sequence {
    Sequence {
        images: clip.images(),
        frames: clip.masks.len() as u32,
        masks: (0..).zip(clip.masks).collect(),
        queries: clip
            .phrases
            .iter()
            .map(|p| Query {
                phrase: p.text(),
                kind: p.kind.clone(),
                referents: p.referents.clone(),
            })
            .collect(),
        name: clip.name,
        unusable: None,
    }
}

/// Bytes of labels that are kept of one sequence.
const KEPT: usize = 256 << 20;

/// A sequence's truth for all that is asked about it: every frame is read once, as far as [`KEPT`] allows.
pub(super) struct Truths<'a> {
    /// The sequence.
    pub(super) sequence: &'a Sequence,
    kept: RefCell<BTreeMap<u32, Option<Rc<Truth>>>>,
}

impl<'a> Truths<'a> {
    /// Nothing is read yet.
    pub(super) fn new(sequence: &'a Sequence) -> Self {
        Self {
            sequence,
            kept: RefCell::default(),
        }
    }

    /// As [`Sequence::truth`].
    ///
    /// # Errors
    /// [`EvalError::Dataset`] if the file is damaged.
    pub(super) fn at(&self, frame: u32) -> Result<Option<Rc<Truth>>, EvalError> {
        if let Some(truth) = self.kept.borrow().get(&frame) {
            return Ok(truth.clone());
        }
        let truth = self.sequence.truth(frame)?.map(Rc::new);
        let mut kept = self.kept.borrow_mut();
        let bytes = |t: &Option<Rc<Truth>>| t.as_ref().map_or(0, |t| t.labels.len());
        if kept.values().map(bytes).sum::<usize>() + bytes(&truth) <= KEPT {
            kept.insert(frame, truth.clone());
        }
        Ok(truth)
    }
}

/// Reads the sequences of a dataset in `davis` or `synth` layout, sorted by name: all, or those of a `split` that `davis`
/// lists; at most `limit` of them. What is wrong with one of them is said in it.
///
/// # Errors
/// [`EvalError`] if the dataset cannot be read, or there is no such split.
pub fn open(
    root: &Path,
    format: &str,
    split: Option<&str>,
    limit: Option<usize>,
) -> Result<Vec<Sequence>, EvalError> {
    let limit = limit.unwrap_or(usize::MAX);
    if let (Some(_), "synth") = (split, format) {
        return Err(EvalError::Unusable(
            "only datasets in davis layout list splits".to_owned(),
        ));
    }
    match format {
        "davis" => {
            let all = davis::sequences(root)?.into_iter();
            let mut all: BTreeMap<String, _> = all.map(|s| (s.name.clone(), s)).collect();
            let names: BTreeSet<String> = match split {
                Some(split) => davis::split(root, split)?,
                None => all.keys().cloned().collect(),
            };
            // What lies beyond the limit may be as incomplete as it likes.
            let names = names.into_iter().take(limit);
            Ok(names
                .map(|name| {
                    let Some(found) = all.remove(&name) else {
                        let why = "the split lists it, and the dataset does not hold it";
                        return Sequence::unusable(name, why);
                    };
                    let mut unusable = found.check().err().map(|e| e.to_string());
                    if found.images.is_none() {
                        unusable = Some("it has no images".to_owned());
                    }
                    Sequence {
                        name,
                        images: found.images.unwrap_or_default(),
                        frames: found.frames.len() as u32,
                        masks: found.annotations,
                        queries: Vec::new(),
                        unusable,
                    }
                })
                .collect())
        }
        "synth" => {
            let all = synth::each(root)?.into_iter().take(limit);
            Ok(all
                .map(|(name, clip)| match clip {
                    Ok(clip) => drawn(clip),
                    Err(why) => Sequence::unusable(name, &why.to_string()),
                })
                .collect())
        }
        other => Err(EvalError::UnknownFormat(other.to_owned())),
    }
}
