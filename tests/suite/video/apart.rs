//! Files with several damaged places that lie far apart: they open, every whole frame is the one it was, every other one is
//! said, and no picture stands in for another without a word.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sparrow::{
    project::FrameIndex,
    video::{Damage, FfmpegSource, Flaw, FrameSource, open},
};

use super::clips::{Clips, ffmpeg_hashes, hash, shuffled, testsrc};

/// What is done to a packet.
#[derive(Clone, Copy, Debug)]
enum Harm {
    /// Nothing is left that could be decoded.
    Head,
    /// The second half of the picture is gone.
    Tail,
}

/// A copy of `whole` in which these frames' packets are harmed.
fn harmed(whole: &Path, name: &str, frames: &[u32], harm: Harm) -> PathBuf {
    let source = FfmpegSource::open(whole).unwrap();
    let table = source.table().unwrap();
    let starts: Vec<usize> = table
        .frames()
        .iter()
        .map(|f| usize::try_from(f.pos).unwrap())
        .collect();
    let mut bytes = fs::read(whole).unwrap();
    for &frame in frames {
        let at = starts[frame as usize];
        // Packets of a file with one stream follow each other; the last one ends the file (its index comes first).
        let later = starts.iter().copied().filter(|&s| s > at);
        let end = later.min().unwrap_or(bytes.len());
        match harm {
            Harm::Head => bytes[at..at + 8].fill(0),
            Harm::Tail => bytes[at.midpoint(end)..end].fill(0),
        }
    }
    let path = whole.with_file_name(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn flaw(source: &dyn FrameSource, index: u32) -> Option<Flaw> {
    source.damage().and_then(|d| d.flaw(FrameIndex(index)))
}

/// Goes through the frames in an order. Each picture is that of its frame in the whole file, or something is said of it.
fn go_through(path: &Path, whole: &[String], order: &[u32]) -> FfmpegSource {
    let mut source = FfmpegSource::open(path).unwrap();
    assert_eq!(source.info().frames as usize, whole.len());
    for &i in order {
        let frame = source.frame(FrameIndex(i)).unwrap();
        assert_eq!(frame.index, FrameIndex(i));
        let shown = hash(&frame);
        match flaw(&source, i) {
            None => assert_eq!(shown, whole[i as usize], "frame {i} in {order:?}"),
            Some(Flaw::Lost { shown: Some(other) }) if flaw(&source, other.0).is_none() => {
                assert_eq!(shown, whole[other.0 as usize], "frame {i} in {order:?}");
            }
            Some(_) => {}
        }
    }
    source
}

fn orders(frames: u32) -> [Vec<u32>; 3] {
    [
        (0..frames).collect(),
        (0..frames).rev().collect(),
        shuffled(frames),
    ]
}

#[test]
fn damaged_places_far_apart_are_all_said() {
    let Some(clips) = Clips::new("damaged_places_far_apart_are_all_said") else {
        return;
    };
    let args =
        testsrc("160x120", 120) + " -c:v libx264 -bf 0 -g 10 -pix_fmt yuv420p -movflags faststart";
    let clip = clips.make("whole.mp4", &args);
    let whole = ffmpeg_hashes(&clip);
    // Two in one group, and a key frame.
    let path = harmed(&clip, "tails.mp4", &[23, 55, 57, 90, 104], Harm::Tail);
    for order in orders(120) {
        let source = go_through(&path, &whole, &order);
        let built_on = |i| Some(Flaw::BuiltOn(FrameIndex(i)));
        for i in 0..120 {
            let want = match i {
                23 | 55 | 57 | 90 | 104 => Some(Flaw::Damaged),
                24..30 => built_on(23),
                56 => built_on(55),
                58..60 => built_on(57),
                91..100 => built_on(90),
                105..110 => built_on(104),
                _ => None,
            };
            assert_eq!(flaw(&source, i), want, "frame {i}");
        }
        let said = source.warnings().join("\n");
        assert!(said.ends_with(": 23–29, 55–59, 90–99, 104–109"), "{said}");
    }
}

#[test]
fn a_picture_that_was_mended_is_told_whatever_the_order_of_decoding() {
    let Some(clips) =
        Clips::new("a_picture_that_was_mended_is_told_whatever_the_order_of_decoding")
    else {
        return;
    };
    // Large enough for several threads to be at work on it at once.
    let args = testsrc("1280x720", 80)
        + " -c:v libx264 -preset veryfast -bf 3 -g 20 -sc_threshold 0 -pix_fmt yuv420p -movflags faststart";
    let clip = clips.make("whole.mp4", &args);
    let whole = ffmpeg_hashes(&clip);
    let hit = [5, 29, 31, 40, 66];
    let path = harmed(&clip, "tails.mp4", &hit, Harm::Tail);
    for order in orders(80) {
        let source = go_through(&path, &whole, &order);
        for i in hit {
            assert_eq!(flaw(&source, i), Some(Flaw::Damaged), "frame {i}");
        }
        for i in [0, 20, 60] {
            assert_eq!(flaw(&source, i), None, "key frame {i}");
        }
    }
}

#[test]
fn lost_frames_far_apart_are_all_said() {
    let Some(clips) = Clips::new("lost_frames_far_apart_are_all_said") else {
        return;
    };
    let src = testsrc("160x120", 120);
    for bf in [0, 2] {
        let args =
            format!("{src} -c:v libx264 -bf {bf} -g 20 -pix_fmt yuv420p -movflags faststart");
        let clip = clips.make("whole.mp4", &args);
        let whole = ffmpeg_hashes(&clip);
        // One of them a key frame.
        let hit = [23, 57, 80, 104];
        let path = harmed(&clip, "heads.mp4", &hit, Harm::Head);
        for order in orders(120) {
            let source = go_through(&path, &whole, &order);
            for i in hit {
                let said = flaw(&source, i);
                assert!(matches!(said, Some(Flaw::Lost { .. })), "{i}: {said:?}");
            }
            // The groups that were left alone.
            for i in (0..20).chain(60..77) {
                assert_eq!(flaw(&source, i), None, "frame {i} with bf {bf}");
            }
            let said = source.warnings().last().unwrap();
            assert!(said.contains("23") && said.contains("57"), "{said}");
        }
    }
}

/// The decoder still holds as many packets as it has threads when the file ends: the faults of the damaged ones among them
/// must not hide the pictures of the others.
#[test]
fn faults_at_the_end_do_not_hide_the_last_frames() {
    let Some(clips) = Clips::new("faults_at_the_end_do_not_hide_the_last_frames") else {
        return;
    };
    let args =
        testsrc("160x120", 60) + " -c:v libx264 -bf 0 -g 10 -pix_fmt yuv420p -movflags faststart";
    let clip = clips.make("whole.mp4", &args);
    let whole = ffmpeg_hashes(&clip);
    let path = harmed(&clip, "end.mp4", &[54, 56, 57, 58], Harm::Head);
    for order in orders(60) {
        let source = go_through(&path, &whole, &order);
        let is_lost = |i| matches!(flaw(&source, i), Some(Flaw::Lost { .. }));
        let lost: Vec<u32> = (0..60).filter(|&i| is_lost(i)).collect();
        assert_eq!(lost, [54, 56, 57, 58], "{order:?}");
        assert_eq!(flaw(&source, 55), Some(Flaw::BuiltOn(FrameIndex(54))));
        assert_eq!(flaw(&source, 59), Some(Flaw::BuiltOn(FrameIndex(58))));
    }
}

/// A file that was taken away while it is open: what cannot be looked for is not said to be lost.
#[cfg(unix)]
#[test]
fn a_file_taken_away_loses_no_frame() {
    let Some(clips) = Clips::new("a_file_taken_away_loses_no_frame") else {
        return;
    };
    let args =
        testsrc("160x120", 60) + " -c:v libx264 -bf 0 -g 10 -pix_fmt yuv420p -movflags faststart";
    let clip = clips.make("whole.mp4", &args);
    let whole = ffmpeg_hashes(&clip);
    let path = harmed(&clip, "head.mp4", &[23], Harm::Head);
    let mut source = FfmpegSource::open(&path).unwrap();
    let away = clips.path("away.mp4");
    fs::rename(&path, &away).unwrap();
    // The last attempt opens the file anew.
    let said = source.frame(FrameIndex(23)).unwrap_err().to_string();
    assert!(said.contains("cannot be decoded"), "{said}");
    assert!(!source.damage().unwrap().is_lost(FrameIndex(23)), "{said}");
    fs::rename(&away, &path).unwrap();
    let frame = source.frame(FrameIndex(23)).unwrap();
    assert_eq!(hash(&frame), whole[22], "the frame before stands in");
    assert!(source.damage().unwrap().is_lost(FrameIndex(23)));
}

/// The second half of each of these slices of a raw stream, whose frames carry no time stamps.
#[test]
fn frames_that_are_counted_say_their_damage_when_they_are_counted() {
    let Some(clips) = Clips::new("frames_that_are_counted_say_their_damage_when_they_are_counted")
    else {
        return;
    };
    let args = testsrc("160x120", 60) + " -c:v libx264 -bf 0 -g 10 -pix_fmt yuv420p";
    let path = clips.make("raw.h264", &args);
    let whole = ffmpeg_hashes(&path);
    let mut bytes = fs::read(&path).unwrap();
    let is_start = |at: &usize| bytes[*at..].starts_with(&[0, 0, 1]);
    let starts: Vec<usize> = (0..bytes.len()).filter(is_start).collect();
    let kind = |at: usize| bytes.get(at + 3).map_or(0, |b| b & 31);
    let slices: Vec<usize> = (0..starts.len())
        .filter(|&i| matches!(kind(starts[i]), 1 | 5))
        .collect();
    assert_eq!(slices.len(), 60, "one slice for each frame");
    for frame in [23, 41] {
        let at = starts[slices[frame]];
        let end = starts[slices[frame] + 1] - 1;
        bytes[at.midpoint(end)..end].fill(0);
    }
    fs::write(&path, bytes).unwrap();
    let source = open(&path).unwrap();
    let said = source.warnings().join("\n");
    assert!(said.ends_with(": 23–29, 41–49"), "{said}");
    let order: Vec<u32> = (0..60).rev().collect();
    go_through(&path, &whole, &order);
}

/// A stream cut out of a broadcast begins within a group: what of it can be shown at all is full of holes.
#[test]
fn a_stream_that_begins_within_a_group_says_what_is_wrong_with_it() {
    let Some(clips) = Clips::new("a_stream_that_begins_within_a_group_says_what_is_wrong_with_it")
    else {
        return;
    };
    let args = testsrc("160x120", 60) + " -c:v libx264 -bf 0 -g 20 -pix_fmt yuv420p";
    let path = clips.make("whole.ts", &args);
    let bytes = fs::read(&path).unwrap();
    // Whole packets of 188 bytes; the first key frame is not among them.
    let from = bytes.len() / 188 / 5 * 188;
    fs::write(&path, &bytes[from..]).unwrap();
    let mut source = FfmpegSource::open(&path).unwrap();
    let first_key = source.table().unwrap().keys()[0];
    assert!(first_key > 0, "cut in the middle of a group");
    for i in (0..source.info().frames).rev() {
        source.frame(FrameIndex(i)).unwrap();
        let said = flaw(&source, i);
        assert_eq!(said.is_some(), i < first_key, "frame {i}: {said:?}");
    }
}

/// What is known can be asked of any frame, also where there is none.
#[test]
fn damage_of_no_frame_is_none() {
    let Some(clips) = Clips::new("damage_of_no_frame_is_none") else {
        return;
    };
    let args = testsrc("160x120", 12) + " -c:v libx264 -bf 2 -g 5 -pix_fmt yuv420p";
    let source = FfmpegSource::open(&clips.make("a.mp4", &args)).unwrap();
    let known: &Damage = source.damage().unwrap();
    for i in [0, 11, 12, u32::MAX] {
        assert_eq!(known.flaw(FrameIndex(i)), None);
    }
}
