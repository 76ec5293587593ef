//! An opened clip with what has been computed of it: small copies of frames, features per frame, the visual prefix of the
//! prompt per set of encoder frames, and the embeddings of recent emissions. Everything is kept within budgets of bytes, so
//! that an hour of video costs what ten seconds cost.

use std::{collections::VecDeque, ops::Range, sync::Arc};

use candle_core::Tensor;

use crate::{
    nn::{
        deformable_detr::Proposals,
        filtration::{Followed, Sighting},
        phi3::KvCache,
        sam2::ImageFeatures,
    },
    project::{BoxPx, Emission, FrameIndex, FrameMask, PointPx, Proposal, Size, VideoInfo},
    video::{Frame, FrameSource, OnTheWay, RgbFrame, VideoError, to_rgb},
};

use super::{appearance::Canvas, cache::ByteCache};

/// Bytes of decoded frames that are kept. Each walk back within a group of pictures decodes it from its key frame and ends
/// with so many bytes of it: of 1080p 64 frames, so that a group of 250 is decoded four times.
const DECODED_BYTES: usize = 192 << 20;
/// A frame at most so many before the one asked for last is a step backwards; what lies further off is a jump.
const STEP_BACK: u32 = 8;
/// Bytes of small copies of frames, as a model is shown them, that are kept.
const SMALL_BYTES: usize = 4 << 20;
/// Bytes of frames that masks are divided on.
const CANVAS_BYTES: usize = 16 << 20;
/// Bytes of image features that are kept.
pub(super) const FEATURE_BYTES: usize = 256 << 20;
/// Bytes of visual prefixes that are kept.
const PREFIX_BYTES: usize = 128 << 20;
/// Emissions whose embeddings are kept.
const EMISSIONS: usize = 16;
/// Clicks whose masks are kept: of those that a person is at work on.
const CLICKED: usize = 8;
/// Emissions whose crops are kept, which are a few numbers each.
const CROPS: usize = 256;

/// The language model's state after the visual part of a prompt.
#[derive(Clone, Debug)]
pub(super) struct Prefix {
    pub(super) state: KvCache,
    /// Images in the prompt: the encoder frames, or the one that there is.
    pub(super) images: usize,
}

/// Which emission: the same phrase may have been asked on the same frame again, with other crops or boxes. The confidences follow
/// from both, whatever is selected since, and come back from a project bit for bit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EmissionKey {
    phrase: String,
    frame: FrameIndex,
    /// Bits of each proposal's.
    confidences: Vec<u32>,
}

impl EmissionKey {
    pub(super) fn new(phrase: &str, frame: FrameIndex, proposals: &[Proposal]) -> Self {
        Self {
            phrase: phrase.to_owned(),
            frame,
            confidences: proposals.iter().map(|p| p.confidence.to_bits()).collect(),
        }
    }

    pub(super) fn of(emission: &Emission) -> Self {
        Self::new(&emission.phrase, emission.frame, &emission.proposals)
    }
}

/// What an emission prompted the mask decoder with.
#[derive(Clone, Debug)]
pub(super) struct Emitted {
    pub(super) key: EmissionKey,
    /// One embedding per referent, `(1, d)` each.
    pub(super) seg: Vec<Tensor>,
    /// Kept boxes per referent, corners in 0..=1.
    pub(super) boxes: Vec<Vec<[f32; 4]>>,
}

/// The crops that an emission was asked with: what its target-specific tokens are made of.
#[derive(Clone, Debug)]
struct Crops {
    key: EmissionKey,
    boxes: Vec<(FrameIndex, BoxPx)>,
}

/// A click on an object, and the frame it was made on.
type ClickAt = (FrameIndex, PointPx);

/// Keeps the frames just before the wanted one, which a walk backwards asks for next.
struct Before<'a> {
    kept: &'a mut ByteCache<FrameIndex, Arc<Frame>>,
    frames: Range<u32>,
}

impl OnTheWay for Before<'_> {
    fn wants(&mut self, index: FrameIndex) -> bool {
        self.frames.contains(&index.0)
    }

    fn keep(&mut self, frame: Frame) {
        let bytes = frame.bytes();
        self.kept.put(frame.index, Arc::new(frame), bytes);
    }

    fn give_up(&mut self) -> bool {
        false
    }
}

/// An opened clip.
pub struct Clip {
    source: Box<dyn FrameSource>,
    /// The towers and SAM2 look at the same few frames, which lie far apart: each would be sought and decoded twice.
    decoded: ByteCache<FrameIndex, Arc<Frame>>,
    /// The frame asked for last, and its bytes.
    last: Option<(FrameIndex, usize)>,
    /// What was told of the file.
    told: Vec<String>,
    pub(super) features: ByteCache<FrameIndex, Arc<ImageFeatures>>,
    /// SAM2 and what divides its masks look at the same frames, too, by side of the square, as the model is shown them.
    pub(super) small: ByteCache<(FrameIndex, usize), Arc<RgbFrame>>,
    pub(super) canvases: ByteCache<FrameIndex, Arc<Canvas>>,
    pub(super) prefixes: ByteCache<Vec<FrameIndex>, Arc<Prefix>>,
    pub(super) emitted: VecDeque<Emitted>,
    /// No result of a model, so that another model can be asked with them, too.
    crops: Vec<Crops>,
    /// What a proposer with its own image encoder saw of the frame asked about last.
    pub(super) proposer_maps: Option<(FrameIndex, Arc<Vec<Tensor>>)>,
    /// What becomes of the proposals of the frame asked about last, no drawn box among them.
    pub(super) followed: Option<(FrameIndex, Followed)>,
    /// What they were looked for among: the proposals of the later frames, to which no drawn box matters.
    pub(super) sightings: Vec<(FrameIndex, Sighting)>,
    /// What the proposer offers on the frame asked about last, no drawn box among it.
    pub(super) offered: Option<(FrameIndex, Proposals)>,
    /// What single clicks were found to mean.
    clicked: VecDeque<(ClickAt, FrameMask)>,
    /// The engine that made what is cached.
    pub(super) engine: Option<u64>,
    /// Images that may be encoded together at most, and objects that may be carried together: one, after memory has run out, whatever
    /// a device could use.
    pub(super) at_once: usize,
}

impl Clip {
    /// Nothing is computed yet.
    pub fn new(source: Box<dyn FrameSource>) -> Self {
        Self {
            told: source.warnings().to_vec(),
            source,
            decoded: ByteCache::new(DECODED_BYTES),
            last: None,
            features: ByteCache::new(FEATURE_BYTES),
            small: ByteCache::new(SMALL_BYTES),
            canvases: ByteCache::new(CANVAS_BYTES),
            prefixes: ByteCache::new(PREFIX_BYTES),
            emitted: VecDeque::new(),
            crops: Vec::new(),
            proposer_maps: None,
            followed: None,
            sightings: Vec::new(),
            offered: None,
            clicked: VecDeque::new(),
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

    /// What there is to tell of the file that was not told when it was opened, or since: damage is found as frames are
    /// decoded.
    pub fn news(&mut self) -> Vec<String> {
        let known = self.source.warnings();
        let is_new = |w: &&String| !self.told.contains(w);
        let news = known.iter().filter(is_new).cloned().collect();
        self.told = known.to_vec();
        news
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
            self.last = Some((frame, decoded.bytes()));
            return Ok(decoded);
        }
        let decoded = match self.last {
            Some((FrameIndex(last), bytes))
                if (1..=STEP_BACK).contains(&last.saturating_sub(frame.0)) =>
            {
                self.step_back(frame, bytes)?
            }
            _ => self.source.frame(frame)?,
        };
        let bytes = decoded.bytes();
        let decoded = Arc::new(decoded);
        self.decoded.put(frame, Arc::clone(&decoded), bytes);
        self.last = Some((frame, bytes));
        Ok(decoded)
    }

    /// Decodes a frame and keeps as many of `bytes` bytes before it as there is room for: all of them have to be decoded on
    /// the way from the key frame, and once more for each step if none is kept.
    fn step_back(&mut self, frame: FrameIndex, bytes: usize) -> Result<Frame, VideoError> {
        let room = u32::try_from(self.decoded.budget() / bytes.max(1)).unwrap_or(u32::MAX);
        let mut before = Before {
            kept: &mut self.decoded,
            // The wanted one needs room, too.
            frames: frame.0.saturating_sub(room.saturating_sub(1))..frame.0,
        };
        let found = self.source.walk_to(frame, &mut before)?;
        found.ok_or_else(|| VideoError::broken_off(frame))
    }

    /// A frame as displayed.
    ///
    /// # Errors
    /// As [`Clip::frame`].
    pub fn rgb(&mut self, frame: FrameIndex) -> Result<RgbFrame, VideoError> {
        self.frame(frame).map(|f| to_rgb(&f))
    }

    /// Forgets what has been computed; decoded frames say nothing of a model and stay.
    pub fn forget(&mut self) {
        self.features.clear();
        self.small.clear();
        self.canvases.clear();
        self.prefixes.clear();
        self.emitted.clear();
        self.proposer_maps = None;
        self.followed = None;
        self.sightings.clear();
        self.offered = None;
        self.clicked.clear();
        self.engine = None;
    }

    /// When memory has run out: forgets what has been computed, keeps half as much from now on, and takes one image, and one object, at a time.
    pub fn keep_less(&mut self) {
        self.forget();
        self.decoded.halve();
        self.small.halve();
        self.features.halve();
        self.canvases.halve();
        self.prefixes.halve();
        self.at_once = 1;
    }

    /// Keeps what a click on an object was found to mean.
    pub(super) fn remember_click(&mut self, at: ClickAt, mask: FrameMask) {
        if self.clicked.len() == CLICKED {
            self.clicked.pop_front();
        }
        self.clicked.push_back((at, mask));
    }

    pub(super) fn recall_click(&self, at: ClickAt) -> Option<&FrameMask> {
        let found = self.clicked.iter().find(|(click, _)| *click == at);
        found.map(|(_, mask)| mask)
    }

    pub(super) fn remember(&mut self, emitted: Emitted) {
        self.emitted.retain(|e| e.key != emitted.key);
        if self.emitted.len() == EMISSIONS {
            self.emitted.pop_front();
        }
        self.emitted.push_back(emitted);
    }

    pub(super) fn recall(&self, emission: &Emission) -> Option<&Emitted> {
        let key = EmissionKey::of(emission);
        self.emitted.iter().find(|e| e.key == key)
    }

    /// Notes which crops became the target-specific tokens of a prompt.
    pub(super) fn remember_crops(&mut self, key: EmissionKey, boxes: &[(FrameIndex, BoxPx)]) {
        self.crops.retain(|c| c.key != key);
        if self.crops.len() == CROPS {
            self.crops.remove(0);
        }
        self.crops.push(Crops {
            key,
            boxes: boxes.to_vec(),
        });
    }

    /// The crops that an emission was asked with; `None` if it was asked in another session.
    pub(super) fn crops_of(&self, emission: &Emission) -> Option<&[(FrameIndex, BoxPx)]> {
        if emission.tsf_tokens == 0 {
            return Some(&[]);
        }
        let key = EmissionKey::of(emission);
        let found = self.crops.iter().find(|c| c.key == key);
        found.map(|c| c.boxes.as_slice())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::video::{Straight, SyntheticSource};

    /// A source that counts the frames it decodes.
    struct Counting(SyntheticSource, Arc<AtomicU32>);

    /// A clip of a [`Counting`] source, and its count.
    pub(in crate::infer) fn counting(size: Size, frames: u32) -> (Clip, Arc<AtomicU32>) {
        let decoded = Arc::new(AtomicU32::new(0));
        let source = SyntheticSource::new(size, frames, 25.0);
        let clip = Clip::new(Box::new(Counting(source, Arc::clone(&decoded))));
        (clip, decoded)
    }

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
        let (mut clip, decoded) = counting(Size::new(64, 48), 90);
        for _ in 0..2 {
            for frame in [0, 30, 60, 89] {
                assert_eq!(clip.frame(FrameIndex(frame)).unwrap().index.0, frame);
            }
        }
        assert_eq!(clip.rgb(FrameIndex(30)).unwrap().size, Size::new(64, 48));
        assert_eq!(decoded.load(Ordering::Relaxed), 4);
    }

    /// A source of which something comes to light when frame 5 is decoded.
    struct Finding(SyntheticSource, Vec<String>);

    impl FrameSource for Finding {
        fn info(&self) -> &VideoInfo {
            self.0.info()
        }

        fn frame(&mut self, frame: FrameIndex) -> Result<Frame, VideoError> {
            if frame.0 == 5 {
                self.1.push("frame 5 is damaged".to_owned());
            }
            self.0.frame(frame)
        }

        fn pts_secs(&self, frame: FrameIndex) -> Option<f64> {
            self.0.pts_secs(frame)
        }

        fn warnings(&self) -> &[String] {
            &self.1
        }
    }

    #[test]
    fn what_comes_to_light_while_frames_are_decoded_is_told_once() {
        let source = SyntheticSource::new(Size::new(64, 48), 9, 25.0);
        let known = vec!["its pixels are not square".to_owned()];
        let mut clip = Clip::new(Box::new(Finding(source, known)));
        clip.frame(FrameIndex(4)).unwrap();
        assert_eq!(clip.news(), [] as [String; 0], "told when it was opened");
        clip.frame(FrameIndex(5)).unwrap();
        assert_eq!(clip.news(), ["frame 5 is damaged"]);
        assert_eq!(clip.news(), [] as [String; 0]);
        assert_eq!(clip.warnings().len(), 2);
    }

    /// One group of pictures: whatever lies before the frame that was decoded last is decoded again from the start.
    struct OneGroup {
        inner: SyntheticSource,
        at: u32,
        decoded: Arc<AtomicU32>,
    }

    impl FrameSource for OneGroup {
        fn info(&self) -> &VideoInfo {
            self.inner.info()
        }

        fn frame(&mut self, frame: FrameIndex) -> Result<Frame, VideoError> {
            let found = self.walk_to(frame, &mut Straight)?;
            Ok(found.unwrap())
        }

        fn walk_to(
            &mut self,
            frame: FrameIndex,
            on_the_way: &mut dyn OnTheWay,
        ) -> Result<Option<Frame>, VideoError> {
            if frame.0 < self.at {
                self.at = 0;
            }
            loop {
                let index = FrameIndex(self.at);
                self.at += 1;
                self.decoded.fetch_add(1, Ordering::Relaxed);
                if index == frame {
                    return self.inner.frame(index).map(Some);
                }
                if on_the_way.wants(index) {
                    on_the_way.keep(self.inner.frame(index)?);
                }
            }
        }

        fn pts_secs(&self, frame: FrameIndex) -> Option<f64> {
            self.inner.pts_secs(frame)
        }
    }

    const SMALL: Size = Size {
        width: 64,
        height: 48,
    };

    /// Frames decoded while one walks from the last of `frames` to the first.
    fn decoded_backwards(budget: usize, frames: u32) -> u32 {
        let decoded = Arc::new(AtomicU32::new(0));
        let mut clip = Clip::new(Box::new(OneGroup {
            inner: SyntheticSource::new(SMALL, frames, 25.0),
            at: 0,
            decoded: Arc::clone(&decoded),
        }));
        clip.decoded = ByteCache::new(budget);
        for frame in (0..frames).rev() {
            assert_eq!(clip.frame(FrameIndex(frame)).unwrap().index.0, frame);
        }
        decoded.load(Ordering::Relaxed)
    }

    #[test]
    fn walking_backwards_decodes_a_group_about_twice() {
        assert!(decoded_backwards(DECODED_BYTES, 250) <= 2 * 250);
        // Twelve frames are kept at a time: as many walks, not one for each frame.
        let twelve = 12 * 64 * 48 * 3;
        assert!(decoded_backwards(twelve, 24) <= (1 + 24 / 12) * 24);
    }
}
