//! A clip that was decoded beforehand, so that what is timed begins with pixels.

use std::sync::Arc;

use crate::{
    project::{FrameIndex, VideoInfo},
    video::{Frame, FrameSource, VideoError},
};

/// The first frames of a source, in memory. Clones share them.
#[derive(Clone)]
pub(super) struct Held {
    info: VideoInfo,
    frames: Arc<Vec<Frame>>,
}

impl Held {
    /// Reads at most `frames` frames.
    pub(super) fn read(source: &mut dyn FrameSource, frames: u32) -> Result<Self, VideoError> {
        let mut info = source.info().clone();
        info.frames = info.frames.min(frames);
        let frames = (0..info.frames)
            .map(|i| source.frame(FrameIndex(i)))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            info,
            frames: Arc::new(frames),
        })
    }
}

impl FrameSource for Held {
    fn info(&self) -> &VideoInfo {
        &self.info
    }

    fn pts_secs(&self, index: FrameIndex) -> Option<f64> {
        self.frames.get(index.0 as usize).map(|f| f.pts_secs)
    }

    fn frame(&mut self, index: FrameIndex) -> Result<Frame, VideoError> {
        let frame = self.frames.get(index.0 as usize).cloned();
        frame.ok_or(VideoError::OutOfRange {
            index: index.0,
            frames: self.info.frames,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{project::Size, video::SyntheticSource};

    #[test]
    fn no_more_is_held_than_was_asked_for_or_is_there() {
        let mut source = SyntheticSource::new(Size::new(8, 6), 3, 1.0);
        for (asked, there) in [(2, 2), (9, 3)] {
            let mut held = Held::read(&mut source, asked).unwrap();
            assert_eq!(held.info().frames, there);
            let last = held.frame(FrameIndex(there - 1)).unwrap();
            assert_eq!(Some(last.pts_secs), held.pts_secs(FrameIndex(there - 1)));
            assert!(held.frame(FrameIndex(there)).is_err());
        }
    }
}
