//! What the user makes: pure data and pure functions. No I/O, no threads, no models.

mod bitmap;
mod counted;
mod document;
mod drift;
mod edit;
mod geometry;
mod history;
mod mask;
mod names;
mod palette;
mod parts;
mod rearrange;
mod rle_ops;
mod rle_text;
mod select;
#[cfg(test)]
mod tests;
mod words;

pub use bitmap::{BrushMode, Components, Connectivity};
pub use counted::{counted, have, were};
pub use document::{
    Choosing, Document, DriftSignal, Emission, FrameIndex, FrameMask, Object, ObjectId, Proposal,
    Provenance, Thresholds, VideoInfo,
};
pub use drift::{Reason, Trace, Usual, lies_on, mark_lying, measure, worth_a_look};
pub use edit::{Author, Edit, EditError, Touched, apply};
pub use geometry::{BoxPx, PointPx, Size};
pub use history::{History, StepId};
pub use mask::{Bitmap, MaskError, Rle};
pub use names::{CLIP_ENDINGS, IMAGE_ENDINGS, frames_of, images_of};
pub use palette::colour_rgb;
pub use parts::Part;
pub use rearrange::{SplitError, merge, split};
pub use select::{PEER, WhyNot, kept, offered, select, why_not};
pub use words::{NOT_KNOWN, split_words};
