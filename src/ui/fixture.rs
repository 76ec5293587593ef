//! What tests of the window share: documents of a clip that nobody has to draw, and emissions that no model made.

use crate::project::{Choosing, Document, Emission, FrameIndex, Size, Thresholds, VideoInfo};

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
        frame: FrameIndex(frame),
        phrase: phrase.to_owned(),
        text: String::new(),
        tokens: Vec::new(),
        unknown_words: Vec::new(),
        proposals: Vec::new(),
        objects: Vec::new(),
        tsf_tokens: 0,
        secs: 0.1,
        choosing: Choosing::default(),
        by_hand: None,
    }
}
