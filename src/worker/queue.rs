//! What waits to be done: a bounded queue of jobs that must all run, and one slot for the newest interactive prompt.
//!
//! The slot is served before the queue, and between the pieces of a long job, but never before a model or clip that was
//! asked for earlier.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use crate::task::{CancelToken, JobId, Request};

/// Jobs that may wait.
const CAPACITY: usize = 64;

/// A job that waits.
pub(super) struct Entry {
    pub(super) job: JobId,
    pub(super) request: Request,
    pub(super) cancel: CancelToken,
    /// The last request before it that changes what later ones speak of.
    pub(super) after: Option<JobId>,
}

/// Whether later requests speak of what this one opens.
pub(super) fn is_barrier(request: &Request) -> bool {
    matches!(
        request,
        Request::LoadModel { .. } | Request::OpenClip { .. }
    )
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Entry>,
    slot: Option<Entry>,
    closed: bool,
}

#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a job. Where there is no room, cancelled ones give up their places and are handed out; `None` if too many wait
    /// even so.
    pub(super) fn push(&self, entry: Entry) -> Option<VecDeque<Entry>> {
        let mut state = self.lock();
        let mut gone = VecDeque::new();
        if state.jobs.len() >= CAPACITY {
            // A prompt may wait for a barrier, cancelled or not: it is passed only by being worked off.
            let gives_way = |e: &Entry| e.cancel.is_cancelled() && !is_barrier(&e.request);
            let jobs = std::mem::take(&mut state.jobs);
            (gone, state.jobs) = jobs.into_iter().partition(gives_way);
        }
        if state.jobs.len() >= CAPACITY {
            return None;
        }
        state.jobs.push_back(entry);
        self.filled.notify_one();
        Some(gone)
    }

    /// Puts a prompt into the slot and hands out the one that lay there.
    pub(super) fn replace_slot(&self, entry: Entry) -> Option<Entry> {
        let old = self.lock().slot.replace(entry);
        self.filled.notify_one();
        old
    }

    /// The prompt in the slot, if everything it speaks of is there. `opened` is the last barrier that was worked off.
    pub(super) fn take_slot(&self, opened: Option<JobId>) -> Option<Entry> {
        let mut state = self.lock();
        match &state.slot {
            Some(entry) if entry.after <= opened => state.slot.take(),
            _ => None,
        }
    }

    /// Waits for the next job; `None` once the queue is closed.
    pub(super) fn next(&self, opened: Option<JobId>) -> Option<Entry> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if state.slot.as_ref().is_some_and(|e| e.after <= opened) {
                return state.slot.take();
            }
            if let Some(entry) = state.jobs.pop_front() {
                return Some(entry);
            }
            state = self
                .filled
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lets the thread end.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }
}
