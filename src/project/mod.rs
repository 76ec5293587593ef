//! What the user makes: pure data and pure functions. No I/O, no threads, no models.

mod document;
mod geometry;
mod mask;

pub use document::{
    Document, DriftSignal, Emission, FrameIndex, FrameMask, Object, ObjectId, Proposal, Provenance,
    Thresholds, VideoInfo,
};
pub use geometry::{BoxPx, PointPx, Size};
pub use mask::{Bitmap, MaskError, Rle};
