//! What a stage is told: where to write, how long, from what to start. And the clock that all schedules read.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use candle_core::Device;

use crate::task::CancelToken;

/// One stage's marching orders.
#[derive(Clone, Debug)]
pub struct Job {
    /// Folder for checkpoints, logs and pictures.
    pub out: PathBuf,
    /// Steps or minutes.
    pub budget: Budget,
    /// Continue from the stage's checkpoint in `out`.
    pub resume: bool,
    /// Weights to start from: checkpoints or exported files, later ones win.
    pub init: Vec<PathBuf>,
    /// Where to compute.
    pub device: Device,
    /// Seed of weights and clips.
    pub seed: u64,
}

/// How much training: schedules follow the fraction spent, so a run ends annealed whichever way it is bounded.
#[derive(Clone, Debug)]
pub struct Budget {
    steps: Option<u64>,
    secs: Option<f64>,
    spent_before: f64,
    started: Instant,
    step: u64,
    cancel: CancelToken,
    /// Where a test stops the run before its time.
    #[cfg(test)]
    stop: Option<u64>,
}

impl Budget {
    /// Bounded by steps, by minutes, or by whichever comes first. Without either, one step.
    pub fn new(steps: Option<u64>, minutes: Option<f64>) -> Self {
        let steps = if steps.is_none() && minutes.is_none() {
            Some(1)
        } else {
            steps
        };
        Self {
            steps,
            secs: minutes.map(|m| m * 60.0),
            spent_before: 0.0,
            started: Instant::now(),
            step: 0,
            cancel: CancelToken::default(),
            #[cfg(test)]
            stop: None,
        }
    }

    /// The same, but ended after the step in which the token is set.
    pub fn heeding(self, cancel: CancelToken) -> Self {
        Self { cancel, ..self }
    }

    /// What ends it before its time.
    pub fn cancel(&self) -> &CancelToken {
        &self.cancel
    }

    /// Whether it was ended before its time: what is left of it can be gone on with.
    pub fn is_stopped(&self) -> bool {
        self.cancel.is_cancelled() && self.progress() < 1.0
    }

    /// The same, but stopped at a step, as if somebody had.
    #[cfg(test)]
    pub(crate) fn stopped_at(self, stop: Option<u64>) -> Self {
        Self { stop, ..self }
    }

    /// Starts the clock anew, counting what earlier runs have spent.
    pub fn resume_at(&mut self, step: u64, secs: f64) {
        self.step = step;
        self.spent_before = secs;
        self.started = Instant::now();
    }

    /// Steps done.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Seconds trained, earlier runs included.
    pub fn secs(&self) -> f64 {
        self.spent_before + self.started.elapsed().as_secs_f64()
    }

    /// Fraction spent, 0 to 1.
    pub fn progress(&self) -> f64 {
        let by_steps = self
            .steps
            .map_or(0.0, |n| self.step as f64 / n.max(1) as f64);
        let by_secs = self.secs.map_or(0.0, |s| self.secs() / s.max(1e-9));
        by_steps.max(by_secs).min(1.0)
    }

    /// The next step's number (from 0), or `None` when the budget is spent or somebody has stopped it.
    pub fn next_step(&mut self) -> Option<u64> {
        if self.progress() >= 1.0 || self.cancel.is_cancelled() {
            return None;
        }
        #[cfg(test)]
        if self.stop == Some(self.step) {
            return None;
        }
        self.step += 1;
        Some(self.step - 1)
    }

    /// A clock that is not charged: moves the start by `pause`, e.g. after validation.
    pub fn excuse(&mut self, pause: Duration) {
        self.started += pause;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_bound_the_run() {
        let mut b = Budget::new(Some(3), None);
        let seen: Vec<_> = std::iter::from_fn(|| b.next_step()).collect();
        assert_eq!(seen, [0, 1, 2]);
        assert!((b.progress() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_stop_ends_the_run_after_the_step_in_which_it_comes() {
        let cancel = CancelToken::default();
        let mut b = Budget::new(Some(3), None).heeding(cancel.clone());
        assert_eq!(b.next_step(), Some(0));
        assert!(!b.is_stopped());
        cancel.cancel();
        assert_eq!(b.next_step(), None);
        assert!(b.is_stopped() && b.step() == 1);
        // What is done was not stopped.
        b.resume_at(3, 0.0);
        assert!(!b.is_stopped());
    }

    #[test]
    fn resumption_counts_what_was_spent() {
        let mut b = Budget::new(None, Some(1.0));
        b.resume_at(40, 59.0);
        assert!(b.progress() > 0.98);
        assert_eq!(b.next_step(), Some(40));
        b.resume_at(41, 61.0);
        assert_eq!(b.next_step(), None);
    }
}
