//! Stage "towers": both vision towers learn what things are called, before any language. Every token that lies on an
//! object tells its colour, shape, texture, motion and box through heads that are dropped afterwards.
//!
//! The recipe replaces the web-scale pre-training that the released towers come with. Leaves everything behind the towers
//! to the language stage, which freezes them.

use std::time::Instant;

use candle_core::{DType, Tensor};
use candle_nn::VarBuilder;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::{
    AdamConfig, AdamW, Group, Job, Log, Params, Schedule, TrainError, TrainResult,
    attributes::{DenseHead, DenseWeights, Targets, owners},
    checkpoint,
    synth::{self, Clip, SynthOptions, Vocabulary},
};
use crate::{
    infer::{
        model::ModelInfo,
        preprocess::{spread_frames, tower_input},
    },
    nn::{clip, internvideo2},
    project::Size,
    video::RgbFrame,
};

/// Name of the stage, its checkpoint and its log.
pub const STAGE: &str = "towers";

/// Clips of a step.
const CLIPS: usize = 8;
/// Frames of a clip that the spatial tower sees.
const SPATIAL_FRAMES: usize = 2;
/// Clips of a step that the temporal tower sees: a chunk costs it ten times a frame.
const TEMPORAL_CLIPS: usize = 4;
/// Part of the objects that have extra parts: fewer than elsewhere, because parts hide outlines.
const COMPOUND: f32 = 0.4;
/// Steps between lines of the log, checkpoints and validations.
const REPORT_EVERY: u64 = 20;
const SAVE_EVERY: u64 = 100;
const VALIDATE_EVERY: u64 = 300;
/// Held-out clips of a validation.
const HELD_OUT_CLIPS: u64 = 24;

const SPATIAL: DenseWeights = DenseWeights {
    classes: [1.0, 1.0, 0.6, 0.0],
    boxes: 4.0,
    travel: 0.0,
};
const TEMPORAL: DenseWeights = DenseWeights {
    classes: [0.5, 0.5, 0.2, 2.0],
    boxes: 4.0,
    travel: 8.0,
};

/// Frames of a clip as the towers see them.
pub(super) struct TowerFrames {
    /// Indices of the encoder frames.
    pub(super) indices: Vec<usize>,
    /// Spatial tower's input `(f, 3, s, s)`.
    pub(super) spatial: Tensor,
    /// Temporal tower's input `(1, f, 3, s, s)`.
    pub(super) temporal: Tensor,
}

/// One frame of a clip as an image.
pub(super) fn image(clip: &Clip, frame: usize) -> RgbFrame {
    RgbFrame {
        size: Size {
            width: clip.width as u32,
            height: clip.height as u32,
        },
        data: clip.frames[frame].clone(),
    }
}

/// Makes the towers' inputs of a clip.
pub(super) fn tower_frames(clip: &Clip, info: &ModelInfo, job: &Job) -> TrainResult<TowerFrames> {
    let indices: Vec<usize> =
        spread_frames(clip.frames.len() as u32, info.config.visual.num_frames)
            .into_iter()
            .map(|f| f.0 as usize)
            .collect();
    let (mut spatial, mut temporal) = (vec![], vec![]);
    for &frame in &indices {
        let image = image(clip, frame);
        let (side, norm) = (info.config.clip.image_size, &info.preprocess.clip);
        spatial.push(tower_input(&image, side, norm, &job.device)?);
        let (side, norm) = (
            info.config.internvideo2.img_size,
            &info.preprocess.internvideo2,
        );
        temporal.push(tower_input(&image, side, norm, &job.device)?);
    }
    Ok(TowerFrames {
        indices,
        spatial: Tensor::cat(&spatial, 0)?,
        temporal: Tensor::cat(&temporal, 0)?.unsqueeze(0)?,
    })
}

/// Both towers under their released names.
pub(super) struct Towers {
    /// Spatial tower.
    pub(super) spatial: clip::Clip,
    /// Temporal tower.
    pub(super) temporal: internvideo2::InternVideo2,
}

impl Towers {
    /// Builds them from weights at the root.
    pub(super) fn build(info: &ModelInfo, vb: &VarBuilder<'_>) -> TrainResult<Self> {
        let model = vb.pp("model");
        Ok(Self {
            spatial: clip::Clip::new(
                &info.config.clip,
                model.pp("image_vision_tower.vision_tower"),
            )?,
            temporal: internvideo2::InternVideo2::new(
                &info.config.internvideo2,
                model.pp("vision_tower.vision_encoder"),
            )?,
        })
    }
}

/// Spread of the starting positions, against patches of about ½.
const PLACE: f64 = 0.5;
/// Length of the starting rows of query and key projections: a token's own key then stands at e⁵, that of a token like it
/// at e³, of any other at 1.
const LIKENESS: f64 = 1.05;
/// The same for a tower whose queries and keys are normed: gain of the query norm.
const NORMED_LIKENESS: f64 = 1.3;

/// `count` orthogonal rows of width `d` and length `length` (Gram–Schmidt on noise).
fn orthogonal(count: usize, d: usize, length: f64, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let mut rows: Vec<Vec<f64>> = Vec::with_capacity(count);
    while rows.len() < count {
        let mut row: Vec<f64> = (0..d).map(|_| rng.random::<f64>() - 0.5).collect();
        // Beyond d rows there is no further direction: start a new basis.
        for other in &rows[rows.len() / d * d..] {
            let along: f64 = row.iter().zip(other).map(|(a, b)| a * b).sum();
            row.iter_mut().zip(other).for_each(|(a, b)| *a -= along * b);
        }
        let norm = row.iter().map(|v| v * v).sum::<f64>().sqrt();
        if norm > 1e-6 {
            rows.push(row.into_iter().map(|v| v / norm).collect());
        }
    }
    let flat = rows.into_iter().flatten();
    flat.map(|v| (v * length) as f32).collect()
}

/// Waves of a place on each axis: `(t, y, x)` of a grid of `(frames, side, side)`, half a wave to the whole axis at first,
/// then shorter ones. The axes share the `d` channels, time getting the sixth part where there is any.
fn places((frames, side): (usize, usize), d: usize) -> Vec<f32> {
    let time = if frames > 1 { d / 12 * 2 } else { 0 };
    let (rows, columns) = ((d - time) / 4 * 2, (d - time) - (d - time) / 4 * 2);
    let waves = |at: usize, of: usize, channels: usize, out: &mut Vec<f32>| {
        for k in 0..channels {
            let wave = std::f64::consts::PI / of as f64 * 1.18_f64.powi((k / 2) as i32);
            let angle = wave * (at as f64 + 0.5);
            let value = if k % 2 == 0 {
                libm::cos(angle)
            } else {
                libm::sin(angle)
            };
            out.push((value * PLACE * std::f64::consts::SQRT_2) as f32);
        }
    };
    let mut out = Vec::with_capacity(frames * side * side * d);
    for t in 0..frames {
        for y in 0..side {
            for x in 0..side {
                waves(t, frames, time, &mut out);
                waves(y, side, rows, &mut out);
                waves(x, side, columns, &mut out);
            }
        }
    }
    out
}

/// Values from which attention can start. Drawn like any other layer, it is uniform at first, what it reads is the same
/// everywhere, and no gradient tells it where to look: colour, which a patch shows by itself, is all that is learnt then
/// (24 000 clips: colour 0.93, shape at chance). So tokens start out knowing their place and looking at their like: queries
/// and keys are one projection (after Trockman and Kolter 2023, "Mimetic initialization").
fn initialise(params: &Params, info: &ModelInfo) -> TrainResult<()> {
    let device = params.device();
    let mut rng = ChaCha8Rng::seed_from_u64(0x706c_6163);
    let (c, v) = (&info.config.clip, &info.config.internvideo2);
    let side = |image: usize, patch: usize| image / patch.max(1);
    let table = |grid: (usize, usize), d: usize| {
        // The class token has no place.
        let mut rows = vec![0.0; d];
        rows.extend(places(grid, d));
        rows
    };
    let spatial = "model.image_vision_tower.vision_tower.vision_model";
    let rows = table((1, side(c.image_size, c.patch_size)), c.dim);
    let rows = Tensor::from_vec(rows, ((), c.dim), device)?;
    params.set(
        &format!("{spatial}.embeddings.position_embedding.weight"),
        &rows,
    )?;
    for l in 0..c.layers.saturating_sub(1) {
        let same = orthogonal(c.dim, c.dim, LIKENESS, &mut rng);
        let same = Tensor::from_vec(same, (c.dim, c.dim), device)?;
        for which in ["q_proj", "k_proj"] {
            let name = format!("{spatial}.encoder.layers.{l}.self_attn.{which}");
            params.set(&format!("{name}.weight"), &same)?;
            params.set(
                &format!("{name}.bias"),
                &Tensor::zeros(c.dim, DType::F32, device)?,
            )?;
        }
    }
    let temporal = "model.vision_tower.vision_encoder";
    let rows = table((v.num_frames, side(v.img_size, v.patch_size)), v.dim);
    let rows = Tensor::from_vec(rows, (1, (), v.dim), device)?;
    params.set(&format!("{temporal}.pos_embed"), &rows)?;
    for l in 0..v.depth.saturating_sub(1) {
        let name = format!("{temporal}.blocks.{l}.attn");
        let same = Tensor::from_vec(
            orthogonal(v.dim, v.dim, 1.0, &mut rng),
            (v.dim, v.dim),
            device,
        )?;
        if let Some(qkv) = params.get(&format!("{name}.qkv.weight")) {
            let values = qkv.as_tensor().detach().narrow(0, 2 * v.dim, v.dim)?;
            params.set(
                &format!("{name}.qkv.weight"),
                &Tensor::cat(&[&same, &same, &values], 0)?,
            )?;
        }
        let gain = Tensor::full(NORMED_LIKENESS as f32, v.dim, device)?;
        params.set(&format!("{name}.q_norm.weight"), &gain)?;
    }
    Ok(())
}

struct Stage<'a> {
    info: &'a ModelInfo,
    job: &'a Job,
    towers: Towers,
    heads: (DenseHead, DenseHead),
    sides: (usize, usize),
    options: SynthOptions,
    held_out: u64,
}

/// Sums of a few steps.
#[derive(Default)]
struct Tally {
    loss: f64,
    steps: f64,
    hits: [[(f64, f64); 4]; 2],
    boxes: [f64; 2],
}

impl Tally {
    fn fields(&self) -> Vec<(&'static str, f64)> {
        let rate = |tower: usize, class: usize| {
            let (right, counted) = self.hits[tower][class];
            right / counted.max(1.0)
        };
        vec![
            ("loss", self.loss / self.steps.max(1.0)),
            ("colour", rate(0, 0)),
            ("shape", rate(0, 1)),
            ("texture", rate(0, 2)),
            ("box", self.boxes[0] / self.steps.max(1.0)),
            ("video_colour", rate(1, 0)),
            ("video_shape", rate(1, 1)),
            ("motion", rate(1, 3)),
            ("video_box", self.boxes[1] / self.steps.max(1.0)),
        ]
    }
}

impl Stage<'_> {
    /// Loss of the clips with these seeds.
    fn loss(&self, seeds: &[u64], tally: &mut Tally) -> TrainResult<Tensor> {
        let (mut images, mut chunks) = (vec![], vec![]);
        let (mut spatial, mut temporal) = (Targets::default(), Targets::default());
        for (i, &seed) in seeds.iter().enumerate() {
            let clip = synth::generate(seed, &self.options);
            let frames = tower_frames(&clip, self.info, self.job)?;
            for k in 0..SPATIAL_FRAMES {
                // Over the clips every encoder frame is seen.
                let at = (i + k * frames.indices.len() / SPATIAL_FRAMES) % frames.indices.len();
                let frame = frames.indices[at];
                images.push(frames.spatial.narrow(0, at, 1)?);
                spatial.add(&clip, &owners(&clip, frame, self.sides.0), &[frame]);
            }
            if i < TEMPORAL_CLIPS {
                for &frame in &frames.indices {
                    let owners = owners(&clip, frame, self.sides.1);
                    temporal.add(&clip, &owners, &frames.indices);
                }
                chunks.push(frames.temporal);
            }
        }
        let flat = |x: Tensor| x.flatten(0, 1);
        let a = flat(self.towers.spatial.forward(&Tensor::cat(&images, 0)?)?)?;
        let a = self.heads.0.loss(&a, &spatial, SPATIAL)?;
        let b = flat(self.towers.temporal.forward(&Tensor::cat(&chunks, 0)?)?)?;
        let b = self.heads.1.loss(&b, &temporal, TEMPORAL)?;
        let loss = (&a.loss + &b.loss)?;
        tally.loss += f64::from(loss.to_scalar::<f32>()?);
        tally.steps += 1.0;
        for (tower, part) in [a, b].iter().enumerate() {
            tally.boxes[tower] += part.box_error;
            for (sum, hit) in tally.hits[tower].iter_mut().zip(part.hits) {
                *sum = (sum.0 + hit.0, sum.1 + hit.1);
            }
        }
        Ok(loss)
    }

    fn validate(&self) -> TrainResult<Tally> {
        let mut tally = Tally::default();
        let seeds: Vec<u64> = (0..self.held_out).map(|i| synth::HELD_OUT + i).collect();
        for seeds in seeds.chunks(TEMPORAL_CLIPS) {
            self.loss(seeds, &mut tally)?;
        }
        Ok(tally)
    }
}

/// Trains the towers of `info` and leaves `towers.checkpoint.safetensors` in the job's folder.
///
/// # Errors
/// If a file cannot be written, the checkpoint does not fit, or the loss diverges.
pub fn run(job: &mut Job, info: &ModelInfo, vocabulary: Vocabulary) -> TrainResult<()> {
    train(job, info, vocabulary, HELD_OUT_CLIPS)
}

/// Nano with towers in miniature, for tests.
#[cfg(test)]
pub(super) fn tiny() -> ModelInfo {
    let mut info = ModelInfo::by_id("nano").expect("it is bundled");
    let c = &mut info.config;
    (c.clip.dim, c.clip.mlp, c.clip.layers, c.clip.heads) = (8, 16, 2, 2);
    c.clip.image_size = 32;
    let v = &mut c.internvideo2;
    (v.dim, v.depth, v.heads, v.img_size) = (8, 2, 2, 32);
    v.mlp_hidden = Some(16);
    info
}

/// One step, for the tests of the stages that build on this one.
#[cfg(test)]
pub(super) fn run_briefly(info: &ModelInfo, out: &std::path::Path) -> TrainResult<()> {
    let mut job = Job {
        out: out.to_owned(),
        budget: super::Budget::new(Some(1), None),
        resume: false,
        init: vec![],
        device: candle_core::Device::Cpu,
        seed: 3,
    };
    train(&mut job, info, Vocabulary::Core, 2)
}

fn train(
    job: &mut Job,
    info: &ModelInfo,
    vocabulary: Vocabulary,
    held_out: u64,
) -> TrainResult<()> {
    checkpoint::take_up(job, STAGE)?;
    let params = Params::new(job.seed, &job.device);
    let towers = Towers::build(info, &params.var_builder())?;
    let aux = params.var_builder().pp("aux");
    let (c, v) = (&info.config.clip, &info.config.internvideo2);
    let heads = (
        DenseHead::new(c.dim, 1, &aux.pp("spatial"))?,
        DenseHead::new(v.dim, info.config.visual.num_frames, &aux.pp("temporal"))?,
    );
    initialise(&params, info)?;
    checkpoint::start_from(&job.init, &params)?;
    let group = Group {
        vars: params.all(),
        lr_scale: 1.0,
    };
    let mut adam = AdamW::new(vec![group], AdamConfig::default())?;
    let path = checkpoint::path_in(&job.out, STAGE);
    let mut log = Log::open(&job.out, STAGE, job.resume)?;
    if job.resume {
        let state = checkpoint::load(&path, &params, &mut adam)?;
        job.budget.resume_at(state.step, state.secs);
        log.note(state.step, "resumed")?;
    }
    let schedule = Schedule {
        peak: 1.5e-3,
        floor: 2e-5,
        warmup_steps: 60,
    };
    let seed = job.seed;
    let budget = &mut job.budget.clone();
    let stage = Stage {
        info,
        job,
        towers,
        heads,
        sides: (c.image_size / c.patch_size, v.img_size / v.patch_size),
        options: SynthOptions {
            vocabulary,
            phrases: 0,
            compound: COMPOUND,
            ..SynthOptions::default()
        },
        held_out,
    };
    let state = |step: u64, secs: f64| checkpoint::State {
        stage: STAGE.into(),
        step,
        secs,
        seed,
        extra: serde_json::Value::Null,
    };
    let mut tally = Tally::default();
    while let Some(step) = budget.next_step() {
        let first = step * CLIPS as u64;
        let seeds: Vec<u64> = (first..first + CLIPS as u64)
            .map(|n| synth::training_seed(seed, n))
            .collect();
        let loss = stage.loss(&seeds, &mut tally)?;
        let lr = schedule.at(step, budget.progress());
        if !tally.loss.is_finite() {
            return Err(TrainError::Diverged { step });
        }
        let report = adam.step(&loss.backward()?, lr)?;
        let done = step + 1;
        if done % REPORT_EVERY == 0 {
            let mut fields = std::mem::take(&mut tally).fields();
            fields.extend([("lr", lr), ("grad", report.grad_norm)]);
            log.line("train", done, budget.secs(), &fields)?;
        }
        if done % SAVE_EVERY == 0 {
            checkpoint::save(&path, &params, &adam, &state(done, budget.secs()))?;
        }
        if done % VALIDATE_EVERY == 0 {
            let started = Instant::now();
            log.line("val", done, budget.secs(), &stage.validate()?.fields())?;
            budget.excuse(started.elapsed());
        }
    }
    // Whoever stops it does not want to wait for how good it is.
    if !budget.is_stopped() {
        log.line(
            "val",
            budget.step(),
            budget.secs(),
            &stage.validate()?.fields(),
        )?;
    }
    checkpoint::save(&path, &params, &adam, &state(budget.step(), budget.secs()))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::train::Budget;

    #[test]
    fn a_run_that_is_resumed_ends_as_one_that_never_stopped() {
        let info = tiny();
        // Two steps, in runs that stop where they are told; only the first is given the seed.
        let trained = |stops: &[Option<u64>]| {
            let dir = tempfile::tempdir().unwrap();
            for (run, stop) in stops.iter().enumerate() {
                let mut job = Job {
                    out: dir.path().to_owned(),
                    budget: Budget::new(Some(2), None).stopped_at(*stop),
                    resume: run > 0,
                    init: vec![],
                    device: Device::Cpu,
                    seed: if run == 0 { 3 } else { 1 },
                };
                train(&mut job, &info, Vocabulary::Core, 1).unwrap();
            }
            let path = checkpoint::path_in(dir.path(), STAGE);
            assert_eq!(checkpoint::state(&path).unwrap().step, 2);
            checkpoint::weights(&path, &Device::Cpu).unwrap()
        };
        let (whole, resumed) = (trained(&[None]), trained(&[Some(1), None]));
        let mut names: Vec<_> = whole.keys().collect();
        names.sort_unstable();
        for name in names {
            let off = (&whole[name] - &resumed[name]).unwrap().abs().unwrap();
            let off: f32 = off.max_all().unwrap().to_scalar().unwrap();
            // The first step of a warm-up moves a weight by 2e-5.
            assert!(off < 1e-6, "{name}: {off}");
        }
    }

    #[test]
    fn rows_are_orthogonal_and_of_the_length_asked_for() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let rows = orthogonal(10, 6, 2.0, &mut rng);
        let row = |i: usize| &rows[i * 6..i * 6 + 6];
        let dot =
            |i: usize, j: usize| -> f32 { row(i).iter().zip(row(j)).map(|(a, b)| a * b).sum() };
        for i in 0..10 {
            assert!((dot(i, i) - 4.0).abs() < 1e-4);
            for j in 0..i {
                // The first six are a basis, the last four start another.
                assert!((i < 6) != (j < 6) || dot(i, j).abs() < 1e-4, "{i} {j}");
            }
        }
    }

    #[test]
    fn near_places_are_alike_and_far_ones_are_not() {
        let d = 96;
        let table = places((4, 12), d);
        assert_eq!(table.len(), 4 * 144 * d);
        let alike = |a: usize, b: usize| -> f32 {
            let row = |i: usize| &table[i * d..(i + 1) * d];
            let dot = |a: &[f32], b: &[f32]| -> f32 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
            dot(row(a), row(b)) / (dot(row(a), row(a)) * dot(row(b), row(b))).sqrt()
        };
        assert!(alike(0, 1) > alike(0, 3) && alike(0, 3) > alike(0, 143));
        assert!(alike(50, 50 + 144) > alike(50, 50 + 3 * 144));
    }

    #[test]
    fn towers_start_by_looking_at_their_like() {
        let info = ModelInfo::by_id("nano").unwrap();
        let params = Params::new(2, &Device::Cpu);
        Towers::build(&info, &params.var_builder()).unwrap();
        initialise(&params, &info).unwrap();
        let name = "model.image_vision_tower.vision_tower.vision_model.encoder.layers.1.self_attn";
        let get = |which: &str| -> Vec<f32> {
            let var = params.get(&format!("{name}.{which}.weight")).unwrap();
            var.flatten_all().unwrap().to_vec1().unwrap()
        };
        assert_eq!(get("q_proj"), get("k_proj"));
        assert_ne!(get("q_proj"), get("v_proj"));
    }
}
