//! The messages between a face (window or command line) and the inference thread.

use std::ops::RangeInclusive;

use crate::project::{
    BoxPx, Emission, FrameIndex, FrameMask, Object, ObjectId, PointPx, Rle, Thresholds,
};

/// Identity of a job; grows by one with each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// How masks get from the emission's frame to the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Memory propagation from the emission's frame (the sane default).
    #[default]
    Track,
    /// As released: the emission's boxes and `[SEG]` on every frame, each decoded alone.
    Framewise,
}

/// Which way masks are carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PropagateDirection {
    /// Towards later frames.
    Forward,
    /// Towards earlier frames.
    Backward,
    /// Both, each frame from its nearest anchors.
    Both,
}

/// What decides an emission.
#[derive(Clone, Debug)]
pub struct GroundOptions {
    /// Thresholds for keeping proposals.
    pub thresholds: Thresholds,
    /// Boxes a person drew: further proposals, scored by the same head.
    pub drawn_boxes: Vec<BoxPx>,
    /// Frames and boxes whose crops become TSF tokens; empty = TSF off.
    pub tsf: Vec<(FrameIndex, BoxPx)>,
}

/// A prompt for one object on one frame.
#[derive(Clone, Debug, Default)]
pub struct Prompt {
    /// A box around the object.
    pub box_px: Option<BoxPx>,
    /// Clicks: `(where, true = on the object)`.
    pub points: Vec<(PointPx, bool)>,
    /// A mask to refine or to take as it is.
    pub mask: Option<Rle>,
    /// Masks of the object on other frames that a person vouches for: what it looks like.
    pub known: Vec<(FrameIndex, Rle)>,
    /// The mask that a model has given the object on this frame, which a box corrects.
    pub carried: Option<Rle>,
}

/// What the inference thread can be asked to do. Every request names the clip by what [`Request::OpenClip`] opened last.
#[derive(Clone, Debug)]
pub enum Request {
    /// Loads a model: `nano` or another id, on `auto`, `cpu`, `cuda` or `metal`.
    LoadModel {
        /// Model id.
        model: String,
        /// Device name.
        device: String,
    },
    /// Opens the clip that later requests speak of (path of a video or an image folder). What there is to tell of the file by
    /// then is left to whoever shows it; only what comes to light later is told.
    OpenClip {
        /// Path.
        path: String,
    },
    /// Proposals and mask for a phrase on one frame.
    Ground {
        /// The frame in view.
        frame: FrameIndex,
        /// The phrase.
        phrase: String,
        /// Options.
        options: GroundOptions,
    },
    /// The mask of one object on one frame from boxes, clicks or a mask. Interactive: only the newest runs.
    Segment {
        /// The frame.
        frame: FrameIndex,
        /// The object.
        object: ObjectId,
        /// The prompt.
        prompt: Prompt,
    },
    /// Carries objects from their anchors and emitted masks through `range`.
    Propagate {
        /// The objects with their known frames (masks that condition the memory).
        objects: Vec<Object>,
        /// Frames to fill, inclusive.
        range: RangeInclusive<u32>,
        /// Which way.
        direction: PropagateDirection,
        /// How.
        mode: Mode,
        /// The emissions whose `[SEG]` and boxes framewise mode applies: each object's is the first that lists it.
        emissions: Vec<Emission>,
    },
}

/// What the inference thread says. Exactly one of `Finished`, `Failed` and `Cancelled` ends a job, also after a panic.
#[derive(Clone, Debug)]
pub enum Update {
    /// The job was taken up.
    Started {
        /// Job.
        job: JobId,
    },
    /// How far it is.
    Progress {
        /// Job.
        job: JobId,
        /// Units done.
        done: u64,
        /// Units in all, 0 if unknown.
        total: u64,
        /// What is being done, for the status line.
        stage: String,
    },
    /// The model is ready.
    ModelLoaded {
        /// Job.
        job: JobId,
        /// Model id.
        model: String,
        /// Device in words.
        device: String,
        /// Thresholds stored with the weights.
        thresholds: Thresholds,
        /// Words the model knows (empty = any).
        vocabulary: Vec<String>,
    },
    /// An emission with the masks of its objects on its frame. `masks[i]` belongs to the i-th referent; the receiver
    /// gives ids.
    Grounded {
        /// Job.
        job: JobId,
        /// The emission (its `objects` are still empty).
        emission: Box<Emission>,
        /// One mask per referent.
        masks: Vec<FrameMask>,
    },
    /// The answer to a segment request.
    Segmented {
        /// Job.
        job: JobId,
        /// Object.
        object: ObjectId,
        /// Frame.
        frame: FrameIndex,
        /// Mask.
        mask: Box<FrameMask>,
    },
    /// One propagated frame of one object, as soon as it is there.
    Propagated {
        /// Job.
        job: JobId,
        /// Object.
        object: ObjectId,
        /// Frame.
        frame: FrameIndex,
        /// Mask.
        mask: Box<FrameMask>,
    },
    /// Something worth saying that does not end the job.
    Warning {
        /// Job.
        job: JobId,
        /// One sentence.
        text: String,
    },
    /// Done.
    Finished {
        /// Job.
        job: JobId,
        /// Seconds of work.
        secs: f32,
    },
    /// It went wrong; what came before stays.
    Failed {
        /// Job.
        job: JobId,
        /// One sentence: what happened, what was kept, what to do.
        text: String,
    },
    /// Stopped on request; what came before stays.
    Cancelled {
        /// Job.
        job: JobId,
    },
}
