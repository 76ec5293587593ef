//! The decoder thread: owns a source and its cache, decodes the frame that is wanted *now*, then its neighbours in the
//! direction of movement, then thumbnails. The handle never waits: it takes what is there and asks for the rest.
//!
//! The wanted frame lives in a latest-wins slot. A newer wish breaks off the decoding of an older one; one that lies further
//! on the same way goes on from there. Only where the wish before was broken off as well is there first something to show, if
//! it is nearer to the newest wish than what is in view: someone who scrubs without pause still sees frames go by.

use std::{
    any::Any,
    collections::{BTreeMap, VecDeque},
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{
    Damage, Flaw, Frame, FrameSource, FrameTable, OnTheWay, RgbFrame, VideoError,
    cache::{Direction, Failure, Fetch, FrameCache, Reach, View},
    convert::to_rgb_scaled,
};
use crate::project::{FrameIndex, Size, VideoInfo};

/// Called from the decoder thread when there is something new to look at.
pub type Wake = Box<dyn Fn() + Send>;

/// Handle on a decoder thread. Dropping it stops the thread at the next decoded frame, without waiting for it.
pub struct Decoder {
    shared: Arc<Shared>,
    /// Wakes the thread; closed by dropping.
    bell: Sender<()>,
}

struct Shared {
    state: Mutex<State>,
    stop: AtomicBool,
}

struct State {
    info: Option<VideoInfo>,
    table: Option<Arc<FrameTable>>,
    pts_secs: Arc<[f64]>,
    wanted: Option<u32>,
    direction: Direction,
    cache: FrameCache,
    /// Bytes of the largest frame yet.
    frame_bytes: usize,
    failed: BTreeMap<u32, Failure>,
    newest: Option<Arc<Frame>>,
    warnings: Vec<String>,
    damage: Option<Damage>,
    /// Why the thread has ended.
    ended: Option<String>,
    thumbnails: Thumbnails,
}

#[derive(Default)]
struct Thumbnails {
    size: Option<Size>,
    waiting: VecDeque<u32>,
    done: BTreeMap<u32, Arc<RgbFrame>>,
}

/// What the thread does next.
enum Job {
    Show(Fetch),
    Prefetch(Fetch),
    Thumbnail(u32, Size),
}

impl Decoder {
    /// Starts a thread that opens `path` (see [`super::open`]) and keeps up to `budget_bytes` of decoded pixels.
    pub fn open(path: PathBuf, budget_bytes: usize, wake: Wake) -> Self {
        Self::spawn(move || super::open(&path), budget_bytes, wake)
    }

    /// Starts a thread with the source that `open` gives; `open` itself runs on the thread too, since opening reads the
    /// whole file's packets.
    pub fn spawn(
        open: impl FnOnce() -> Result<Box<dyn FrameSource>, VideoError> + Send + 'static,
        budget_bytes: usize,
        wake: Wake,
    ) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                info: None,
                table: None,
                pts_secs: Arc::new([]),
                wanted: None,
                direction: Direction::Still,
                cache: FrameCache::new(budget_bytes),
                frame_bytes: 0,
                failed: BTreeMap::new(),
                newest: None,
                warnings: Vec::new(),
                damage: None,
                ended: None,
                thumbnails: Thumbnails::default(),
            }),
            stop: AtomicBool::new(false),
        });
        // One ring is as good as ten: the state says what to do.
        let (bell, rings) = bounded(1);
        let worker = Worker {
            shared: Arc::clone(&shared),
            rings,
            wake,
        };
        let started = thread::Builder::new()
            .name("decoder".to_owned())
            .spawn(move || worker.run(open));
        if let Err(e) = started {
            shared.lock().ended = Some(format!("the decoder thread does not start: {e}"));
        }
        Self { shared, bell }
    }

    /// Identity, size and length; `None` until the video is open.
    pub fn info(&self) -> Option<VideoInfo> {
        self.shared.lock().info.clone()
    }

    /// The frame table, for sources that have one.
    pub fn table(&self) -> Option<Arc<FrameTable>> {
        self.shared.lock().table.clone()
    }

    /// Presentation time of a frame in seconds; `None` until the video is open and past its end.
    pub fn pts_secs(&self, index: FrameIndex) -> Option<f64> {
        self.shared.lock().pts_secs.get(index.0 as usize).copied()
    }

    /// Presentation times of all frames in seconds; empty until the video is open.
    pub fn all_pts_secs(&self) -> Arc<[f64]> {
        Arc::clone(&self.shared.lock().pts_secs)
    }

    /// The frame that is in view `secs` after `from` came into view, by the frames' own times: rates may vary. `None`
    /// where there are no times to go by.
    pub fn frame_after(&self, from: FrameIndex, secs: f64) -> Option<FrameIndex> {
        frame_after(&self.all_pts_secs(), from.0, secs).map(FrameIndex)
    }

    /// Says which frame the user wants to see now. Replaces the last wish; indices past the end mean the last frame.
    pub fn request(&self, index: FrameIndex) {
        let mut state = self.shared.lock();
        let last = state.info.as_ref().map(|i| i.frames.saturating_sub(1));
        let index = last.map_or(index.0, |last| index.0.min(last));
        let window = state.reach().window();
        match state.wanted {
            Some(before) if before == index => return,
            Some(before) if before < index => state.direction = Direction::Forward,
            Some(before) if before - index <= window.max(1) => {
                state.direction = Direction::Backward;
            }
            // A leap back is no going back: what lies before would be decoded for nothing.
            Some(_) => state.direction = Direction::Still,
            None => {}
        }
        state.wanted = Some(index);
        if let Some(frame) = state.target().and_then(|t| state.cache.get(t)) {
            state.newest = Some(frame);
        }
        drop(state);
        self.ring();
    }

    /// The frame if it is decoded already.
    pub fn get(&self, index: FrameIndex) -> Option<Arc<Frame>> {
        self.shared.lock().cache.get(index.0)
    }

    /// The best frame to draw right now: the wanted one, or else the one decoded last.
    pub fn newest(&self) -> Option<Arc<Frame>> {
        self.shared.lock().newest.clone()
    }

    /// Asks for small pictures of these frames, no larger than `size` and of the video's shape. They come one by one when
    /// there is nothing better to do. Replaces the list asked for before.
    pub fn request_thumbnails(&self, frames: &[FrameIndex], size: Size) {
        let mut state = self.shared.lock();
        let thumbnails = &mut state.thumbnails;
        if thumbnails.size != Some(size) {
            thumbnails.done.clear();
            thumbnails.size = Some(size);
        }
        thumbnails
            .done
            .retain(|&i, _| frames.contains(&FrameIndex(i)));
        let done = &thumbnails.done;
        let missing = frames.iter().map(|f| f.0);
        thumbnails.waiting = missing.filter(|i| !done.contains_key(i)).collect();
        drop(state);
        self.ring();
    }

    /// The small picture of a frame if it is ready.
    pub fn thumbnail(&self, index: FrameIndex) -> Option<Arc<RgbFrame>> {
        self.shared.lock().thumbnails.done.get(&index.0).cloned()
    }

    /// Things worth telling the user about the file.
    pub fn warnings(&self) -> Vec<String> {
        self.shared.lock().warnings.clone()
    }

    /// Why the video, or the frame wanted now, cannot be shown.
    pub fn error(&self) -> Option<String> {
        let state = self.shared.lock();
        let of_frame = || Some(&state.failed.get(&state.wanted?)?.why);
        state.ended.as_ref().or_else(of_frame).cloned()
    }

    /// Why the picture of a frame may not be what was filmed, if it has one of its own. What becomes known of a file's
    /// damage becomes known as its frames are decoded.
    pub fn flaw(&self, index: FrameIndex) -> Option<String> {
        let state = self.shared.lock();
        match state.damage.as_ref()?.flaw(index)? {
            Flaw::Lost { .. } => None,
            flaw => Some(format!("frame {} may look wrong: {flaw}", index.0)),
        }
    }

    /// The frame wanted now, if it cannot be shown although the video goes on.
    pub fn failed_frame(&self) -> Option<FrameIndex> {
        let state = self.shared.lock();
        let failed = |frame: &u32| state.ended.is_none() && state.failed.contains_key(frame);
        state.wanted.filter(failed).map(FrameIndex)
    }

    /// Ranges of frames that can be shown at once, ascending.
    pub fn cached(&self) -> Vec<Range<u32>> {
        self.shared.lock().cache.ranges()
    }

    /// Bytes of decoded pixels held.
    pub fn cached_bytes(&self) -> usize {
        self.shared.lock().cache.used()
    }

    fn ring(&self) {
        // Full means that it rings already; closed, that the thread has ended and said why.
        self.bell.try_send(()).ok();
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // The closing of the bell wakes a sleeping thread.
    }
}

impl Shared {
    /// The lock is held for bookkeeping only, never while decoding, so waiting for it is no wait.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

impl State {
    /// The frame to show: the wanted one, or the one whose picture is shown in its place.
    fn target(&self) -> Option<u32> {
        let wanted = self.wanted?;
        let shown = self.failed.get(&wanted).and_then(|f| f.shown);
        Some(shown.unwrap_or(wanted))
    }

    /// Whether the frame to show still has to be decoded.
    fn is_waiting(&self) -> bool {
        self.target()
            .is_some_and(|t| !self.cache.contains(t) && !self.failed.contains_key(&t))
    }

    fn view(&self) -> View {
        View {
            playhead: self.target().unwrap_or(0),
            direction: self.direction,
        }
    }

    /// Whether a frame is nearer to the one to show than what is in view.
    fn helps(&self, index: u32) -> bool {
        let (Some(target), Some(newest)) = (self.target(), &self.newest) else {
            return true;
        };
        index.abs_diff(target) < newest.index.0.abs_diff(target)
    }

    fn reach(&self) -> Reach {
        Reach::new(self.cache.room(self.frame_bytes))
    }

    fn next_job(&self) -> Option<Job> {
        let frames = self.info.as_ref()?.frames;
        if let Some(target) = self.target().map(|t| t.min(frames.saturating_sub(1))) {
            if self.is_waiting() {
                return Some(Job::Show(Fetch {
                    index: target,
                    keep: self.reach().keep_before(target, self.direction),
                }));
            }
            let table = self.table.as_ref().filter(|t| !t.is_counted());
            let start = |i: u32| table?.start_for(i);
            let done = |i: u32| self.cache.contains(i) || self.failed.contains_key(&i);
            if let Some(fetch) = self.reach().next(self.view(), frames, start, done) {
                return Some(Job::Prefetch(fetch));
            }
        }
        let size = self.thumbnails.size?;
        let &index = self.thumbnails.waiting.front()?;
        Some(Job::Thumbnail(index, size))
    }
}

/// Why a walk may be broken off.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// Until another frame is wanted than this, and there is something nearer to it to show, or none to come.
    Insist(u32),
    /// Until another frame is wanted than this.
    WhileWanted(u32),
    /// Until a frame is wanted that is not there.
    WhileIdle,
}

/// Puts what is met on the way into the cache.
struct Way<'a> {
    shared: &'a Shared,
    keep: Range<u32>,
    patience: Patience,
    last_kept: Option<Arc<Frame>>,
}

impl OnTheWay for Way<'_> {
    fn wants(&mut self, index: FrameIndex) -> bool {
        self.keep.contains(&index.0) && !self.shared.lock().cache.contains(index.0)
    }

    fn keep(&mut self, frame: Frame) {
        let frame = Arc::new(frame);
        let mut state = self.shared.lock();
        let view = state.view();
        state.cache.insert(Arc::clone(&frame), view);
        drop(state);
        self.last_kept = Some(frame);
    }

    fn give_up(&mut self) -> bool {
        if self.shared.stopped() {
            return true;
        }
        let state = self.shared.lock();
        match self.patience {
            Patience::Insist(index) => {
                let is_shown = |f: &Arc<Frame>| state.helps(f.index.0);
                state.target() != Some(index)
                    && (self.last_kept.as_ref().is_some_and(is_shown) || !state.helps(index))
            }
            Patience::WhileWanted(index) => state.target() != Some(index),
            Patience::WhileIdle => state.is_waiting(),
        }
    }
}

struct Worker {
    shared: Arc<Shared>,
    rings: Receiver<()>,
    wake: Wake,
}

impl Worker {
    fn run(self, open: impl FnOnce() -> Result<Box<dyn FrameSource>, VideoError>) {
        // A panic below us (a codec's corner case) must not leave the window waiting for ever.
        let end = catch_unwind(AssertUnwindSafe(|| match open() {
            Ok(source) => self.serve(source),
            Err(e) => self.fail(e.to_string()),
        }));
        if let Err(panic) = end {
            self.fail(format!(
                "the decoder crashed: {}",
                panic_text(panic.as_ref())
            ));
        }
    }

    fn fail(&self, reason: String) {
        self.shared.lock().ended = Some(reason);
        (self.wake)();
    }

    fn serve(&self, mut source: Box<dyn FrameSource>) {
        self.introduce(source.as_ref());
        let mut thumbnail_source = None;
        let mut interrupted = false;
        while !self.shared.stopped() {
            let job = self.shared.lock().next_job();
            match job {
                Some(Job::Show(fetch)) => {
                    interrupted = self.show(source.as_mut(), &fetch, interrupted);
                }
                Some(Job::Prefetch(fetch)) => {
                    self.fetch(source.as_mut(), &fetch, Patience::WhileIdle);
                }
                Some(Job::Thumbnail(index, size)) => {
                    // A reader of its own, so that the main one stays where the user is.
                    let reader = thumbnail_source.get_or_insert_with(|| source.second_reader());
                    let reader = reader.as_deref_mut().unwrap_or(source.as_mut());
                    self.make_thumbnail(reader, index, size);
                }
                None => {
                    thumbnail_source = None;
                    if self.rings.recv().is_err() {
                        return;
                    }
                }
            }
            self.repeat(source.as_ref());
        }
    }

    fn introduce(&self, source: &dyn FrameSource) {
        let info = source.info().clone();
        let pts_secs = (0..info.frames)
            .map(|i| source.pts_secs(FrameIndex(i)).unwrap_or(0.0))
            .collect();
        let mut state = self.shared.lock();
        if let Some(wanted) = &mut state.wanted {
            *wanted = (*wanted).min(info.frames.saturating_sub(1));
        }
        // Until a frame says better: 4:2:0.
        state.frame_bytes = (info.size.area() * 3 / 2) as usize;
        state.info = Some(info);
        state.table = source.table().map(|t| Arc::new(t.clone()));
        state.pts_secs = pts_secs;
        state.warnings = source.warnings().to_vec();
        state.damage = source.damage().cloned();
        drop(state);
        (self.wake)();
    }

    /// Passes on what the source has come to know.
    fn repeat(&self, source: &dyn FrameSource) {
        let mut state = self.shared.lock();
        let known = |damage: &Damage| damage.changes();
        let is_new = source.damage().map(known) != state.damage.as_ref().map(known);
        if is_new || state.warnings != source.warnings() {
            state.damage = source.damage().cloned();
            state.warnings = source.warnings().to_vec();
            drop(state);
            (self.wake)();
        }
    }

    /// Decodes the wanted frame; true if it was broken off.
    fn show(&self, source: &mut dyn FrameSource, fetch: &Fetch, interrupted: bool) -> bool {
        let patience = if interrupted {
            Patience::Insist(fetch.index)
        } else {
            Patience::WhileWanted(fetch.index)
        };
        let gave_up = self.fetch(source, fetch, patience);
        (self.wake)();
        gave_up
    }

    /// Decodes a frame into the cache; true if it was broken off.
    fn fetch(&self, source: &mut dyn FrameSource, fetch: &Fetch, patience: Patience) -> bool {
        let mut way = Way {
            shared: &self.shared,
            keep: fetch.keep.clone(),
            patience,
            last_kept: None,
        };
        let index = FrameIndex(fetch.index);
        let end = source.walk_to(index, &mut way);
        let last_kept = way.last_kept;
        let flaw = source.damage().and_then(|damage| damage.flaw(index));
        let mut state = self.shared.lock();
        let come = match end {
            Ok(Some(mut frame)) => {
                state.frame_bytes = state.frame_bytes.max(frame.bytes());
                // Another frame's picture is kept as what it is, so that nobody takes it for this one's.
                if let Some(lost @ Flaw::Lost { shown: Some(shown) }) = flaw {
                    let why = VideoError::decode(index, lost.to_string());
                    let failure = Failure {
                        why: why.to_string(),
                        shown: Some(shown.0),
                    };
                    state.failed.insert(index.0, failure);
                    frame.pts_secs = source.pts_secs(shown).unwrap_or(frame.pts_secs);
                    frame.index = shown;
                }
                let frame = Arc::new(frame);
                let view = state.view();
                state.cache.insert(Arc::clone(&frame), view);
                Some(frame)
            }
            Ok(None) => last_kept,
            Err(e) => {
                let failure = Failure {
                    why: e.to_string(),
                    shown: None,
                };
                state.failed.insert(index.0, failure);
                None
            }
        };
        let is_idle = patience == Patience::WhileIdle;
        // What was fetched ahead of time is not to be looked at yet, unless it has become wanted meanwhile; nor what leads
        // away from where the user is by now.
        let shown = come.filter(|frame| {
            let is_target = state.target() == Some(frame.index.0);
            is_target || (!is_idle && state.helps(frame.index.0))
        });
        let gave_up = !is_idle && shown.is_none();
        if shown.is_some() {
            state.newest = shown;
        }
        gave_up
    }

    fn make_thumbnail(&self, source: &mut dyn FrameSource, index: u32, size: Size) {
        let cached = self.shared.lock().cache.get(index);
        let frame = match cached {
            Some(frame) => Some(frame),
            None => {
                let mut way = Way {
                    shared: &self.shared,
                    keep: 0..0,
                    patience: Patience::WhileIdle,
                    last_kept: None,
                };
                match source.walk_to(FrameIndex(index), &mut way) {
                    Ok(Some(frame)) => Some(Arc::new(frame)),
                    // Something more urgent came; the list is still there.
                    Ok(None) => return,
                    Err(_) => None,
                }
            }
        };
        // Scaling happens outside the lock.
        let picture = frame.map(|f| to_rgb_scaled(&f, fit(f.displayed_size(), size)));
        let mut state = self.shared.lock();
        let thumbnails = &mut state.thumbnails;
        // The list may be another by now.
        if thumbnails.size == Some(size) && thumbnails.waiting.front() == Some(&index) {
            thumbnails.waiting.pop_front();
            if let Some(picture) = picture {
                thumbnails.done.insert(index, Arc::new(picture));
            }
        }
        drop(state);
        (self.wake)();
    }
}

/// The last frame that is shown no later than `secs` after frame `from`; `pts` ascends.
fn frame_after(pts: &[f64], from: u32, secs: f64) -> Option<u32> {
    // A source without times gives the same one for all frames.
    if pts.first()? >= pts.last()? {
        return None;
    }
    let now = pts.get(from as usize)? + secs.max(0.0);
    let shown = pts.partition_point(|&t| t <= now);
    u32::try_from(shown.saturating_sub(1)).ok()
}

/// The largest size of `shape`'s shape within `limit`, at least 1×1.
fn fit(shape: Size, limit: Size) -> Size {
    let scale = (f64::from(limit.width) / f64::from(shape.width.max(1)))
        .min(f64::from(limit.height) / f64::from(shape.height.max(1)));
    let side = |v: u32| ((f64::from(v) * scale).round() as u32).max(1);
    Size::new(side(shape.width), side(shape.height))
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no reason given")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_in_view_follows_the_frames_own_times() {
        // Ten frames a second, then one a second.
        let pts: Vec<f64> = (0..10).map(|i| f64::from(i) / 10.0).collect();
        let pts = [pts, vec![1.0, 2.0, 3.0]].concat();
        let is = |from, secs, frame| {
            assert_eq!(frame_after(&pts, from, secs), Some(frame), "{from} {secs}");
        };
        is(0, 0.0, 0);
        is(0, 0.95, 9);
        is(0, 1.95, 10);
        is(0, 2.0, 11);
        is(9, 0.05, 9);
        is(9, 1.5, 11);
        is(12, 0.0, 12);
        is(3, 100.0, 12);
        is(4, -1.0, 4);
        // Frames of one moment: the last of them is what one sees.
        assert_eq!(frame_after(&[0.0, 0.5, 0.5, 1.0], 0, 0.7), Some(2));
        assert_eq!(frame_after(&[0.0; 4], 1, 9.0), None);
        assert_eq!(frame_after(&[], 0, 1.0), None);
        assert_eq!(frame_after(&pts, 13, 1.0), None);
    }

    #[test]
    fn thumbnails_keep_the_shape() {
        let limit = Size::new(100, 60);
        assert_eq!(fit(Size::new(1920, 1080), limit), Size::new(100, 56));
        assert_eq!(fit(Size::new(1080, 1920), limit), Size::new(34, 60));
        assert_eq!(fit(Size::new(4000, 1), limit), Size::new(100, 1));
    }
}
