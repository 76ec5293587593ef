//! The inference thread: sole owner of device and models. Leaves the work itself to [`crate::infer`].
//!
//! Two lanes lead in: a bounded queue for jobs that must all run, and a slot where a newer prompt replaces the older one;
//! a long job looks at the slot between frames. Each job ends exactly once (Finished, Failed or Cancelled), also after a
//! panic. What a window has to know is [`WorkerHandle`] alone.

mod backend;
mod engine;
mod handle;
mod queue;
mod thread;

use std::{io, sync::Arc};

pub use backend::{Backend, Flow, Output};
pub use engine::{InferBackend, InferTask};
pub use handle::WorkerHandle;

use queue::Queue;
use thread::Thread;

/// Updates that may wait to be received before the thread waits for the receiver.
const UPDATES: usize = 256;

/// Starts inference threads.
pub struct Worker;

impl Worker {
    /// Starts the thread. `factory` makes the backend there; if it fails, every job fails with its words. `wake` is called
    /// after each update, of progress now and then, from any thread that an engine starts.
    ///
    /// # Errors
    /// If the system refuses another thread.
    pub fn spawn<B: Backend>(
        factory: impl FnOnce() -> anyhow::Result<B> + Send + 'static,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> io::Result<WorkerHandle> {
        let queue = Arc::new(Queue::default());
        let (updates, receiver) = crossbeam_channel::bounded(UPDATES);
        let for_thread = Arc::clone(&queue);
        let thread = std::thread::Builder::new()
            .name("inference".into())
            .spawn(move || {
                let backend = std::panic::catch_unwind(std::panic::AssertUnwindSafe(factory))
                    .unwrap_or_else(|_| Err(anyhow::anyhow!("the model could not be started")))
                    .map_err(|e| format!("{e:#}"));
                Thread {
                    queue: for_thread,
                    updates,
                    wake: Box::new(wake),
                    backend,
                    opened: None,
                }
                .run();
            })?;
        Ok(WorkerHandle::new(queue, receiver, Some(thread)))
    }
}
