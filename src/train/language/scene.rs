//! Clips of the language stages with everything that the frozen networks say about them, computed once and used for many
//! steps: tower features, SAM2's maps and the proposals of the first frame. The pool renews itself while training runs,
//! so that no clip is learned by heart.

use std::{path::PathBuf, time::SystemTime};

use candle_core::Tensor;

use crate::{
    infer::{
        model::ModelInfo,
        preprocess::{crop_input, sam_input},
        words::WordTokenizer,
    },
    nn::{
        deformable_detr::{Proposals, Proposer},
        filtration::{Followed, Pyramid, RegionCode, Sighting},
        sam2::Sam2,
        sparrow::cut_out,
        weights::WeightStore,
    },
    project::BoxPx,
    train::{
        Job, TrainError, TrainResult,
        attributes::{Targets, owners},
        checkpoint,
        synth::{self, Clip, ObjectInfo, PROMPTS, Phrase, SynthOptions},
        towers::{Towers, image, tower_frames},
    },
};

/// Where the region code lies among the weights.
const REGION_PREFIX: &str = "model.proposal_selector.region_code";

/// Frames of a clip whose objects are cropped for target-specific tokens.
const CROP_FRAMES: [usize; 2] = [2, 5];

/// A phrase with its tokens.
pub(super) struct Spoken {
    pub(super) phrase: Phrase,
    /// Ids of the words.
    pub(super) ids: Vec<u32>,
}

/// What SAM2 and the proposer say of the first frame.
pub(super) struct Seen {
    /// SAM2's high-resolution maps and the embedding that is decoded.
    pub(super) pyramid: Pyramid,
    pub(super) proposals: Proposals,
    /// The proposals' corners as fractions.
    pub(super) corners: Vec<[f32; 4]>,
    /// What became of them on later frames, if the model asks.
    pub(super) followed: Option<Followed>,
    /// Each object's mask on the decoder's grid, as the part of each cell that is covered.
    pub(super) masks: Vec<Vec<f32>>,
}

/// A clip ready to train on.
pub(super) struct Scene {
    pub(super) objects: Vec<ObjectInfo>,
    pub(super) size: (f32, f32),
    pub(super) phrases: Vec<Spoken>,
    /// Spatial features `(f, g², d)`.
    pub(super) spatial: Tensor,
    /// Temporal features `(1, f · g², d)`.
    pub(super) temporal: Tensor,
    /// Spatial features of crops `(n, g², d)` and the object on each.
    pub(super) crops: Option<(Tensor, Vec<u8>)>,
    /// What the pooled spatial tokens lie on, frame by frame.
    pub(super) dense: Targets,
    /// Owners of the first frame's pooled spatial tokens.
    pub(super) owners: Vec<u8>,
    pub(super) seen: Option<Seen>,
}

impl Scene {
    /// Corners of an object on the first frame, in fractions.
    pub(super) fn corners(&self, id: u8) -> Option<[f32; 4]> {
        let [x1, y1, x2, y2] = self
            .objects
            .get(usize::from(id).checked_sub(1)?)?
            .boxes
            .first()
            .copied()
            .flatten()?;
        let (w, h) = self.size;
        Some([x1 / w, y1 / h, x2 / w, y2 / h])
    }
}

/// The networks that these stages do not change.
pub(super) struct Frozen {
    towers: Towers,
    pub(super) eyes: Option<Eyes>,
    watched: Vec<(PathBuf, Option<SystemTime>)>,
}

/// SAM2 and the proposer.
pub(super) struct Eyes {
    pub(super) sam: Sam2,
    pub(super) proposer: Proposer,
    region_code: Option<RegionCode>,
}

fn modified(path: &PathBuf) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|m| m.modified()).ok()
}

impl Frozen {
    /// From the job's initial weights; without any of SAM2's, there are no eyes.
    pub(super) fn load(info: &ModelInfo, job: &Job) -> TrainResult<Self> {
        let mut all = std::collections::HashMap::new();
        for path in &job.init {
            all.extend(checkpoint::weights(path, &job.device)?);
        }
        let has_eyes = all.contains_key("model.visual_model.no_mem_embed")
            && all.keys().any(|k| k.starts_with("detector."));
        let store = WeightStore::from_tensors(all, &job.device);
        let vb = store.var_builder();
        let config = &info.config;
        let eyes = if has_eyes {
            Some(Eyes {
                sam: Sam2::new(&config.sam2, vb.pp("model.visual_model"))?,
                proposer: Proposer::new(&config.proposer, vb.pp("detector"))?,
                region_code: RegionCode::new(&config.filtration, &vb.pp(REGION_PREFIX))?,
            })
        } else {
            None
        };
        Ok(Self {
            towers: Towers::build(info, &vb)?,
            eyes,
            watched: job.init.iter().map(|p| (p.clone(), modified(p))).collect(),
        })
    }

    /// Whether a file it was loaded from has been written since.
    pub(super) fn is_stale(&self) -> bool {
        self.watched
            .iter()
            .any(|(path, then)| modified(path) > *then)
    }

    /// Makes the scene of `seed`.
    pub(super) fn scene(
        &self,
        seed: u64,
        options: &SynthOptions,
        info: &ModelInfo,
        words: &WordTokenizer,
        job: &Job,
    ) -> TrainResult<Scene> {
        let clip = synth::generate(seed, options);
        let frames = tower_frames(&clip, info, job)?;
        let config = &info.config;
        let side = config.clip.image_size / config.clip.patch_size / config.visual.spatial_pool;
        let mut dense = Targets::default();
        for &frame in &frames.indices {
            dense.add(&clip, &owners(&clip, frame, side), &[frame]);
        }
        let mut phrases = Vec::with_capacity(clip.phrases.len());
        for (i, phrase) in clip.phrases.iter().enumerate() {
            // Half of the phrases stand alone, as people type them.
            let lead = PROMPTS[if i % 2 == 0 {
                0
            } else {
                (seed as usize + i) % PROMPTS.len()
            }];
            let text: Vec<&str> = lead
                .iter()
                .copied()
                .chain(phrase.words.iter().map(String::as_str))
                .collect();
            let ids = words
                .encode_exact(&text.join(" "))
                .map_err(|e| TrainError::Content(e.to_string()))?;
            phrases.push(Spoken {
                phrase: phrase.clone(),
                ids,
            });
        }
        Ok(Scene {
            size: (clip.width as f32, clip.height as f32),
            phrases,
            spatial: self.towers.spatial.forward(&frames.spatial)?,
            temporal: self.towers.temporal.forward(&frames.temporal)?,
            crops: self.crops(&clip, info, job)?,
            dense,
            owners: owners(&clip, frames.indices[0], side),
            seen: match &self.eyes {
                Some(eyes) => Some(eyes.look(&clip, &frames.indices, info, job)?),
                None => None,
            },
            objects: clip.objects,
        })
    }

    fn crops(
        &self,
        clip: &Clip,
        info: &ModelInfo,
        job: &Job,
    ) -> TrainResult<Option<(Tensor, Vec<u8>)>> {
        let (mut inputs, mut whose) = (vec![], vec![]);
        let (side, norm) = (info.config.clip.image_size, &info.preprocess.clip);
        for frame in CROP_FRAMES {
            if frame >= clip.frames.len() {
                continue;
            }
            let picture = image(clip, frame);
            for object in &clip.objects {
                let Some([x1, y1, x2, y2]) = object.boxes[frame] else {
                    continue;
                };
                let around = BoxPx { x1, y1, x2, y2 };
                inputs.push(crop_input(&picture, around, side, norm, &job.device)?);
                whose.push(object.id);
            }
        }
        if inputs.is_empty() {
            return Ok(None);
        }
        let features = self.towers.spatial.forward(&Tensor::cat(&inputs, 0)?)?;
        Ok(Some((features, whose)))
    }
}

impl Eyes {
    fn look(
        &self,
        clip: &Clip,
        frames: &[usize],
        info: &ModelInfo,
        job: &Job,
    ) -> TrainResult<Seen> {
        let (found, pyramid) = self.offered(clip, 0, info, job)?;
        let later = match &self.region_code {
            Some(_) => info.config.filtration.travel,
            None => 0,
        };
        let later: Vec<(Proposals, Pyramid)> = frames
            .iter()
            .skip(1)
            .take(later)
            .map(|&frame| self.offered(clip, frame, info, job))
            .collect::<TrainResult<_>>()?;
        let followed = match &self.region_code {
            Some(code) if !later.is_empty() => {
                let later: Vec<Sighting> = later
                    .iter()
                    .map(|(proposals, maps)| code.sighting((proposals, maps)))
                    .collect::<candle_core::Result<_>>()?;
                Some(code.follow((&found, &pyramid), &later)?)
            }
            _ => None,
        };
        let (_, _, h, w) = pyramid[0].dims4()?;
        let flat: Vec<f32> = found.boxes.flatten_all()?.to_vec1()?;
        Ok(Seen {
            corners: flat
                .chunks_exact(4)
                .map(|c| [c[0], c[1], c[2], c[3]])
                .collect(),
            masks: clip
                .objects
                .iter()
                .map(|o| coverage(clip, o.id, (h, w)))
                .collect(),
            pyramid,
            followed,
            proposals: found,
        })
    }

    /// Proposals of a frame, and the maps they are read from.
    fn offered(
        &self,
        clip: &Clip,
        frame: usize,
        info: &ModelInfo,
        job: &Job,
    ) -> TrainResult<(Proposals, Pyramid)> {
        let side = info.config.sam2.image_size;
        let input = sam_input(&image(clip, frame), side, &info.preprocess.sam, &job.device)?;
        let features = self.sam.encode_image(&input)?;
        let embed = self.sam.add_no_mem(&features.embed)?;
        let config = &info.config.proposer;
        let found =
            self.proposer
                .forward(&features.fpn)?
                .proposals(0, config.topk, config.score_power)?;
        let [fine, middle] = features.high_res;
        let pyramid = [fine, middle, embed];
        let found = Proposals {
            aspect: Proposals::aspect_of(clip.width, clip.height),
            ..found
        };
        let parts = (&info.config.filtration, &self.sam);
        Ok((cut_out(parts, (found, 0), &pyramid, Some(&input))?, pyramid))
    }
}

/// Part of each cell of a `h × w` grid over the first frame that is `id`.
fn coverage(clip: &Clip, id: u8, (h, w): (usize, usize)) -> Vec<f32> {
    let mut out = vec![0_f32; h * w];
    for (y, line) in clip.ids[0].chunks_exact(clip.width).enumerate() {
        let row = &mut out[y * h / clip.height * w..][..w];
        for (x, _) in line.iter().enumerate().filter(|(_, v)| **v == id) {
            row[x * w / clip.width] += 1.0;
        }
    }
    let cell = (clip.width * clip.height) as f32 / (w * h) as f32;
    out.iter_mut().for_each(|v| *v = (*v / cell).min(1.0));
    out
}
