//! Metrics, runners and reports. Leaves the models to [`crate::infer`].
//!
//! A run is three steps: [`dataset::open`] reads the truth, a runner ([`runners::rvos`], [`runners::vos`],
//! [`runners::proposals`]) asks a [`subject::Subject`], and the report ([`report`]) is written as JSON or as lines.

pub mod assign;
pub mod dataset;
mod error;
pub mod gcg;
pub mod grounding;
pub mod measure;
pub mod parity;
pub mod report;
pub mod runners;
pub mod sequence;
pub mod subject;
#[cfg(test)]
mod tests;

pub use error::EvalError;
