//! What needs a look, or a hand, inside: a file that cannot be read any further, what a decoder says of damage. The rest is
//! in `tests/suite/video`.

use std::path::PathBuf;

use super::*;
use crate::video::{
    EncodeError, EncodeOptions, Flaw, RgbFrame, SyntheticSource, VideoWriter, to_rgb,
};

const SIZE: Size = Size {
    width: 160,
    height: 96,
};

/// A clip of 60 frames that say which they are, a key frame every ten; `None` where FFmpeg was built without any H.264
/// encoder.
fn clip(dir: &Path) -> Option<PathBuf> {
    let path = dir.join("clip.mp4");
    let options = EncodeOptions {
        key_interval: 10,
        ..EncodeOptions::default()
    };
    let mut writer = match VideoWriter::create(&path, SIZE, options) {
        Ok(writer) => writer,
        Err(EncodeError::Write { reason, .. }) if reason.contains("no H.264 encoder") => {
            return None;
        }
        Err(e) => panic!("{e}"),
    };
    let mut frames = SyntheticSource::new(SIZE, 60, 25.0);
    for i in 0..60 {
        let frame = frames.frame(FrameIndex(i)).expect("made of arithmetic");
        writer.write(&to_rgb(&frame)).expect("room on the disk");
    }
    writer.finish().expect("room on the disk");
    Some(path)
}

fn shown(frame: &Frame) -> u32 {
    let RgbFrame { size, data } = to_rgb(frame);
    SyntheticSource::read_index(&data, size)
}

#[test]
fn a_drive_that_is_gone_for_a_while_loses_no_frame() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let Some(path) = clip(dir.path()) else {
        return;
    };
    let mut source = FfmpegSource::open(&path).expect("what was written");
    // Wherever the reading ends: each frame is there or refused, and nothing is said to be damaged.
    for readable in [0, 1, 3, 8, 14, 60] {
        let mut refused = 0;
        for i in [5, 6, 7, 33, 34, 20, 59, 58, 0] {
            source.readable = Some(readable);
            match source.frame(FrameIndex(i)) {
                Ok(frame) => assert_eq!(shown(&frame), i, "{readable} packets"),
                Err(e) => {
                    let said = e.to_string();
                    assert!(
                        said.ends_with("the file cannot be read any further"),
                        "{said}"
                    );
                    refused += 1;
                }
            }
        }
        if readable <= 1 {
            assert!(refused > 0, "{readable} packets");
        }
        if readable == 60 {
            assert_eq!(refused, 0, "no frame takes as many");
        }
        assert_eq!(source.warnings(), [] as [String; 0], "{readable} packets");
    }
    // The drive is back, and so is every frame.
    source.readable = None;
    for i in (0..60).rev() {
        let frame = source.frame(FrameIndex(i)).expect("readable again");
        assert_eq!(shown(&frame), i);
    }
    assert_eq!(source.warnings(), [] as [String; 0]);
}

#[test]
fn a_thing_that_a_decoder_says_is_heard_by_the_reader_it_is_about() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let Some(path) = clip(dir.path()) else {
        return;
    };
    let mut bytes = std::fs::read(&path).expect("what was written");
    let mut whole = FfmpegSource::open(&path).expect("what was written");
    let key = whole.table.start_for(45).expect("a key frame every ten");
    let next = whole.table.keys().iter().copied().find(|&k| k > 45);
    let next = next.expect("a key frame every ten");
    let entry = whole.table.frames()[key as usize];
    let starts = whole.table.frames().iter().map(|f| f.pos);
    let end = starts.filter(|&p| p > entry.pos).min();
    let at = usize::try_from(entry.pos).expect("a place in the file");
    let end = end.map_or(bytes.len(), |p| {
        usize::try_from(p).expect("a place in the file")
    });
    // A key frame whose second half is gone.
    bytes[at.midpoint(end)..end].fill(0);
    let damaged = dir.path().join("damaged.mp4");
    std::fs::write(&damaged, bytes).expect("room on the disk");
    let mut damaged = FfmpegSource::open(&damaged).expect("only one frame is damaged");
    for i in key..60 {
        whole.frame(FrameIndex(i)).expect("whole");
        damaged.frame(FrameIndex(i)).expect("mended");
    }
    let flaw = |source: &FfmpegSource, i| source.damage.flaw(FrameIndex(i));
    assert_eq!(flaw(&damaged, key), Some(Flaw::Damaged));
    assert_eq!(flaw(&damaged, 45), Some(Flaw::BuiltOn(FrameIndex(key))));
    assert_eq!(flaw(&damaged, next), None);
    assert_eq!(whole.warnings(), [] as [String; 0]);
    // Decoded once more, it is still what it is.
    damaged.frame(FrameIndex(key)).expect("mended");
    assert_eq!(flaw(&damaged, key), Some(Flaw::Damaged));
}

#[test]
fn frames_without_time_stamps_have_no_rate_of_their_own() {
    let entry = |pts, order| FrameEntry {
        pts,
        order,
        pos: -1,
        key: true,
    };
    let frames = vec![entry(i64::MIN, 0), entry(40, 1)];
    let table = FrameTable::new((1, 1000), true, frames);
    assert_eq!(mean_fps(&table, 0.0), 25.0);
    assert_eq!(mean_fps(&table, 30.0), 30.0);
}

#[test]
fn the_last_resort_is_not_farther_than_it_has_to_be() {
    // A key frame every hundred.
    let entry = |i: u32| FrameEntry {
        pts: i64::from(i),
        order: i,
        pos: -1,
        key: i.is_multiple_of(100),
    };
    let table = FrameTable::new((1, 25), false, (0..90_000).map(entry).collect());
    let far = |key: u32| table.key_at(key, key.checked_sub(LAST_RESORT)?);
    assert_eq!(far(80_000), Some(79_000));
    assert_eq!(far(1000), Some(0));
    assert_eq!(far(900), None, "the start of the file");
}
