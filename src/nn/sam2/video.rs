//! Carries objects through a clip: prompts and masks on some frames, memory on all others.
//!
//! The state machine of the released `sam2_video_predictor.py`, for inference only. Frames come in as features from the
//! caller, who may cache them; masks go out as logits at a quarter of the model image. Scaling to the video, thresholds,
//! overlaps between objects and drift are the caller's.

use std::{
    collections::{BTreeMap, HashMap},
    ops::{ControlFlow, Range},
};

use candle_core::{DType, Tensor};

use super::{
    DecodeOptions, Decoded, ImageFeatures, Memory, Prompts, Sam2,
    bank::{FrameInfo, Remembered, Slots},
    mask_decoder::index_of_largest,
    memory::ABSENT,
};

/// Names an object; the caller chooses.
pub type ObjectId = u32;

/// Attention scores of one batch of objects at most; more objects are taken in turns.
const MAX_SCORES: usize = 1 << 28;
/// Bound of earlier logits when they are fed back.
const MAX_LOGIT: f32 = 32.0;

/// What can go wrong while tracking.
#[derive(Debug, thiserror::Error)]
pub enum VideoError {
    /// A frame index beyond the clip.
    #[error("frame {frame} is outside the clip of {num_frames} frames")]
    FrameOutside {
        /// Asked for.
        frame: usize,
        /// Length of the clip.
        num_frames: usize,
    },
    /// An object that nothing points at.
    #[error("object {0} has neither a prompt nor a mask yet, so it cannot be tracked")]
    NoPrompt(ObjectId),
    /// An object that was never prompted.
    #[error("object {0} is not known")]
    UnknownObject(ObjectId),
    /// In [`Semantics::Joint`] all objects come before tracking.
    #[error("object {0} came after tracking had begun; start again with all objects")]
    LateObject(ObjectId),
    /// Several rows of points, text or mask for one object.
    #[error("object {0} takes one row of points, text and mask at a time, and any number of boxes")]
    Rows(ObjectId),
    /// The caller's features.
    #[error("frame {frame} has no features: {source}")]
    Features {
        /// Frame.
        frame: usize,
        /// The caller's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The network refused.
    #[error(transparent)]
    Network(#[from] candle_core::Error),
}

/// What the provider of features returns: one image's features, or an error of the caller's.
pub type Provided = Result<ImageFeatures, Box<dyn std::error::Error + Send + Sync>>;

/// How spatial memories are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemoryPrecision {
    /// As computed.
    #[default]
    F32,
    /// Rounded to bf16, as the released predictor does; half the memory.
    Bf16,
}

/// Whether objects share their conditioning frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Semantics {
    /// Each object for itself (SAM2 2.1); objects may come at any time.
    #[default]
    Independent,
    /// All in one state (SAM2 2.0): a frame that conditions one object conditions all, with what is known of them there,
    /// or with an empty mask.
    Joint,
}

/// What is kept of tracked frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retention {
    /// What the bank can still use around the current frame: flat in the clip's length.
    #[default]
    Window,
    /// Everything, as released; corrections in the middle of a tracked clip then see their neighbours.
    Everything,
}

/// Settings of a predictor.
#[derive(Clone, Copy, Debug)]
pub struct VideoOptions {
    /// Frames of the clip.
    pub num_frames: usize,
    /// How memories are stored.
    pub precision: MemoryPrecision,
    /// Whether objects share conditioning frames.
    pub semantics: Semantics,
    /// What is kept of tracked frames.
    pub retention: Retention,
    /// At most this many conditioning frames are looked at, the nearest ones; `None` = all, as released.
    pub max_conditioning: Option<usize>,
}

impl VideoOptions {
    /// Objects apart, f32, bounded memory, all conditioning frames.
    pub fn new(num_frames: usize) -> Self {
        Self {
            num_frames,
            precision: MemoryPrecision::default(),
            semantics: Semantics::default(),
            retention: Retention::default(),
            max_conditioning: None,
        }
    }
}

/// What is known of one object on one frame.
#[derive(Clone, Debug)]
pub struct ObjectFrame {
    /// `(1, 1, h, w)` logits, −1024 everywhere if the object is absent.
    pub low_res: Tensor,
    /// Predicted IoU, 0–1.
    pub iou: f32,
    /// Logit that the object is there.
    pub object_score: f32,
    /// `(1, d)`.
    pub pointer: Tensor,
    /// Spatial memory of one row; made before tracking looks at it.
    pub memory: Option<Memory>,
    /// A prompt or a person made it: tracking never replaces it.
    pub prompted: bool,
}

/// One object in the output of a frame.
#[derive(Clone, Debug)]
pub struct ObjectOutput {
    /// Object.
    pub object: ObjectId,
    /// `(1, 1, h, w)` logits, −1024 everywhere if the object is absent.
    pub low_res: Tensor,
    /// Predicted IoU, 0–1.
    pub iou: f32,
    /// Logit that the object is there.
    pub object_score: f32,
    /// A prompt or a person made this mask; tracking left it alone.
    pub prompted: bool,
}

/// What tracking says of one frame.
#[derive(Clone, Debug)]
pub struct FrameOutput {
    /// Frame index.
    pub frame: usize,
    /// The tracked objects, in the order in which they first came.
    pub objects: Vec<ObjectOutput>,
}

/// Direction of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Increasing frame index.
    Forward,
    /// Decreasing frame index.
    Backward,
}

#[derive(Clone, Debug, Default)]
struct ObjectState {
    conditioning: BTreeMap<usize, ObjectFrame>,
    tracked: BTreeMap<usize, ObjectFrame>,
    /// Prompted since the last walk; `true` = will be a conditioning frame.
    pending: BTreeMap<usize, (bool, ObjectFrame)>,
    /// Frames that were walked over, `true` = backward.
    walked: BTreeMap<usize, bool>,
}

impl ObjectState {
    fn known(&self, frame: usize) -> Option<&ObjectFrame> {
        let settled = || {
            self.conditioning
                .get(&frame)
                .or_else(|| self.tracked.get(&frame))
        };
        self.pending
            .get(&frame)
            .map(|(_, known)| known)
            .or_else(settled)
    }

    /// The bank as data, and the entries in the same order.
    fn bank(&self) -> (Vec<Remembered>, Vec<&ObjectFrame>) {
        let entries = |map: &'_ BTreeMap<usize, ObjectFrame>, conditioning| {
            map.keys()
                .map(|frame| Remembered {
                    frame: *frame,
                    conditioning,
                })
                .collect::<Vec<_>>()
        };
        let mut remembered = entries(&self.conditioning, true);
        remembered.extend(entries(&self.tracked, false));
        let frames = self.conditioning.values().chain(self.tracked.values());
        (remembered, frames.collect())
    }
}

/// What an object looks at on a frame: objects with the same key go through the network together.
type LookKey = (Vec<(usize, usize)>, Vec<(usize, i64)>);

/// Memories and pointers of one object, in the order of its slots.
struct Look {
    id: ObjectId,
    memories: Vec<(Tensor, usize)>,
    pointers: Vec<(Tensor, i64)>,
    max_pointers: usize,
}

/// Tracks objects through a clip; `F` gives the features of a frame.
#[derive(Debug)]
pub struct VideoPredictor<'m, F> {
    model: &'m Sam2,
    features: F,
    options: VideoOptions,
    /// In the order in which they first came.
    order: Vec<ObjectId>,
    objects: HashMap<ObjectId, ObjectState>,
    tracking_has_started: bool,
}

impl<'m, F: FnMut(usize) -> Provided> VideoPredictor<'m, F> {
    /// A predictor that knows no object yet.
    pub fn new(model: &'m Sam2, options: VideoOptions, features: F) -> Self {
        Self {
            model,
            features,
            options,
            order: Vec::new(),
            objects: HashMap::new(),
            tracking_has_started: false,
        }
    }

    /// Objects in the order in which they first came.
    pub fn objects(&self) -> &[ObjectId] {
        &self.order
    }

    /// What is known of an object on a frame, prompts since the last walk included.
    pub fn known(&self, object: ObjectId, frame: usize) -> Option<&ObjectFrame> {
        self.objects.get(&object)?.known(frame)
    }

    /// Forgets an object; others stay untouched.
    pub fn remove_object(&mut self, object: ObjectId) {
        self.order.retain(|o| *o != object);
        self.objects.remove(&object);
    }

    /// Points at an object on a frame, by all that is said about it there: later calls for the same frame replace earlier
    /// ones, so give the whole list of points. Points are pixels of the model image.
    ///
    /// Boxes are decoded one by one, each with the same text and points, and merged by the larger logit; a box may also
    /// come as two points labelled 2 and 3, as in the released program. With points, what was known of the object here
    /// is fed as a mask prompt unless the prompt brings a mask of its own.
    ///
    /// # Errors
    /// If the frame is outside, the features fail, or parts other than boxes have several rows.
    pub fn add_prompt(
        &mut self,
        frame: usize,
        object: ObjectId,
        prompts: &Prompts,
    ) -> Result<&ObjectFrame, VideoError> {
        self.check_frame(frame)?;
        self.know(object)?;
        let feats = self.frame_features(frame)?;
        let state = self.state(object)?;
        let walked = state.walked.get(&frame).copied();
        let (embed, initial) = match walked {
            None => (self.model.add_no_mem(&feats.embed)?, true),
            Some(reverse) => (self.condition_one(object, frame, reverse, &feats)?, false),
        };
        let cfg = self.model.config();
        let conditioning = initial || cfg.flags.add_all_frames_to_correct_as_cond;
        let prompts = self.complete(frame, object, prompts)?;
        let points = match &prompts.points {
            Some((_, labels)) => labels.dim(1)?,
            None => 0,
        };
        // One click is ambiguous, and so is a phrase; a box is not.
        let multimask = cfg.multimask_output_for_tracking && points <= 1 && prompts.boxes.is_none();
        let decoded = self.model.decode_object(
            &embed,
            &feats.high_res,
            &prompts,
            self.decode_options(&feats, multimask)?,
        )?;
        let known = merge_rows(&decoded)?;
        self.settle(frame, object, conditioning, known)
    }

    /// Takes a mask as the truth of an object on a frame: logits `(1, 1, …)` of any size. The frame conditions all others
    /// from now on and tracking never replaces it.
    ///
    /// # Errors
    /// If the frame is outside, the features fail, or there are several masks.
    pub fn add_mask(
        &mut self,
        frame: usize,
        object: ObjectId,
        mask_logits: &Tensor,
    ) -> Result<&ObjectFrame, VideoError> {
        self.check_frame(frame)?;
        if mask_logits.dims4()?.0 != 1 {
            return Err(VideoError::Rows(object));
        }
        self.know(object)?;
        let feats = self.frame_features(frame)?;
        let decoded = self.model.decode_mask(&feats, mask_logits)?;
        // The memory is made of the mask itself, which may be finer than what goes out.
        let memory =
            self.model
                .encode_memory(&feats.embed, mask_logits, &decoded.object_score, true)?;
        let known = ObjectFrame {
            memory: Some(self.stored(memory)?),
            ..merge_rows(&decoded)?
        };
        self.settle(frame, object, true, known)
    }

    /// Walks over `frames` and gives each to `on_frame`, until it breaks; what is done by then stays. `objects` limits
    /// the walk to some; the others are not even looked at. Prompted frames are given as they are.
    ///
    /// # Errors
    /// If an object has no prompt, a frame is outside, or the features fail.
    pub fn propagate(
        &mut self,
        frames: Range<usize>,
        direction: Direction,
        objects: Option<&[ObjectId]>,
        mut on_frame: impl FnMut(FrameOutput) -> ControlFlow<()>,
    ) -> Result<(), VideoError> {
        if let Some(last) = frames.clone().next_back() {
            self.check_frame(last)?;
        }
        let chosen: Vec<ObjectId> = match objects {
            None => self.order.clone(),
            Some(some) => some.to_vec(),
        };
        self.make_ready(&chosen)?;
        let reverse = direction == Direction::Backward;
        let steps = frames.len();
        for step in 0..steps {
            let frame = if reverse {
                frames.end - 1 - step
            } else {
                frames.start + step
            };
            self.track_frame(frame, reverse, &chosen)?;
            let output = self.output(frame, &chosen);
            if self.options.retention == Retention::Window {
                self.forget_around(frame, &chosen);
            }
            if on_frame(output).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn check_frame(&self, frame: usize) -> Result<(), VideoError> {
        let num_frames = self.options.num_frames;
        if frame < num_frames {
            Ok(())
        } else {
            Err(VideoError::FrameOutside { frame, num_frames })
        }
    }

    /// Enters an object at its first mention.
    fn know(&mut self, object: ObjectId) -> Result<(), VideoError> {
        if self.objects.contains_key(&object) {
            return Ok(());
        }
        if self.tracking_has_started && self.options.semantics == Semantics::Joint {
            return Err(VideoError::LateObject(object));
        }
        self.order.push(object);
        self.objects.insert(object, ObjectState::default());
        Ok(())
    }

    fn state(&self, object: ObjectId) -> Result<&ObjectState, VideoError> {
        self.objects
            .get(&object)
            .ok_or(VideoError::UnknownObject(object))
    }

    fn state_mut(&mut self, object: ObjectId) -> Result<&mut ObjectState, VideoError> {
        self.objects
            .get_mut(&object)
            .ok_or(VideoError::UnknownObject(object))
    }

    fn frame_features(&mut self, frame: usize) -> Result<ImageFeatures, VideoError> {
        (self.features)(frame).map_err(|source| VideoError::Features { frame, source })
    }

    fn decode_options(
        &self,
        feats: &ImageFeatures,
        multimask: bool,
    ) -> Result<DecodeOptions, VideoError> {
        Ok(DecodeOptions {
            multimask,
            train: false,
            image_size: 16 * feats.grid()?.0,
        })
    }

    fn info(&self, frame: usize, reverse: bool) -> FrameInfo {
        FrameInfo {
            frame,
            num_frames: self.options.num_frames,
            reverse,
            max_conditioning: self.options.max_conditioning,
        }
    }

    fn stored(&self, memory: Memory) -> Result<Memory, VideoError> {
        Ok(match self.options.precision {
            MemoryPrecision::F32 => memory,
            MemoryPrecision::Bf16 => Memory {
                features: memory.features.to_dtype(DType::BF16)?,
            },
        })
    }

    /// The prompt with what the released program adds: earlier logits to points, an empty point where neither points nor
    /// boxes are, one row of everything per box.
    fn complete(
        &self,
        frame: usize,
        object: ObjectId,
        prompts: &Prompts,
    ) -> Result<Prompts, VideoError> {
        let mut full = prompts.clone();
        let parts = [
            full.points.as_ref().map(|(xy, _)| xy),
            full.mask.as_ref(),
            full.text.as_ref(),
        ];
        for part in parts.into_iter().flatten() {
            if part.dim(0)? != 1 {
                return Err(VideoError::Rows(object));
            }
        }
        match &full.boxes {
            Some(boxes) => {
                let k = boxes.dim(0)?;
                let repeat = |t: &Tensor| super::position::expand_rows(t, k);
                if let Some((xy, labels)) = &full.points {
                    full.points = Some((repeat(xy)?, repeat(labels)?));
                }
                full.mask = full.mask.as_ref().map(repeat).transpose()?;
                full.text = full.text.as_ref().map(repeat).transpose()?;
            }
            None if full.points.is_some() => {
                if full.mask.is_none()
                    && let Some(known) = self.state(object)?.known(frame)
                {
                    full.mask = Some(known.low_res.clamp(-MAX_LOGIT, MAX_LOGIT)?);
                }
            }
            None => {
                // An empty prompt says so here rather than deep in the encoder.
                full.rows()?;
                let like = full.text.as_ref().or(full.mask.as_ref());
                if let Some(like) = like {
                    full.points = Prompts::nothing(1, like)?.points;
                }
            }
        }
        Ok(full)
    }

    fn settle(
        &mut self,
        frame: usize,
        object: ObjectId,
        conditioning: bool,
        known: ObjectFrame,
    ) -> Result<&ObjectFrame, VideoError> {
        let pending = &mut self.state_mut(object)?.pending;
        pending.insert(frame, (conditioning, known));
        match pending.get(&frame) {
            Some((_, known)) => Ok(known),
            None => Err(VideoError::UnknownObject(object)),
        }
    }

    /// Gives every prompted frame its memory and its place.
    fn make_ready(&mut self, chosen: &[ObjectId]) -> Result<(), VideoError> {
        self.tracking_has_started = true;
        if self.options.semantics == Semantics::Joint {
            self.join()?;
        }
        for &object in chosen {
            let pending = std::mem::take(&mut self.state_mut(object)?.pending);
            for (frame, (conditioning, mut known)) in pending {
                if known.memory.is_none() {
                    let feats = self.frame_features(frame)?;
                    let score = score_tensor(&known)?;
                    let memory =
                        self.model
                            .encode_memory(&feats.embed, &known.low_res, &score, true)?;
                    known.memory = Some(self.stored(memory)?);
                }
                let state = self.state_mut(object)?;
                if conditioning {
                    state.tracked.remove(&frame);
                    state.conditioning.insert(frame, known);
                } else {
                    state.tracked.insert(frame, known);
                }
            }
            if self.state(object)?.conditioning.is_empty() {
                return Err(VideoError::NoPrompt(object));
            }
        }
        Ok(())
    }

    /// A frame that is pending for one object becomes pending for all.
    fn join(&mut self) -> Result<(), VideoError> {
        let mut frames: BTreeMap<usize, bool> = BTreeMap::new();
        let mut like = None;
        for object in &self.order {
            for (frame, (conditioning, known)) in &self.state(*object)?.pending {
                *frames.entry(*frame).or_default() |= *conditioning;
                like = Some(known.low_res.clone());
            }
        }
        let Some(like) = like else {
            return Ok(());
        };
        let absent = ObjectFrame {
            low_res: like.affine(0.0, ABSENT)?,
            iou: 0.0,
            object_score: -10.0,
            pointer: self.model.absent_pointer(1)?,
            memory: None,
            prompted: true,
        };
        for object in self.order.clone() {
            let state = self.state_mut(object)?;
            for (frame, conditioning) in &frames {
                if state.pending.contains_key(frame) {
                    continue;
                }
                let known = ObjectFrame {
                    memory: None,
                    prompted: true,
                    ..state.known(*frame).unwrap_or(&absent).clone()
                };
                state.pending.insert(*frame, (*conditioning, known));
            }
        }
        Ok(())
    }

    fn slots(&self, object: ObjectId, info: FrameInfo) -> Result<(LookKey, Look), VideoError> {
        let (remembered, frames) = self.state(object)?.bank();
        let Slots {
            mut spatial,
            pointers,
            max_pointers,
        } = self.model.slots(&remembered, info);
        spatial.retain(|(i, _)| frames[*i].memory.is_some());
        let key = (
            spatial
                .iter()
                .map(|(i, slot)| (remembered[*i].frame, *slot))
                .collect(),
            pointers
                .iter()
                .map(|(i, distance)| (remembered[*i].frame, *distance))
                .collect(),
        );
        let memories = spatial
            .iter()
            .filter_map(|(i, slot)| {
                let memory = frames[*i].memory.as_ref()?;
                Some((memory.features.clone(), *slot))
            })
            .collect();
        let pointers = pointers
            .iter()
            .map(|(i, distance)| (frames[*i].pointer.clone(), *distance))
            .collect();
        let look = Look {
            id: object,
            memories,
            pointers,
            max_pointers,
        };
        Ok((key, look))
    }

    fn condition_one(
        &self,
        object: ObjectId,
        frame: usize,
        reverse: bool,
        feats: &ImageFeatures,
    ) -> Result<Tensor, VideoError> {
        let (_, look) = self.slots(object, self.info(frame, reverse))?;
        Ok(self.look_at(feats, &[look])?)
    }

    /// Objects with the same slots, batched: `(k, d, h, w)`.
    fn look_at(&self, feats: &ImageFeatures, looks: &[Look]) -> candle_core::Result<Tensor> {
        let Some(first) = looks.first() else {
            candle_core::bail!("there is no object to condition on");
        };
        let batch = |of: &dyn Fn(&Look) -> Tensor| -> candle_core::Result<Tensor> {
            let rows: Vec<Tensor> = looks.iter().map(of).collect();
            Tensor::cat(&rows, 0)
        };
        let memories = (0..first.memories.len())
            .map(|i| Ok((batch(&|l| l.memories[i].0.clone())?, first.memories[i].1)))
            .collect::<candle_core::Result<Vec<_>>>()?;
        let pointers = (0..first.pointers.len())
            .map(|i| Ok((batch(&|l| l.pointers[i].0.clone())?, first.pointers[i].1)))
            .collect::<candle_core::Result<Vec<_>>>()?;
        let memories: Vec<_> = memories.iter().map(|(t, s)| (t, *s)).collect();
        let pointers: Vec<_> = pointers.iter().map(|(t, d)| (t, *d)).collect();
        self.model
            .look_at(feats, &memories, &pointers, first.max_pointers)
    }

    fn track_frame(
        &mut self,
        frame: usize,
        reverse: bool,
        chosen: &[ObjectId],
    ) -> Result<(), VideoError> {
        let info = self.info(frame, reverse);
        let mut groups: BTreeMap<LookKey, Vec<Look>> = BTreeMap::new();
        for &object in chosen {
            let state = self.state_mut(object)?;
            state.walked.insert(frame, reverse);
            let fixed = state.conditioning.contains_key(&frame)
                || state.tracked.get(&frame).is_some_and(|f| f.prompted);
            if fixed {
                continue;
            }
            let (key, look) = self.slots(object, info)?;
            groups.entry(key).or_default().push(look);
        }
        if groups.is_empty() {
            return Ok(());
        }
        let feats = self.frame_features(frame)?;
        let (h, w) = feats.grid()?;
        let multimask = self.model.config().multimask_output_for_tracking;
        let options = self.decode_options(&feats, multimask)?;
        for (key, looks) in groups {
            let scores = (h * w) * (h * w) * key.0.len().max(1);
            let at_once = (MAX_SCORES / scores).max(1);
            for looks in looks.chunks(at_once) {
                let embed = self.look_at(&feats, looks)?;
                let prompts = Prompts::nothing(looks.len(), &embed)?;
                let decoded =
                    self.model
                        .decode_object(&embed, &feats.high_res, &prompts, options)?;
                let memory = self.model.encode_memory(
                    &feats.embed,
                    &decoded.low_res,
                    &decoded.object_score,
                    false,
                )?;
                let memory = self.stored(memory)?;
                for (row, look) in looks.iter().enumerate() {
                    let tracked = ObjectFrame {
                        memory: Some(Memory {
                            features: memory.features.narrow(0, row, 1)?,
                        }),
                        prompted: false,
                        ..one_row(&decoded, row)?
                    };
                    self.state_mut(look.id)?.tracked.insert(frame, tracked);
                }
            }
        }
        Ok(())
    }

    fn output(&self, frame: usize, chosen: &[ObjectId]) -> FrameOutput {
        let one = |object: &ObjectId| {
            let known = self.known(*object, frame)?;
            Some(ObjectOutput {
                object: *object,
                low_res: known.low_res.clone(),
                iou: known.iou,
                object_score: known.object_score,
                prompted: known.prompted,
            })
        };
        FrameOutput {
            frame,
            objects: chosen.iter().filter_map(one).collect(),
        }
    }

    /// Lets go of tracked frames that no later frame of the walk can look at.
    fn forget_around(&mut self, frame: usize, chosen: &[ObjectId]) {
        let cfg = self.model.config();
        let memories = cfg.num_maskmem.saturating_sub(1);
        let reach = memories.max(cfg.max_obj_ptrs_in_encoder.saturating_sub(1));
        for object in chosen {
            let Some(state) = self.objects.get_mut(object) else {
                continue;
            };
            state
                .tracked
                .retain(|f, known| known.prompted || f.abs_diff(frame) <= reach);
            for (f, known) in &mut state.tracked {
                if !known.prompted && f.abs_diff(frame) > memories {
                    known.memory = None;
                }
            }
        }
    }
}

fn score_tensor(known: &ObjectFrame) -> candle_core::Result<Tensor> {
    Tensor::full(known.object_score, (1, 1), known.low_res.device())
}

fn column(t: &Tensor) -> candle_core::Result<Vec<f32>> {
    t.to_dtype(DType::F32)?.flatten_all()?.to_vec1()
}

fn one_row(decoded: &Decoded, row: usize) -> candle_core::Result<ObjectFrame> {
    let pick = |t: &Tensor| t.narrow(0, row, 1);
    Ok(ObjectFrame {
        low_res: pick(&decoded.low_res)?,
        iou: column(&pick(&decoded.iou)?)?[0],
        object_score: column(&pick(&decoded.object_score)?)?[0],
        pointer: pick(&decoded.pointer)?,
        memory: None,
        prompted: true,
    })
}

/// One object from the rows of its boxes: the larger logit of each pixel, score and pointer of the present row with the
/// largest predicted IoU.
fn merge_rows(decoded: &Decoded) -> candle_core::Result<ObjectFrame> {
    let scores = column(&decoded.object_score)?;
    let worth: Vec<f32> = column(&decoded.iou)?
        .iter()
        .zip(&scores)
        .map(|(iou, score)| if *score > 0.0 { *iou } else { iou - 2.0 })
        .collect();
    let best = one_row(decoded, index_of_largest(&worth))?;
    if scores.len() == 1 {
        return Ok(best);
    }
    Ok(ObjectFrame {
        low_res: decoded.low_res.max_keepdim(0)?,
        ..best
    })
}
