//! A whole model from nothing: every stage in turn, then the weight file. What each learns is told in its own file.

use super::{
    Budget, Exported, Job, TrainResult, checkpoint, export, language, segmenter, synth::Vocabulary,
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

/// Trains all stages into `job.out`, then writes `MODEL.safetensors` there. With `job.resume`, stages that have a
/// checkpoint continue from it; the finished ones have nothing left to do. `job.budget` is not read: `total` is.
///
/// # Errors
/// As the stages.
pub fn run(job: &Job, total: Total, info: &ModelInfo, words: Vocabulary) -> TrainResult<Exported> {
    let path = |stage: &str| checkpoint::path_in(&job.out, stage);
    for (stage, share) in SHARES {
        let mut own = Job {
            budget: total.share(share),
            resume: job.resume && path(stage).exists(),
            ..job.clone()
        };
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
    let inputs = SHARES.map(|(stage, _)| path(stage));
    export(&inputs, info, &job.out.join(&info.weights.file))
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
    fn language_is_named_as_its_checkpoint() {
        assert_eq!(language::Part::Language.stage(), LANGUAGE);
    }
}
