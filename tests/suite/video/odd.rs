//! Files of odd kinds: animations, still ones among them, colours as they are tagged, time stamps that are not there.

use std::{path::Path, time::Duration};

use sha2::{Digest as _, Sha256};
use sparrow::{
    project::FrameIndex,
    task::{Request, Update},
    video::{FfmpegSource, FrameSource as _, Pixels, open, to_rgb},
    worker::{InferBackend, Worker},
};

use super::clips::{Clips, shuffled, testsrc};

/// The pictures, the same whichever way one goes; gives their number.
fn whichever_way(path: &Path) -> u32 {
    let mut source = open(path).unwrap();
    let n = source.info().frames;
    let mut show = |i: u32| {
        let frame = source.frame(FrameIndex(i)).unwrap();
        assert_eq!(frame.index, FrameIndex(i));
        Sha256::digest(to_rgb(&frame).data)
    };
    let forwards: Vec<_> = (0..n).map(&mut show).collect();
    for i in shuffled(n).into_iter().chain((0..n).rev()) {
        assert!(
            show(i) == forwards[i as usize],
            "{}: frame {i}",
            path.display()
        );
    }
    assert_eq!(source.warnings(), [] as [String; 0]);
    n
}

#[test]
fn animations_are_clips() {
    let Some(clips) = Clips::new("animations_are_clips") else {
        return;
    };
    let src = "-f lavfi -i testsrc2=size=64x48:rate=10 -frames:v 12";
    assert_eq!(whichever_way(&clips.make("a.gif", src)), 12);
    // Its first bytes are those of a still image.
    if let Some(path) = clips.try_make("a.png", &format!("{src} -plays 0 -f apng")) {
        assert_eq!(whichever_way(&path), 12);
    }
    let still = clips.make("still.png", &testsrc("64x48", 1));
    assert_eq!(whichever_way(&still), 1);
}

/// FFmpeg learned it late: until then the file is not called damaged for that.
#[test]
fn an_animated_webp_is_called_so() {
    let Some(clips) = Clips::new("an_animated_webp_is_called_so") else {
        return;
    };
    let args = testsrc("64x48", 5) + " -c:v libwebp_anim -loop 0";
    let Some(path) = clips.try_make("a.webp", &args) else {
        return;
    };
    match open(&path) {
        Ok(source) => assert_eq!(source.info().frames, 5),
        Err(e) => assert!(e.to_string().contains("animated WebP"), "{e}"),
    }
    if let Some(path) = clips.try_make("still.webp", &(testsrc("64x48", 1) + " -c:v libwebp")) {
        assert_eq!(whichever_way(&path), 1);
    }
}

#[test]
fn colours_are_meant_as_tagged_or_as_is_usual() {
    let Some(clips) = Clips::new("colours_are_meant_as_tagged_or_as_is_usual") else {
        return;
    };
    // Size, tags, full range, BT.709.
    let all = [
        ("64x48", "", false, false),
        ("1280x720", "", false, true),
        ("1280x720", "-colorspace smpte170m", false, false),
        ("64x48", "-colorspace bt709", false, true),
        ("64x48", "-color_range pc -colorspace bt709", true, true),
        (
            "1280x720",
            "-color_range pc -colorspace smpte170m",
            true,
            false,
        ),
    ];
    for (i, (size, tags, full, hd)) in all.into_iter().enumerate() {
        let args = format!("{} -c:v libx264 -pix_fmt yuv420p {tags}", testsrc(size, 1));
        let path = clips.make(&format!("{i}.mp4"), &args);
        let frame = open(&path).unwrap().frame(FrameIndex(0)).unwrap();
        let Pixels::Yuv420 {
            full_range, bt709, ..
        } = frame.pixels
        else {
            panic!("4:2:0 stays so");
        };
        assert_eq!((full_range, bt709), (full, hd), "{size} {tags}");
    }
}

#[test]
fn high_dynamic_range_is_said() {
    let Some(clips) = Clips::new("high_dynamic_range_is_said") else {
        return;
    };
    let args = testsrc("64x48", 1) + " -c:v libx264 -pix_fmt yuv420p";
    let said = |name: &str, tags: &str| {
        let path = clips.make(name, &format!("{args} {tags}"));
        open(&path).unwrap().warnings().join("\n")
    };
    assert!(said("pq.mp4", "-color_trc smpte2084 -colorspace bt2020nc").contains("dynamic range"));
    assert!(said("hlg.mp4", "-color_trc arib-std-b67").contains("dynamic range"));
    assert_eq!(said("plain.mp4", "-color_trc bt709"), "");
}

/// The window says it as it opens the file to show it; the model opened the same file, and it was said again.
#[test]
fn what_there_is_to_tell_of_a_file_is_told_once() {
    let Some(clips) = Clips::new("what_there_is_to_tell_of_a_file_is_told_once") else {
        return;
    };
    let tags = "-pix_fmt yuv420p -color_trc smpte2084 -colorspace bt2020nc";
    let args = format!("{} -c:v libx264 {tags}", testsrc("64x48", 2));
    let path = clips.make("pq.mp4", &args);
    assert_eq!(open(&path).unwrap().warnings().len(), 1);
    let mut worker = Worker::spawn(|| Ok(InferBackend::default()), || ()).unwrap();
    let path = path.display().to_string();
    worker.submit(Request::OpenClip { path });
    loop {
        match worker.recv_timeout(Duration::from_secs(120)).unwrap() {
            Update::Finished { .. } => break,
            Update::Failed { text, .. } | Update::Warning { text, .. } => panic!("{text}"),
            _ => {}
        }
    }
}

/// A container that cannot hold times before zero leaves such frames without any.
#[test]
fn frames_before_time_zero_keep_their_numbers() {
    let Some(clips) = Clips::new("frames_before_time_zero_keep_their_numbers") else {
        return;
    };
    let args = testsrc("64x48", 40)
        + " -c:v libx264 -bf 2 -g 10 -pix_fmt yuv420p -output_ts_offset -1 -avoid_negative_ts disabled";
    let Some(path) = clips.try_make("early.mkv", &args) else {
        return;
    };
    let n = whichever_way(&path);
    assert!(n > 0);
    let source = FfmpegSource::open(&path).unwrap();
    let times: Vec<f64> = (0..n)
        .filter_map(|i| source.pts_secs(FrameIndex(i)))
        .collect();
    assert_eq!(times.len(), n as usize);
    assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
    assert!(source.info().fps > 1.0 && source.info().fps < 100.0);
}
