//! A thread that keeps edits on disk, so that nobody who draws or computes waits for it.
//!
//! Edits are written in the order they come. If one cannot be written (the disk is full), the thread stops there and
//! says so: later edits wait behind it, nothing is skipped, and [`Writer::retry`] goes on from the same edit.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::{error::StoreError, file::Store};
use crate::project::Edit;

/// How the writing stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriterState {
    /// Edits handed over that are not on the disk yet.
    pub waiting: usize,
    /// Why the first of them could not be written.
    pub trouble: Option<String>,
    /// Whether trying that one again may help.
    pub can_retry: bool,
}

enum Command {
    Commit(Box<Edit>),
    Retry,
    /// Answers when everything before it has been tried.
    Flush(Sender<()>),
}

/// A handle to the writing thread; dropping it writes what is waiting and ends the thread.
#[derive(Debug)]
pub struct Writer {
    commands: Option<Sender<Command>>,
    /// What did not fit the channel; handed on with the next call, in order.
    overflow: VecDeque<Command>,
    state: Arc<Mutex<WriterState>>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Commit(_) => "Commit",
            Self::Retry => "Retry",
            Self::Flush(_) => "Flush",
        })
    }
}

fn update(state: &Mutex<WriterState>, change: impl FnOnce(&mut WriterState)) {
    // Nobody panics while holding the lock; a poisoned state would still be a whole one.
    change(&mut state.lock().unwrap_or_else(PoisonError::into_inner));
}

impl Writer {
    /// Starts the thread. `wake` is called from it whenever the state changed.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the system gives no thread.
    pub fn start(store: Store, wake: impl Fn() + Send + 'static) -> Result<Self, StoreError> {
        let (commands, inbox) = bounded(1024);
        let state = Arc::new(Mutex::new(WriterState::default()));
        let path = store.path().to_path_buf();
        let thread = std::thread::Builder::new()
            .name("sparrow-store".to_owned())
            .spawn({
                let state = Arc::clone(&state);
                move || run(store, &inbox, &state, &wake)
            })
            .map_err(|e| StoreError::io(&path, &e))?;
        Ok(Self {
            commands: Some(commands),
            overflow: VecDeque::new(),
            state,
            thread: Some(thread),
        })
    }

    /// Hands over an edit that the document has taken. Never waits.
    pub fn commit(&mut self, edit: Edit) {
        update(&self.state, |s| s.waiting += 1);
        self.overflow.push_back(Command::Commit(Box::new(edit)));
        self.pass_on();
    }

    /// Tries the edit in trouble again, then what waits behind it. Never waits.
    pub fn retry(&mut self) {
        self.overflow.push_back(Command::Retry);
        self.pass_on();
    }

    /// Hands on what did not fit earlier; worth calling once per frame while [`Writer::state`] shows waiting edits.
    pub fn pass_on(&mut self) {
        let Some(commands) = &self.commands else {
            return;
        };
        while let Some(command) = self.overflow.pop_front() {
            if let Err(TrySendError::Full(command) | TrySendError::Disconnected(command)) =
                commands.try_send(command)
            {
                self.overflow.push_front(command);
                return;
            }
        }
    }

    /// How the writing stands.
    pub fn state(&self) -> WriterState {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits until everything handed over has been tried, and says how it stands: for closing, and for tests.
    pub fn flush(&mut self) -> WriterState {
        let Some(commands) = &self.commands else {
            return self.state();
        };
        let (done, wait) = bounded(1);
        self.overflow.push_back(Command::Flush(done));
        // A blocking send; it fails only if the thread is gone, and then the state says what was left.
        for command in self.overflow.drain(..) {
            if commands.send(command).is_err() {
                break;
            }
        }
        wait.recv().ok();
        self.state()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.flush();
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn run(mut store: Store, inbox: &Receiver<Command>, state: &Mutex<WriterState>, wake: &dyn Fn()) {
    let mut waiting: VecDeque<Box<Edit>> = VecDeque::new();
    let mut stuck = false;
    for command in inbox {
        match command {
            Command::Commit(edit) => waiting.push_back(edit),
            Command::Retry => stuck = false,
            Command::Flush(done) => {
                // Whoever asked may have gone.
                done.send(()).ok();
                continue;
            }
        }
        while !stuck && let Some(edit) = waiting.front() {
            let trouble = store.commit(edit).err();
            let can_retry = trouble.as_ref().is_some_and(|e| !e.is_final());
            let trouble = trouble.map(|e| e.to_string());
            stuck = trouble.is_some();
            if !stuck {
                waiting.pop_front();
            }
            update(state, |s| {
                s.waiting -= usize::from(!stuck);
                s.trouble = trouble;
                s.can_retry = can_retry;
            });
            wake();
        }
    }
}
