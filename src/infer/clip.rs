//! An opened clip with what has been computed of it: small copies of frames, features per frame, the visual prefix of the
//! prompt per set of encoder frames, and the embeddings of recent emissions. Everything is kept within budgets of bytes, so
//! that an hour of video costs what ten seconds cost.

use std::{collections::VecDeque, sync::Arc};

use candle_core::Tensor;

use crate::{
    nn::{deformable_detr::Proposals, filtration::Followed, phi3::KvCache, sam2::ImageFeatures},
    project::{FrameIndex, Size, VideoInfo},
    video::{Frame, FrameSource, RgbFrame, VideoError, to_rgb, to_rgb_scaled},
};

use super::{appearance::Canvas, cache::ByteCache};

/// Bytes of decoded frames that are kept.
const DECODED_BYTES: usize = 48 << 20;
/// Bytes of small copies of frames that are kept.
const SMALL_BYTES: usize = 4 << 20;
/// Bytes of frames that masks are divided on.
const CANVAS_BYTES: usize = 16 << 20;
/// Bytes of image features that are kept.
pub(super) const FEATURE_BYTES: usize = 256 << 20;
/// Bytes of visual prefixes that are kept.
const PREFIX_BYTES: usize = 128 << 20;
/// Emissions whose embeddings are kept.
const EMISSIONS: usize = 16;

/// The language model's state after the visual part of a prompt.
#[derive(Clone, Debug)]
pub(super) struct Prefix {
    pub(super) state: KvCache,
    /// Images in the prompt: the encoder frames, or the one that there is.
    pub(super) images: usize,
}

/// What an emission prompted the mask decoder with.
#[derive(Clone, Debug)]
pub(super) struct Emitted {
    pub(super) phrase: String,
    pub(super) frame: FrameIndex,
    /// One embedding per referent, `(1, d)` each.
    pub(super) seg: Vec<Tensor>,
    /// Kept boxes per referent, corners in 0..=1.
    pub(super) boxes: Vec<Vec<[f32; 4]>>,
}

/// An opened clip.
pub struct Clip {
    source: Box<dyn FrameSource>,
    /// The towers and SAM2 look at the same few frames, which lie far apart: each would be sought and decoded twice.
    decoded: ByteCache<FrameIndex, Arc<Frame>>,
    pub(super) features: ByteCache<FrameIndex, Arc<ImageFeatures>>,
    /// SAM2 and what divides its masks look at the same frames, too.
    small: ByteCache<(FrameIndex, usize), Arc<RgbFrame>>,
    pub(super) canvases: ByteCache<FrameIndex, Arc<Canvas>>,
    pub(super) prefixes: ByteCache<Vec<FrameIndex>, Arc<Prefix>>,
    pub(super) emitted: VecDeque<Emitted>,
    /// What a proposer with its own image encoder saw of the frame asked about last.
    pub(super) proposer_maps: Option<(FrameIndex, Arc<Vec<Tensor>>)>,
    /// What becomes of the proposals of the frame asked about last, no drawn box among them.
    pub(super) followed: Option<(FrameIndex, Followed)>,
    /// What the proposer offers on the frame asked about last, no drawn box among it.
    pub(super) offered: Option<(FrameIndex, Proposals)>,
    /// The engine that made what is cached.
    pub(super) engine: Option<u64>,
    /// Images that may be encoded together at most: one, after memory has run out, whatever a device could use.
    pub(super) at_once: usize,
}

impl Clip {
    /// Nothing is computed yet.
    pub fn new(source: Box<dyn FrameSource>) -> Self {
        Self {
            source,
            decoded: ByteCache::new(DECODED_BYTES),
            features: ByteCache::new(FEATURE_BYTES),
            small: ByteCache::new(SMALL_BYTES),
            canvases: ByteCache::new(CANVAS_BYTES),
            prefixes: ByteCache::new(PREFIX_BYTES),
            emitted: VecDeque::new(),
            proposer_maps: None,
            followed: None,
            offered: None,
            engine: None,
            at_once: usize::MAX,
        }
    }

    /// Identity, size and length.
    pub fn info(&self) -> &VideoInfo {
        self.source.info()
    }

    /// Displayed size.
    pub fn size(&self) -> Size {
        self.source.info().size
    }

    /// Number of frames.
    pub fn frames(&self) -> u32 {
        self.source.info().frames
    }

    /// Things worth telling the user about the file.
    pub fn warnings(&self) -> &[String] {
        self.source.warnings()
    }

    /// Presentation time of a frame in seconds.
    pub fn pts_secs(&self, frame: FrameIndex) -> Option<f64> {
        self.source.pts_secs(frame)
    }

    /// A decoded frame.
    ///
    /// # Errors
    /// [`VideoError`] if there is no such frame or it cannot be decoded.
    pub fn frame(&mut self, frame: FrameIndex) -> Result<Arc<Frame>, VideoError> {
        if let Some(decoded) = self.decoded.get(&frame) {
            return Ok(decoded);
        }
        let decoded = Arc::new(self.source.frame(frame)?);
        let bytes = decoded.bytes();
        self.decoded.put(frame, Arc::clone(&decoded), bytes);
        Ok(decoded)
    }

    /// A frame as displayed.
    ///
    /// # Errors
    /// As [`Clip::frame`].
    pub fn rgb(&mut self, frame: FrameIndex) -> Result<RgbFrame, VideoError> {
        self.frame(frame).map(|f| to_rgb(&f))
    }

    /// A frame as displayed, stretched to a square of `side` pixels.
    ///
    /// # Errors
    /// As [`Clip::frame`].
    pub(super) fn small(
        &mut self,
        frame: FrameIndex,
        side: usize,
    ) -> Result<Arc<RgbFrame>, VideoError> {
        if let Some(small) = self.small.get(&(frame, side)) {
            return Ok(small);
        }
        let size = Size::new(side as u32, side as u32);
        let small = Arc::new(to_rgb_scaled(&*self.frame(frame)?, size));
        self.small
            .put((frame, side), Arc::clone(&small), small.data.len());
        Ok(small)
    }

    /// Forgets what has been computed; decoded frames and their small copies say nothing of a model and stay.
    pub fn forget(&mut self) {
        self.features.clear();
        self.canvases.clear();
        self.prefixes.clear();
        self.emitted.clear();
        self.proposer_maps = None;
        self.followed = None;
        self.offered = None;
        self.engine = None;
    }

    /// When memory has run out: forgets what has been computed, keeps half as much from now on, and encodes one image at a time.
    pub fn keep_less(&mut self) {
        self.forget();
        self.decoded.halve();
        self.small.halve();
        self.features.halve();
        self.canvases.halve();
        self.prefixes.halve();
        self.at_once = 1;
    }

    pub(super) fn remember(&mut self, emitted: Emitted) {
        self.emitted
            .retain(|e| e.phrase != emitted.phrase || e.frame != emitted.frame);
        if self.emitted.len() == EMISSIONS {
            self.emitted.pop_front();
        }
        self.emitted.push_back(emitted);
    }

    pub(super) fn recall(&self, phrase: &str, frame: FrameIndex) -> Option<&Emitted> {
        self.emitted
            .iter()
            .find(|e| e.phrase == phrase && e.frame == frame)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::video::SyntheticSource;

    struct Counting(SyntheticSource, Arc<AtomicU32>);

    impl FrameSource for Counting {
        fn info(&self) -> &VideoInfo {
            self.0.info()
        }

        fn frame(&mut self, frame: FrameIndex) -> Result<Frame, VideoError> {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.frame(frame)
        }

        fn pts_secs(&self, frame: FrameIndex) -> Option<f64> {
            self.0.pts_secs(frame)
        }
    }

    #[test]
    fn the_few_frames_that_two_networks_look_at_are_decoded_once() {
        let decoded = Arc::new(AtomicU32::new(0));
        let source = SyntheticSource::new(Size::new(64, 48), 90, 25.0);
        let mut clip = Clip::new(Box::new(Counting(source, Arc::clone(&decoded))));
        for _ in 0..2 {
            for frame in [0, 30, 60, 89] {
                assert_eq!(clip.frame(FrameIndex(frame)).unwrap().index.0, frame);
            }
        }
        assert_eq!(clip.rgb(FrameIndex(30)).unwrap().size, Size::new(64, 48));
        assert_eq!(decoded.load(Ordering::Relaxed), 4);
    }
}
