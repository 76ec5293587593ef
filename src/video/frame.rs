//! What a frame is, and what a source of frames promises.

use crate::project::{FrameIndex, Size, VideoInfo};

/// What can go wrong with a video.
#[derive(Debug, thiserror::Error)]
pub enum VideoError {
    /// It cannot be opened or holds no video.
    #[error("cannot open {path}: {reason}")]
    Open {
        /// Path as given.
        path: String,
        /// One clause: why.
        reason: String,
    },
    /// A frame that the table names cannot be decoded.
    #[error("frame {index} cannot be decoded: {reason}")]
    Decode {
        /// Display index.
        index: u32,
        /// One clause: why.
        reason: String,
    },
    /// A frame past the end.
    #[error("frame {index} does not exist: the video has {frames} frames")]
    OutOfRange {
        /// Display index asked for.
        index: u32,
        /// Number of frames.
        frames: u32,
    },
}

/// Interleaved 8-bit RGB, row-major, as displayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RgbFrame {
    /// Size.
    pub size: Size,
    /// `height × width × 3` bytes.
    pub data: Vec<u8>,
}

/// Pixels as decoded, before any conversion.
#[derive(Clone, Debug)]
pub enum Pixels {
    /// Planar 4:2:0, 8 bit: `y` is `height × width`, `u` and `v` are `ceil(height/2) × ceil(width/2)`; tight rows.
    /// Coded orientation: rotate clockwise by `Frame::rotation` for display.
    Yuv420 {
        /// Luma.
        y: Vec<u8>,
        /// Blue difference.
        u: Vec<u8>,
        /// Red difference.
        v: Vec<u8>,
        /// Full range (0–255) instead of limited (16–235).
        full_range: bool,
        /// BT.709 instead of BT.601 coefficients.
        bt709: bool,
    },
    /// Interleaved RGB, 8 bit, coded orientation.
    Rgb(Vec<u8>),
}

/// A decoded frame.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Display index.
    pub index: FrameIndex,
    /// Presentation time in seconds.
    pub pts_secs: f64,
    /// Coded size (before rotation).
    pub coded_size: Size,
    /// Clockwise quarter turns that make it upright: 0, 1, 2 or 3.
    pub rotation: u8,
    /// The pixels.
    pub pixels: Pixels,
}

/// A source of frames, addressed by display index. Sequential access is cheap; any other may cost one group of pictures.
pub trait FrameSource: Send {
    /// Identity, displayed size and length.
    fn info(&self) -> &VideoInfo;

    /// Presentation time of a frame in seconds.
    fn pts_secs(&self, index: FrameIndex) -> Option<f64>;

    /// Decodes one frame exactly.
    ///
    /// # Errors
    /// [`VideoError`] if the index is past the end or the frame cannot be decoded.
    fn frame(&mut self, index: FrameIndex) -> Result<Frame, VideoError>;

    /// Things worth telling the user (a truncated file, skipped frames).
    fn warnings(&self) -> &[String] {
        &[]
    }
}
