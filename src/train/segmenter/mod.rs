//! Stage "segmenter": SAM2 and the proposer learn together on one trunk, with heads that make the trunk know colour and
//! shape.
//!
//! Image mode comes first. Three-frame clips from the start end in "everything is the object": memory has nothing to
//! remember before masks exist. The largest images come last, because every stage must end at the size it is used at.

mod batch;
mod heads;
mod looks;
mod model;
mod proposals;
mod regions;
mod validate;

use std::{
    collections::{HashMap, HashSet},
    time::Instant,
};

use candle_core::Result;
use crossbeam_channel::{Receiver, Sender, bounded};

use self::{
    batch::{Batch, BatchSpec, make},
    looks::Memory,
    model::{Nets, PROPOSER_PREFIX, SAM_PREFIX, Scope},
};
use super::{
    AdamConfig, AdamW, Group, Job, Log, Params, Schedule, TrainError, TrainResult, checkpoint,
    synth::{SynthOptions, training_seed},
};
use crate::{infer::model::ModelInfo, nn::deformable_detr};

/// Name of the stage, its checkpoint and its log.
pub const STAGE: &str = "segmenter";

/// Name of the stage that lengthens memory, its checkpoint and its log.
pub const MEMORY_STAGE: &str = "memory";

/// Name of the stage that goes on from a finished segmenter, its checkpoint and its log.
pub const REFINE_STAGE: &str = "refine";

/// Name of the stage that teaches region codes on a finished trunk, its checkpoint and its log.
pub const REGIONS_STAGE: &str = "regions";

/// Name of the stage that teaches the proposer alone on a finished trunk, its checkpoint and its log.
pub const PROPOSER_STAGE: &str = "proposer";

/// Steps between lines of the log, and between checkpoints.
const REPORT_EVERY: u64 = 10;
const SAVE_EVERY: u64 = 100;
/// Seconds of training between validations.
const VALIDATE_SECS: f64 = 300.0;
/// Clips that one step may take seeds for.
const SEEDS_PER_STEP: u64 = 64;
/// How often what stands on a trunk that is held still sees again what it saw before, for each new batch.
const AGAIN: usize = 5;
/// Part of its rate at which a stage begins that goes on with finished weights: at the whole, the loss of finished region codes
/// rose from 0.7 to 0.9 within a hundred steps.
const GOING_ON: f64 = 0.25;
/// Starting probability that a place or query holds an object.
const PRIOR: f32 = 0.08;
/// Spread of the prompt's Fourier code. SAM draws it with 1.0; its stored buffer may hold anything, and a slower code is
/// what a grid of 16 × 16 can resolve.
const PROMPT_SPREAD: f64 = 0.5;

/// What is trained while a part of the budget is spent.
struct Phase {
    /// Ends at this fraction of the budget.
    until: f64,
    clips: usize,
    frames: usize,
    px: usize,
    objects: usize,
    /// Smallest radius in pixels of a 256-pixel frame.
    smallest: f32,
    /// See [`BatchSpec::squeezed`].
    squeezed: bool,
}

/// A way through the budget.
struct Plan {
    stage: &'static str,
    phases: &'static [Phase],
    scope: Scope,
    peak: f64,
}

const SEGMENTER: Plan = Plan {
    stage: STAGE,
    phases: &[
        Phase {
            until: 0.40,
            clips: 16,
            frames: 1,
            px: 128,
            objects: 4,
            smallest: 22.0,
            squeezed: false,
        },
        Phase {
            until: 0.64,
            clips: 6,
            frames: 3,
            px: 128,
            objects: 3,
            smallest: 20.0,
            squeezed: false,
        },
        Phase {
            until: 0.80,
            clips: 4,
            frames: 3,
            px: 192,
            objects: 3,
            smallest: 16.0,
            squeezed: false,
        },
        Phase {
            until: 1.00,
            clips: 3,
            frames: 3,
            px: 256,
            objects: 3,
            smallest: 16.0,
            squeezed: false,
        },
    ],
    scope: Scope::Everything,
    peak: 1.5e-3,
};

/// A finished segmenter goes on, near and at the size it is used at. Not part of a whole run. Clips that look like footage
/// ([`SynthOptions::wild`]) were half of it once: a quarter of an hour of that made masks worse, of drawn clips and of real ones
/// (`models/README.md`).
const REFINE: Plan = Plan {
    stage: REFINE_STAGE,
    phases: &[
        Phase {
            until: 0.35,
            clips: 10,
            frames: 1,
            px: 192,
            objects: 4,
            smallest: 16.0,
            squeezed: false,
        },
        Phase {
            until: 1.00,
            clips: 3,
            frames: 3,
            px: 256,
            objects: 3,
            smallest: 16.0,
            squeezed: false,
        },
    ],
    scope: Scope::Everything,
    peak: 8e-4,
};

/// Three frames teach a memory of three frames: the mask then crumbles by the eighth. Longer clips, with all that other
/// stages build on held still, cost a third of a full step.
const MEMORY: Plan = Plan {
    stage: MEMORY_STAGE,
    phases: &[Phase {
        until: 1.00,
        clips: 2,
        frames: 6,
        px: 256,
        objects: 3,
        smallest: 16.0,
        squeezed: false,
    }],
    scope: Scope::Memory,
    peak: 6e-4,
};

/// What is shown to that which stands on a trunk that is held still.
const SINGLE_FRAMES: Phase = Phase {
    until: 1.00,
    clips: 12,
    frames: 1,
    px: 256,
    objects: 0,
    smallest: 16.0,
    squeezed: true,
};

/// Words of shape take many more examples than masks do, and single frames of a trunk that is held still are cheap. Not part of
/// a whole run, whose segmenter learns region codes along the way.
const REGIONS: Plan = Plan {
    stage: REGIONS_STAGE,
    phases: &[SINGLE_FRAMES],
    scope: Scope::Regions,
    peak: 3e-3,
};

/// The proposer on a finished trunk, as [`REGIONS`]: what it may spend on an image is little, and it is shown each one often. Not
/// part of a whole run. What filtration has learnt of its features changes with them.
const PROPOSER: Plan = Plan {
    stage: PROPOSER_STAGE,
    phases: &[Phase {
        smallest: 14.0,
        ..SINGLE_FRAMES
    }],
    scope: Scope::Proposer,
    peak: 6e-4,
};

impl Plan {
    fn phase_at(&self, progress: f64) -> &'static Phase {
        let last = &self.phases[self.phases.len() - 1];
        self.phases
            .iter()
            .find(|p| progress < p.until)
            .unwrap_or(last)
    }

    fn learns(&self, name: &str) -> bool {
        // The prompt code is drawn once and kept: it must not move under the decoder.
        let buffer = name.ends_with("positional_encoding_gaussian_matrix");
        let memory = [
            "memory_attention.",
            "memory_encoder.",
            "obj_ptr_proj.",
            "maskmem_tpos_enc",
            "no_obj_ptr",
        ];
        match self.scope {
            Scope::Everything => !buffer,
            Scope::Memory => memory.iter().any(|part| name.contains(part)),
            Scope::Regions => name.contains("region"),
            Scope::Proposer => name.starts_with(PROPOSER_PREFIX) || name.starts_with("aux.query_"),
        }
    }
}

fn spec(phase: &Phase) -> BatchSpec {
    BatchSpec {
        clips: phase.clips,
        frames: phase.frames,
        px: phase.px,
        objects: phase.objects,
        squeezed: phase.squeezed,
        synth: SynthOptions {
            radius: (phase.smallest, 100.0),
            ..SynthOptions::default()
        },
    }
}

/// Seed of its first clip and what a batch should look like.
type Order = (u64, BatchSpec);

/// Starts the thread that prepares batches.
fn generator() -> TrainResult<(Sender<Order>, Receiver<Result<Batch>>)> {
    let (ask, asked) = bounded::<Order>(2);
    let (give, given) = bounded(2);
    std::thread::Builder::new()
        .name("synth".into())
        .spawn(move || {
            for (seed, spec) in asked {
                if give.send(make(seed, &spec)).is_err() {
                    return;
                }
            }
        })
        .map_err(|e| TrainError::Content(format!("cannot start the generator: {e}")))?;
    Ok((ask, given))
}

/// Values that layers do not tell.
fn initialise(params: &Params, info: &ModelInfo) -> TrainResult<()> {
    for (name, value) in deformable_detr::initial_values(&info.config.proposer, PRIOR)? {
        params.set(&format!("{PROPOSER_PREFIX}.{name}"), &value)?;
    }
    let code =
        format!("{SAM_PREFIX}.sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix");
    if let Some(var) = params.get(&code) {
        params.set(&code, &(var.as_tensor().detach() * PROMPT_SPREAD)?)?;
    }
    Ok(())
}

/// Trains SAM2 and the proposer together.
///
/// # Errors
/// If a file cannot be read or written, or the loss diverges.
pub fn run(job: &mut Job, info: &ModelInfo) -> TrainResult<()> {
    follow(&SEGMENTER, job, info)
}

/// Trains memory alone, on longer clips; the rest comes from `job.init` and stays as it is.
///
/// # Errors
/// As [`run`]; also without anything to start from.
pub fn run_memory(job: &mut Job, info: &ModelInfo) -> TrainResult<()> {
    needs_segmenter(job)?;
    follow(&MEMORY, job, info)
}

/// Trains everything on, from `job.init`, at the size that images are used at.
///
/// # Errors
/// As [`run`]; also without anything to start from.
pub fn run_refine(job: &mut Job, info: &ModelInfo) -> TrainResult<()> {
    needs_segmenter(job)?;
    follow(&REFINE, job, info)
}

/// Trains region codes alone; the trunk comes from `job.init` and stays as it is. Filtration must be trained on from them.
///
/// # Errors
/// As [`run_memory`]; also if the model has no region codes.
pub fn run_regions(job: &mut Job, info: &ModelInfo) -> TrainResult<()> {
    if info.config.filtration.region_code.is_none() {
        let reason = format!("model {} has no region codes to train", info.id);
        return Err(TrainError::Content(reason));
    }
    needs_segmenter(job)?;
    follow(&REGIONS, job, info)
}

/// Trains the proposer alone; the trunk comes from `job.init` and stays as it is. Filtration must be trained on from it.
///
/// # Errors
/// As [`run_memory`].
pub fn run_proposer(job: &mut Job, info: &ModelInfo) -> TrainResult<()> {
    needs_segmenter(job)?;
    follow(&PROPOSER, job, info)
}

fn needs_segmenter(job: &Job) -> TrainResult<()> {
    if job.init.is_empty() && !job.resume {
        return Err(TrainError::Content(
            "this stage goes on from a finished segmenter: pass its checkpoint with --init".into(),
        ));
    }
    Ok(())
}

fn follow(plan: &Plan, job: &mut Job, info: &ModelInfo) -> TrainResult<()> {
    checkpoint::take_up(job, plan.stage)?;
    let params = Params::new(job.seed, &job.device);
    let nets = Nets::new(&info.config, &params)?;
    initialise(&params, info)?;
    checkpoint::start_from(&job.init, &params)?;
    let groups = vec![Group {
        vars: params.matching(|n| plan.learns(n)),
        lr_scale: 1.0,
    }];
    let mut adam = AdamW::new(groups, AdamConfig::default())?;
    let mut state = checkpoint::State {
        stage: plan.stage.into(),
        seed: job.seed,
        ..checkpoint::State::default()
    };
    let path = checkpoint::path_in(&job.out, plan.stage);
    if job.resume {
        state = checkpoint::load(&path, &params, &mut adam)?;
        // What was fitted to these weights is not true of those that come of them.
        state.extra = serde_json::Value::Null;
        job.budget.resume_at(state.step, state.secs);
    }
    let mut log = Log::open(&job.out, plan.stage, job.resume)?;
    log.note(
        state.step,
        &format!("{} parameters, from step {}", params.count(), state.step),
    )?;
    let peak = plan.peak
        * if goes_on(plan, job, &params)? {
            GOING_ON
        } else {
            1.0
        };
    let parts = (&params, &nets, &mut adam);
    train((plan, peak), job, parts, &mut log, &mut state)?;
    state.secs = job.budget.secs();
    checkpoint::save(&path, &params, &adam, &state)?;
    // Whoever stops it does not want to wait for how good it is.
    if job.budget.is_stopped() {
        return Ok(());
    }
    let px = info.config.sam2.image_size;
    let objectness = validate::report(&nets, job, plan.stage, (px, 100), &mut log)?;
    state.extra = serde_json::json!({ "thresholds": { "objectness": objectness } });
    checkpoint::save(&path, &params, &adam, &state)
}

/// Whether all that a stage of region codes learns has been learnt before, so that it must not be unlearnt. The other stages
/// that go on have a rate for that.
fn goes_on(plan: &Plan, job: &Job, params: &Params) -> TrainResult<bool> {
    if plan.scope != Scope::Regions {
        return Ok(false);
    }
    let mut held = HashSet::new();
    for path in &job.init {
        held.extend(checkpoint::names(path)?);
    }
    // What only training needs is never among finished weights.
    let learnt = |name: &str| plan.learns(name) && !name.starts_with("aux.");
    let learnt = params.matching(learnt);
    Ok(learnt.iter().all(|(name, _)| held.contains(name)))
}

fn train(
    (plan, peak): (&Plan, f64),
    job: &mut Job,
    (params, nets, adam): (&Params, &Nets, &mut AdamW),
    log: &mut Log,
    state: &mut checkpoint::State,
) -> TrainResult<()> {
    let schedule = Schedule {
        peak,
        floor: 2e-5,
        warmup_steps: 60,
    };
    let path = checkpoint::path_in(&job.out, plan.stage);
    let (ask, given) = generator()?;
    let stopped =
        |e: &dyn std::fmt::Display| TrainError::Content(format!("the generator has stopped: {e}"));
    let order = |step: u64, progress: f64| {
        let seed = training_seed(job.seed, step * SEEDS_PER_STEP);
        ask.send((seed, spec(plan.phase_at(progress))))
            .map_err(|e| stopped(&e))
    };
    order(state.step, job.budget.progress())?;
    let mut sums = Sums::default();
    let mut memory = Memory::new(job.seed ^ state.step);
    let mut validated = job.budget.secs();
    while let Some(step) = job.budget.next_step() {
        let progress = job.budget.progress();
        let batch = given.recv().map_err(|e| stopped(&e))??;
        order(step + 1, progress)?;
        let lr = schedule.at(step, progress);
        let rounds = match plan.scope {
            Scope::Regions | Scope::Proposer => {
                let started = Instant::now();
                if let Some(look) = nets.look_alone(&batch, plan.scope, &job.device)? {
                    memory.keep(look);
                }
                sums.add(&[("look_s", started.elapsed().as_secs_f64())]);
                1 + AGAIN
            }
            Scope::Everything | Scope::Memory => 1,
        };
        for round in 0..rounds {
            let started = Instant::now();
            let (loss, terms) = match (plan.scope, memory.again(round)) {
                (Scope::Everything | Scope::Memory, _) => {
                    nets.loss(&batch, plan.scope, &job.device)?
                }
                // What is seen again is seen in a mirror every other time.
                (_, Some(look)) => nets.look_loss(look, round % 2 == 1)?,
                (_, None) => break,
            };
            let value = model::scalar(&loss)?;
            let forward = started.elapsed().as_secs_f64();
            if !value.is_finite() {
                return Err(TrainError::Diverged { step });
            }
            let grads = loss.backward()?;
            let backward = started.elapsed().as_secs_f64() - forward;
            let report = adam.step(&grads, lr)?;
            let whole = started.elapsed().as_secs_f64();
            sums.add(&terms);
            sums.add(&[
                ("loss", value),
                ("norm", report.grad_norm),
                ("fwd_s", forward),
                ("bwd_s", backward),
                ("opt_s", whole - forward - backward),
            ]);
        }
        if (step + 1).is_multiple_of(REPORT_EVERY) {
            let mut fields = sums.take();
            fields.push(("px", batch.px as f64));
            fields.push(("lr", lr));
            log.line("train", step + 1, job.budget.secs(), &fields)?;
        }
        if (step + 1).is_multiple_of(SAVE_EVERY) {
            state.step = step + 1;
            state.secs = job.budget.secs();
            checkpoint::save(&path, params, adam, state)?;
        }
        if job.budget.secs() - validated > VALIDATE_SECS {
            let started = Instant::now();
            validate::report(nets, job, plan.stage, (batch.px, 16), log)?;
            job.budget.excuse(started.elapsed());
            validated = job.budget.secs();
        }
    }
    state.step = job.budget.step();
    Ok(())
}

/// Means of named values since the last report.
#[derive(Default)]
struct Sums {
    names: Vec<&'static str>,
    values: HashMap<&'static str, (f64, f64)>,
}

impl Sums {
    fn add(&mut self, terms: &[(&'static str, f64)]) {
        for (name, value) in terms {
            let entry = self.values.entry(name).or_insert_with(|| {
                self.names.push(name);
                (0.0, 0.0)
            });
            entry.0 += value;
            entry.1 += 1.0;
        }
    }

    fn take(&mut self) -> Vec<(&'static str, f64)> {
        let values = std::mem::take(&mut self.values);
        std::mem::take(&mut self.names)
            .into_iter()
            .filter_map(|n| values.get(n).map(|(sum, count)| (n, sum / count)))
            .collect()
    }
}

#[cfg(test)]
mod tests;
