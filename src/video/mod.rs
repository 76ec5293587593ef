//! Frames by display index: sources (FFmpeg, image folder, synthetic), the frame table, the decoder thread and its
//! cache. Leaves drawing to `render` and resizing for networks to [`crate::infer`].

mod frame;

pub use frame::{Frame, FrameSource, Pixels, RgbFrame, VideoError};
