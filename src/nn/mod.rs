//! Networks only: layers, kernels, weights. No video, no window, no project. Tensor names and shapes are the released
//! ones, sizes come from [`config`], and every forward works at any size.

pub mod config;
pub mod layers;
pub mod ops;
pub mod parity;
pub mod weights;
