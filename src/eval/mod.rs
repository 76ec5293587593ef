//! Metrics, runners and reports. Leaves the models to [`crate::infer`].
//!
//! [`run`] takes a [`Request`] and an [`EngineSubject`] and gives a [`Report`], which is JSON for scripts and lines for
//! people. Below it: [`dataset`] reads the truth, [`runners`] and [`vos`] ask the [`subject`],
//! [`marks`] are weighed by what they lead to, [`measure`] and [`sequence`] are the
//! DAVIS protocol.

pub mod assign;
pub mod dataset;
mod engine;
mod error;
pub mod gcg;
pub mod grounding;
mod innermost;
pub mod marks;
pub mod measure;
pub mod parity;
pub mod report;
mod run;
pub mod runners;
pub mod sequence;
pub mod subject;
#[cfg(test)]
mod tests;
pub mod vos;

pub use engine::EngineSubject;
pub use error::EvalError;
pub use run::{CorrectAt, Given, Report, Request, Task, run};
