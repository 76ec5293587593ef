//! The one integration binary: each module says what belongs in it.
#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps nothing proves nothing; a panic is the report"
)]

/// The command line, run as a program.
mod cli;
/// What its results say of how they came about, and what it refuses to pass over in silence.
mod cli_asked;
/// Its inputs and outputs at their limits: tiny clips, files that are no video, places that take nothing.
mod cli_edges;
/// Its switches for the model: precision, released rules, bench.
mod cli_model;
/// The engine's promises, whatever the model says.
mod engine;
/// Evaluation from files to report.
mod eval;
/// Exports in the hands of pycocotools and TrackEval.
mod formats;
/// Helpers: an adapter and pictures drawn with it.
#[cfg(feature = "gui")]
mod gpu;
/// Rooms only look down.
mod layering;
/// What the bundled weights are relied on for.
mod nano;
/// Peculiarities of the released code, by number.
mod oddities;
/// Stored cases of the released code.
mod parity;
/// A checkpoint in the authors' layout: checked, put together, damaged, grounded with.
mod released;
/// Shaders are valid, match the Rust side and the CPU twins.
#[cfg(feature = "gui")]
mod shaders;
/// The project file: kills, write protection.
mod store;
/// The whole window, driven by accessible labels.
#[cfg(feature = "gui")]
mod ui;
/// The window at its limits: huge frames.
#[cfg(feature = "gui")]
mod ui_edges;
/// Exporting from the window.
#[cfg(feature = "gui")]
mod ui_export;
/// Helpers: a drawn clip and an engine that answers always the same.
#[cfg(feature = "gui")]
mod ui_fake;
/// Work by hand in the window while the model answers.
#[cfg(feature = "gui")]
mod ui_hand;
/// Finding one's way in the window: tools, emissions, marks, the timeline.
#[cfg(feature = "gui")]
mod ui_inspect;
/// Keys that are held in the window, and who has the keyboard.
#[cfg(feature = "gui")]
mod ui_keys;
/// Playing in the window.
#[cfg(all(feature = "gui", feature = "ffmpeg"))]
mod ui_playing;
/// Opening, exact seeking, damaged files, the decoder thread.
mod video;
/// The inference thread: cancel, stale answers, panics, exactly one end.
mod worker;
