//! Progress out, cancel in: what a blocking function is handed so that it can be watched and stopped.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// The work was stopped on request; what was finished before stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cancelled")]
pub struct Cancelled;

/// A flag that stops a job; looked at per frame, per token and per step, within networks per layer, and per tensor of a file.
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// A token that stops the job as soon as `flag` is set, by a signal for example.
    pub fn from_flag(flag: Arc<AtomicBool>) -> Self {
        Self(flag)
    }

    /// The flag itself, for those who know nothing of jobs.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }

    /// Asks the job to stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the job was asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// # Errors
    /// [`Cancelled`] if the job was asked to stop.
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.is_cancelled() {
            Err(Cancelled)
        } else {
            Ok(())
        }
    }
}

/// Takes `(done, total, stage)`.
type Report<'a> = dyn FnMut(u64, u64, &str) + Send + 'a;

/// Where a blocking function reports how far it is.
pub struct Progress<'a> {
    report: Box<Report<'a>>,
    /// Stops the job.
    pub cancel: CancelToken,
}

impl<'a> Progress<'a> {
    /// `report(done, total, stage)` is called from the working thread; `total` 0 means unknown.
    pub fn new(cancel: CancelToken, report: impl FnMut(u64, u64, &str) + Send + 'a) -> Self {
        Self {
            report: Box::new(report),
            cancel,
        }
    }

    /// Nobody watches, nobody stops.
    pub fn silent() -> Self {
        Self::new(CancelToken::default(), |_, _, _| {})
    }

    /// Reports, and looks whether to stop.
    ///
    /// # Errors
    /// [`Cancelled`] if the job was asked to stop.
    pub fn step(&mut self, done: u64, total: u64, stage: &str) -> Result<(), Cancelled> {
        self.cancel.check()?;
        self.tell(done, total, stage);
        Ok(())
    }

    /// Reports, also of what cannot be stopped any more.
    pub fn tell(&mut self, done: u64, total: u64, stage: &str) {
        (self.report)(done, total, stage);
    }
}
