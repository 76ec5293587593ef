//! How far the work is, on stderr: a bar on a terminal, plain lines elsewhere. Ctrl-C asks the work to stop; a second one
//! ends the program at once.

use std::{
    io::{self, IsTerminal as _},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag::{register, register_conditional_shutdown},
};

use crate::task::{CancelToken, Progress};

use super::output::note;

/// A plain line is written at most so often.
const LINE_EVERY: Duration = Duration::from_secs(3);

/// What Ctrl-C sets, once it is listened to.
static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Whether Ctrl-C was pressed.
pub(super) fn interrupted() -> bool {
    FLAG.get().is_some_and(|flag| flag.load(Ordering::Relaxed))
}

/// The token that Ctrl-C sets; it is listened to from the first call on.
pub(super) fn cancel_on_ctrl_c() -> CancelToken {
    let flag = FLAG.get_or_init(|| {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first press finds the flag unset and sets it, the second finds it set and ends the
            // program; nothing that was begun has its final name yet.
            let listening = register_conditional_shutdown(signal, 130, Arc::clone(&flag))
                .and_then(|_| register(signal, Arc::clone(&flag)));
            if let Err(e) = listening {
                tracing::debug!("Ctrl-C keeps its usual meaning: {e}");
            }
        }
        flag
    });
    CancelToken::from_flag(Arc::clone(flag))
}

/// Reports progress for one run of the program.
pub(super) struct Reporter {
    bar: Option<ProgressBar>,
    cancel: CancelToken,
}

impl Reporter {
    /// A bar if stderr is a terminal.
    pub(super) fn new() -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            let style = ProgressStyle::with_template("{msg:<24} {wide_bar} {pos}/{len} {eta:>4}");
            if let Ok(style) = style {
                bar.set_style(style);
            }
            bar
        });
        Self {
            bar,
            cancel: cancel_on_ctrl_c(),
        }
    }

    /// What a blocking function is handed.
    pub(super) fn progress(&self) -> Progress<'_> {
        self.heeding(self.cancel.clone())
    }

    /// The same for writing down what is finished: the Ctrl-C that ended the work before does not stop it. A second one
    /// ends the program.
    pub(super) fn finishing(&self) -> Progress<'_> {
        self.heeding(CancelToken::default())
    }

    fn heeding(&self, cancel: CancelToken) -> Progress<'_> {
        let (mut last, mut told) = (Instant::now(), false);
        Progress::new(cancel, move |done, total, stage| {
            if let Some(bar) = &self.bar {
                bar.set_length(total);
                bar.set_position(done);
                bar.set_message(stage.to_owned());
            } else if last.elapsed() >= LINE_EVERY || (told && total > 0 && done == total) {
                // What is over in a moment needs no line; what was begun to be told is told to its end.
                told = done != total;
                note(match total {
                    0 => stage.to_owned(),
                    total => format!("{stage}: {done} of {total}"),
                });
                last = Instant::now();
            }
        })
    }

    /// Writes a line without tearing the bar.
    pub(super) fn note(&self, line: impl AsRef<str>) {
        match &self.bar {
            Some(bar) => bar.suspend(|| note(line)),
            None => note(line),
        }
    }

    /// The token that stops the work.
    pub(super) fn cancel(&self) -> &CancelToken {
        &self.cancel
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
