//! Networks only: layers, kernels, weights. No video, no window, no project. Tensor names and shapes are the released
//! ones, sizes come from [`config`], and every forward works at any size.

pub mod clip;
pub mod config;
pub mod deformable_detr;
pub mod filtration;
pub mod internvideo2;
pub mod layers;
pub mod multimodal;
pub mod ops;
pub mod parity;
mod patch;
pub mod phi3;
pub mod pixels;
pub mod precision;
pub mod random_weights;
pub mod sam2;
pub mod sparrow;
pub mod stop;
pub mod tsf;
pub mod weights;
