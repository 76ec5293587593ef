//! What tests of the window share: documents of a clip that nobody has to draw, and emissions that no model made.

use crate::project::{Document, Emission, FrameIndex, Size, Thresholds, VideoInfo};

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

/// An emission that says and offers nothing.
pub(crate) fn emission(frame: u32, phrase: &str) -> Emission {
    Emission {
        secs: 0.1,
        ..Emission::new(FrameIndex(frame), phrase)
    }
}
