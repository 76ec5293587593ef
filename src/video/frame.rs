//! What a frame is, and what a source of frames promises.

use super::{Damage, FrameTable};
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

impl VideoError {
    pub(super) fn open(path: &std::path::Path, reason: impl Into<String>) -> Self {
        Self::Open {
            path: path.display().to_string(),
            reason: reason.into(),
        }
    }

    /// A frame was not reached, since the decoding was given up on the way.
    pub fn broken_off(index: FrameIndex) -> Self {
        Self::decode(index, "decoding was broken off")
    }

    pub(super) fn decode(index: FrameIndex, reason: impl Into<String>) -> Self {
        Self::Decode {
            index: index.0,
            reason: reason.into(),
        }
    }
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

impl Frame {
    /// Size as displayed: `coded_size` turned by `rotation`.
    pub fn displayed_size(&self) -> Size {
        displayed_size(self.coded_size, self.rotation)
    }

    /// Bytes of memory the pixels take.
    pub fn bytes(&self) -> usize {
        match &self.pixels {
            Pixels::Yuv420 { y, u, v, .. } => y.len() + u.len() + v.len(),
            Pixels::Rgb(rgb) => rgb.len(),
        }
    }
}

/// `coded` after `rotation` quarter turns.
pub(super) fn displayed_size(coded: Size, rotation: u8) -> Size {
    if rotation.is_multiple_of(2) {
        coded
    } else {
        Size::new(coded.height, coded.width)
    }
}

/// What a caller wants of the frames that are decoded on the way to another.
pub trait OnTheWay {
    /// Whether the frame should be handed to [`OnTheWay::keep`]. Asked before it is decoded, and again before its pixels
    /// are copied.
    fn wants(&mut self, index: FrameIndex) -> bool;

    /// Takes a frame that was wanted.
    fn keep(&mut self, frame: Frame);

    /// Whether to stop before the frame asked for is reached. Asked once per decoded frame.
    fn give_up(&mut self) -> bool;
}

/// Wants nothing and never gives up.
pub struct Straight;

impl OnTheWay for Straight {
    fn wants(&mut self, _: FrameIndex) -> bool {
        false
    }

    fn keep(&mut self, _: Frame) {}

    fn give_up(&mut self) -> bool {
        false
    }
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

    /// Like [`FrameSource::frame`], for callers with a use for the frames that have to be decoded first. `Ok(None)` if
    /// `on_the_way` gave up; asking again then goes on from where it stopped.
    ///
    /// # Errors
    /// As [`FrameSource::frame`].
    fn walk_to(
        &mut self,
        index: FrameIndex,
        on_the_way: &mut dyn OnTheWay,
    ) -> Result<Option<Frame>, VideoError> {
        if on_the_way.give_up() {
            return Ok(None);
        }
        self.frame(index).map(Some)
    }

    /// A second reader of the same video with a position of its own, if one can be had cheaply.
    fn second_reader(&self) -> Option<Box<dyn FrameSource>> {
        None
    }

    /// The frame table, if the source has one worth keeping in the project.
    fn table(&self) -> Option<&FrameTable> {
        None
    }

    /// What is known to be damaged, if the source can tell. It grows as frames are decoded. For a frame that is lost
    /// [`FrameSource::frame`] gives the picture of another one, under the index asked for.
    fn damage(&self) -> Option<&Damage> {
        None
    }

    /// Things worth telling the user (a truncated file, damaged frames). They may become more as frames are decoded.
    fn warnings(&self) -> &[String] {
        &[]
    }
}
