//! Metrics, runners and reports. Leaves the models to [`crate::infer`].

pub mod assign;
pub mod gcg;
pub mod grounding;
pub mod measure;
pub mod parity;
pub mod sequence;
