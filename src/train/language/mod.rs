//! Stages "language" and "filtration": the language model learns to read phrases about what the towers see, and its
//! `[BOX]` and `[SEG]` learn to choose among proposals and to prompt masks.
//!
//! Towers, SAM2 and the proposer are frozen; their features are computed once per clip. With SAM2's weights among the
//! initial ones all losses take part, without them those of reading alone ([`read_outs`]). Leaves the frozen networks to their
//! own stages.

mod calibrate;
mod filter;
mod model;
mod pack;
mod read_outs;
mod scene;
mod script;

use std::time::Instant;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::{
    AdamConfig, AdamW, Group, Job, Log, Params, Schedule, TrainError, TrainResult, checkpoint,
    synth::{self, LanguageOptions, SynthOptions, Vocabulary},
};
use crate::infer::{model::ModelInfo, words::WordTokenizer};

use model::{How, Model, Tally};
use scene::{Frozen, Scene};

/// Which of the two stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Everything from nothing.
    Language,
    /// On with everything, at a lower rate, with the final proposer.
    Filtration,
}

impl Part {
    /// Name of the stage, its checkpoint and its log.
    pub fn stage(self) -> &'static str {
        match self {
            Self::Language => "language",
            Self::Filtration => "filtration",
        }
    }

    /// Part of the phrases without a referent that are answered all the same: what is not there is told from what is by the
    /// filtration at least as much as by the answer, and learns of it only then.
    fn forced(self) -> f64 {
        match self {
            Self::Language => 0.5,
            Self::Filtration => 0.8,
        }
    }

    /// Finished weights go on at a rate that leaves them what they know.
    fn schedule(self, continued: bool) -> Schedule {
        Schedule {
            peak: match self {
                Self::Language => 2e-3,
                Self::Filtration if continued => 3e-4,
                Self::Filtration => 1e-3,
            },
            floor: 2e-5,
            warmup_steps: 60,
        }
    }
}

/// What matches phrases with proposals is two small layers behind a large model, and follows it faster than the rest.
const CHOOSER: &str = "proposal_selector.";
const CHOOSER_RATE: f64 = 2.0;
/// Learnt with the trunk, whose features it reads, and frozen with it: where proposals go is computed from it once per clip.
const REGION_CODE: &str = ".region_code.";
/// What only training needs.
const READ_OUTS: &str = "aux.language.";
/// Clips of a step.
const ROWS: usize = 6;
/// Phrases of a clip in a step.
const PHRASES: usize = 16;
/// Phrases made for a clip.
const PHRASES_MADE: usize = 32;
/// How many clips the stages hold.
#[derive(Clone, Copy, Debug)]
struct Effort {
    /// Clips in the pool to begin with, and at most.
    pool: (usize, usize),
    /// Clips of a validation.
    held_out: u64,
}

const EFFORT: Effort = Effort {
    pool: (60, 900),
    held_out: 96,
};
/// Steps between lines of the log, checkpoints, validations, and looks at the files that are followed.
const REPORT_EVERY: u64 = 20;
const SAVE_EVERY: u64 = 100;
const VALIDATE_EVERY: u64 = 300;
/// Fraction of the budget after which phrases of every kind are drawn; before it, colour and shape alone.
const READING: f64 = 0.3;
/// Part of the phrases that do not see the clip, in the first fraction of the budget and later.
const BLIND: (f64, f64) = (0.5, 0.1);
const BLIND_UNTIL: f64 = 0.12;
/// Part of the phrases that come with target-specific tokens; validations go without, as the program does.
const CROPS: f64 = 0.3;
/// Part of the clips asked without what becomes of things, as pictures and last frames are.
const STILL: f64 = 0.1;

/// Clips that training draws from.
struct Pool<'a> {
    info: &'a ModelInfo,
    job: &'a Job,
    words: &'a WordTokenizer,
    frozen: Frozen,
    scenes: Vec<Scene>,
    /// Clips made so far.
    made: u64,
    /// Clips at the front that an earlier state of the frozen networks saw.
    stale: usize,
    vocabulary: Vocabulary,
    part: Part,
    effort: Effort,
}

impl Pool<'_> {
    fn practice(progress: f64) -> LanguageOptions {
        if progress < READING {
            LanguageOptions::attributes_only()
        } else {
            LanguageOptions::practice()
        }
    }

    fn options(&self, seed: u64, language: LanguageOptions) -> SynthOptions {
        let square = SynthOptions::default();
        let (width, height) = match self.part {
            // Of what is not square, reading was never learnt from nothing.
            Part::Language => (square.width, square.height),
            Part::Filtration => synth::picture_size(seed, square.height),
        };
        SynthOptions {
            width,
            height,
            vocabulary: self.vocabulary,
            phrases: PHRASES_MADE,
            language,
            ..square
        }
    }

    /// Makes another clip; the oldest gives way where there are enough.
    fn grow(&mut self, progress: f64) -> TrainResult<()> {
        // A clip in which nothing can be referred to has nothing to say.
        let scene = loop {
            let seed = synth::training_seed(self.job.seed.wrapping_add(77), self.made);
            self.made += 1;
            let options = self.options(seed, Self::practice(progress));
            let scene = self
                .frozen
                .scene(seed, &options, self.info, self.words, self.job)?;
            if !scene.phrases.is_empty() {
                break scene;
            }
        };
        if self.stale > 0 {
            self.stale -= 1;
            self.scenes[self.stale] = scene;
        } else if self.scenes.len() < self.effort.pool.1 {
            self.scenes.push(scene);
        } else {
            let at = self.made as usize % self.scenes.len();
            self.scenes[at] = scene;
        }
        Ok(())
    }

    fn held_out(&self) -> TrainResult<Vec<Scene>> {
        (0..self.effort.held_out)
            .map(|i| {
                let seed = synth::HELD_OUT + 1000 + i;
                // Thresholds are fitted on these: phrases as often of each kind as they are asked.
                let options = self.options(seed, LanguageOptions::default());
                self.frozen
                    .scene(seed, &options, self.info, self.words, self.job)
            })
            .collect()
    }
}

/// Takes the region code from the initial files as they are now.
fn refresh_region_code(params: &Params, job: &Job) -> TrainResult<()> {
    for path in &job.init {
        let mut theirs = checkpoint::weights(path, &job.device)?;
        theirs.retain(|name, _| name.contains(REGION_CODE));
        params.fill(&theirs)?;
    }
    Ok(())
}

/// What a validation says, and the fields of its line in the log.
fn validate(
    model: &Model,
    pool: &Pool<'_>,
    held_out: &[Scene],
) -> TrainResult<(Tally, Vec<(&'static str, f64)>)> {
    let mut tally = Tally::default();
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    for scene in held_out {
        let all: Vec<usize> = (0..scene.phrases.len()).collect();
        for some in all.chunks(PHRASES) {
            let batch = [(scene, some.to_vec())];
            model.measure(&batch, &pool.frozen, &mut rng, &mut tally)?;
        }
    }
    let mut fields = tally.fields();
    fields.extend(
        calibrate::nothing_at(&tally.records, calibrate::ANSWERED).map(|v| ("none_at_95", v)),
    );
    Ok((tally, fields))
}

/// Fits the thresholds to a validation, puts them into a checkpoint's `extra`, and gives the validation's fields with what they
/// are worth.
fn fit(
    (tally, mut fields): (Tally, Vec<(&'static str, f64)>),
    info: &ModelInfo,
    extra: &mut serde_json::Value,
) -> Vec<(&'static str, f64)> {
    if let Some(fit) = calibrate::fit(&tally.records, info.config.filtration.max_selected) {
        // Under this key an export finds them.
        extra["thresholds"] = serde_json::json!({
            "presence": fit.presence,
            "presence_power": fit.presence_power,
            "keep": fit.keep,
        });
        fields.extend([
            ("kept_value", fit.value),
            ("kept_none", fit.none),
            ("kept_some", fit.answered),
        ]);
    }
    fields
}

/// Trains what stands between the towers and the masks of `info`; leaves the stage's checkpoint in the job's folder.
///
/// # Errors
/// If weights are missing, a file cannot be written, the checkpoint does not fit, or the loss diverges.
pub fn run(job: &mut Job, info: &ModelInfo, part: Part, vocabulary: Vocabulary) -> TrainResult<()> {
    train(job, info, (part, vocabulary), EFFORT)
}

fn train(
    job: &mut Job,
    info: &ModelInfo,
    (part, vocabulary): (Part, Vocabulary),
    effort: Effort,
) -> TrainResult<()> {
    checkpoint::take_up(job, part.stage())?;
    let words = info
        .words()
        .ok_or_else(|| TrainError::Content(format!("{} has no list of words", info.id)))?;
    let words = WordTokenizer::new(words, info.config.phi3.vocab_size)
        .map_err(|e| TrainError::Content(e.to_string()))?;
    let params = Params::new(job.seed, &job.device);
    let (model, finished) = begin(job, (info, &words), part, &params)?;
    let (mut chooser, mut others) = (params.all(), params.all());
    let taught = |name: &str| name.contains(REGION_CODE);
    chooser.retain(|(name, _)| name.contains(CHOOSER) && !taught(name));
    others.retain(|(name, _)| !name.contains(CHOOSER));
    let groups = vec![
        Group {
            vars: others,
            lr_scale: 1.0,
        },
        Group {
            vars: chooser,
            lr_scale: CHOOSER_RATE,
        },
    ];
    let mut adam = AdamW::new(groups, AdamConfig::default())?;
    let path = checkpoint::path_in(&job.out, part.stage());
    let mut log = Log::open(&job.out, part.stage(), job.resume)?;
    let mut budget = job.budget.clone();
    let mut made = 0;
    if job.resume {
        let state = checkpoint::load(&path, &params, &mut adam)?;
        budget.resume_at(state.step, state.secs);
        made = state.extra["made"].as_u64().unwrap_or(0);
        log.note(state.step, "resumed")?;
        // What is frozen comes from the files that everything frozen comes from, not from the checkpoint.
        refresh_region_code(&params, job)?;
    }
    let job: &Job = job;
    let mut pool = Pool {
        frozen: Frozen::load(info, job)?,
        info,
        job,
        words: &words,
        scenes: vec![],
        made,
        stale: 0,
        vocabulary,
        part,
        effort,
    };
    if part == Part::Filtration && pool.frozen.eyes.is_none() {
        return Err(TrainError::Content(
            "filtration chooses among proposals: --init must hold SAM2 and the proposer".into(),
        ));
    }
    let started = Instant::now();
    let mut held_out = pool.held_out()?;
    let schedule = part.schedule(finished);
    // A part that goes on reads every kind of phrase from the start.
    let reached = |progress: f64| match part {
        Part::Language => progress,
        Part::Filtration => 1.0,
    };
    // What is gone on from, to compare with.
    if part == Part::Filtration && budget.step() == 0 {
        let (_, fields) = validate(&model, &pool, &held_out)?;
        log.line("val", 0, 0.0, &fields)?;
    }
    budget.excuse(started.elapsed());
    let mut tally = Tally::default();
    while let Some(step) = budget.next_step() {
        let progress = budget.progress();
        while pool.scenes.len() < effort.pool.0 {
            pool.grow(reached(progress))?;
        }
        pool.grow(reached(progress))?;
        let mut rng = ChaCha8Rng::seed_from_u64(job.seed ^ (step << 20));
        let batch: Vec<(&Scene, Vec<usize>)> = (0..ROWS)
            .map(|_| {
                let scene = &pool.scenes[rng.random_range(0..pool.scenes.len())];
                (scene, draw(scene.phrases.len(), &mut rng))
            })
            .collect();
        let blind = match part {
            Part::Language if progress < BLIND_UNTIL => BLIND.0,
            _ => BLIND.1,
        };
        let how = How {
            blind,
            forced: part.forced(),
            crops: CROPS,
            still: STILL,
        };
        let loss = model.loss(&batch, &pool.frozen, how, &mut rng, &mut tally)?;
        if !tally.is_finite() {
            return Err(TrainError::Diverged { step });
        }
        let lr = schedule.at(step, progress);
        let report = adam.step(&loss.backward()?, lr)?;
        let done = step + 1;
        if done % REPORT_EVERY == 0 {
            let mut fields = std::mem::take(&mut tally).fields();
            fields.extend([("lr", lr), ("grad", report.grad_norm)]);
            log.line("train", done, budget.secs(), &fields)?;
        }
        let state = |secs: f64| checkpoint::State {
            stage: part.stage().into(),
            step: done,
            secs,
            seed: job.seed,
            extra: serde_json::json!({ "made": pool.made }),
        };
        if done % SAVE_EVERY == 0 {
            checkpoint::save(&path, &params, &adam, &state(budget.secs()))?;
            if pool.frozen.is_stale() {
                log.note(
                    done,
                    "the frozen networks' files changed: reading them again",
                )?;
                pool.frozen = Frozen::load(info, job)?;
                pool.stale = pool.scenes.len();
                refresh_region_code(&params, job)?;
                held_out = pool.held_out()?;
            }
        }
        if done % VALIDATE_EVERY == 0 {
            let started = Instant::now();
            let (_, fields) = validate(&model, &pool, &held_out)?;
            log.line("val", done, budget.secs(), &fields)?;
            budget.excuse(started.elapsed());
        }
    }
    let mut state = checkpoint::State {
        stage: part.stage().into(),
        step: budget.step(),
        secs: budget.secs(),
        seed: job.seed,
        extra: serde_json::json!({ "made": pool.made }),
    };
    // Whoever stops it does not want to wait for how good it is.
    if !budget.is_stopped() {
        let fields = fit(validate(&model, &pool, &held_out)?, info, &mut state.extra);
        state.secs = budget.secs();
        log.line("val", state.step, state.secs, &fields)?;
    }
    checkpoint::save(&path, &params, &adam, &state)
}

/// The model with its initial weights, and whether these are finished ones: those are without what only training needs, and
/// go on without.
fn begin(
    job: &Job,
    (info, words): (&ModelInfo, &WordTokenizer),
    part: Part,
    params: &Params,
) -> TrainResult<(Model, bool)> {
    let mut finished = part == Part::Filtration && !job.init.is_empty();
    for path in &job.init {
        let names = checkpoint::names(path)?;
        finished = finished && !names.iter().any(|name| name.starts_with(READ_OUTS));
    }
    let model = Model::new(info, words, params, !finished)?;
    let filled = checkpoint::fill_from(&job.init, params)?;
    // Reading begins with files of the frozen networks alone; what goes on needs something to go on from.
    if part == Part::Filtration && filled == 0 {
        return Err(TrainError::Content(
            "none of the files of --init holds anything that filtration could go on from".into(),
        ));
    }
    Ok((model, finished))
}

/// Some of `n` phrases, each at most once.
fn draw(n: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
    let mut all: Vec<usize> = (0..n).collect();
    for i in 0..n.min(PHRASES) {
        let j = rng.random_range(i..n);
        all.swap(i, j);
    }
    all.truncate(PHRASES);
    all
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::train::Budget;

    /// Nano in miniature.
    fn tiny() -> ModelInfo {
        let mut info = crate::train::towers::tiny();
        let c = &mut info.config;
        c.visual.video_pool = 2;
        let l = &mut c.phi3;
        (l.hidden_size, l.intermediate_size, l.num_hidden_layers) = (16, 24, 1);
        (l.num_attention_heads, l.num_key_value_heads) = (2, 2);
        info
    }

    #[test]
    fn a_run_that_is_resumed_goes_on_where_it_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let info = tiny();
        let job = |steps: u64, resume: bool| Job {
            out: dir.path().to_owned(),
            budget: Budget::new(Some(steps), None),
            resume,
            init: vec![dir.path().join("towers.checkpoint.safetensors")],
            device: Device::Cpu,
            seed: 3,
        };
        crate::train::towers::run_briefly(&info, dir.path()).unwrap();
        let effort = Effort {
            pool: (2, 3),
            held_out: 2,
        };
        let what = (Part::Language, Vocabulary::Core);
        train(&mut job(1, false), &info, what, effort).unwrap();
        train(&mut job(2, true), &info, what, effort).unwrap();
        let log = std::fs::read_to_string(dir.path().join("language.log.jsonl")).unwrap();
        assert!(log.contains("resumed"), "{log}");
        let path = checkpoint::path_in(dir.path(), "language");
        let names = checkpoint::weights(&path, &Device::Cpu).unwrap();
        assert!(names.contains_key("model.text_hidden_fcs.0.2.weight"));
    }

    #[test]
    fn finished_weights_go_on_learning_without_read_outs() {
        let dir = tempfile::tempdir().unwrap();
        let info = tiny();
        crate::train::towers::run_briefly(&info, dir.path()).unwrap();
        let job = Job {
            out: dir.path().to_owned(),
            budget: Budget::new(Some(1), None),
            resume: false,
            init: vec![dir.path().join("towers.checkpoint.safetensors")],
            device: Device::Cpu,
            seed: 3,
        };
        let words = WordTokenizer::new(info.words().unwrap(), info.config.phi3.vocab_size).unwrap();
        let frozen = Frozen::load(&info, &job).unwrap();
        let options = SynthOptions {
            phrases: 6,
            language: LanguageOptions::attributes_only(),
            ..SynthOptions::default()
        };
        let scene = (0..9)
            .map(|seed| frozen.scene(seed, &options, &info, &words, &job).unwrap())
            .find(|scene| scene.phrases.len() > 1)
            .unwrap();
        let teaches = |aided: bool, name: &str| {
            let params = Params::new(job.seed, &job.device);
            let model = Model::new(&info, &words, &params, aided).unwrap();
            let how = How {
                blind: 0.0,
                forced: 1.0,
                crops: 0.0,
                still: 0.0,
            };
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            let batch = [(&scene, vec![0, 1])];
            let loss = model.loss(&batch, &frozen, how, &mut rng, &mut Tally::default());
            let grads = loss.unwrap().backward().unwrap();
            let var = params.get(name);
            var.is_some_and(|var| grads.get(var.as_tensor()).is_some())
        };
        let (read, reader) = ("lm_head.weight", "aux.language.keys.weight");
        assert!(teaches(true, read) && teaches(true, reader));
        assert!(teaches(false, read) && !teaches(false, reader));
    }
}
