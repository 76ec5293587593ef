//! What we write is what we, and FFmpeg's tool, read. Needs an H.264 encoder in the library, not the tool.

use std::fs;

use sparrow::{
    project::{FrameIndex, Size},
    video::{
        EncodeOptions, FrameSource as _, RgbFrame, SyntheticSource, VideoWriter, open, to_rgb,
    },
};

/// `None` where FFmpeg was built without any H.264 encoder.
fn writer(path: &std::path::Path, size: Size, options: EncodeOptions) -> Option<VideoWriter> {
    match VideoWriter::create(path, size, options) {
        Ok(writer) => Some(writer),
        Err(e) if e.to_string().contains("no H.264 encoder") => None,
        Err(e) => panic!("{e}"),
    }
}

#[test]
fn a_written_clip_reads_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("clip.mp4");
    let size = Size::new(128, 96);
    let mut clip = SyntheticSource::new(size, 60, 29.97);
    let options = EncodeOptions {
        fps: 29.97,
        key_interval: 12,
        ..EncodeOptions::default()
    };
    let Some(mut writer) = writer(&path, size, options) else {
        return;
    };
    for i in 0..60 {
        writer
            .write(&to_rgb(&clip.frame(FrameIndex(i)).unwrap()))
            .unwrap();
    }
    assert!(!path.exists(), "visible before it is whole");
    writer.finish().unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    let mut back = open(&path).unwrap();
    assert_eq!(back.info().frames, 60);
    assert_eq!(back.info().size, size);
    assert!((back.info().fps - 30000.0 / 1001.0).abs() < 1e-6);
    for i in [59, 0, 30, 29, 7] {
        let got = to_rgb(&back.frame(FrameIndex(i)).unwrap());
        assert_eq!(SyntheticSource::read_index(&got.data, size), i);
        let want = to_rgb(&clip.frame(FrameIndex(i)).unwrap());
        let off: u64 = got
            .data
            .iter()
            .zip(&want.data)
            .map(|(a, b)| u64::from(a.abs_diff(*b)))
            .sum();
        let mean = off as f64 / want.data.len() as f64;
        assert!(mean < 4.0, "frame {i} is off by {mean}");
        let secs = f64::from(i) * 1001.0 / 30000.0;
        assert!((back.pts_secs(FrameIndex(i)).unwrap() - secs).abs() < 1e-4);
    }
}

#[test]
fn odd_sizes_are_written_one_larger() {
    let dir = tempfile::tempdir().unwrap();
    for (width, height) in [(75, 43), (1, 1), (64, 33)] {
        let path = dir.path().join("odd.mp4");
        let size = Size::new(width, height);
        let Some(mut writer) = writer(&path, size, EncodeOptions::default()) else {
            return;
        };
        let grey = RgbFrame {
            size,
            data: vec![99; size.area() as usize * 3],
        };
        writer.write(&grey).unwrap();
        writer.finish().unwrap();
        let mut back = open(&path).unwrap();
        let even = Size::new(width.next_multiple_of(2), height.next_multiple_of(2));
        assert_eq!(back.info().size, even);
        let rgb = to_rgb(&back.frame(FrameIndex(0)).unwrap());
        assert!(rgb.data.iter().all(|v| v.abs_diff(99) <= 3));
    }
}

#[test]
fn nothing_is_left_of_a_video_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("clip.mp4");
    let size = Size::new(32, 32);
    let Some(mut half) = writer(&path, size, EncodeOptions::default()) else {
        return;
    };
    let wrong = RgbFrame {
        size: Size::new(16, 16),
        data: vec![0; 16 * 16 * 3],
    };
    assert!(
        half.write(&wrong)
            .unwrap_err()
            .to_string()
            .contains("16×16")
    );
    drop(half);
    let empty = writer(&path, size, EncodeOptions::default()).unwrap();
    assert!(empty.finish().is_err());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    let nowhere = dir.path().join("none").join("clip.mp4");
    assert!(VideoWriter::create(&nowhere, size, EncodeOptions::default()).is_err());
    assert!(VideoWriter::create(&path, Size::new(0, 5), EncodeOptions::default()).is_err());
}
