//! Sparrow finds, tracks and corrects things in video by asking for them.
//!
//! A person opens a video and types a referring phrase. The SPARROW model (a pixel-grounded video language model)
//! emits `[BOX]` and `[SEG]`; a class-agnostic proposer offers boxes; a filtration head scores them against the
//! phrase; SAM2 turns the kept boxes and `[SEG]` into masks and carries them through the video. Everything in between
//! can be seen and corrected on every frame, and the corrected masks leave as a dataset.
//!
//! # The rooms
//!
//! Dependencies point down only; `tests/suite/layering.rs` enforces the table.
//!
//! | room | holds | may name |
//! |---|---|---|
//! | [`project`] | pure data: geometry, RLE masks, objects, edits and their inverses, the document | – |
//! | [`store`] | the project file on disk: SQLite, one transaction per edit | project |
//! | [`task`] | how work is talked about: request, update, job id, progress, cancel | project |
//! | [`nn`] | networks only (candle), and their weights | – |
//! | [`formats`] | dataset import and export, one file per format | project |
//! | [`video`] | sources, frame table, decoder thread, cache | project, task |
//! | [`infer`] | blocking functions: ground, propose, segment, propagate, drift | project, task, video, nn |
//! | [`eval`] | metrics, runners, reports | project, task, formats, video, infer |
//! | [`train`] | synthetic clips, loaders, losses, optimiser, schedule, checkpoints | project, task, formats, video, nn, infer, eval |
//! | [`worker`] | the inference thread: sole owner of device and models | project, task, formats, video, nn, infer |
//! | `render` | wgpu: one `.rs` per `.wgsl`, texture upload | project |
//! | `ui` | logic, draw, state, actions, panels | project, store, task, formats, video, worker, render |
//! | [`cli`] | one file per subcommand | all but render |
//!
//! Tensors never reach `task`, `project` or `ui`; egui never leaves `ui` and `render`.

pub mod cli;
pub mod eval;
pub mod formats;
pub mod infer;
pub mod nn;
pub mod project;
#[cfg(feature = "gui")]
pub mod render;
pub mod store;
pub mod task;
pub mod train;
#[cfg(feature = "gui")]
pub mod ui;
pub mod video;
pub mod worker;
