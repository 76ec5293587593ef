//! What the language stages train, and their loss on a batch of clips with packed phrases.

use candle_core::{D, DType, Device, Tensor};
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use super::{
    calibrate::Record,
    filter::{Choice, Meant},
    pack::{Packed, Row, Segment, pack},
    read_outs::{ReadOuts, ReadTally, Shown},
    scene::{Eyes, Frozen, Scene, Seen},
    script::Script,
};
use crate::{
    infer::{model::ModelInfo, words::WordTokenizer},
    nn::{
        filtration::{Candidates, FiltrationHead},
        multimodal::{Multimodal, Widths},
        phi3::Phi3,
        sam2::{DecodeOptions, Prompts},
    },
    train::{
        Params, TrainError, TrainResult,
        attributes::{hits, weighted_cross_entropy},
        synth::{Motion, PhraseKind},
    },
};

/// Weight of the answer's tokens behind the first, which no phrase changes.
const TEMPLATE_WEIGHT: f32 = 0.3;
/// Weight of the first answer token where there is no such thing: such phrases are few, and "there is" is the easy
/// answer.
const ABSENT_WEIGHT: f32 = 2.5;
/// Part of the phrases with target-specific tokens that show the wrong object: else the answer could be read from the crop
/// instead of the phrase. Few, for a person who corrects a mask is rarely wrong about the object.
const TSF_WRONG: f64 = 0.05;
/// Phrases of a clip whose masks are decoded.
const MASKS: usize = 2;
/// Weights of the losses.
const MASK_WEIGHT: f64 = 1.0;
const FILTER_WEIGHT: f64 = 0.3;
/// Within that of filtration.
const MOTION_WEIGHT: f64 = 1.0;

/// Sums of a few steps, or of a validation.
#[derive(Default)]
pub(super) struct Tally {
    steps: f64,
    parts: [f64; 3],
    read: ReadTally,
    opening: [(f64, f64); 2],
    attributes: Choice,
    others: Choice,
    motions: (f64, f64),
    iou: [(f64, f64); 2],
    /// What was predicted, phrase by phrase.
    pub(super) records: Vec<Record>,
}

pub(super) fn rate((right, counted): (f64, f64)) -> f64 {
    right / counted.max(1.0)
}

impl Tally {
    pub(super) fn is_finite(&self) -> bool {
        self.parts.iter().all(|p| p.is_finite()) && self.read.is_finite()
    }

    pub(super) fn fields(&self) -> Vec<(&'static str, f64)> {
        let n = self.steps.max(1.0);
        let choice = |c: &Choice, v: f64| v / c.counted.max(1.0);
        let (a, o) = (&self.attributes, &self.others);
        let mut fields = vec![
            ("ce", self.parts[0] / n),
            ("filter", self.parts[1] / n),
            ("mask", self.parts[2] / n),
            ("yes", rate(self.opening[0])),
            ("no", rate(self.opening[1])),
            ("chosen", choice(a, a.right)),
            ("chosen_on", choice(a, a.on)),
            ("missed", choice(a, a.missed)),
            ("other_on", choice(o, o.on)),
            ("moves", rate(self.motions)),
            ("j_seg", rate(self.iou[0])),
            ("j_box", rate(self.iou[1])),
        ];
        fields.extend(self.read.fields());
        fields
    }
}

/// The trained networks.
pub(super) struct Model {
    language: Phi3,
    multimodal: Multimodal,
    filtration: FiltrationHead,
    script: Script,
    read_outs: Option<ReadOuts>,
    frames: usize,
    device: Device,
    image_size: usize,
}

/// How phrases are asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct How {
    /// Part of the phrases that do not see the clip.
    pub(super) blind: f64,
    /// Part of the phrases without a referent that are answered against better knowledge.
    pub(super) forced: f64,
    /// Part of the phrases of one thing, or of none, that come with target-specific tokens.
    pub(super) crops: f64,
    /// Part of the rows that are asked as a picture is, or a clip's last frame: without what becomes of the proposals.
    pub(super) still: f64,
}

/// One phrase of a batch: row, place among the row's phrases, phrase of the scene, states.
pub(super) struct Said {
    pub(super) row: usize,
    slot: usize,
    pub(super) phrase: usize,
    at: [u32; 2],
}

impl Model {
    /// With read-outs if `aided`.
    pub(super) fn new(
        info: &ModelInfo,
        words: &WordTokenizer,
        params: &Params,
        aided: bool,
    ) -> TrainResult<Self> {
        let config = &info.config;
        let vb = params.var_builder();
        let model = vb.pp("model");
        if let Some([_, said]) = config.filtration.motions
            && said != Motion::WORDS
        {
            return Err(TrainError::Content(format!(
                "{} tells {said} words of motion apart; clips are drawn with {}",
                info.id,
                Motion::WORDS
            )));
        }
        let h = config.phi3.hidden_size;
        let out = config.filtration.seg_dim;
        let widths = Widths {
            spatial: config.clip.dim,
            temporal: config.internvideo2.dim,
            language: h,
            out,
        };
        let pools = (config.visual.spatial_pool, config.visual.video_pool);
        let read_outs = aided.then(|| ReadOuts::new(h, out, &vb.pp("aux.language")));
        Ok(Self {
            language: Phi3::new(&config.phi3, vb)?,
            multimodal: Multimodal::new(widths, pools, model.clone())?,
            filtration: FiltrationHead::new(&config.filtration, model)?,
            script: Script::new(info, words)?,
            read_outs: read_outs.transpose()?,
            frames: config.visual.num_frames,
            device: params.device().clone(),
            image_size: config.sam2.image_size,
        })
    }

    fn segments(
        &self,
        scene: &Scene,
        chosen: &[usize],
        how: How,
        rng: &mut ChaCha8Rng,
    ) -> Vec<Segment> {
        let script = &self.script;
        chosen
            .iter()
            .map(|&i| {
                let spoken = &scene.phrases[i];
                let absent = spoken.phrase.referents.is_empty();
                // Some phrases without a referent are answered against better knowledge, so that filtration and
                // masks learn what to make of them; only the first word's prediction counts there.
                let forced = absent && rng.random_bool(how.forced);
                let answer = script.answer(&spoken.phrase, forced);
                let blind = rng.random_bool(how.blind);
                let rest = if forced { 0.0 } else { TEMPLATE_WEIGHT };
                let mut weights = vec![rest; answer.len()];
                // Who sees nothing cannot know whether there is such a thing.
                weights[0] = match (blind, absent) {
                    (true, _) => 0.0,
                    (false, true) => ABSENT_WEIGHT,
                    (false, false) => 1.0,
                };
                Segment {
                    phrase: spoken.ids.clone(),
                    tsf: vec![],
                    bridge: script.bridge.clone(),
                    answer: answer.to_vec(),
                    weights,
                    blind,
                    opening: forced.then(|| script.none[0]),
                }
            })
            .collect()
    }

    /// Chooses crops for some phrases: rows of `(row, crop)` in the order in which they follow the visual blocks.
    fn crops(
        &self,
        batch: &[(&Scene, Vec<usize>)],
        (rows, first): (&mut [Row], u32),
        how: How,
        rng: &mut ChaCha8Rng,
    ) -> TrainResult<Option<Tensor>> {
        let mut used: Vec<Tensor> = vec![];
        for ((scene, chosen), row) in batch.iter().zip(rows) {
            let Some((features, whose)) = &scene.crops else {
                continue;
            };
            for (segment, &phrase) in row.segments.iter_mut().zip(chosen) {
                let (target, wrong) = match scene.phrases[phrase].phrase.referents[..] {
                    [target] => (target, TSF_WRONG),
                    // Else any crop would say that there is such a thing.
                    [] => (whose[rng.random_range(0..whose.len())], 0.0),
                    _ => continue,
                };
                if !rng.random_bool(how.crops) {
                    continue;
                }
                let wrong = rng.random_bool(wrong);
                let fit: Vec<usize> = (0..whose.len())
                    .filter(|&i| (whose[i] == target) != wrong)
                    .collect();
                // From anywhere among them: the first are the objects that were drawn first.
                let from = rng.random_range(0..fit.len().max(1));
                let fit = fit.iter().cycle().skip(from).take(fit.len());
                for &crop in fit.take(rng.random_range(1..=2)) {
                    segment.tsf.push(first + used.len() as u32);
                    used.push(features.narrow(0, crop, 1)?);
                }
            }
        }
        if used.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.multimodal.crop_tokens(&Tensor::cat(&used, 0)?)?))
    }

    /// Packs a batch and runs the language model: states `(rows · length, h)`.
    fn read(
        &self,
        batch: &[(&Scene, Vec<usize>)],
        how: How,
        rng: &mut ChaCha8Rng,
    ) -> TrainResult<(Packed, Tensor, usize)> {
        let b = batch.len();
        let cat = |get: fn(&Scene) -> &Tensor| {
            let all: Vec<&Tensor> = batch.iter().map(|(s, _)| get(s)).collect();
            Tensor::cat(&all, 0)
        };
        let spatial = self.multimodal.spatial(&cat(|s| &s.spatial)?)?;
        let (_, per_frame, h) = spatial.dims3()?;
        let spatial = spatial.reshape((b, self.frames * per_frame, h))?;
        let temporal = self
            .multimodal
            .temporal(&cat(|s| &s.temporal)?, b * self.frames)?;
        let temporal = temporal.reshape((b, (), h))?;
        let blocks = Tensor::cat(&[&spatial, &temporal], 1)?;
        let block = blocks.dim(1)?;
        let vocabulary = self.language.vocabulary();
        let mut rows: Vec<Row> = batch
            .iter()
            .enumerate()
            .map(|(i, (scene, chosen))| Row {
                head: self.script.head.clone(),
                visual: ((vocabulary + i * block) as u32, block),
                segments: self.segments(scene, chosen, how, rng),
            })
            .collect();
        let first = (vocabulary + b * block) as u32;
        let crops = self.crops(batch, (&mut rows, first), how, rng)?;
        let all: Vec<u32> = (0..vocabulary as u32).collect();
        let mut table = vec![self.language.embed(&all)?, blocks.flatten(0, 1)?];
        table.extend(crops);
        let packed = pack(&rows, self.script.prompts, &self.device)?;
        let embeds = Tensor::cat(&table, 0)?
            .index_select(&packed.index, 0)?
            .reshape((b, packed.length, h))?;
        let states = self
            .language
            .forward_packed(&embeds, &packed.positions, &packed.mask)?
            .flatten(0, 1)?;
        Ok((packed, states, per_frame))
    }

    fn rows_of(&self, x: &Tensor, at: impl IntoIterator<Item = u32>) -> TrainResult<Tensor> {
        let at: Vec<u32> = at.into_iter().collect();
        Ok(x.index_select(&Tensor::new(at, &self.device)?, 0)?)
    }

    /// [`Model::loss`] for numbers alone.
    pub(super) fn measure(
        &self,
        batch: &[(&Scene, Vec<usize>)],
        frozen: &Frozen,
        rng: &mut ChaCha8Rng,
        tally: &mut Tally,
    ) -> TrainResult<()> {
        let how = How {
            blind: 0.0,
            forced: 1.0,
            crops: 0.0,
            still: 0.0,
        };
        self.loss(batch, frozen, how, rng, tally).map(|_| ())
    }

    /// Loss of phrases of scenes, asked as `how` says.
    pub(super) fn loss(
        &self,
        batch: &[(&Scene, Vec<usize>)],
        frozen: &Frozen,
        how: How,
        rng: &mut ChaCha8Rng,
        tally: &mut Tally,
    ) -> TrainResult<Tensor> {
        let (packed, states, per_frame) = self.read(batch, how, rng)?;
        tally.steps += 1.0;
        let mut total = Tensor::zeros((), DType::F32, &self.device)?;
        let mut add = |part: usize, weight: f64, loss: Tensor, tally: &mut Tally| {
            tally.parts[part] += f64::from(loss.to_scalar::<f32>()?);
            total = (&total + (loss * weight)?)?;
            TrainResult::Ok(())
        };
        let logits = self
            .language
            .logits(&self.rows_of(&states, packed.at.iter().copied())?)?;
        let ce = weighted_cross_entropy(&logits, &packed.targets, &packed.weights)?;
        add(0, 1.0, ce, tally)?;
        let presence = self.count_openings(batch, &packed, &states, tally)?;

        let said: Vec<Said> = batch
            .iter()
            .enumerate()
            .flat_map(|(row, (_, chosen))| {
                let places = packed.places[row].iter();
                places
                    .zip(chosen)
                    .enumerate()
                    .filter_map(move |(slot, (p, &phrase))| {
                        p.prompts.map(|at| Said {
                            row,
                            slot,
                            phrase,
                            at,
                        })
                    })
            })
            .collect();
        if said.is_empty() {
            return Ok(total);
        }
        let boxes = self.rows_of(&states, said.iter().map(|s| s.at[0]))?;
        let boxes = self.multimodal.to_vision(&boxes)?;
        let seg = self.rows_of(&states, said.iter().map(|s| s.at[1]))?;
        let seg = self.multimodal.to_vision(&seg)?;
        let aids = if let Some(read) = &self.read_outs {
            let count = (self.frames * per_frame) as u32;
            let tokens = packed.visual.iter().flat_map(|&v| v..v + count);
            let first = packed.visual.iter().flat_map(|&v| v..v + per_frame as u32);
            let shown = Shown {
                embeddings: [&boxes, &seg],
                tokens: &self.rows_of(&states, tokens)?,
                first: &self.rows_of(&states, first)?,
            };
            Some(read.loss(batch, &said, &shown, &mut tally.read)?)
        } else {
            None
        };
        if let Some(eyes) = &frozen.eyes {
            let asked = (&boxes, presence.as_slice());
            let filter = self.filter_loss(batch, &said, asked, (how, &mut *rng), tally)?;
            add(1, FILTER_WEIGHT, filter, tally)?;
            if let Some(mask) = self.mask_loss(batch, eyes, &said, &seg, rng, tally)? {
                add(2, MASK_WEIGHT, mask, tally)?;
            }
        }
        Ok(match aids {
            Some(loss) => (total + loss)?,
            None => total,
        })
    }

    /// How often the first word of the answer says rightly whether there is such a thing.
    fn count_openings(
        &self,
        batch: &[(&Scene, Vec<usize>)],
        packed: &Packed,
        states: &Tensor,
        tally: &mut Tally,
    ) -> TrainResult<Vec<Vec<f32>>> {
        let at = packed.places.iter().flatten().map(|p| p.opening);
        let logits = self
            .language
            .logits(&self.rows_of(&states.detach(), at)?)?
            .detach();
        let p = candle_nn::ops::softmax(&logits, D::Minus1)?;
        let none = self.script.none[0] as usize;
        let absent: Vec<f32> = p.narrow(1, none, 1)?.flatten_all()?.to_vec1()?;
        let truths = batch.iter().flat_map(|(scene, chosen)| {
            chosen
                .iter()
                .map(|&i| scene.phrases[i].phrase.referents.is_empty())
        });
        for (p, is_absent) in absent.iter().zip(truths) {
            let counter = &mut tally.opening[usize::from(is_absent)];
            counter.1 += 1.0;
            counter.0 += f64::from(u8::from((*p > 0.5) == is_absent));
        }
        let mut left = absent.into_iter().map(|p| 1.0 - p);
        Ok(batch
            .iter()
            .map(|(_, chosen)| left.by_ref().take(chosen.len()).collect())
            .collect())
    }

    fn filter_loss(
        &self,
        batch: &[(&Scene, Vec<usize>)],
        said: &[Said],
        (boxes, presence): (&Tensor, &[Vec<f32>]),
        (how, rng): (How, &mut ChaCha8Rng),
        tally: &mut Tally,
    ) -> TrainResult<Tensor> {
        let mut total = Tensor::zeros((), DType::F32, &self.device)?;
        let mut at = 0;
        for (row, (scene, _)) in batch.iter().enumerate() {
            let mine: Vec<&Said> = said.iter().filter(|s| s.row == row).collect();
            let Some(seen) = scene.seen.as_ref().filter(|_| !mine.is_empty()) else {
                at += mine.len();
                continue;
            };
            let queries = boxes.narrow(0, at, mine.len())?;
            at += mine.len();
            let still = how.still > 0.0 && rng.random_bool(how.still);
            let candidates = Candidates {
                followed: seen.followed.as_ref().filter(|_| !still),
                ..Candidates::all_valid(&seen.proposals)?
            };
            let scored = self
                .filtration
                .score_candidates(&queries, &candidates, &seen.pyramid)?;
            let logits = scored.logits;
            let objects: Vec<(u8, [f32; 4])> = scene
                .objects
                .iter()
                .filter_map(|o| Some((o.id, scene.corners(o.id)?)))
                .collect();
            let phrase = |s: &Said| &scene.phrases[s.phrase].phrase;
            // Before rivals are compared, all that the rest of the phrase fits is meant.
            let passed: Vec<Vec<u8>> = mine
                .iter()
                .map(|s| phrase(s).could_mean(&scene.objects))
                .collect();
            let meant = Meant {
                proposals: &seen.corners,
                objects: &objects,
                referents: mine
                    .iter()
                    .map(|s| phrase(s).referents.as_slice())
                    .collect(),
            };
            let is_attribute = |i: usize| phrase(mine[i]).kind == PhraseKind::Attribute;
            let detached = logits.detach();
            let confidences = meant.confidences(&detached)?;
            for (s, proposals) in mine.iter().zip(confidences) {
                tally.records.push(Record {
                    presence: presence[row][s.slot],
                    proposals,
                    referents: phrase(s).referents.clone(),
                    several: phrase(s).speaks_of_several(),
                });
            }
            tally
                .attributes
                .add(meant.choices(&detached, is_attribute)?);
            tally
                .others
                .add(meant.choices(&detached, |i| !is_attribute(i))?);
            total = (total + meant.loss(&logits)?)?;
            if let Some(read) = self.filtration.motions(&candidates)? {
                let of = |id: u8| scene.objects[usize::from(id) - 1].motion.word_index();
                let (words, weights) = meant.motions(of);
                let loss = weighted_cross_entropy(&read, &words, &weights)?;
                total = (total + (loss * MOTION_WEIGHT)?)?;
                let (right, counted) = hits(&read.detach(), &words, &weights)?;
                tally.motions.0 += right;
                tally.motions.1 += counted;
            }
            if let Some(could_be) = scored.could_be {
                let meant = Meant {
                    referents: passed.iter().map(Vec::as_slice).collect(),
                    ..meant
                };
                total = (total + meant.loss(&could_be)?)?;
            }
        }
        Ok((total / batch.len() as f64)?)
    }

    /// Masks from `[SEG]`, half of them with the box of what is meant.
    fn mask_loss(
        &self,
        batch: &[(&Scene, Vec<usize>)],
        eyes: &Eyes,
        said: &[Said],
        seg: &Tensor,
        rng: &mut ChaCha8Rng,
        tally: &mut Tally,
    ) -> TrainResult<Option<Tensor>> {
        let mut losses = vec![];
        for (row, (scene, _)) in batch.iter().enumerate() {
            let Some(seen) = &scene.seen else { continue };
            let mine: Vec<usize> = (0..said.len())
                .filter(|&i| {
                    let phrase = &scene_phrase(batch, &said[i]).referents;
                    said[i].row == row && !phrase.is_empty()
                })
                .collect();
            for k in 0..MASKS.min(mine.len()) {
                let i =
                    mine[(k * mine.len() / MASKS + rng.random_range(0..mine.len())) % mine.len()];
                let mut ids = scene_phrase(batch, &said[i]).referents.as_slice();
                let with_box = k % 2 == 1;
                if with_box {
                    // Where several are meant, each is painted in its own box.
                    let one = rng.random_range(0..ids.len());
                    ids = &ids[one..=one];
                }
                let around = scene.corners(ids[0]).filter(|_| with_box);
                let text = seg.narrow(0, i, 1)?.unsqueeze(0)?;
                let logits = self.decode(eyes, seen, text, around, rng)?;
                let target: Vec<f32> = (0..seen.masks[0].len())
                    .map(|c| {
                        let sum: f32 = ids
                            .iter()
                            .map(|&id| seen.masks[usize::from(id) - 1][c])
                            .sum();
                        sum.min(1.0)
                    })
                    .collect();
                let iou = &mut tally.iou[usize::from(around.is_some())];
                let values: Vec<f32> = logits.detach().flatten_all()?.to_vec1()?;
                *iou = (iou.0 + overlap(&values, &target), iou.1 + 1.0);
                let target = Tensor::from_vec(target, logits.shape(), &self.device)?;
                losses.push(mask_terms(&logits, &target)?);
            }
        }
        if losses.is_empty() {
            return Ok(None);
        }
        Ok(Some(Tensor::stack(&losses, 0)?.mean(0)?))
    }

    fn decode(
        &self,
        eyes: &Eyes,
        seen: &Seen,
        text: Tensor,
        around: Option<[f32; 4]>,
        rng: &mut ChaCha8Rng,
    ) -> TrainResult<Tensor> {
        let boxes = match around {
            None => None,
            Some([x1, y1, x2, y2]) => {
                // Proposals are never exact.
                let mut off = |side: f32| side * 0.06 * (rng.random::<f32>() * 2.0 - 1.0);
                let (w, h) = (x2 - x1, y2 - y1);
                let corners = [x1 + off(w), y1 + off(h), x2 + off(w), y2 + off(h)];
                let px = corners.map(|v| v * self.image_size as f32);
                Some(Tensor::new(&[px], &self.device)?)
            }
        };
        let prompts = Prompts {
            boxes,
            text: Some(text),
            ..Prompts::default()
        };
        let options = DecodeOptions {
            multimask: false,
            train: true,
            image_size: self.image_size,
        };
        let [high0, high1, embed] = &seen.pyramid;
        let out = eyes
            .sam
            .decode(embed, &[high0.clone(), high1.clone()], &prompts, options)?;
        Ok(out.low_res.flatten_all()?)
    }
}

fn scene_phrase<'a>(
    batch: &'a [(&Scene, Vec<usize>)],
    said: &Said,
) -> &'a crate::train::synth::Phrase {
    &batch[said.row].0.phrases[said.phrase].phrase
}

/// Mean of `w · bce(x, t)` over all elements.
pub(super) fn weighted_bce(
    logits: &Tensor,
    targets: &Tensor,
    weights: &Tensor,
) -> TrainResult<Tensor> {
    let loss = (logits.relu()? - (logits * targets)?)?;
    let loss = (loss + (logits.abs()?.neg()?.exp()? + 1.0)?.log()?)?;
    Ok((loss * weights)?.mean_all()?)
}

/// 3 · BCE + 1.5 · dice of one mask's logits.
fn mask_terms(logits: &Tensor, target: &Tensor) -> TrainResult<Tensor> {
    let bce = weighted_bce(logits, target, &target.ones_like()?)?;
    let p = candle_nn::ops::sigmoid(logits)?;
    let common = (&p * target)?.sum_all()?;
    let both = (p.sum_all()? + target.sum_all()?)?;
    let dice = (((common * 2.0)? + 1.0)? / (both + 1.0)?)?;
    Ok(((bce * 3.0)? + ((1.0 - dice)? * 1.5)?)?)
}

/// Overlap of the cells above 0 with those that are more than half covered.
fn overlap(logits: &[f32], target: &[f32]) -> f64 {
    let (mut common, mut either) = (0.0, 0.0);
    for (l, t) in logits.iter().zip(target) {
        let (l, t) = (*l > 0.0, *t > 0.5);
        common += f64::from(u8::from(l && t));
        either += f64::from(u8::from(l || t));
    }
    common / f64::max(either, 1.0)
}
