//! The decoder thread: the latest wish wins, neighbours are fetched, nothing panics, dropping stops it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, bounded};
use sparrow::{
    project::{FrameIndex, Size, VideoInfo},
    video::{Decoder, Frame, FrameSource, Pixels, SyntheticSource, VideoError},
};

use super::rig::{FRAME_BYTES, Grouped, SIZE, until, waker};

/// A source whose every decoding waits for permission, and that tells what it was asked.
struct Gated {
    inner: SyntheticSource,
    asked: Sender<u32>,
    permits: Receiver<()>,
    panics_at: Option<u32>,
    dropped: Arc<AtomicBool>,
}

impl Drop for Gated {
    fn drop(&mut self) {
        self.dropped.store(true, Ordering::SeqCst);
    }
}

impl FrameSource for Gated {
    fn info(&self) -> &VideoInfo {
        self.inner.info()
    }

    fn pts_secs(&self, index: FrameIndex) -> Option<f64> {
        self.inner.pts_secs(index)
    }

    fn frame(&mut self, index: FrameIndex) -> Result<Frame, VideoError> {
        self.asked.send(index.0).unwrap();
        self.permits.recv().ok();
        if index.0 == 13 {
            return Err(VideoError::Decode {
                index: 13,
                reason: "bad luck".into(),
            });
        }
        assert_ne!(Some(index.0), self.panics_at, "a codec's corner case");
        self.inner.frame(index)
    }
}

struct Rig {
    decoder: Decoder,
    asked: Receiver<u32>,
    permits: Sender<()>,
    woken: Receiver<()>,
    dropped: Arc<AtomicBool>,
}

fn rig(budget_frames: usize) -> Rig {
    rig_that_panics_at(budget_frames, None)
}

fn rig_that_panics_at(budget_frames: usize, panics_at: Option<u32>) -> Rig {
    let (asked_in, asked) = bounded(1000);
    let (permits, permits_out) = bounded(1000);
    let dropped = Arc::new(AtomicBool::new(false));
    let source = Gated {
        inner: SyntheticSource::new(SIZE, 100, 25.0),
        asked: asked_in,
        permits: permits_out,
        panics_at,
        dropped: Arc::clone(&dropped),
    };
    let (wake, woken) = waker();
    let decoder = Decoder::spawn(
        move || Ok(Box::new(source) as Box<dyn FrameSource>),
        budget_frames * FRAME_BYTES,
        wake,
    );
    Rig {
        decoder,
        asked,
        permits,
        woken,
        dropped,
    }
}

impl Rig {
    fn next_asked(&self) -> u32 {
        self.asked.recv_timeout(Duration::from_secs(300)).unwrap()
    }

    fn permit(&self) {
        self.permits.send(()).unwrap();
    }
}

#[test]
fn the_latest_wish_wins() {
    let rig = rig(0);
    rig.decoder.request(FrameIndex(10));
    assert_eq!(rig.next_asked(), 10);
    // While 10 is being decoded the user goes on; only the last wish is left.
    for i in 11..=20 {
        rig.decoder.request(FrameIndex(i));
    }
    assert!(rig.decoder.get(FrameIndex(20)).is_none());
    rig.permit();
    assert_eq!(rig.next_asked(), 20);
    rig.permit();
    until(&rig.woken, || {
        rig.decoder
            .newest()
            .is_some_and(|f| f.index == FrameIndex(20))
    });
    assert!(rig.decoder.get(FrameIndex(20)).is_some());
}

#[test]
fn frames_are_the_ones_asked_for() {
    let rig = rig(40);
    for _ in 0..1000 {
        rig.permits.try_send(()).ok();
    }
    for i in [0, 50, 49, 48, 12, 99] {
        rig.decoder.request(FrameIndex(i));
        until(&rig.woken, || rig.decoder.get(FrameIndex(i)).is_some());
        let frame = rig.decoder.get(FrameIndex(i)).unwrap();
        let Pixels::Rgb(rgb) = &frame.pixels else {
            panic!("made as RGB");
        };
        assert_eq!(SyntheticSource::read_index(rgb, SIZE), i);
        assert_eq!(rig.decoder.newest().unwrap().index, FrameIndex(i));
    }
    // Past the end means the last frame.
    rig.decoder.request(FrameIndex(5000));
    until(&rig.woken, || {
        rig.decoder
            .newest()
            .is_some_and(|f| f.index == FrameIndex(99))
    });
    assert_eq!(rig.decoder.info().unwrap().frames, 100);
    assert_eq!(rig.decoder.pts_secs(FrameIndex(50)), Some(2.0));
    assert_eq!(rig.decoder.pts_secs(FrameIndex(100)), None);
}

#[test]
fn neighbours_are_fetched_in_the_direction_of_movement() {
    let rig = rig(24);
    rig.decoder.request(FrameIndex(50));
    assert_eq!(rig.next_asked(), 50);
    rig.decoder.request(FrameIndex(51));
    for want in 51..=60 {
        rig.permit();
        assert_eq!(rig.next_asked(), want);
    }
    // Turning round turns the fetching round; what is there is not decoded again.
    rig.decoder.request(FrameIndex(50));
    for want in [49, 48, 47] {
        rig.permit();
        assert_eq!(rig.next_asked(), want);
    }
}

#[test]
fn the_budget_is_kept() {
    let rig = rig(10);
    for _ in 0..1000 {
        rig.permits.try_send(()).ok();
    }
    for i in 0..60 {
        rig.decoder.request(FrameIndex(i));
        let shown = || rig.decoder.newest().is_some_and(|f| f.index.0 == i) || i == 13;
        until(&rig.woken, shown);
        assert!(rig.decoder.cached_bytes() <= 10 * FRAME_BYTES);
    }
    let held: u32 = rig.decoder.cached().iter().map(|r| r.end - r.start).sum();
    assert_eq!(held as usize * FRAME_BYTES, rig.decoder.cached_bytes());
}

#[test]
fn a_frame_that_fails_is_said_and_not_tried_again() {
    let rig = rig(0);
    rig.decoder.request(FrameIndex(13));
    assert_eq!(rig.next_asked(), 13);
    rig.permit();
    until(&rig.woken, || rig.decoder.error().is_some());
    assert_eq!(
        rig.decoder.error().unwrap(),
        "frame 13 cannot be decoded: bad luck"
    );
    rig.decoder.request(FrameIndex(20));
    assert_eq!(rig.next_asked(), 20);
    rig.permit();
    until(&rig.woken, || rig.decoder.newest().is_some());
    assert_eq!(rig.decoder.error(), None);
    // Nor is it forgotten: another frame's picture would stand there without a word.
    rig.decoder.request(FrameIndex(13));
    let said = rig.decoder.error();
    assert_eq!(said.unwrap(), "frame 13 cannot be decoded: bad luck");
    rig.decoder.request(FrameIndex(20));
    assert_eq!(rig.decoder.error(), None);
}

#[test]
fn a_panic_becomes_an_error() {
    let rig = rig_that_panics_at(0, Some(66));
    rig.permit();
    rig.decoder.request(FrameIndex(66));
    until(&rig.woken, || rig.decoder.error().is_some());
    let said = rig.decoder.error().unwrap();
    assert!(
        said.contains("crashed") && said.contains("corner case"),
        "{said}"
    );
    rig.decoder.request(FrameIndex(1));
}

#[test]
fn what_does_not_open_is_said() {
    let (wake, woken) = waker();
    let decoder = Decoder::open("/nowhere/at all.mp4".into(), 1 << 20, wake);
    until(&woken, || decoder.error().is_some());
    assert!(decoder.error().unwrap().contains("no such file"));
    assert!(decoder.info().is_none());
    decoder.request(FrameIndex(3));
    assert!(decoder.newest().is_none());
}

#[test]
fn thumbnails_come_when_nothing_else_is_to_do() {
    let (wake, woken) = waker();
    let source = SyntheticSource::new(SIZE, 100, 25.0);
    let decoder = Decoder::spawn(move || Ok(Box::new(source) as _), 10 * FRAME_BYTES, wake);
    let frames = [0, 33, 66, 99].map(FrameIndex);
    decoder.request_thumbnails(&frames, Size::new(30, 30));
    until(&woken, || {
        frames.iter().all(|&f| decoder.thumbnail(f).is_some())
    });
    let picture = decoder.thumbnail(FrameIndex(33)).unwrap();
    assert_eq!(picture.size, Size::new(30, 20));
    assert_eq!(picture.data.len(), 30 * 20 * 3);
    // Another list keeps what it shares with the old one.
    decoder.request_thumbnails(&[FrameIndex(33), FrameIndex(5)], Size::new(30, 30));
    assert!(decoder.thumbnail(FrameIndex(33)).is_some());
    assert!(decoder.thumbnail(FrameIndex(66)).is_none());
    until(&woken, || decoder.thumbnail(FrameIndex(5)).is_some());
}

#[test]
fn dropping_the_handle_stops_the_thread() {
    let Rig {
        decoder,
        asked,
        permits,
        dropped,
        woken,
    } = rig(0);
    decoder.request(FrameIndex(4));
    asked.recv().unwrap();
    permits.send(()).unwrap();
    drop(decoder);
    until(&woken, || dropped.load(Ordering::SeqCst));
}

#[test]
fn stepping_back_decodes_the_group_once_per_chunk() {
    let (wake, woken) = waker();
    let (mut source, decoded) = Grouped::new(100, 100);
    source.tells_table = false;
    let decoder = Decoder::spawn(move || Ok(Box::new(source) as _), 80 * FRAME_BYTES, wake);
    for i in (0..100).rev() {
        decoder.request(FrameIndex(i));
        until(&woken, || decoder.newest().is_some_and(|f| f.index.0 == i));
    }
    // Without chunks it would be 100 + 99 + … = 5050.
    let decoded = decoded.load(Ordering::SeqCst);
    assert!(decoded < 600, "{decoded} frames decoded");
}
