//! Everything the window shows, apart from the document itself (see [`super::session`]). Panels read it; only
//! `logic` changes it.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    path::PathBuf,
    sync::Arc,
    time::Instant,
};

use egui::{Pos2, Rect, TextureHandle, Vec2};

pub(crate) use super::exporter::{ExportForm, ExportStatus};

use super::{
    actions::Action, brush::Painting, dialogs::PathForm, emissions::ChosenEmission, keymap::Keymap,
    lanes::Lane, leaving::Leaving, logic::cut, outline::Outline, prompting::Prompting,
    session::Session, settings::Settings, time_view::TimeView, times::FrameTimes,
};
use crate::{
    project::{BoxPx, FrameIndex, Object, ObjectId, Size, StepId, Thresholds},
    render::{HeatGrid, MaskLayers},
    task::{JobId, PropagateDirection},
    video::Frame,
};

/// What the pointer does on the canvas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tool {
    #[default]
    Select,
    Box,
    Points,
    Polygon,
    Brush,
    Eraser,
    Pan,
}

/// What a drawn box is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum BoxUse {
    /// One more proposal of the emission, scored by the same head.
    #[default]
    Proposal,
    /// The outline of an object, segmented at once.
    Segment,
}

/// Column that the table of proposals is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sort {
    Number,
    Objectness,
    Filtration,
    #[default]
    Confidence,
}

/// Speeds that a clip can be played at.
pub(crate) const SPEEDS: [f32; 4] = [0.25, 0.5, 1.0, 2.0];

/// Zoom and place of the picture. `None` = fitted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct CanvasView {
    /// Points per video pixel, and the video point in the middle of the canvas.
    pub(crate) fixed: Option<(f32, [f32; 2])>,
}

impl CanvasView {
    /// Points per video pixel, and where video point 0,0 lies on the screen.
    pub(crate) fn place(&self, canvas: Rect, size: Size) -> (f32, Pos2) {
        let video = Vec2::new(size.width.max(1) as f32, size.height.max(1) as f32);
        match self.fixed {
            Some((zoom, [x, y])) => (zoom, canvas.center() - Vec2::new(x, y) * zoom),
            None => {
                let room = (canvas.size() - Vec2::splat(32.0)).max(Vec2::splat(32.0));
                let zoom = (room.x / video.x).min(room.y / video.y);
                (zoom, canvas.center() - video * zoom / 2.0)
            }
        }
    }

    /// The view after zooming by `factor` with the video point under `at` staying there.
    pub(crate) fn zoomed(&self, canvas: Rect, size: Size, at: Pos2, factor: f32) -> Self {
        let (zoom, origin) = self.place(canvas, size);
        let next = (zoom * factor).clamp(0.02, 64.0);
        let under = (at - origin) / zoom;
        let middle = under + (canvas.center() - at) / next;
        Self {
            fixed: Some((next, [middle.x, middle.y])),
        }
    }

    /// The view after dragging the picture.
    pub(crate) fn panned(&self, canvas: Rect, size: Size, by: Vec2) -> Self {
        let (zoom, origin) = self.place(canvas, size);
        let middle = (canvas.center() - origin - by) / zoom;
        Self {
            fixed: Some((zoom, [middle.x, middle.y])),
        }
    }
}

/// The open clip as far as it can be drawn.
pub(crate) struct Clip {
    /// File name.
    pub(crate) title: String,
    /// What was opened.
    pub(crate) path: PathBuf,
    /// Newest frame that is decoded, hopefully the one in view.
    pub(crate) shown: Option<Arc<Frame>>,
    /// Differs between pictures that differ, over all clips.
    pub(crate) shown_key: u64,
    /// Presentation time of the frame in view.
    pub(crate) pts_secs: f64,
    /// Film strip.
    pub(crate) thumbnails: BTreeMap<u32, TextureHandle>,
    /// Frames that the film strip wants, as the timeline last said.
    pub(crate) thumbnails_wanted: Vec<u32>,
    /// Why the frame in view cannot be shown, as last said.
    pub(crate) trouble: Option<String>,
    /// Frames that were in view and could not be shown.
    pub(crate) failed: BTreeSet<u32>,
}

/// So many frames apart, two that cannot be shown count as one run: playing passes over frames where it cannot keep up.
const RUN: u32 = 15;

impl Clip {
    /// Takes a frame to be drawn; `next_key` counts on if it is another than before. Its address would not do as a key:
    /// that of a closed clip's frame may come again.
    pub(crate) fn show(&mut self, frame: Arc<Frame>, next_key: &mut u64) {
        let is_shown = self.shown.as_ref().is_some_and(|s| Arc::ptr_eq(s, &frame));
        if !is_shown {
            *next_key += 1;
            self.shown_key = *next_key;
            self.shown = Some(frame);
        }
    }

    /// Notes a frame that cannot be shown; whether it is the first that is met of a run of such frames. Playing over a
    /// damaged stretch, or again, is worth one message.
    pub(crate) fn is_first_of_run(&mut self, frame: u32) -> bool {
        let beside = frame.saturating_sub(RUN)..=frame.saturating_add(RUN);
        let is_first = self.failed.range(beside).next().is_none();
        self.failed.insert(frame);
        is_first
    }
}

/// What a running job was started for.
#[derive(Clone, Debug)]
pub(crate) enum JobKind {
    LoadModel,
    OpenClip,
    Ground {
        frame: FrameIndex,
        phrase: String,
        /// Propagate what comes of it through the clip.
        propagate: bool,
        /// Boxes by hand that are offered with it.
        drawn: Vec<BoxPx>,
        /// Those that it was asked with.
        thresholds: Thresholds,
        /// What was selected when it was asked.
        selected: Option<ObjectId>,
        /// Asked from the phrase field.
        typed: bool,
    },
    Segment {
        frame: FrameIndex,
    },
    Propagate {
        what: String,
        objects: Vec<ObjectId>,
        frames: BTreeMap<ObjectId, u32>,
    },
}

/// A job that has not ended.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) id: JobId,
    pub(crate) kind: JobKind,
    pub(crate) done: u64,
    pub(crate) total: u64,
    pub(crate) stage: String,
    pub(crate) started: bool,
    /// A person has told it to stop.
    pub(crate) stopping: bool,
}

impl Job {
    /// Whether a person may stop it. Without the clip, what is asked next would be answered from the one before.
    pub(crate) fn can_be_stopped(&self) -> bool {
        !matches!(self.kind, JobKind::OpenClip)
    }

    /// For the status line.
    pub(crate) fn title(&self) -> String {
        match &self.kind {
            JobKind::LoadModel => "loading the model".to_owned(),
            JobKind::OpenClip => "handing the clip to the model".to_owned(),
            JobKind::Ground { frame, phrase, .. } => {
                format!("grounding “{}” on frame {}", cut(phrase, 30), frame.0)
            }
            JobKind::Segment { frame } => format!("segmenting frame {}", frame.0),
            JobKind::Propagate { what, .. } => format!("propagating {what}"),
        }
    }
}

/// The model in use.
#[derive(Clone, Debug, Default)]
pub(crate) struct ModelState {
    pub(crate) id: String,
    /// As asked for.
    pub(crate) device_wish: String,
    /// In words, once loaded.
    pub(crate) device: String,
    pub(crate) ready: bool,
    /// Id and device of the model that is at work while another one is being loaded.
    pub(crate) held: Option<(String, String)>,
    pub(crate) vocabulary: Vec<String>,
    pub(crate) thresholds: Thresholds,
}

impl ModelState {
    /// Id of the model that answers.
    pub(crate) fn at_work(&self) -> &str {
        self.held.as_ref().map_or(&self.id, |(id, _)| id)
    }

    /// Another model is asked for; the one that is at work goes on until that is whole.
    pub(crate) fn ask_for(&mut self, id: String) {
        let before = std::mem::replace(&mut self.id, id);
        if std::mem::take(&mut self.ready) {
            self.held = Some((before, self.device.clone()));
        }
    }

    /// The other model could not be loaded.
    pub(crate) fn keep_held(&mut self) {
        if let Some((id, device)) = self.held.take() {
            self.id = id;
            self.device = device;
            self.ready = true;
        }
    }
}

/// A propagation that waits for the masks of prompts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QueuedPropagation {
    pub(crate) direction: PropagateDirection,
    /// The frame that was in view.
    pub(crate) from: FrameIndex,
    /// These objects alone.
    pub(crate) only: Option<Vec<ObjectId>>,
    /// Steps that could be undone when it was asked for: what came since is undone before.
    pub(crate) depth: usize,
}

impl QueuedPropagation {
    /// Whether both ask for the same.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        (self.direction, self.from) == (other.direction, other.from) && self.only == other.only
    }
}

/// How serious a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    Info,
    Look,
    Error,
}

/// A message in the corner.
#[derive(Clone, Debug)]
pub(crate) struct Toast {
    pub(crate) weight: Weight,
    pub(crate) text: String,
    /// On egui's clock; errors stay until dismissed.
    pub(crate) until: Option<f64>,
    pub(crate) key: u64,
}

/// A window over the window.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Dialog {
    Palette {
        query: String,
        at: usize,
    },
    Export(ExportForm),
    Help,
    Words {
        query: String,
    },
    Keys {
        query: String,
        waiting: Option<Action>,
    },
    GoToFrame {
        text: String,
    },
    DeleteObject(ObjectId),
    /// Something is not saved, and this would lose it.
    Unsaved(Leaving),
    /// A path is to be typed.
    Path(PathForm),
    /// Whether a project is to be shown on a video that differs from its own, and how it differs.
    OtherVideo {
        project: PathBuf,
        video: PathBuf,
        why: String,
    },
    /// Whether a project of a video's name, made on another one, is to be opened or a new one begun.
    OtherProject {
        project: PathBuf,
        video: PathBuf,
        why: String,
    },
    /// One sequence of a dataset is to be chosen.
    Sequences {
        dataset: PathBuf,
        names: Vec<String>,
        query: String,
    },
}

/// Masks of the frame in view, ready for the GPU.
#[derive(Clone)]
pub(crate) struct Overlay {
    pub(crate) masks: Arc<MaskLayers>,
    pub(crate) key: u64,
    pub(crate) ids: Vec<ObjectId>,
    /// Masks that there was no room for.
    pub(crate) left_out: usize,
    /// Of what it was built; what is equal here need not be looked at.
    pub(crate) made_of: OverlayKey,
    /// The same as a number, without what does not show.
    pub(crate) content: u64,
}

/// What the overlay depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OverlayKey {
    pub(crate) frame: FrameIndex,
    pub(crate) revision: u64,
    pub(crate) painting: u64,
    pub(crate) comparing: bool,
}

/// Objectness of the emission in view, ready for the GPU.
#[derive(Clone)]
pub(crate) struct HeatLayer {
    pub(crate) grid: Arc<HeatGrid>,
    pub(crate) key: u64,
    /// Of what it was built: boxes and their objectness.
    pub(crate) boxes: Vec<(BoxPx, f32)>,
}

/// The state of the window.
pub(crate) struct State {
    pub(crate) settings: Settings,
    pub(crate) keymap: Keymap,
    pub(crate) has_sample: bool,
    /// A clip is being opened; its name.
    pub(crate) opening: Option<String>,
    pub(crate) clip: Option<Clip>,
    pub(crate) session: Option<Session>,
    /// It was said that the last changes cannot be saved.
    pub(crate) told_trouble: bool,
    /// What the document is to be left for once everything is on the disk.
    pub(crate) leaving: Option<Leaving>,
    pub(crate) frame: u32,
    /// Since when, and from which frame, the clip plays (egui's clock).
    pub(crate) playing: Option<(f64, u32)>,
    /// Seconds of the clip per second, one of [`SPEEDS`].
    pub(crate) speed: f32,
    /// The part of the clip that the timeline shows.
    pub(crate) time_view: TimeView,
    /// Frames that propagation is limited to, inclusive.
    pub(crate) range: (Option<u32>, Option<u32>),
    pub(crate) only_selected: bool,
    pub(crate) framewise: bool,
    pub(crate) phrase: String,
    pub(crate) focus_phrase: bool,
    pub(crate) selected: Option<ObjectId>,
    /// The object that goes into the one that is clicked next, as long as it stays selected; see [`super::arranging`].
    pub(crate) merging: Option<ObjectId>,
    pub(crate) renaming: Option<(ObjectId, String)>,
    pub(crate) tool: Tool,
    pub(crate) box_use: BoxUse,
    /// In video pixels.
    pub(crate) brush_radius: f32,
    pub(crate) painting: Option<Painting>,
    pub(crate) prompting: Option<Prompting>,
    /// Prompts that were left before their masks came, oldest first; at most one of them has been asked.
    pub(crate) finishing: Vec<Prompting>,
    /// The prompt whose clicks were all undone; redo brings it back.
    pub(crate) taken_back: Option<Prompting>,
    /// The step by which an object was said to be absent last, and on which frames.
    pub(crate) said_absent: Option<(StepId, ObjectId, RangeInclusive<u32>)>,
    /// The object that was finished on the frame in view: the next click or box begins a new one.
    pub(crate) finished: Option<ObjectId>,
    /// What is to be carried once they have come, in this order.
    pub(crate) queued: Vec<QueuedPropagation>,
    /// The proposal that was clicked last and the document's revision since: a second click takes the first one back.
    pub(crate) toggled: Option<(usize, u64)>,
    /// A polygon that is being drawn.
    pub(crate) outline: Option<Outline>,
    /// It is cut out of the mask instead of joining it.
    pub(crate) outline_cuts: bool,
    pub(crate) view: CanvasView,
    /// The canvas as last laid out.
    pub(crate) canvas: Rect,
    pub(crate) show_proposals: bool,
    pub(crate) show_heat: bool,
    pub(crate) masks_hidden: bool,
    /// The masks as they were before the step under review are shown.
    pub(crate) comparing: bool,
    /// The pointer is held on the button for that.
    pub(crate) compare_held: bool,
    pub(crate) opacity: f32,
    pub(crate) hovered_proposal: Option<usize>,
    pub(crate) chosen_emission: Option<ChosenEmission>,
    pub(crate) sort: Sort,
    /// Sorted rows of the proposals table: of emission and revision.
    pub(crate) rows: Vec<usize>,
    pub(crate) overlay: Option<Overlay>,
    pub(crate) heat: Option<HeatLayer>,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) lanes_of: u64,
    /// When they were last brought up to date.
    pub(crate) lanes_at: Option<Instant>,
    pub(crate) jobs: Vec<Job>,
    pub(crate) model: ModelState,
    pub(crate) toasts: Vec<Toast>,
    /// Keys of those that speak of the newest answer to a phrase.
    pub(crate) answer_toasts: Vec<u64>,
    pub(crate) dialog: Option<Dialog>,
    /// The export that runs, as it was asked for and as it stands; its dialog may be closed.
    pub(crate) exporting: Option<ExportForm>,
    /// Longest side of a picture that can be drawn, in pixels.
    pub(crate) texture_side: u32,
    pub(crate) memory_mb: u64,
    pub(crate) memory_at: Option<Instant>,
    pub(crate) times: FrameTimes,
    pub(crate) show_times: bool,
    /// Gives keys to uploads and toasts.
    pub(crate) next_key: u64,
}

impl State {
    pub(crate) fn new(settings: Settings, model: String, device: String) -> Self {
        let keymap = Keymap::with_changes(&settings.keys);
        Self {
            keymap,
            has_sample: false,
            opening: None,
            clip: None,
            session: None,
            told_trouble: false,
            leaving: None,
            frame: 0,
            playing: None,
            speed: 1.0,
            time_view: TimeView::default(),
            range: (None, None),
            only_selected: false,
            framewise: false,
            phrase: String::new(),
            focus_phrase: false,
            selected: None,
            merging: None,
            renaming: None,
            tool: Tool::default(),
            box_use: BoxUse::default(),
            brush_radius: 12.0,
            painting: None,
            prompting: None,
            finishing: Vec::new(),
            taken_back: None,
            said_absent: None,
            finished: None,
            queued: Vec::new(),
            toggled: None,
            outline: None,
            outline_cuts: false,
            view: CanvasView::default(),
            canvas: Rect::NOTHING,
            show_proposals: true,
            show_heat: false,
            masks_hidden: false,
            comparing: false,
            compare_held: false,
            opacity: settings.mask_opacity,
            hovered_proposal: None,
            chosen_emission: None,
            sort: Sort::default(),
            rows: Vec::new(),
            overlay: None,
            heat: None,
            lanes: Vec::new(),
            lanes_of: 0,
            lanes_at: None,
            jobs: Vec::new(),
            model: ModelState {
                id: model,
                device_wish: device,
                ..ModelState::default()
            },
            toasts: Vec::new(),
            answer_toasts: Vec::new(),
            dialog: None,
            exporting: None,
            texture_side: u32::MAX,
            memory_mb: 0,
            memory_at: None,
            times: FrameTimes::default(),
            show_times: false,
            next_key: 1,
            settings,
        }
    }

    /// A number that nothing had before.
    pub(crate) fn fresh_key(&mut self) -> u64 {
        self.next_key += 1;
        self.next_key
    }

    /// The frame in view.
    pub(crate) fn here(&self) -> FrameIndex {
        FrameIndex(self.frame)
    }

    /// Whether an object's mask on the frame in view is worth a look, as its lane says.
    pub(crate) fn is_marked(&self, object: ObjectId) -> bool {
        let lane = self.lanes.iter().find(|lane| lane.id == object);
        lane.is_some_and(|lane| lane.is_marked(self.frame))
    }

    /// Number of frames, at least 1.
    pub(crate) fn frames(&self) -> u32 {
        self.session
            .as_ref()
            .map_or(1, |s| s.doc.video.frames.max(1))
    }

    /// An id that no object has and that no click or stroke under way has been given.
    pub(crate) fn free_id(&self) -> Option<ObjectId> {
        let prompts = self.prompts().map(|p| p.object);
        let held = prompts.chain(self.painting.as_ref().map(|p| p.object));
        let held = held.map(|id| id.0 + 1).max();
        let next = self.session.as_ref()?.doc.next_object_id();
        Some(ObjectId(next.0.max(held.unwrap_or(0))))
    }

    /// The prompts that were left before their masks came, then the one that is open.
    pub(crate) fn prompts(&self) -> impl Iterator<Item = &Prompting> {
        self.finishing.iter().chain(&self.prompting)
    }

    /// [`State::prompts`], to be changed.
    pub(crate) fn prompts_mut(&mut self) -> impl Iterator<Item = &mut Prompting> {
        self.finishing.iter_mut().chain(&mut self.prompting)
    }

    /// The prompt whose masks make up this step.
    pub(crate) fn prompt_mut(&mut self, step: u64) -> Option<&mut Prompting> {
        self.prompts_mut().find(|p| p.step == step)
    }

    /// Whether a mask that a prompt asked for is still to come to this frame of the object.
    pub(crate) fn is_awaited(&self, object: ObjectId, frame: FrameIndex) -> bool {
        self.prompts()
            .any(|p| p.object == object && p.frame == frame && p.is_pending())
    }

    /// Whether the selected object was finished on the frame in view.
    pub(crate) fn is_finished(&self) -> bool {
        self.finished.is_some() && self.finished == self.selected
    }

    /// The phrase that a drawn box becomes a proposal for; without one it becomes a mask.
    pub(crate) fn box_phrase(&self) -> Option<String> {
        if self.box_use == BoxUse::Segment {
            return None;
        }
        let emitted = self.emission_here().map(|(_, e)| e.phrase.clone());
        let typed = self.phrase.trim().to_owned();
        emitted.or((!typed.is_empty()).then_some(typed))
    }

    /// The selected object.
    pub(crate) fn selected_object(&self) -> Option<&Object> {
        self.session.as_ref()?.doc.object(self.selected?)
    }

    /// The propagation that is running, if any.
    pub(crate) fn propagation(&self) -> Option<&Job> {
        self.jobs
            .iter()
            .find(|j| matches!(j.kind, JobKind::Propagate { .. }))
    }

    /// The job that the status line shows: the first that has been taken up, prompts last.
    pub(crate) fn shown_job(&self) -> Option<&Job> {
        let is_prompt = |j: &&Job| matches!(j.kind, JobKind::Segment { .. });
        self.jobs
            .iter()
            .filter(|j| !is_prompt(j))
            .find(|j| j.started)
            .or_else(|| self.jobs.iter().find(|j| !is_prompt(j)))
            .or_else(|| self.jobs.first())
    }

    /// The job that is stopped next: the one shown, or the first after it that can be and is not already.
    pub(crate) fn job_to_stop(&self) -> Option<&Job> {
        // Escape is meant for what was asked of the model, not for the model: that has a button of its own.
        let is_model = |j: &Job| matches!(j.kind, JobKind::LoadModel);
        let stops = |j: &&Job| j.can_be_stopped() && !j.stopping && !is_model(j);
        let shown = self.shown_job().filter(stops);
        shown.or_else(|| self.jobs.iter().find(stops))
    }

    /// The frames that a propagation from here would fill.
    pub(crate) fn propagation_range(
        &self,
        from: FrameIndex,
        direction: PropagateDirection,
    ) -> (u32, u32) {
        let last = self.frames() - 1;
        let start = self.range.0.unwrap_or(0).min(last);
        let end = self.range.1.unwrap_or(last).min(last).max(start);
        match direction {
            PropagateDirection::Forward => (from.0.clamp(start, end), end),
            PropagateDirection::Backward => (start, from.0.clamp(start, end)),
            PropagateDirection::Both => (start, end),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use egui::pos2;

    fn clip() -> Clip {
        Clip {
            title: String::new(),
            path: PathBuf::new(),
            shown: None,
            shown_key: 0,
            pts_secs: 0.0,
            thumbnails: BTreeMap::new(),
            thumbnails_wanted: Vec::new(),
            trouble: None,
            failed: BTreeSet::new(),
        }
    }

    #[test]
    fn a_run_of_damaged_frames_is_told_once() {
        let mut clip = clip();
        let mut told = |frame| clip.is_first_of_run(frame);
        assert_eq!([40, 41, 44, 47].map(&mut told), [true, false, false, false]);
        assert_eq!([44, 41, 40, 36].map(&mut told), [false; 4], "and backwards");
        assert_eq!([90, 5, 90, 6].map(&mut told), [true, true, false, false]);
    }

    #[test]
    fn pictures_of_two_clips_never_have_the_same_key() {
        let frame = || {
            Arc::new(Frame {
                index: FrameIndex(0),
                pts_secs: 0.0,
                coded_size: Size::new(1, 1),
                rotation: 0,
                pixels: crate::video::Pixels::Rgb(vec![0; 3]),
            })
        };
        let mut next_key = 1;
        let mut first = clip();
        let shown = frame();
        first.show(Arc::clone(&shown), &mut next_key);
        let before = first.shown_key;
        first.show(shown, &mut next_key);
        assert_eq!(first.shown_key, before, "the same picture");
        // Its memory may be the next frame's.
        drop(first);
        let mut second = clip();
        second.show(frame(), &mut next_key);
        assert_ne!(second.shown_key, before);
    }

    #[test]
    fn zooming_keeps_the_point_under_the_pointer() {
        let canvas = Rect::from_min_max(pos2(50.0, 40.0), pos2(850.0, 640.0));
        let size = Size::new(400, 300);
        let mut view = CanvasView::default();
        let at = pos2(123.0, 456.0);
        let (zoom, origin) = view.place(canvas, size);
        let before = (at - origin) / zoom;
        for factor in [1.3, 2.0, 0.7, 0.5] {
            view = view.zoomed(canvas, size, at, factor);
            let (zoom, origin) = view.place(canvas, size);
            let after = (at - origin) / zoom;
            assert!((after - before).length() < 1e-2, "{after:?} {before:?}");
        }
    }

    #[test]
    fn panning_moves_the_picture_by_as_much() {
        let canvas = Rect::from_min_max(pos2(0.0, 0.0), pos2(800.0, 600.0));
        let size = Size::new(400, 300);
        let view = CanvasView::default();
        let (_, before) = view.place(canvas, size);
        let (_, after) = view
            .panned(canvas, size, Vec2::new(10.0, -4.0))
            .place(canvas, size);
        assert!((after - before - Vec2::new(10.0, -4.0)).length() < 1e-3);
    }
}
