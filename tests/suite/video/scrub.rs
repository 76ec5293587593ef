//! Going back and to and fro in one long group of pictures: how often it is decoded, and what a newer wish breaks off. All
//! of it in numbers of decoded frames, which are the same on every machine.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, unbounded};
use sparrow::{
    project::{FrameIndex, VideoInfo},
    video::{Damage, Decoder, Frame, FrameSource, SyntheticSource, VideoError},
};

use super::rig::{FRAME_BYTES, Grouped, SIZE, table, until, waker};

/// Frames decoded while stepping back from the last frame to the first.
fn decoded_backwards(frames: u32, group: u32, room: usize) -> u32 {
    let (source, decoded) = Grouped::new(frames, group);
    let (wake, woken) = waker();
    let decoder = Decoder::spawn(move || Ok(Box::new(source) as _), room * FRAME_BYTES, wake);
    for i in (0..frames).rev() {
        decoder.request(FrameIndex(i));
        until(&woken, || decoder.newest().is_some_and(|f| f.index.0 == i));
        assert!(decoder.cached_bytes() <= room * FRAME_BYTES);
    }
    decoded.load(Ordering::SeqCst)
}

/// With room for a tenth of the group, and a quarter of that to be ready in time, it is decoded about 14 times over the half
/// of its length. A frame at a time it would be 250 times: 31 375 frames.
#[test]
fn going_back_over_a_long_group_decodes_it_a_few_times() {
    let decoded = decoded_backwards(250, 250, 27);
    assert!(decoded <= 2100, "{decoded} frames decoded");
}

#[test]
fn going_back_with_room_for_the_group_decodes_it_twice() {
    // Once for the last frame, of which nobody knows yet that one goes back; once for the others.
    let decoded = decoded_backwards(250, 250, 300);
    assert!(decoded <= 500, "{decoded} frames decoded");
}

#[test]
fn going_back_over_short_groups_decodes_each_about_once() {
    let decoded = decoded_backwards(240, 12, 40);
    assert!(decoded <= 240 + 24, "{decoded} frames decoded");
}

/// Every frame a key frame: nothing is decoded for the sake of another.
#[test]
fn going_back_over_key_frames_decodes_each_once() {
    let decoded = decoded_backwards(200, 1, 20);
    assert_eq!(decoded, 200);
}

/// A decoder of one group of 300 frames whose every frame waits for permission.
struct Rig {
    decoder: Decoder,
    asked: Receiver<u32>,
    permits: Sender<()>,
    woken: Receiver<()>,
}

fn rig(room: usize) -> Rig {
    let (mut source, _) = Grouped::new(300, 300);
    let (tell, asked) = unbounded();
    let (permits, permitted) = unbounded();
    source.gate = Some((tell, permitted));
    let (wake, woken) = waker();
    let decoder = Decoder::spawn(move || Ok(Box::new(source) as _), room * FRAME_BYTES, wake);
    Rig {
        decoder,
        asked,
        permits,
        woken,
    }
}

impl Rig {
    fn next_asked(&self) -> u32 {
        self.asked.recv_timeout(Duration::from_secs(300)).unwrap()
    }

    /// Lets the decoder go on until it has begun on frame `last`; `from` is the next that it begins on.
    fn goes_on(&self, from: u32, last: u32) {
        for i in from..=last {
            assert_eq!(self.next_asked(), i);
            if i < last {
                self.permit();
            }
        }
    }

    /// The same, and on until `last` is shown.
    fn arrives(&self, from: u32, last: u32) {
        self.goes_on(from, last);
        self.permit();
        self.shows(last);
    }

    fn permit(&self) {
        self.permits.send(()).unwrap();
    }

    fn shows(&self, index: u32) {
        until(&self.woken, || {
            self.decoder.newest().is_some_and(|f| f.index.0 == index)
        });
    }
}

#[test]
fn a_newer_wish_breaks_off_a_long_decoding() {
    let rig = rig(0);
    rig.decoder.request(FrameIndex(250));
    rig.goes_on(0, 50);
    // Far back: frame 250 would take 200 more.
    rig.decoder.request(FrameIndex(10));
    rig.permit();
    rig.arrives(0, 10);
}

#[test]
fn a_newer_wish_on_the_same_way_goes_on_from_there() {
    let rig = rig(0);
    rig.decoder.request(FrameIndex(100));
    rig.goes_on(0, 50);
    rig.decoder.request(FrameIndex(70));
    rig.permit();
    rig.goes_on(51, 60);
    rig.decoder.request(FrameIndex(150));
    rig.permit();
    // Nothing is decoded twice.
    rig.arrives(61, 150);
}

/// Someone who drags to and fro sees frames on the way, also where every wish is overtaken by the next.
#[test]
fn scrubbing_without_pause_shows_frames_on_the_way() {
    let rig = rig(40);
    rig.decoder.request(FrameIndex(290));
    rig.arrives(0, 290);
    // A leap back, then another before it is done, and again.
    rig.decoder.request(FrameIndex(100));
    while rig.next_asked() != 30 {
        rig.permit();
    }
    rig.decoder.request(FrameIndex(90));
    rig.permit();
    // The first was broken off without anything to show. The second goes on to where it has something that is nearer to the
    // third than what is in view.
    while rig.next_asked() != 60 {
        rig.permit();
    }
    assert_eq!(rig.decoder.newest().unwrap().index, FrameIndex(290));
    rig.decoder.request(FrameIndex(20));
    rig.permit();
    assert_eq!(rig.next_asked(), 0);
    assert_eq!(rig.decoder.newest().unwrap().index, FrameIndex(60));
    rig.permit();
    rig.arrives(1, 20);
}

/// Two leaps to and fro: what would lead away from the newest wish is not decoded to its end for the sake of showing it.
#[test]
fn a_wish_that_leads_away_is_dropped_at_once() {
    let rig = rig(0);
    rig.decoder.request(FrameIndex(20));
    rig.arrives(0, 20);
    rig.decoder.request(FrameIndex(250));
    rig.goes_on(21, 100);
    rig.decoder.request(FrameIndex(260));
    rig.permit();
    rig.goes_on(101, 150);
    // The wish before was broken off, too; but frame 20 in view is nearer to 10 than 260 will be.
    rig.decoder.request(FrameIndex(10));
    rig.permit();
    rig.arrives(0, 10);
}

/// While the group is decoded ahead of time a frame is wanted that is not there yet: it comes first.
#[test]
fn a_wish_overtakes_what_is_decoded_ahead_of_time() {
    let rig = rig(40);
    rig.decoder.request(FrameIndex(200));
    rig.arrives(0, 200);
    // Going back, with few left to show: the frames before are decoded in one go, from the key frame on.
    let cached = rig.decoder.cached();
    let kept = cached.iter().find(|r| r.contains(&200)).unwrap();
    rig.decoder.request(FrameIndex(kept.start + 5));
    while rig.next_asked() != 100 {
        rig.permit();
    }
    rig.decoder.request(FrameIndex(110));
    rig.permit();
    rig.arrives(101, 110);
}

/// A source of which frame 23 is lost and frame 30 damaged.
struct Wounded {
    inner: SyntheticSource,
    damage: Damage,
}

impl FrameSource for Wounded {
    fn info(&self) -> &VideoInfo {
        self.inner.info()
    }

    fn pts_secs(&self, index: FrameIndex) -> Option<f64> {
        self.inner.pts_secs(index)
    }

    fn frame(&mut self, index: FrameIndex) -> Result<Frame, VideoError> {
        let real = if index.0 == 23 { 22 } else { index.0 };
        match index.0 {
            23 => self.damage.lose(23),
            30 => self.damage.mark(30),
            _ => {}
        }
        let mut frame = self.inner.frame(FrameIndex(real))?;
        frame.index = index;
        Ok(frame)
    }

    fn damage(&self) -> Option<&Damage> {
        Some(&self.damage)
    }
}

fn wounded() -> (Decoder, Receiver<()>) {
    let source = Wounded {
        inner: SyntheticSource::new(SIZE, 100, 25.0),
        damage: Damage::new(Arc::new(table(100, 10))),
    };
    let (wake, woken) = waker();
    let decoder = Decoder::spawn(move || Ok(Box::new(source) as _), 40 * FRAME_BYTES, wake);
    (decoder, woken)
}

#[test]
fn another_frames_picture_is_never_taken_for_a_lost_one() {
    let (decoder, woken) = wounded();
    for direction in [[22, 23, 24], [24, 23, 22], [60, 23, 90]] {
        for i in direction {
            decoder.request(FrameIndex(i));
            let seen = if i == 23 { 22 } else { i };
            until(&woken, || {
                let in_view = decoder.newest().is_some_and(|f| f.index.0 == seen);
                in_view && decoder.failed_frame().is_some() == (i == 23)
            });
            if i == 23 {
                assert!(decoder.get(FrameIndex(23)).is_none());
                assert_eq!(decoder.failed_frame(), Some(FrameIndex(23)));
                let said = decoder.error().unwrap();
                assert_eq!(
                    said,
                    "frame 23 cannot be decoded: the file is damaged there"
                );
                let shown = decoder.newest().unwrap();
                assert!((shown.pts_secs - 22.0 / 25.0).abs() < 1e-9, "its own time");
            } else {
                assert_eq!(decoder.error(), None);
            }
        }
    }
}

#[test]
fn what_is_known_of_the_damage_is_passed_on() {
    let (decoder, woken) = wounded();
    decoder.request(FrameIndex(10));
    until(&woken, || decoder.newest().is_some());
    assert_eq!(decoder.flaw(FrameIndex(30)), None, "not looked at yet");
    decoder.request(FrameIndex(30));
    until(&woken, || decoder.flaw(FrameIndex(30)).is_some());
    let said = decoder.flaw(FrameIndex(30)).unwrap();
    assert_eq!(said, "frame 30 may look wrong: it is damaged in the file");
    let said = decoder.flaw(FrameIndex(34)).unwrap();
    let built = "frame 34 may look wrong: it is built on frame 30, which is damaged in the file";
    assert_eq!(said, built);
    assert_eq!(decoder.flaw(FrameIndex(40)), None);
    until(&woken, || decoder.newest().is_some_and(|f| f.index.0 == 30));
    assert_eq!(decoder.error(), None, "it is shown");
}

/// The same on a real file: the pictures are right whatever was broken off, and the group is decoded a few times.
#[cfg(feature = "ffmpeg")]
mod files {
    use std::sync::atomic::AtomicU32;

    use sparrow::video::{FfmpegSource, FrameTable, OnTheWay};

    use super::*;
    use crate::video::clips::{Clips, ffmpeg_hashes, hash, testsrc};

    /// Counts the pictures that come out of the decoder.
    struct Counting {
        inner: FfmpegSource,
        decoded: Arc<AtomicU32>,
    }

    struct Counted<'a> {
        way: &'a mut dyn OnTheWay,
        decoded: &'a AtomicU32,
    }

    impl OnTheWay for Counted<'_> {
        fn wants(&mut self, index: FrameIndex) -> bool {
            self.way.wants(index)
        }

        fn keep(&mut self, frame: Frame) {
            self.way.keep(frame);
        }

        fn give_up(&mut self) -> bool {
            self.decoded.fetch_add(1, Ordering::SeqCst);
            self.way.give_up()
        }
    }

    impl FrameSource for Counting {
        fn info(&self) -> &VideoInfo {
            self.inner.info()
        }

        fn pts_secs(&self, index: FrameIndex) -> Option<f64> {
            self.inner.pts_secs(index)
        }

        fn frame(&mut self, index: FrameIndex) -> Result<Frame, VideoError> {
            self.inner.frame(index)
        }

        fn walk_to(
            &mut self,
            index: FrameIndex,
            on_the_way: &mut dyn OnTheWay,
        ) -> Result<Option<Frame>, VideoError> {
            let mut way = Counted {
                way: on_the_way,
                decoded: &self.decoded,
            };
            self.inner.walk_to(index, &mut way)
        }

        fn table(&self) -> Option<&FrameTable> {
            self.inner.table()
        }
    }

    #[test]
    fn going_back_over_a_group_of_250_in_a_file_decodes_it_a_few_times() {
        let Some(clips) =
            Clips::new("going_back_over_a_group_of_250_in_a_file_decodes_it_a_few_times")
        else {
            return;
        };
        let args =
            testsrc("160x120", 250) + " -c:v libx264 -bf 2 -g 250 -sc_threshold 0 -pix_fmt yuv420p";
        let path = clips.make("long.mp4", &args);
        let want = ffmpeg_hashes(&path);
        let decoded = Arc::new(AtomicU32::new(0));
        let source = Counting {
            inner: FfmpegSource::open(&path).unwrap(),
            decoded: Arc::clone(&decoded),
        };
        assert_eq!(source.table().unwrap().keys(), [0]);
        let (wake, woken) = waker();
        let room = 27 * 160 * 120 * 3 / 2;
        let decoder = Decoder::spawn(move || Ok(Box::new(source) as _), room, wake);
        for i in (0..250).rev() {
            decoder.request(FrameIndex(i));
            until(&woken, || decoder.newest().is_some_and(|f| f.index.0 == i));
            let frame = decoder.newest().unwrap();
            assert_eq!(hash(&frame), want[i as usize], "frame {i}");
            assert!(decoder.cached_bytes() <= room);
        }
        let decoded = decoded.load(Ordering::SeqCst);
        assert!(decoded <= 4000, "{decoded} frames decoded");
    }
}
