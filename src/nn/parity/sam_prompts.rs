//! The case of SAM2 2.1: boxes, clicks and corrections, replayed event by event.

use std::ops::ControlFlow;

use candle_core::Tensor;
use serde::Deserialize;

use super::{
    Case, Kind, ParityError, Report,
    sam::{config, prefix, strided},
    sam_video::{
        area, compare_areas, compare_if_stored, exact_tolerance, features, image_size, released,
        stop,
    },
};
use crate::nn::{
    ops,
    sam2::{
        ImageFeatures, Prompts, Sam2,
        memory::ABSENT,
        video::{Direction, MemoryPrecision, ObjectId, Provided, VideoPredictor},
    },
};

/// Runs the case if it is this file's; `Ok(false)` if it is not.
pub(super) fn run(kind: Kind, case: &Case, report: &mut Report) -> Result<bool, ParityError> {
    if kind != Kind::VideoPrompts {
        return Ok(false);
    }
    let cfg = config(case)?;
    let model = Sam2::new(&cfg, case.var_builder(prefix(case)))?;
    let feats = features(case, &model)?;
    for precision in [MemoryPrecision::F32, MemoryPrecision::Bf16] {
        replay(case, &model, &feats, precision, report)?;
    }
    Ok(true)
}

/// What the person does, coordinates in pixels of the video.
#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum Event {
    Add {
        frame_idx: usize,
        obj_id: ObjectId,
        #[serde(rename = "box")]
        corners: Option<[f32; 4]>,
        #[serde(default)]
        points: Vec<[f32; 2]>,
        #[serde(default)]
        labels: Vec<f32>,
        #[serde(default = "yes")]
        clear_old_points: bool,
    },
    Propagate {
        start_frame_idx: Option<usize>,
        #[serde(default)]
        reverse: bool,
    },
}

fn yes() -> bool {
    true
}

/// Clicks of one object on one frame so far.
struct Clicks {
    object: ObjectId,
    frame: usize,
    points: Vec<[f32; 2]>,
    labels: Vec<f32>,
}

struct Replay<'a, F> {
    case: &'a Case,
    predictor: VideoPredictor<'a, F>,
    precision: MemoryPrecision,
    clicks: Vec<Clicks>,
    /// Rows and columns of the video.
    hw: (usize, usize),
    /// Rows and columns of a mask.
    mask_hw: (usize, usize),
    frames: usize,
    image_size: usize,
    /// Results so far.
    step: usize,
    areas: Vec<i64>,
    object_count: usize,
}

impl<F: FnMut(usize) -> Provided> Replay<'_, F> {
    fn event(&mut self, event: Event, report: &mut Report) -> Result<(), ParityError> {
        match event {
            Event::Add {
                frame_idx,
                obj_id,
                corners,
                points,
                labels,
                clear_old_points,
            } => {
                let mut fresh = Clicks {
                    object: obj_id,
                    frame: frame_idx,
                    points: Vec::new(),
                    labels: Vec::new(),
                };
                if let Some([x1, y1, x2, y2]) = corners {
                    fresh.points.extend([[x1, y1], [x2, y2]]);
                    fresh.labels.extend([2.0, 3.0]);
                }
                fresh.points.extend(points);
                fresh.labels.extend(labels);
                let prompts = self.click(fresh, clear_old_points)?;
                self.predictor
                    .add_prompt(frame_idx, obj_id, &prompts)
                    .map_err(stop)?;
                self.result(frame_idx, report)
            }
            Event::Propagate {
                start_frame_idx,
                reverse,
            } => {
                let start = start_frame_idx.unwrap_or_else(|| self.first_prompted());
                let (range, direction) = match (reverse, start) {
                    // Backward from the first frame is nowhere to go, as released.
                    (true, 0) => (0..0, Direction::Backward),
                    (true, start) => (0..start + 1, Direction::Backward),
                    (false, start) => (start..self.frames, Direction::Forward),
                };
                let mut visited = Vec::new();
                self.predictor
                    .propagate(range, direction, None, |output| {
                        visited.push(output.frame);
                        ControlFlow::Continue(())
                    })
                    .map_err(stop)?;
                for frame in visited {
                    self.result(frame, report)?;
                }
                Ok(())
            }
        }
    }

    /// Adds clicks to those of the same object and frame, or replaces them; gives all in pixels of the model image.
    fn click(&mut self, fresh: Clicks, replace: bool) -> Result<Prompts, ParityError> {
        let same = |c: &Clicks| c.object == fresh.object && c.frame == fresh.frame;
        let mut clicks = match self.clicks.iter().position(same) {
            Some(at) => self.clicks.swap_remove(at),
            None => Clicks {
                points: Vec::new(),
                labels: Vec::new(),
                ..fresh
            },
        };
        if replace {
            clicks.points.clear();
            clicks.labels.clear();
        }
        clicks.points.extend(fresh.points);
        clicks.labels.extend(fresh.labels);
        let n = clicks.labels.len();
        let (h, w) = self.hw;
        let side = self.image_size as f32;
        let flat: Vec<f32> = clicks
            .points
            .iter()
            .flat_map(|[x, y]| [x / w as f32 * side, y / h as f32 * side])
            .collect();
        let device = &self.case.device;
        let points = Tensor::from_vec(flat, (1, n, 2), device)?;
        let labels = Tensor::from_vec(clicks.labels.clone(), (1, n), device)?;
        self.clicks.push(clicks);
        Ok(Prompts {
            points: Some((points, labels)),
            ..Prompts::default()
        })
    }

    fn first_prompted(&self) -> usize {
        self.clicks.iter().map(|c| c.frame).min().unwrap_or(0)
    }

    /// Compares what is known of all objects on a frame.
    fn result(&mut self, frame: usize, report: &mut Report) -> Result<(), ParityError> {
        let objects = self.predictor.objects();
        let mut rows = Vec::new();
        for object in objects {
            rows.push(match self.predictor.known(*object, frame) {
                Some(known) => known.low_res.clone(),
                None => {
                    let (h, w) = self.mask_hw;
                    Tensor::full(ABSENT as f32, (1, 1, h, w), &self.case.device)?
                }
            });
        }
        let full = ops::resize_bilinear(&Tensor::cat(&rows, 0)?, self.hw)?;
        let (stored, run, tolerance) = match self.precision {
            MemoryPrecision::F32 => ("mid.f32mem", "replay_f32", exact_tolerance(frame)),
            MemoryPrecision::Bf16 => (
                "output",
                "replay_bf16",
                self.case.value("max_abs_diff_bf16_vs_f32_memory")?,
            ),
        };
        let name = format!("{stored}.step{}.video_res_strided4", self.step);
        let stage = format!("{run}/step{}", self.step);
        let got = strided(&full, 4)?;
        compare_if_stored(self.case, report, (&stage, &name), &got, tolerance)?;
        for row in 0..self.object_count {
            self.areas.push(if row < rows.len() {
                area(&full.narrow(0, row, 1)?)?
            } else {
                -1
            });
        }
        self.step += 1;
        Ok(())
    }

    /// Compares what the predictor holds at the end.
    fn final_state(&self, report: &mut Report) -> Result<(), ParityError> {
        let case = self.case;
        let tolerance: f64 = case.value("max_abs_diff_bf16_vs_f32_memory")?;
        for name in case.names("output.final.obj") {
            let parts: Vec<&str> = name.split('.').collect();
            let &[_, _, object, kind, frame, what] = parts.as_slice() else {
                continue;
            };
            let number = |text: &str, lead: &str| {
                text.strip_prefix(lead)
                    .and_then(|n| n.parse::<usize>().ok())
                    .unwrap_or(usize::MAX)
            };
            let object = self.predictor.objects().get(number(object, "obj"));
            let known = object.and_then(|o| self.predictor.known(*o, number(frame, "frame")));
            let Some(known) = known else {
                report.check(&format!("final/{name}"), false, "nothing is known there");
                continue;
            };
            let stage = format!("final/{name}");
            report.check(&stage, known.prompted == (kind == "cond"), "wrong kind");
            let want = case.float(&name)?;
            let got = match what {
                "low_res" => known.low_res.squeeze(0)?.squeeze(0)?,
                "obj_ptr" => known.pointer.clone(),
                "object_score" => Tensor::full(known.object_score, (1, 1), want.device())?,
                _ => match &known.memory {
                    Some(memory) => memory.features.clone(),
                    None => continue,
                },
            };
            report.compare_abs(&stage, &got, &want, tolerance)?;
        }
        Ok(())
    }
}

fn replay(
    case: &Case,
    model: &Sam2,
    feats: &[ImageFeatures],
    precision: MemoryPrecision,
    report: &mut Report,
) -> Result<(), ParityError> {
    let events: Vec<Event> = case.value("events")?;
    let in_order: Vec<ObjectId> = case.value("obj_ids_in_order")?;
    let options = released(feats.len(), precision);
    let (h, w) = feats[0].grid()?;
    let mut replay = Replay {
        case,
        predictor: VideoPredictor::new(model, options, |f: usize| Ok(feats[f].clone())),
        precision,
        clicks: Vec::new(),
        hw: case.value("video_hw")?,
        mask_hw: (4 * h, 4 * w),
        frames: feats.len(),
        image_size: image_size(case)?,
        step: 0,
        areas: Vec::new(),
        object_count: in_order.len(),
    };
    for event in events {
        replay.event(event, report)?;
    }
    if precision == MemoryPrecision::Bf16 {
        let want = case.ints("output.mask_area")?;
        compare_areas(report, "area/step", &replay.areas, &want);
        replay.final_state(report)?;
    }
    report.check(
        "objects",
        replay.predictor.objects() == in_order,
        "objects came in another order",
    );
    Ok(())
}
