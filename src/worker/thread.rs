//! The loop of the inference thread. Every job that it takes ends exactly once, whatever the backend does.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
};

use crossbeam_channel::Sender;

use crate::task::{JobId, Update};

use super::{
    backend::{Backend, Flow, Output, out_of_memory, send, was_cancelled},
    queue::{Entry, Queue, is_barrier},
};

pub(super) struct Thread<B: Backend> {
    pub(super) queue: Arc<Queue>,
    pub(super) updates: Sender<Update>,
    pub(super) wake: Box<dyn Fn() + Send + Sync>,
    /// The engine, or why there is none.
    pub(super) backend: Result<B, String>,
    pub(super) opened: Option<JobId>,
}

enum End {
    Finished,
    Cancelled,
    Failed(String),
    /// Failed for want of memory.
    Full(String),
}

/// The text of a panic.
fn panic_text(payload: &(dyn std::any::Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no reason given")
}

impl<B: Backend> Thread<B> {
    pub(super) fn run(mut self) {
        while let Some(entry) = self.queue.next(self.opened) {
            self.work_off(entry, Interleave::Yes);
        }
    }

    fn send(&self, update: Update) {
        send(&self.updates, self.wake.as_ref(), update);
    }

    fn work_off(&mut self, entry: Entry, interleave: Interleave) {
        let job = entry.job;
        let barrier = is_barrier(&entry.request);
        let started = Instant::now();
        let end = if entry.cancel.is_cancelled() {
            End::Cancelled
        } else {
            self.send(Update::Started { job });
            self.drive(entry, interleave)
        };
        if barrier {
            self.opened = Some(job);
        }
        self.send(match end {
            End::Finished => Update::Finished {
                job,
                secs: started.elapsed().as_secs_f32(),
            },
            End::Cancelled => Update::Cancelled { job },
            End::Failed(text) | End::Full(text) => Update::Failed { job, text },
        });
    }

    fn drive(&mut self, entry: Entry, interleave: Interleave) -> End {
        let Entry {
            job,
            request,
            cancel,
            ..
        } = entry;
        let mut task = match guarded(&mut self.backend, |b| b.start(request)) {
            Ok(task) => task,
            Err(end) => return end,
        };
        loop {
            if cancel.is_cancelled() {
                return End::Cancelled;
            }
            let mut out = Output {
                job,
                cancel: cancel.clone(),
                updates: &self.updates,
                wake: self.wake.as_ref(),
            };
            let mut step = guarded(&mut self.backend, |b| b.advance(&mut task, &mut out));
            if let Err(End::Full(reason)) = step {
                // Caches are worth less than an answer: without them there may be room.
                step = guarded(&mut self.backend, |b| {
                    b.relieve();
                    b.advance(&mut task, &mut out)
                });
                if let Err(End::Full(_)) = step {
                    step = Err(End::Failed(format!(
                        "there is not enough memory, not even with every cache emptied ({reason}); load the model in a smaller precision, or on another device"
                    )));
                }
            }
            match step {
                Ok(Flow::Done) => return End::Finished,
                Ok(Flow::More) => {
                    if matches!(interleave, Interleave::Yes)
                        && let Some(prompt) = self.queue.take_slot(self.opened)
                    {
                        self.work_off(prompt, Interleave::No);
                    }
                }
                Err(end) => return end,
            }
        }
    }
}

/// Calls the backend; an error or a panic becomes the end of the job.
fn guarded<B: Backend, T>(
    backend: &mut Result<B, String>,
    call: impl FnOnce(&mut B) -> anyhow::Result<T>,
) -> Result<T, End> {
    let engine = match backend {
        Ok(engine) => engine,
        Err(text) => return Err(End::Failed(text.clone())),
    };
    match catch_unwind(AssertUnwindSafe(|| call(engine))) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) if was_cancelled(&error) => Err(End::Cancelled),
        Ok(Err(error)) => Err(match out_of_memory(&error) {
            Some(words) => End::Full(words),
            None => End::Failed(format!("{error:#}")),
        }),
        Err(payload) => {
            let text = format!(
                "something inside Sparrow broke ({}); your work is kept, try again",
                panic_text(payload.as_ref())
            );
            if catch_unwind(AssertUnwindSafe(|| engine.recover())).is_err() {
                *backend = Err(
                    "the model cannot be used any more; save your work and start Sparrow again"
                        .into(),
                );
            }
            Err(End::Failed(text))
        }
    }
}

/// Whether the slot is looked at between pieces; not within a prompt that is itself served so.
#[derive(Clone, Copy)]
enum Interleave {
    Yes,
    No,
}
