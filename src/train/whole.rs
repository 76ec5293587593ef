//! A whole model from nothing: every stage in turn, then the weight file. What each learns is told in its own file.

use super::{
    Budget, Exported, Job, Recipe, TrainError, TrainResult,
    checkpoint::{self, State},
    export, language, segmenter,
    synth::Vocabulary,
    towers,
};
use crate::infer::model::ModelInfo;

/// Stages in order, with their parts of the budget: masks pay back longest, memory soonest.
const SHARES: [(&str, f64); 4] = [
    (segmenter::STAGE, 0.40),
    (segmenter::MEMORY_STAGE, 0.06),
    (towers::STAGE, 0.22),
    (LANGUAGE, 0.32),
];
const LANGUAGE: &str = "language";

/// Stages in order.
pub fn stages() -> impl Iterator<Item = &'static str> {
    SHARES.into_iter().map(|(stage, _)| stage)
}

/// How much training, all stages together.
#[derive(Clone, Copy, Debug)]
pub struct Total {
    /// Steps.
    pub steps: Option<u64>,
    /// Minutes.
    pub minutes: Option<f64>,
}

impl Total {
    fn share(self, part: f64) -> Budget {
        Budget::new(
            self.steps
                .map(|n| ((n as f64 * part).round() as u64).max(1)),
            self.minutes.map(|m| m * part),
        )
    }
}

/// Whether a stage has nothing left to do: its budget is spent and, where thresholds are fitted last, they are there.
pub fn finished(stage: &str, state: &State, mut budget: Budget) -> bool {
    budget.resume_at(state.step, state.secs);
    let fitted = stage == towers::STAGE || state.extra.get("thresholds").is_some();
    fitted && budget.progress() >= 1.0
}

/// Trains all stages into `job.out`, then writes `MODEL.safetensors` there. With `job.resume`, stages that have a
/// checkpoint continue from it, all with its seed, and finished ones are left alone. Of `job.budget`
/// only what stops it is read: the rest is `total`'s.
///
/// # Errors
/// As the stages; also if there is something to start from; [`TrainError::Stopped`].
pub fn run(job: &Job, total: Total, info: &ModelInfo, words: Vocabulary) -> TrainResult<Exported> {
    if !job.init.is_empty() {
        return Err(TrainError::Content(
            "a whole model is trained from nothing: --init is for single stages".into(),
        ));
    }
    let path = |stage: &str| checkpoint::path_in(&job.out, stage);
    let mut job = job.clone();
    let begun = stages().find(|stage| path(stage).exists());
    checkpoint::take_up(&mut job, begun.unwrap_or(segmenter::STAGE))?;
    // Each stage starts from those before it.
    job.init.clear();
    for (stage, share) in SHARES {
        if job.budget.cancel().is_cancelled() {
            return Err(TrainError::Stopped);
        }
        let mut own = Job {
            budget: total.share(share).heeding(job.budget.cancel().clone()),
            resume: job.resume && path(stage).exists(),
            ..job.clone()
        };
        if own.resume && finished(stage, &checkpoint::state(&path(stage))?, own.budget.clone()) {
            tracing::info!(target: "train", "{stage} is finished");
            continue;
        }
        match stage {
            segmenter::STAGE => segmenter::run(&mut own, info)?,
            segmenter::MEMORY_STAGE => {
                own.init = vec![path(segmenter::STAGE)];
                segmenter::run_memory(&mut own, info)?;
            }
            towers::STAGE => towers::run(&mut own, info, words)?,
            _ => {
                own.init = vec![path(towers::STAGE), path(segmenter::MEMORY_STAGE)];
                language::run(&mut own, info, language::Part::Language, words)?;
            }
        }
    }
    if job.budget.cancel().is_cancelled() {
        return Err(TrainError::Stopped);
    }
    let inputs = SHARES.map(|(stage, _)| path(stage));
    export(
        &inputs,
        Recipe::default(),
        info,
        &job.out.join(&info.weights.file),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_make_a_whole() {
        let sum: f64 = SHARES.iter().map(|s| s.1).sum();
        assert!((sum - 1.0).abs() < 1e-9);
        let total = Total {
            steps: Some(10),
            minutes: None,
        };
        let mut budget = total.share(0.06);
        assert_eq!(budget.next_step(), Some(0), "no stage is left out");
        assert_eq!(budget.next_step(), None);
    }

    #[test]
    fn finished_stages_are_left_alone() {
        let total = Total {
            steps: Some(100),
            minutes: Some(10.0),
        };
        let state = |step: u64, secs: f64, fitted: bool| State {
            step,
            secs,
            extra: match fitted {
                true => serde_json::json!({ "thresholds": { "objectness": 0.1 } }),
                false => serde_json::Value::Null,
            },
            ..State::default()
        };
        let done = |stage: &str, state: &State| finished(stage, state, total.share(0.4));
        assert!(done(segmenter::STAGE, &state(40, 10.0, true)));
        assert!(done(segmenter::STAGE, &state(12, 241.0, true)));
        assert!(!done(segmenter::STAGE, &state(12, 10.0, true)));
        // Stopped between its last step and the end.
        assert!(!done(segmenter::STAGE, &state(40, 10.0, false)));
        assert!(done(towers::STAGE, &state(40, 10.0, false)));
    }

    #[test]
    fn language_is_named_as_its_checkpoint() {
        assert_eq!(language::Part::Language.stage(), LANGUAGE);
    }
}
