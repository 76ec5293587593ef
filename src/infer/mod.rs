//! Networks applied to video: blocking functions that are handed a progress sink and a cancel token.
//!
//! Leaves the networks to [`crate::nn`], decoding to [`crate::video`] and threads to [`crate::worker`].

pub mod model;
pub mod preprocess;
pub mod random_weights;
pub mod words;
