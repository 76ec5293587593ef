//! What the inference thread needs of an engine, so that its promises can be proved with a fake one.

use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use crate::{
    infer::{InferError, memory_ran_out, model::ModelError},
    task::{CancelToken, Cancelled, JobId, Progress, Request, Update},
};

/// Progress within a stage wakes the receiver at most so often: who waits draws a picture each time.
const WAKE_EVERY: Duration = Duration::from_millis(50);

/// Whether a task has more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Call [`Backend::advance`] again.
    More,
    /// The task is done.
    Done,
}

/// Does the work. Lives on the inference thread and never leaves it, so it need not be `Send`.
pub trait Backend {
    /// A request in the middle of being answered. Another one may be started and finished between two pieces of it.
    type Task;

    /// Takes up a request; quick, the work is for [`Backend::advance`].
    ///
    /// # Errors
    /// One sentence for the user.
    fn start(&mut self, request: Request) -> anyhow::Result<Self::Task>;

    /// Does one piece (a frame, or the whole of a short request) and tells its results to `out`.
    ///
    /// # Errors
    /// One sentence for the user, or [`crate::task::Cancelled`] anywhere in the chain. After an error for want of memory
    /// (see [`out_of_memory`]) the task must stand where it stood before, because it is asked to go on once more.
    fn advance(&mut self, task: &mut Self::Task, out: &mut Output<'_>) -> anyhow::Result<Flow>;

    /// Called after a panic: forget whatever may be half made.
    fn recover(&mut self);

    /// Called when memory ran out: let go of everything that can be computed again, and keep less from now on.
    fn relieve(&mut self) {}
}

/// Whether an error says that the job was stopped on request, however deep that lies. [`InferError`] stands for what is in
/// it and is no link of its own in the chain, so it has to be asked itself.
pub(super) fn was_cancelled(error: &anyhow::Error) -> bool {
    let infer = |e: Option<&InferError>| matches!(e, Some(InferError::Cancelled(_)));
    error.is::<Cancelled>()
        || infer(error.downcast_ref())
        || error
            .chain()
            .any(|e| e.is::<Cancelled>() || infer(e.downcast_ref()))
}

/// The words in which an error says that the device, or the machine, had no memory left, without any advice around them; `None` if it says
/// something else.
pub(super) fn out_of_memory(error: &anyhow::Error) -> Option<String> {
    let model = |e: &ModelError| match e {
        ModelError::Memory { reason, .. } => Some(reason.clone()),
        _ => None,
    };
    let own = match error.downcast_ref() {
        Some(InferError::Memory(words)) => Some(words.clone()),
        Some(InferError::Model(e)) => model(e),
        _ => error.downcast_ref().and_then(model),
    };
    let ran_out = error.chain().any(|e| memory_ran_out(&e.to_string()));
    own.or_else(|| ran_out.then(|| format!("{error:#}")))
}

/// Where a task sends what it has.
pub struct Output<'a> {
    pub(super) job: JobId,
    pub(super) cancel: CancelToken,
    pub(super) updates: &'a Sender<Update>,
    pub(super) wake: &'a (dyn Fn() + Send + Sync),
}

/// Sends and wakes; a receiver that is gone has lost interest, which the queue tells the thread as well.
pub(super) fn send(updates: &Sender<Update>, wake: &dyn Fn(), update: Update) {
    if updates.send(update).is_ok() {
        wake();
    }
}

impl Output<'_> {
    /// The job that is being worked on.
    pub fn job(&self) -> JobId {
        self.job
    }

    /// Sends an update; blocks while the receiver is far behind.
    pub fn send(&self, update: Update) {
        send(self.updates, self.wake, update);
    }

    /// Sends a warning of one sentence.
    pub fn warn(&self, text: impl Into<String>) {
        self.send(Update::Warning {
            job: self.job,
            text: text.into(),
        });
    }

    /// What blocking functions report to and look at. The receiver is woken for every new stage, and now and then within one.
    pub fn progress(&self) -> Progress<'_> {
        let (job, updates, wake) = (self.job, self.updates, self.wake);
        let mut told: Option<(String, Instant)> = None;
        Progress::new(self.cancel.clone(), move |done, total, stage| {
            let update = Update::Progress {
                job,
                done,
                total,
                stage: stage.to_owned(),
            };
            // Progress is the one thing that may be lost: the next report is newer.
            if updates.try_send(update).is_err() {
                return;
            }
            let fresh = |(last, at): &(String, Instant)| last == stage && at.elapsed() < WAKE_EVERY;
            if !told.as_ref().is_some_and(fresh) {
                told = Some((stage.to_owned(), Instant::now()));
                wake();
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_cancel_is_seen_however_it_is_wrapped() {
        let infer = || InferError::from(Cancelled);
        for error in [
            anyhow::Error::new(Cancelled),
            anyhow::Error::new(Cancelled).context("tracking stopped"),
            infer().into(),
            anyhow::Error::new(infer()).context("tracking stopped"),
            anyhow::anyhow!("the phrase was not read").context(Cancelled),
        ] {
            assert!(was_cancelled(&error), "{error:?}");
        }
        let failed = InferError::Network("cancelled".into());
        assert!(!was_cancelled(&failed.into()), "words alone say nothing");
    }

    #[test]
    fn every_stage_that_is_told_wakes_the_receiver() {
        let (updates, received) = crossbeam_channel::bounded(2);
        let wakes = AtomicUsize::new(0);
        let wake = || {
            wakes.fetch_add(1, Ordering::SeqCst);
        };
        let out = Output {
            job: JobId(1),
            cancel: CancelToken::default(),
            updates: &updates,
            wake: &wake,
        };
        let mut progress = out.progress();
        progress.tell(0, 2, "looking");
        progress.tell(1, 2, "decoding");
        assert_eq!(wakes.load(Ordering::SeqCst), 2);
        progress.tell(2, 2, "lost, for the channel is full");
        assert_eq!(wakes.load(Ordering::SeqCst), 2);
        assert_eq!(received.len(), 2);
    }

    /// Whoever tells the person says what to do; said twice, one inside of the other, it is no sentence.
    #[test]
    fn memory_that_ran_out_is_told_in_the_drivers_words_alone() {
        let words = "CUDA_ERROR_OUT_OF_MEMORY";
        let infer = InferError::Memory(words.into());
        let load = || ModelError::Memory {
            id: "nano".into(),
            reason: words.into(),
        };
        let said = |e: anyhow::Error| out_of_memory(&e);
        assert!(infer.to_string().contains("--precision"));
        for error in [
            infer.into(),
            load().into(),
            InferError::Model(load()).into(),
        ] {
            assert_eq!(said(error).as_deref(), Some(words));
        }
        let plain = anyhow::anyhow!("the device is out of memory");
        assert_eq!(said(plain).as_deref(), Some("the device is out of memory"));
        assert_eq!(said(anyhow::anyhow!("no such file")), None);
    }
}
