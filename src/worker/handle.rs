//! The other threads' end of the inference thread: submit, receive, cancel. Nothing here ever waits for the model.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};

use crate::task::{CancelToken, JobId, Request, Update};

use super::queue::{Entry, Queue, is_barrier};

/// How long a handle that goes away waits for the thread. What cannot be stopped, a tensor that is being read or a layer at
/// work, may take longer where the disk or the device is slow; nothing of it is wanted, and nothing on the disk depends on it.
const GRACE: Duration = Duration::from_secs(2);

struct Open {
    cancel: CancelToken,
    /// An interactive prompt: a newer one makes it worthless.
    interactive: bool,
}

/// Submits requests and receives updates. Dropped, it stops all jobs and waits for the thread, though not for long.
pub struct WorkerHandle {
    queue: Arc<Queue>,
    updates: Option<Receiver<Update>>,
    /// Ends of jobs that never reached the thread.
    local: VecDeque<Update>,
    open: BTreeMap<JobId, Open>,
    next_job: u64,
    last_barrier: Option<JobId>,
    thread: Option<JoinHandle<()>>,
}

impl WorkerHandle {
    pub(super) fn new(
        queue: Arc<Queue>,
        updates: Receiver<Update>,
        thread: Option<JoinHandle<()>>,
    ) -> Self {
        Self {
            queue,
            updates: Some(updates),
            local: VecDeque::new(),
            open: BTreeMap::new(),
            next_job: 0,
            last_barrier: None,
            thread,
        }
    }

    /// Hands a request to the thread. A segment request replaces the one before it, which ends as cancelled; any other
    /// waits its turn, or fails at once if too many wait.
    pub fn submit(&mut self, request: Request) -> JobId {
        self.next_job += 1;
        let job = JobId(self.next_job);
        let cancel = CancelToken::default();
        let interactive = matches!(request, Request::Segment { .. });
        let entry = Entry {
            job,
            cancel: cancel.clone(),
            after: self.last_barrier,
            request,
        };
        let barrier = is_barrier(&entry.request);
        if interactive {
            for open in self.open.values().filter(|o| o.interactive) {
                open.cancel.cancel();
            }
        }
        self.open.insert(
            job,
            Open {
                cancel,
                interactive,
            },
        );
        if interactive {
            if let Some(old) = self.queue.replace_slot(entry) {
                self.local.push_back(Update::Cancelled { job: old.job });
            }
        } else if let Some(gone) = self.queue.push(entry) {
            // One that never gets in opens nothing that a prompt could wait for.
            if barrier {
                self.last_barrier = Some(job);
            }
            let ends = gone.into_iter().map(|e| Update::Cancelled { job: e.job });
            self.local.extend(ends);
        } else {
            self.local.push_back(Update::Failed {
                job,
                text: "too much is waiting for the model; wait for some of it to finish".into(),
            });
        }
        job
    }

    /// Asks a job to stop; unknown and finished ones are left alone. What it finished before stays.
    pub fn cancel(&mut self, job: JobId) {
        if let Some(open) = self.open.get(&job) {
            open.cancel.cancel();
        }
    }

    /// Asks every job to stop.
    pub fn cancel_all(&mut self) {
        for open in self.open.values() {
            open.cancel.cancel();
        }
    }

    /// Jobs that have not ended, oldest first.
    pub fn open_jobs(&self) -> impl Iterator<Item = JobId> + '_ {
        self.open.keys().copied()
    }

    /// The next update, if there is one.
    pub fn try_recv(&mut self) -> Option<Update> {
        loop {
            if let Some(update) = self.local.pop_front() {
                if let Some(update) = self.accept(update) {
                    return Some(update);
                }
                continue;
            }
            match self.updates.as_ref()?.try_recv() {
                Ok(update) => {
                    if let Some(update) = self.accept(update) {
                        return Some(update);
                    }
                }
                Err(TryRecvError::Empty) => return None,
                Err(TryRecvError::Disconnected) => self.thread_is_gone(),
            }
        }
    }

    /// The next update, waited for at most so long.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Option<Update> {
        if let Some(update) = self.try_recv() {
            return Some(update);
        }
        match self.updates.as_ref()?.recv_timeout(timeout) {
            Ok(update) => match self.accept(update) {
                Some(update) => Some(update),
                None => self.try_recv(),
            },
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                self.thread_is_gone();
                self.try_recv()
            }
        }
    }

    /// Every job that is still open has failed with the thread.
    fn thread_is_gone(&mut self) {
        self.updates = None;
        for &job in self.open.keys() {
            self.local.push_back(Update::Failed {
                job,
                text: "the inference thread has stopped; save your work and start Sparrow again"
                    .into(),
            });
        }
    }

    /// Drops what is stale: anything of a job that has ended, and answers that nobody waits for any more. Propagated
    /// frames of a cancelled job were finished before, so they stay.
    fn accept(&mut self, update: Update) -> Option<Update> {
        let (job, ends) = job_of(&update);
        let open = self.open.get(&job)?;
        if ends {
            self.open.remove(&job);
            return Some(update);
        }
        let answer = matches!(update, Update::Segmented { .. } | Update::Grounded { .. });
        (!(answer && open.cancel.is_cancelled())).then_some(update)
    }
}

/// The job an update speaks of, and whether it ends it.
fn job_of(update: &Update) -> (JobId, bool) {
    match *update {
        Update::Finished { job, .. } | Update::Failed { job, .. } | Update::Cancelled { job } => {
            (job, true)
        }
        Update::Started { job }
        | Update::Progress { job, .. }
        | Update::ModelLoaded { job, .. }
        | Update::Grounded { job, .. }
        | Update::Segmented { job, .. }
        | Update::Propagated { job, .. }
        | Update::Warning { job, .. } => (job, false),
    }
}

impl Drop for WorkerHandle {
    fn drop(&mut self) {
        self.cancel_all();
        self.queue.close();
        // Received to the end, so that the thread never waits for room in the channel.
        let deadline = Instant::now() + GRACE;
        let ended = self.updates.take().is_none_or(|updates| {
            loop {
                match updates.recv_deadline(deadline) {
                    Ok(_) => {}
                    Err(end) => break end == RecvTimeoutError::Disconnected,
                }
            }
        });
        if let Some(thread) = self.thread.take().filter(|_| ended) {
            // It has caught every panic of the engine; one that got past has nothing left to report to.
            drop(thread.join());
        }
    }
}
