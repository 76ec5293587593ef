//! What tests of the window share: documents of a clip that nobody has to draw.

use crate::project::{Document, Size, Thresholds, VideoInfo};

/// A document of a clip of so many frames that is nowhere.
pub(crate) fn document(size: Size, frames: u32) -> Document {
    let video = VideoInfo {
        path: "clip.mp4".into(),
        size,
        frames,
        fps: 25.0,
        hash: String::new(),
    };
    Document::new(video, "nano", Thresholds::default())
}
