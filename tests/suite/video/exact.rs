//! Every frame, in any order, is the frame that FFmpeg shows at that place.

use std::path::Path;

use sparrow::{
    project::{FrameIndex, Size},
    video::{FfmpegSource, FrameSource, OnTheWay, Pixels, open},
};

use super::clips::{Clips, ffmpeg_hashes, hash, shuffled, testsrc};

/// Compares all frames with FFmpeg's checksums: in random order, backwards, forwards.
fn check(path: &Path) -> FfmpegSource {
    let want = ffmpeg_hashes(path);
    let name = path.file_name().unwrap().to_string_lossy();
    assert!(!want.is_empty(), "{name}");
    let mut source = FfmpegSource::open(path).unwrap();
    let n = source.info().frames;
    assert_eq!(n as usize, want.len(), "{name}: number of frames");
    let orders = [shuffled(n), (0..n).rev().collect(), (0..n).collect()];
    for i in orders.concat() {
        let frame = source.frame(FrameIndex(i)).unwrap();
        assert_eq!(frame.index, FrameIndex(i), "{name}");
        assert_eq!(hash(&frame), want[i as usize], "{name}: frame {i}");
    }
    assert_eq!(source.warnings(), [] as [String; 0], "{name}");
    source
}

fn secs(source: &dyn FrameSource) -> Vec<f64> {
    (0..source.info().frames)
        .map(|i| source.pts_secs(FrameIndex(i)).unwrap())
        .collect()
}

#[test]
fn b_frames_mp4() {
    let Some(clips) = Clips::new("b_frames_mp4") else {
        return;
    };
    let args = testsrc("160x120", 60) + " -c:v libx264 -bf 3 -g 20 -pix_fmt yuv420p";
    let source = check(&clips.make("b.mp4", &args));
    assert_eq!(source.info().size, Size::new(160, 120));
    assert!((source.info().fps - 25.0).abs() < 1e-6);
    for (i, s) in secs(&source).iter().enumerate() {
        assert!((s - i as f64 / 25.0).abs() < 1e-6, "frame {i} at {s}");
    }
    assert_eq!(source.table().unwrap().keys(), [0, 20, 40]);
}

#[test]
fn open_groups_of_pictures() {
    let Some(clips) = Clips::new("open_groups_of_pictures") else {
        return;
    };
    let x264 = " -c:v libx264 -x264-params open-gop=1:keyint=12:min-keyint=12:bframes=3:b-adapt=0:scenecut=0 -pix_fmt yuv420p";
    check(&clips.make("open.mp4", &(testsrc("160x120", 60) + x264)));
    check(&clips.make("open.ts", &(testsrc("160x120", 60) + x264)));
    let x265 = " -c:v libx265 -x265-params keyint=12:min-keyint=12:bframes=3:log-level=none -pix_fmt yuv420p";
    if let Some(path) = clips.try_make("open265.mkv", &(testsrc("160x120", 60) + x265)) {
        check(&path);
    }
}

#[test]
fn one_key_frame_only() {
    let Some(clips) = Clips::new("one_key_frame_only") else {
        return;
    };
    let args = testsrc("160x120", 50) + " -c:v libx264 -g 9999 -sc_threshold 0 -pix_fmt yuv420p";
    let source = check(&clips.make("one_key.mp4", &args));
    assert_eq!(source.table().unwrap().keys(), [0]);
}

#[test]
fn variable_frame_rate() {
    let Some(clips) = Clips::new("variable_frame_rate") else {
        return;
    };
    let args = testsrc("160x120", 30)
        + " -vf settb=1/1000,setpts=PTS+mod(N\\,3)*0.013/TB -enc_time_base 1/1000 -fps_mode vfr -c:v libx264 -bf 2 -g 10 -pix_fmt yuv420p";
    for name in ["vfr.mp4", "vfr.mkv"] {
        let source = check(&clips.make(name, &args));
        for (i, s) in secs(&source).iter().enumerate() {
            let want = i as f64 / 25.0 + (i % 3) as f64 * 0.013;
            assert!((s - want).abs() < 0.0011, "{name}: frame {i} at {s}");
        }
    }
}

#[test]
fn containers_and_codecs() {
    let Some(clips) = Clips::new("containers_and_codecs") else {
        return;
    };
    let src = testsrc("160x120", 45);
    let h264 = " -c:v libx264 -bf 2 -g 15 -pix_fmt yuv420p";
    let all = [
        ("a.mkv", h264),
        ("a.mov", h264),
        ("a.ts", h264),
        // As it is written to a pipe: no index, no lengths.
        (
            "live.mkv",
            " -c:v libx264 -bf 2 -g 15 -pix_fmt yuv420p -f matroska -live 1",
        ),
        (
            "fragments.mp4",
            " -c:v libx264 -bf 2 -g 15 -pix_fmt yuv420p -movflags frag_keyframe+empty_moov",
        ),
        (
            "vp8.webm",
            " -c:v libvpx -auto-alt-ref 1 -lag-in-frames 16 -g 20 -b:v 200k -pix_fmt yuv420p",
        ),
        (
            "vp9.webm",
            " -c:v libvpx-vp9 -lag-in-frames 16 -g 20 -b:v 200k -pix_fmt yuv420p",
        ),
        ("mpeg2.mpg", " -c:v mpeg2video -bf 2 -g 12 -pix_fmt yuv420p"),
        ("intra.mkv", " -c:v ffv1 -pix_fmt yuv420p"),
        ("odd.mkv", " -c:v ffv1 -vf scale=75:43 -pix_fmt yuv420p"),
    ];
    for (name, args) in all {
        if let Some(path) = clips.try_make(name, &format!("{src}{args}")) {
            check(&path);
        }
    }
}

#[test]
fn sound_beside_the_picture() {
    let Some(clips) = Clips::new("sound_beside_the_picture") else {
        return;
    };
    let args = "-f lavfi -i sine=duration=2 -f lavfi -i testsrc2=size=160x120:rate=25:duration=2 -c:v libx264 -bf 2 -g 15 -pix_fmt yuv420p -c:a aac";
    check(&clips.make("sound.mp4", args));
    check(&clips.make("sound.mkv", args));
}

/// AVI and raw streams carry no presentation times: frames are counted, seeking is reading from the start.
#[test]
fn streams_without_time_stamps() {
    let Some(clips) = Clips::new("streams_without_time_stamps") else {
        return;
    };
    let src = testsrc("160x120", 40);
    let avi = clips.make(
        "b.avi",
        &format!("{src} -c:v mpeg4 -bf 2 -g 12 -pix_fmt yuv420p"),
    );
    let raw = clips.make(
        "b.h264",
        &format!("{src} -c:v libx264 -bf 2 -g 12 -pix_fmt yuv420p"),
    );
    for path in [avi, raw] {
        let times = secs(&check(&path));
        assert_eq!(times[0], 0.0);
        assert!(times.windows(2).all(|w| w[0] < w[1]), "{path:?}: {times:?}");
    }
}

/// A dump that begins within a group: FFmpeg leaves out what comes before the first key frame unless it is told not to.
#[test]
fn frames_that_are_counted_keep_their_numbers_whichever_way_one_goes() {
    let Some(clips) =
        Clips::new("frames_that_are_counted_keep_their_numbers_whichever_way_one_goes")
    else {
        return;
    };
    let args =
        testsrc("160x120", 80) + " -c:v libx264 -bf 2 -g 30 -sc_threshold 0 -pix_fmt yuv420p";
    let path = clips.make("cut.h264", &args);
    let bytes = std::fs::read(&path).unwrap();
    let is_start = |at: &usize| bytes[*at..].starts_with(&[0, 0, 1]);
    let starts: Vec<usize> = (0..bytes.len()).filter(is_start).collect();
    let kind = |at: usize| bytes.get(at + 3).map_or(0, |b| b & 31);
    // The slices of the first key frame (type 5) are cut out; its parameter sets stay.
    let key = starts.iter().position(|&at| kind(at) == 5).unwrap();
    let slices = starts[key..]
        .iter()
        .take_while(|&&at| kind(at) == 5)
        .count();
    let rest = starts[key + slices];
    std::fs::write(&path, [&bytes[..starts[key]], &bytes[rest..]].concat()).unwrap();
    let mut source = FfmpegSource::open(&path).unwrap();
    let n = source.info().frames;
    assert_eq!(n, 50, "the group without its key frame is not counted");
    let mut show = |i| hash(&source.frame(FrameIndex(i)).unwrap());
    let forwards: Vec<String> = (0..n).map(&mut show).collect();
    for i in (0..n).rev().chain(shuffled(n)) {
        assert_eq!(show(i), forwards[i as usize], "frame {i}");
    }
}

#[test]
fn edit_lists_hide_frames() {
    let Some(clips) = Clips::new("edit_lists_hide_frames") else {
        return;
    };
    let args = testsrc("160x120", 60) + " -c:v libx264 -bf 2 -g 20 -pix_fmt yuv420p";
    let whole = clips.make("whole.mp4", &args);
    // Copying from 0.6 s starts at the key frame at 0 and hides what lies before in an edit list.
    let cut = clips.make(
        "cut.mp4",
        &format!("-ss 0.6 -i {} -c copy", whole.display()),
    );
    let source = check(&cut);
    assert!(source.info().frames < 60);
}

#[test]
fn equal_time_stamps() {
    let Some(clips) = Clips::new("equal_time_stamps") else {
        return;
    };
    let args = testsrc("160x120", 30)
        + " -c:v libx264 -bf 0 -g 10 -pix_fmt yuv420p -bsf:v setts=pts=if(eq(mod(N\\,7)\\,3)\\,PTS-40\\,PTS):dts=if(eq(mod(N\\,7)\\,3)\\,DTS-40\\,DTS)";
    let path = clips.make("twins.mkv", &args);
    let source = check(&path);
    let times = secs(&source);
    assert!(times.windows(2).any(|w| w[0] == w[1]), "{times:?}");
}

#[test]
fn other_pixel_formats_become_420_or_rgb() {
    let Some(clips) = Clips::new("other_pixel_formats_become_420_or_rgb") else {
        return;
    };
    for format in [
        "yuv444p",
        "yuv422p10le",
        "yuv420p10le",
        "yuva420p",
        "gray",
        "nv12",
        "yuvj420p",
        "bgr0",
        "bgra",
        "gbrp",
        "pal8",
    ] {
        let codec = match format {
            "pal8" => "png",
            "nv12" => "rawvideo",
            _ => "ffv1",
        };
        let args = format!("{} -c:v {codec} -pix_fmt {format}", testsrc("64x48", 2));
        let Some(path) = clips.try_make(&format!("{format}.mkv"), &args) else {
            continue;
        };
        let frame = FfmpegSource::open(&path)
            .unwrap()
            .frame(FrameIndex(1))
            .unwrap();
        let is_rgb = matches!(frame.pixels, Pixels::Rgb(_));
        let family = ["bgr0", "bgra", "gbrp", "pal8"].contains(&format);
        assert_eq!(is_rgb, family, "{format}");
        // The same picture through our conversion and through FFmpeg's; chroma is filtered in different ways.
        let ours = sparrow::video::to_rgb(&frame);
        let reference = clips.make(
            &format!("{format}.rgb"),
            &format!(
                "-i {} -vf select=eq(n\\,1) -frames:v 1 -f rawvideo -pix_fmt rgb24",
                path.display()
            ),
        );
        let reference = std::fs::read(reference).unwrap();
        assert_eq!(ours.data.len(), reference.len());
        let off: u32 = ours
            .data
            .iter()
            .zip(&reference)
            .map(|(a, b)| u32::from(a.abs_diff(*b)))
            .sum();
        let mean = f64::from(off) / reference.len() as f64;
        assert!(mean < 8.0, "{format}: off by {mean} on average");
    }
}

#[test]
fn rotation_is_told() {
    let Some(clips) = Clips::new("rotation_is_told") else {
        return;
    };
    let args = testsrc("160x120", 10) + " -c:v libx264 -pix_fmt yuv420p";
    let plain = clips.make("plain.mp4", &args);
    // Newer tools take an option, older ones a tag; each ignores or refuses the other's.
    let option = format!("-display_rotation 270 -i {} -c copy", plain.display());
    let tag = format!("-i {} -c copy -metadata:s:v rotate=90", plain.display());
    let turned = clips
        .try_make("turned.mp4", &option)
        .unwrap_or_else(|| clips.make("turned.mp4", &tag));
    let source = check(&turned);
    assert_eq!(source.info().size, Size::new(120, 160));
    // As displayed: against FFmpeg's own turning.
    let mut source = open(&turned).unwrap();
    let frame = source.frame(FrameIndex(3)).unwrap();
    let ours = sparrow::video::to_rgb(&frame);
    let upright = clips.make(
        "upright.mkv",
        &format!("-i {} -c:v ffv1 -pix_fmt yuv420p", turned.display()),
    );
    let mut upright = open(&upright).unwrap();
    let want = sparrow::video::to_rgb(&upright.frame(FrameIndex(3)).unwrap());
    assert_eq!(ours.size, want.size);
    assert!(ours == want, "turned differently");
}

#[test]
fn smallest_and_largest() {
    let Some(clips) = Clips::new("smallest_and_largest") else {
        return;
    };
    let tiny = testsrc("16x16", 3) + " -vf scale=1:1 -c:v ffv1 -pix_fmt yuv420p";
    let source = check(&clips.make("tiny.mkv", &tiny));
    assert_eq!(source.info().size, Size::new(1, 1));
    let one = testsrc("160x120", 1) + " -c:v libx264 -pix_fmt yuv420p";
    let source = check(&clips.make("one.mp4", &one));
    assert_eq!(source.info().frames, 1);
    let large = testsrc("7680x4320", 2) + " -c:v libx264 -preset ultrafast -pix_fmt yuv420p";
    let source = check(&clips.make("large.mp4", &large));
    assert_eq!(source.info().size, Size::new(7680, 4320));
}

#[test]
fn a_stored_table_opens_the_same_frames() {
    let Some(clips) = Clips::new("a_stored_table_opens_the_same_frames") else {
        return;
    };
    let args = testsrc("160x120", 40) + " -c:v libx264 -bf 3 -g 10 -pix_fmt yuv420p";
    let path = clips.make("b.mp4", &args);
    let want = ffmpeg_hashes(&path);
    let first = FfmpegSource::open(&path).unwrap();
    let json = serde_json::to_string(first.table().unwrap()).unwrap();
    let table = serde_json::from_str(&json).unwrap();
    let mut again = FfmpegSource::open_with_table(&path, table).unwrap();
    assert_eq!(again.info(), first.info());
    let mut second = first.second_reader().unwrap();
    for i in shuffled(40) {
        for source in [&mut again as &mut dyn FrameSource, second.as_mut()] {
            assert_eq!(
                hash(&source.frame(FrameIndex(i)).unwrap()),
                want[i as usize]
            );
        }
    }
}

/// Keeps what it is told to and gives up after so many frames.
struct Collector {
    from: u32,
    kept: Vec<u32>,
    patience: u32,
}

impl OnTheWay for Collector {
    fn wants(&mut self, index: FrameIndex) -> bool {
        index.0 >= self.from
    }

    fn keep(&mut self, frame: sparrow::video::Frame) {
        self.kept.push(frame.index.0);
    }

    fn give_up(&mut self) -> bool {
        self.patience = self.patience.saturating_sub(1);
        self.patience == 0
    }
}

#[test]
fn frames_on_the_way_are_handed_over() {
    let Some(clips) = Clips::new("frames_on_the_way_are_handed_over") else {
        return;
    };
    let args =
        testsrc("160x120", 50) + " -c:v libx264 -bf 2 -g 9999 -sc_threshold 0 -pix_fmt yuv420p";
    let path = clips.make("one_key.mp4", &args);
    let want = ffmpeg_hashes(&path);
    let mut source = FfmpegSource::open(&path).unwrap();
    let mut way = Collector {
        from: 30,
        kept: Vec::new(),
        patience: 1000,
    };
    let frame = source.walk_to(FrameIndex(40), &mut way).unwrap().unwrap();
    assert_eq!(hash(&frame), want[40]);
    assert_eq!(way.kept, (30..40).collect::<Vec<_>>());
    // Giving up leaves the source where it was: going on needs no seek and is still exact.
    way.patience = 6;
    assert!(source.walk_to(FrameIndex(20), &mut way).unwrap().is_none());
    let frame = source.frame(FrameIndex(20)).unwrap();
    assert_eq!(hash(&frame), want[20]);
    assert!(source.frame(FrameIndex(50)).is_err());
}
