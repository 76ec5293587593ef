//! Not a test: a clip of drawn pictures, and an engine for the inference thread that answers at once and always the same.

use std::{collections::VecDeque, path::Path};

use sparrow::{
    project::{
        Bitmap, BoxPx, Choosing, DriftSignal, Emission, FrameIndex, FrameMask, Proposal,
        Provenance, Rle, Size, Thresholds, select,
    },
    task::{GroundOptions, Mode, PropagateDirection, Request, Update},
    ui::{Options, SpawnWorker},
    worker::{Backend, Flow, Output, Worker},
};

pub(crate) const SIZE: Size = Size {
    width: 320,
    height: 180,
};
pub(crate) const FRAMES: u32 = 24;

/// Centre of the red ball on a frame.
fn ball(frame: u32) -> (f32, f32) {
    let t = frame as f32 / FRAMES as f32;
    (60.0 + 200.0 * t, 110.0 - 50.0 * (t * 3.0).sin())
}

const RADIUS: f32 = 26.0;

fn on_ball(frame: u32, x: u32, y: u32) -> bool {
    let (cx, cy) = ball(frame);
    (x as f32 + 0.5 - cx).hypot(y as f32 + 0.5 - cy) <= RADIUS
}

/// Writes the clip as numbered pictures: a red ball flies over a blue block on grey-green ground.
pub(crate) fn write_clip(dir: &Path) {
    for frame in 0..FRAMES {
        let picture = image::RgbImage::from_fn(SIZE.width, SIZE.height, |x, y| {
            let shade = (y * 60 / SIZE.height) as u8;
            if on_ball(frame, x, y) {
                image::Rgb([214, 62, 48])
            } else if (200..262).contains(&x) && (104..160).contains(&y) {
                image::Rgb([52, 96, 190])
            } else if y > 150 {
                image::Rgb([96, 118, 84])
            } else {
                image::Rgb([150 + shade, 164 + shade, 176 + shade])
            }
        });
        picture.save(dir.join(format!("{frame:05}.png"))).unwrap();
    }
}

fn ball_mask(frame: u32, provenance: Provenance) -> FrameMask {
    shifted_mask(frame, 0, provenance)
}

/// The ball's mask, so many pixels to the right.
fn shifted_mask(frame: u32, by: u32, provenance: Provenance) -> FrameMask {
    let mut bitmap = Bitmap::new(SIZE);
    for y in 0..SIZE.height {
        for x in 0..SIZE.width {
            bitmap.data[(y * SIZE.width + x) as usize] =
                u8::from(x >= by && on_ball(frame, x - by, y));
        }
    }
    let suspicious = (14..17).contains(&frame) && provenance == Provenance::Propagated;
    FrameMask {
        rle: Rle::from_bitmap(&bitmap),
        score: 0.97 - 0.02 * (frame % 7) as f32 - if suspicious { 0.4 } else { 0.0 },
        iou: 0.9,
        provenance,
        anchor: false,
        drift: DriftSignal {
            area_jump: if suspicious { 0.9 } else { 0.0 },
            ..DriftSignal::default()
        },
    }
}

fn ball_box(frame: u32) -> BoxPx {
    let (x, y) = ball(frame);
    BoxPx::from_array([x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS])
}

fn proposal(box_px: BoxPx, objectness: f32, filtration: f32, drawn: bool) -> Proposal {
    Proposal {
        box_px,
        objectness,
        filtration,
        confidence: filtration * (0.6 + 0.4 * objectness),
        selected: false,
        drawn,
        incredible: false,
    }
}

fn emission(frame: FrameIndex, phrase: &str, options: &GroundOptions) -> Emission {
    let matches = !phrase.contains("nothing");
    let mut proposals = vec![proposal(
        ball_box(frame.0),
        0.94,
        if matches { 0.96 } else { 0.02 },
        false,
    )];
    let block = BoxPx::from_array([200.0, 104.0, 262.0, 160.0]);
    proposals.push(proposal(block, 0.89, 0.62, false));
    for i in 0..18_u32 {
        let (x, y) = ((i * 53 % 260) as f32, (i * 37 % 120) as f32);
        let area = BoxPx::from_array([x, y, x + 30.0 + i as f32, y + 24.0 + (i % 5) as f32 * 8.0]);
        let score = 0.8 / (i + 2) as f32;
        proposals.push(proposal(area, score + 0.1, score * 0.4, false));
    }
    for &area in &options.drawn_boxes {
        proposals.push(proposal(area, 1.0, 0.55, true));
    }
    proposals.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
    let kept = select(&proposals, &options.thresholds, Choosing::default());
    for (p, keep) in proposals.iter_mut().zip(kept) {
        p.selected = keep;
    }
    let token = |word: &str, p| (word.to_owned(), p);
    Emission {
        frame,
        phrase: phrase.to_owned(),
        text: "It is [BOX] [SEG].".to_owned(),
        tokens: vec![
            token("It", 0.99),
            token("is", 1.0),
            token("[BOX]", 0.99),
            token("[SEG]", 0.98),
            token(".", 1.0),
        ],
        unknown_words: if phrase.contains("horse") {
            vec![("horse".to_owned(), "object".to_owned())]
        } else {
            Vec::new()
        },
        proposals,
        objects: Vec::new(),
        tsf_tokens: options.tsf.len() as u32,
        secs: 0.4,
        choosing: Choosing::default(),
        by_hand: Some(std::collections::BTreeSet::new()),
    }
}

/// One thing to send.
type Step = Box<dyn FnOnce(&Output<'_>)>;

/// What a request still has to send.
pub(crate) struct Task {
    pending: VecDeque<Step>,
}

/// The engine. Masks of a "drifting" object lie one pixel further right with every propagation.
#[derive(Default)]
pub(crate) struct FakeEngine {
    propagations: u32,
}

impl Backend for FakeEngine {
    type Task = Task;

    fn start(&mut self, request: Request) -> anyhow::Result<Task> {
        let mut pending: VecDeque<Step> = VecDeque::new();
        match request {
            Request::LoadModel { model, .. } => pending.push_back(Box::new(move |out| {
                out.send(Update::ModelLoaded {
                    job: out.job(),
                    model,
                    device: "CPU, 2 threads".to_owned(),
                    thresholds: Thresholds {
                        objectness: 0.05,
                        // Between two steps of the slider, as fitted thresholds are.
                        keep: 0.402,
                        at_most: 4,
                    },
                    vocabulary: ["ball", "block", "blue", "red", "the"]
                        .map(str::to_owned)
                        .to_vec(),
                });
            })),
            Request::OpenClip { .. } => {}
            Request::Ground {
                frame,
                phrase,
                options,
            } => pending.push_back(Box::new(move |out| {
                let masks = if phrase.contains("nothing") {
                    Vec::new()
                } else {
                    vec![ball_mask(frame.0, Provenance::Model)]
                };
                out.send(Update::Grounded {
                    job: out.job(),
                    emission: Box::new(emission(frame, &phrase, &options)),
                    masks,
                });
            })),
            Request::Segment {
                frame,
                object,
                prompt,
            } => pending.push_back(Box::new(move |out| {
                let mut mask = ball_mask(frame.0, Provenance::Model);
                // The answer tells how much was known of the object.
                mask.iou = prompt.known.len() as f32 / 10.0;
                out.send(Update::Segmented {
                    job: out.job(),
                    object,
                    frame,
                    mask: Box::new(mask),
                });
            })),
            Request::Propagate {
                objects,
                range,
                direction,
                mode,
                emissions,
            } => {
                self.propagations += 1;
                let runs = self.propagations;
                let mut frames: Vec<u32> = range.collect();
                if direction == PropagateDirection::Backward {
                    frames.reverse();
                }
                for frame in frames {
                    for object in &objects {
                        // As the engine: what was carried is no mask to start from, and framewise mode needs a phrase.
                        let given =
                            |m: &FrameMask| m.anchor || m.provenance != Provenance::Propagated;
                        let listed = emissions.iter().any(|e| e.objects.contains(&object.id));
                        if (mode == Mode::Framewise && !listed)
                            || !object.frames.values().any(given)
                            || object.frames.get(&FrameIndex(frame)).is_some_and(given)
                        {
                            continue;
                        }
                        let id = object.id;
                        let slow = object.phrase.contains("slow");
                        let wait = if object.phrase.contains("very") {
                            200
                        } else {
                            25
                        };
                        let by = if object.phrase.contains("drifting") {
                            runs
                        } else {
                            0
                        };
                        pending.push_back(Box::new(move |out| {
                            if slow {
                                std::thread::sleep(std::time::Duration::from_millis(wait));
                            }
                            out.send(Update::Propagated {
                                job: out.job(),
                                object: id,
                                frame: FrameIndex(frame),
                                mask: Box::new(shifted_mask(frame, by, Provenance::Propagated)),
                            });
                        }));
                    }
                }
            }
        }
        Ok(Task { pending })
    }

    fn advance(&mut self, task: &mut Task, out: &mut Output<'_>) -> anyhow::Result<Flow> {
        if let Some(step) = task.pending.pop_front() {
            step(out);
        }
        Ok(if task.pending.is_empty() {
            Flow::Done
        } else {
            Flow::More
        })
    }

    fn recover(&mut self) {}
}

/// Options for a window on `clip` with the fake engine; settings stay in `home`.
pub(crate) fn options(clip: Option<&Path>, home: &Path) -> Options {
    let worker: SpawnWorker = Box::new(|wake| Worker::spawn(|| Ok(FakeEngine::default()), wake));
    Options {
        open: clip.map(Path::to_path_buf),
        model: "nano".to_owned(),
        device: "auto".to_owned(),
        sample: None,
        worker,
        settings: Some(home.join("settings.json")),
    }
}
