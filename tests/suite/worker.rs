//! The inference thread's promises, proved with a fake engine that does exactly what its test allows it to do; with the real
//! one where files decide.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    sync::{Arc, Mutex},
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, bounded};
use sparrow::{
    project::{FrameIndex, FrameMask, ObjectId, PointPx, Provenance, Rle, Size},
    task::{JobId, Mode, Prompt, PropagateDirection, Request, Update},
    worker::{Backend, Flow, InferBackend, InferTask, Output, Worker, WorkerHandle},
};

/// Long enough that only a hang reaches it.
const FOREVER: Duration = Duration::from_secs(300);

/// Each piece of a propagation waits for a permit; phrases say what a ground request shall do.
struct Fake {
    permits: Receiver<()>,
    log: Arc<Mutex<Vec<String>>>,
    recovered: Arc<AtomicUsize>,
    /// Frames of propagations that were begun, permit or not.
    entered: Arc<AtomicUsize>,
    /// How often it had to let go of its caches.
    relieved: usize,
}

struct Task {
    request: Request,
    at: u32,
}

fn mask() -> FrameMask {
    FrameMask {
        rle: Rle::empty(Size::new(4, 4)),
        score: 1.0,
        iou: 1.0,
        provenance: Provenance::Model,
        anchor: false,
        drift: Default::default(),
    }
}

impl Backend for Fake {
    type Task = Task;

    fn start(&mut self, request: Request) -> anyhow::Result<Task> {
        if matches!(&request, Request::OpenClip { path } if path == "panic at start") {
            panic!("while starting");
        }
        Ok(Task { request, at: 0 })
    }

    fn advance(&mut self, task: &mut Task, out: &mut Output<'_>) -> anyhow::Result<Flow> {
        let job = out.job();
        match &task.request {
            Request::Ground { phrase, .. } => match phrase.as_str() {
                "panic" => panic!("fell over a {phrase}"),
                "error" => anyhow::bail!("the clip has no such frame"),
                "large" if self.relieved == 0 => {
                    Err(anyhow::anyhow!("CUDA_ERROR_OUT_OF_MEMORY").context("the model failed"))
                }
                "huge" => anyhow::bail!("the device is out of memory"),
                _ => {
                    self.log.lock().unwrap().push(phrase.clone());
                    Ok(Flow::Done)
                }
            },
            Request::Segment { object, frame, .. } => {
                self.log
                    .lock()
                    .unwrap()
                    .push(format!("segment {}", object.0));
                if object.0 == 99 {
                    // A slow prompt: it notices on its own that it is no longer wanted.
                    self.permits.recv()?;
                    out.progress().step(0, 1, "decoding")?;
                }
                let (object, frame) = (*object, *frame);
                out.send(Update::Segmented {
                    job,
                    object,
                    frame,
                    mask: Box::new(mask()),
                });
                Ok(Flow::Done)
            }
            Request::Propagate { range, .. } => {
                let (first, last) = (*range.start(), *range.end());
                self.entered.fetch_add(1, Ordering::SeqCst);
                self.permits.recv()?;
                let frame = FrameIndex(first + task.at);
                out.send(Update::Propagated {
                    job,
                    object: ObjectId(1),
                    frame,
                    mask: Box::new(mask()),
                });
                task.at += 1;
                Ok(if first + task.at > last {
                    Flow::Done
                } else {
                    Flow::More
                })
            }
            Request::OpenClip { path } => {
                self.log.lock().unwrap().push(format!("open {path}"));
                Ok(Flow::Done)
            }
            Request::LoadModel { .. } => Ok(Flow::Done),
        }
    }

    fn recover(&mut self) {
        self.recovered.fetch_add(1, Ordering::SeqCst);
    }

    fn relieve(&mut self) {
        self.relieved += 1;
        self.log.lock().unwrap().push("relieved".to_owned());
    }
}

struct Stage {
    worker: WorkerHandle,
    permits: Sender<()>,
    log: Arc<Mutex<Vec<String>>>,
    recovered: Arc<AtomicUsize>,
    entered: Arc<AtomicUsize>,
    wakes: Arc<AtomicUsize>,
}

impl Stage {
    /// Returns once a propagation stands inside a frame, where it looks at nothing until it gets its permit.
    fn wait_inside_a_frame(&self) {
        while self.entered.load(Ordering::SeqCst) == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn stage() -> Stage {
    let (permits, receiver) = bounded(1000);
    let log = Arc::new(Mutex::new(Vec::new()));
    let recovered = Arc::new(AtomicUsize::new(0));
    let wakes = Arc::new(AtomicUsize::new(0));
    let entered = Arc::new(AtomicUsize::new(0));
    let entered2 = entered.clone();
    let (log2, recovered2, wakes2) = (log.clone(), recovered.clone(), wakes.clone());
    let worker = Worker::spawn(
        move || {
            Ok(Fake {
                permits: receiver,
                log: log2,
                recovered: recovered2,
                entered: entered2,
                relieved: 0,
            })
        },
        move || {
            wakes2.fetch_add(1, Ordering::SeqCst);
        },
    )
    .unwrap();
    Stage {
        worker,
        permits,
        log,
        recovered,
        entered,
        wakes,
    }
}

fn ground(phrase: &str) -> Request {
    Request::Ground {
        frame: FrameIndex(0),
        phrase: phrase.into(),
        options: sparrow::task::GroundOptions {
            thresholds: sparrow::project::Thresholds {
                objectness: 0.0,
                keep: 0.5,
                at_most: 1,
            },
            drawn_boxes: vec![],
            tsf: vec![],
        },
    }
}

fn segment(object: u32) -> Request {
    Request::Segment {
        frame: FrameIndex(0),
        object: ObjectId(object),
        prompt: Prompt::default(),
    }
}

fn propagate(frames: u32) -> Request {
    Request::Propagate {
        objects: vec![],
        range: 0..=frames - 1,
        direction: PropagateDirection::Forward,
        mode: Mode::Track,
        emissions: vec![],
    }
}

fn open(path: &str) -> Request {
    Request::OpenClip { path: path.into() }
}

fn end_of(update: &Update) -> Option<(JobId, &'static str)> {
    match update {
        Update::Finished { job, .. } => Some((*job, "finished")),
        Update::Failed { job, .. } => Some((*job, "failed")),
        Update::Cancelled { job } => Some((*job, "cancelled")),
        _ => None,
    }
}

/// Receives until `job` has ended; gives everything that came on the way.
fn until_end(worker: &mut WorkerHandle, job: JobId) -> Vec<Update> {
    let mut all = Vec::new();
    loop {
        let update = worker.recv_timeout(FOREVER).expect("the job must end");
        let ended = end_of(&update).is_some_and(|(j, _)| j == job);
        all.push(update);
        if ended {
            return all;
        }
    }
}

fn ends(updates: &[Update]) -> Vec<(JobId, &'static str)> {
    updates.iter().filter_map(end_of).collect()
}

/// The first failure for want of memory empties the caches and is tried again; the second is told, and work goes on.
#[test]
fn a_full_device_is_relieved_once_and_never_the_end() {
    let mut s = stage();
    let jobs: Vec<_> = ["large", "huge", "a"]
        .iter()
        .map(|p| s.worker.submit(ground(p)))
        .collect();
    let all = until_end(&mut s.worker, jobs[2]);
    let expected: Vec<_> = jobs
        .iter()
        .copied()
        .zip(["finished", "failed", "finished"])
        .collect();
    assert_eq!(ends(&all), expected);
    assert_eq!(
        *s.log.lock().unwrap(),
        ["relieved", "large", "relieved", "a"]
    );
    assert_eq!(s.recovered.load(Ordering::SeqCst), 0);
    let told = all.iter().find_map(|u| match u {
        Update::Failed { text, .. } => Some(text.as_str()),
        _ => None,
    });
    let told = told.expect("one of them failed");
    assert!(
        told.contains("smaller precision") && !told.contains('\n'),
        "{told}"
    );
}

#[test]
fn every_job_ends_once_in_order() {
    let mut s = stage();
    let jobs: Vec<_> = ["a", "error", "panic", "b"]
        .iter()
        .map(|p| s.worker.submit(ground(p)))
        .collect();
    let all = until_end(&mut s.worker, jobs[3]);
    let expected: Vec<_> = jobs
        .iter()
        .copied()
        .zip(["finished", "failed", "failed", "finished"])
        .collect();
    assert_eq!(ends(&all), expected);
    assert_eq!(*s.log.lock().unwrap(), ["a", "b"]);
    assert_eq!(s.recovered.load(Ordering::SeqCst), 1);
    assert!(s.wakes.load(Ordering::SeqCst) >= 7);
    assert_eq!(s.worker.open_jobs().count(), 0);
    let texts: Vec<_> = all
        .iter()
        .filter_map(|u| match u {
            Update::Failed { text, .. } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(texts[0], "the clip has no such frame");
    assert!(texts[1].contains("fell over a panic") && texts[1].contains("your work is kept"));
}

#[test]
fn a_panic_at_the_start_fails_the_job_and_not_the_thread() {
    let mut s = stage();
    let bad = s.worker.submit(open("panic at start"));
    let good = s.worker.submit(ground("still here"));
    assert_eq!(
        ends(&until_end(&mut s.worker, good)),
        [(bad, "failed"), (good, "finished")]
    );
}

#[test]
fn cancel_in_the_middle_keeps_the_finished_frames() {
    let mut s = stage();
    let job = s.worker.submit(propagate(1000));
    for _ in 0..3 {
        s.permits.send(()).unwrap();
    }
    let mut frames = 0;
    while frames < 3 {
        if let Update::Propagated { frame, .. } = s.worker.recv_timeout(FOREVER).unwrap() {
            assert_eq!(frame, FrameIndex(frames));
            frames += 1;
        }
    }
    s.worker.cancel(job);
    // The piece that is being waited for may still be finished.
    s.permits.send(()).unwrap();
    let rest = until_end(&mut s.worker, job);
    assert_eq!(ends(&rest), [(job, "cancelled")]);
    assert!(rest.len() <= 2);
    let next = s.worker.submit(ground("next"));
    assert_eq!(ends(&until_end(&mut s.worker, next)), [(next, "finished")]);
}

#[test]
fn a_job_cancelled_while_it_waits_is_never_started() {
    let mut s = stage();
    let long = s.worker.submit(propagate(1));
    let waiting = s.worker.submit(ground("never"));
    s.worker.cancel(waiting);
    s.permits.send(()).unwrap();
    let all = until_end(&mut s.worker, waiting);
    assert_eq!(ends(&all), [(long, "finished"), (waiting, "cancelled")]);
    assert!(
        !all.iter()
            .any(|u| matches!(u, Update::Started { job } if *job == waiting))
    );
    assert!(s.log.lock().unwrap().is_empty());
}

#[test]
fn a_prompt_is_served_between_the_frames_of_a_long_job() {
    let mut s = stage();
    let long = s.worker.submit(propagate(2));
    let prompt = s.worker.submit(segment(7));
    s.permits.send(()).unwrap();
    // The second frame has no permit yet, so the prompt can only end if it is served in between.
    let all = until_end(&mut s.worker, prompt);
    assert_eq!(ends(&all), [(prompt, "finished")]);
    assert!(all.iter().any(|u| matches!(
        u,
        Update::Segmented {
            object: ObjectId(7),
            ..
        }
    )));
    s.permits.send(()).unwrap();
    assert_eq!(ends(&until_end(&mut s.worker, long)), [(long, "finished")]);
}

#[test]
fn only_the_newest_prompt_runs_and_the_others_end_as_cancelled() {
    let mut s = stage();
    let long = s.worker.submit(propagate(2));
    s.wait_inside_a_frame();
    let prompts: Vec<_> = (1..=3).map(|o| s.worker.submit(segment(o))).collect();
    s.permits.send(()).unwrap();
    s.permits.send(()).unwrap();
    let mut all = until_end(&mut s.worker, long);
    if s.worker.open_jobs().count() > 0 {
        all.extend(until_end(&mut s.worker, prompts[2]));
    }
    let mut got = ends(&all);
    got.sort();
    assert_eq!(
        got,
        [
            (long, "finished"),
            (prompts[0], "cancelled"),
            (prompts[1], "cancelled"),
            (prompts[2], "finished")
        ]
    );
    assert_eq!(*s.log.lock().unwrap(), ["segment 3"]);
}

#[test]
fn the_answer_of_a_replaced_prompt_is_dropped() {
    let mut s = stage();
    let old = s.worker.submit(segment(99));
    // Wait until it is inside the engine, then replace it.
    while !matches!(s.worker.recv_timeout(FOREVER).unwrap(), Update::Started { job } if job == old)
    {
    }
    let new = s.worker.submit(segment(5));
    s.permits.send(()).unwrap();
    let all = until_end(&mut s.worker, new);
    assert_eq!(ends(&all), [(old, "cancelled"), (new, "finished")]);
    assert!(!all.iter().any(|u| matches!(
        u,
        Update::Segmented {
            object: ObjectId(99),
            ..
        }
    )));
}

#[test]
fn a_prompt_never_overtakes_the_clip_it_speaks_of() {
    let mut s = stage();
    let long = s.worker.submit(propagate(3));
    s.worker.submit(open("second clip"));
    let prompt = s.worker.submit(segment(1));
    for _ in 0..3 {
        s.permits.send(()).unwrap();
    }
    let all = until_end(&mut s.worker, prompt);
    assert_eq!(ends(&all)[0], (long, "finished"));
    assert_eq!(*s.log.lock().unwrap(), ["open second clip", "segment 1"]);
}

#[test]
fn a_full_queue_refuses_with_a_sentence() {
    let mut s = stage();
    let long = s.worker.submit(propagate(1));
    while !matches!(s.worker.recv_timeout(FOREVER).unwrap(), Update::Started { job } if job == long)
    {
    }
    let jobs: Vec<_> = (0..80).map(|_| s.worker.submit(ground("x"))).collect();
    s.permits.send(()).unwrap();
    let mut got = Vec::new();
    while s.worker.open_jobs().count() > 0 {
        got.push(s.worker.recv_timeout(FOREVER).unwrap());
    }
    let ended = ends(&got);
    assert_eq!(ended.len(), jobs.len() + 1);
    assert_eq!(ended.iter().filter(|(_, how)| *how == "failed").count(), 16);
}

impl Stage {
    /// Lets a propagation of one frame be taken up, and so many requests wait behind it.
    fn fill(&mut self, waiting: usize) -> (JobId, Vec<JobId>) {
        let long = self.worker.submit(propagate(1));
        self.wait_inside_a_frame();
        let jobs = (0..waiting).map(|_| self.worker.submit(ground("x")));
        (long, jobs.collect())
    }
}

#[test]
fn clicks_are_answered_after_a_clip_was_refused_for_want_of_room() {
    let mut s = stage();
    s.fill(64);
    let refused = s.worker.submit(open("one too many"));
    let click = s.worker.submit(segment(1));
    s.permits.send(()).unwrap();
    let all = until_end(&mut s.worker, click);
    assert!(ends(&all).contains(&(refused, "failed")), "{all:?}");
    assert_eq!(ends(&all).last(), Some(&(click, "finished")));
}

#[test]
fn a_cancelled_job_gives_up_its_place_to_a_new_one() {
    let mut s = stage();
    let (_, jobs) = s.fill(63);
    let clip = s.worker.submit(open("a clip"));
    s.worker.cancel(jobs[3]);
    // Clicks wait for what this one leads to, so it keeps its place.
    s.worker.cancel(clip);
    let new = s.worker.submit(ground("new"));
    let refused = s.worker.submit(ground("one too many"));
    let click = s.worker.submit(segment(1));
    s.permits.send(()).unwrap();
    let mut all = Vec::new();
    while s.worker.open_jobs().count() > 0 {
        all.push(s.worker.recv_timeout(FOREVER).unwrap());
    }
    let ended = ends(&all);
    assert_eq!(
        ended[..2],
        [(jobs[3], "cancelled"), (refused, "failed")],
        "told at once"
    );
    for end in [(new, "finished"), (click, "finished"), (clip, "cancelled")] {
        assert!(ended.contains(&end), "{end:?} of {ended:?}");
    }
    assert_eq!(ended.len(), 1 + 64 + 3);
}

#[test]
fn a_model_that_cannot_start_fails_every_job_with_its_words() {
    let mut worker = Worker::spawn(
        || -> anyhow::Result<Fake> { anyhow::bail!("no such device") },
        || (),
    )
    .unwrap();
    let job = worker.submit(ground("x"));
    let all = until_end(&mut worker, job);
    assert!(matches!(all.last(), Some(Update::Failed { text, .. }) if text == "no such device"));
}

/// A model that cannot be loaded costs nothing: the one before still answers, about the clip that is open.
#[test]
fn a_model_that_fails_to_load_leaves_the_one_before_at_work() {
    let dir = super::cli::place();
    let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/nano.safetensors");
    let whole = fs::read(weights).unwrap();
    let damaged = dir.path().join("damaged.safetensors");
    let load = |model: &str| Request::LoadModel {
        model: model.to_owned(),
        device: "cpu".to_owned(),
    };
    let mut worker = Worker::spawn(|| Ok(InferBackend::default()), || ()).unwrap();
    worker.submit(load("nano"));
    worker.submit(open(dir.path().join("clip").to_str().unwrap()));
    let answer = |worker: &mut WorkerHandle| {
        let job = worker.submit(ground("the red circle"));
        let all = until_end(worker, job);
        let mut found = all.into_iter().filter_map(|update| match update {
            Update::Grounded {
                emission, masks, ..
            } => Some((emission, masks)),
            _ => None,
        });
        let (mut emission, masks) = found.next().expect("a model that answers");
        emission.secs = 0.0;
        (emission, masks)
    };
    let before = answer(&mut worker);
    assert!(!before.0.proposals.is_empty());
    let mut poisoned = whole.clone();
    // Two numbers of half precision that are none.
    let end = poisoned.len() - 4;
    poisoned[end..].copy_from_slice(&[0x00, 0x7e, 0x00, 0x7e]);
    let path = damaged.to_str().unwrap();
    for (model, bytes, words) in [
        (path, &whole[..whole.len() / 2], "cut short"),
        (path, &poisoned[..], "not a number"),
        ("no-such-model", &[][..], "no-such-model"),
    ] {
        fs::write(&damaged, bytes).unwrap();
        let job = worker.submit(load(model));
        let all = until_end(&mut worker, job);
        let Some(Update::Failed { text, .. }) = all.last() else {
            panic!("{words}: {all:?}");
        };
        assert!(text.contains(words), "{words}: {text}");
        let loaded = |u: &Update| matches!(u, Update::ModelLoaded { .. });
        assert!(!all.iter().any(loaded), "{words}");
        assert_eq!(answer(&mut worker), before, "{words}");
    }
}

/// The real engine, which takes up what needs a model only when its test allows it to.
struct Held {
    engine: InferBackend,
    inside: Sender<()>,
    permits: Receiver<()>,
}

impl Backend for Held {
    type Task = InferTask;

    fn start(&mut self, request: Request) -> anyhow::Result<InferTask> {
        self.engine.start(request)
    }

    fn advance(&mut self, task: &mut InferTask, out: &mut Output<'_>) -> anyhow::Result<Flow> {
        if let InferTask::Whole(Some(Request::Ground { .. } | Request::Segment { .. })) = task {
            self.inside.send(())?;
            self.permits.recv()?;
        }
        self.engine.advance(task, out)
    }

    fn recover(&mut self) {
        self.engine.recover();
    }
}

#[test]
fn what_is_stopped_inside_the_real_engine_ends_as_cancelled() {
    let dir = super::cli::place();
    let (inside, entered) = bounded(1);
    let (permits, receiver) = bounded(2);
    let held = move || {
        Ok(Held {
            engine: InferBackend::default(),
            inside,
            permits: receiver,
        })
    };
    let mut worker = Worker::spawn(held, || ()).unwrap();
    worker.submit(Request::LoadModel {
        model: "nano".to_owned(),
        device: "cpu".to_owned(),
    });
    worker.submit(open(dir.path().join("clip").to_str().unwrap()));
    let asked = worker.submit(ground("the red circle"));
    entered.recv_timeout(FOREVER).unwrap();
    worker.cancel(asked);
    permits.send(()).unwrap();
    let all = until_end(&mut worker, asked);
    assert_eq!(ends(&all).last(), Some(&(asked, "cancelled")), "{all:?}");
    // A second click while the first is at work.
    let click = |object| Request::Segment {
        frame: FrameIndex(0),
        object: ObjectId(object),
        prompt: Prompt {
            points: vec![(PointPx { x: 40.0, y: 30.0 }, true)],
            ..Prompt::default()
        },
    };
    let first = worker.submit(click(1));
    entered.recv_timeout(FOREVER).unwrap();
    let second = worker.submit(click(2));
    permits.send(()).unwrap();
    permits.send(()).unwrap();
    let all = until_end(&mut worker, second);
    assert_eq!(
        ends(&all),
        [(first, "cancelled"), (second, "finished")],
        "{all:?}"
    );
}

#[test]
fn dropping_the_handle_ends_a_thread_that_nobody_listens_to() {
    let mut s = stage();
    // More updates than the channel holds: the thread is waiting for a receiver when it is dropped.
    s.worker.submit(propagate(2000));
    for _ in 0..1000 {
        s.permits.send(()).unwrap();
    }
    let Stage {
        worker, permits, ..
    } = s;
    drop(permits);
    drop(worker);
}

#[test]
fn dropping_the_handle_does_not_wait_for_what_cannot_be_stopped() {
    let mut s = stage();
    s.worker.submit(propagate(1));
    s.wait_inside_a_frame();
    let Stage {
        worker, permits, ..
    } = s;
    // The frame gets its permit only after this returns.
    drop(worker);
    permits.send(()).unwrap();
}
