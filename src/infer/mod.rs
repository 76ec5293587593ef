//! Networks applied to video: blocking functions that are handed a progress sink and a cancel token.
//!
//! Leaves the networks to [`crate::nn`], decoding to [`crate::video`] and threads to [`crate::worker`].

pub mod appearance;
pub mod bench;
mod cache;
pub mod checkpoint;
mod clicked;
pub mod clip;
mod compat;
pub mod engine;
pub mod error;
mod exposure;
mod ground;
mod heed;
mod language;
pub mod leash;
mod masks;
pub mod memory;
pub mod model;
mod networks;
mod offer;
pub mod pieces;
mod plan;
pub mod preprocess;
mod propagate;
mod released;
mod sight;
pub mod source;
mod timing;
pub mod tokenizer;
pub mod words;

pub use clip::Clip;
pub use engine::{Engine, Grounded, LoadedModel, PropagateOptions, Propagation};
pub(crate) use error::memory_ran_out;
pub use error::{InferError, InferResult};
pub use heed::heeding;
