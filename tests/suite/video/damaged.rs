//! Files that are no video, or no longer: one clear sentence, or the frames that are there and a warning.

use std::fs;

use sparrow::{
    project::FrameIndex,
    video::{FfmpegSource, FrameSource as _, open},
};

use super::clips::{Clips, ffmpeg_hashes, hash, testsrc};

fn refusal(path: &std::path::Path) -> String {
    match open(path) {
        Ok(_) => panic!("{} opened", path.display()),
        Err(e) => e.to_string(),
    }
}

#[test]
fn what_is_no_video_is_refused_in_one_sentence() {
    let Some(clips) = Clips::new("what_is_no_video_is_refused_in_one_sentence") else {
        return;
    };
    let write = |name: &str, bytes: &[u8]| {
        let path = clips.path(name);
        fs::write(&path, bytes).unwrap();
        refusal(&path)
    };
    assert!(refusal(&clips.path("missing.mp4")).ends_with("there is no such file or folder"));
    assert!(write("zero.mp4", b"").ends_with("the file is empty (0 bytes)"));
    assert!(
        write("text.mp4", b"Dear diary,\ntoday nothing moved.\n")
            .ends_with("it holds text, not video")
    );
    assert!(
        write("noise.mp4", &[0x80, 0x13, 0xfe, 0x00, 0x99].repeat(200))
            .contains("not a video file")
    );
    let playlist =
        b"#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:1,\nhttp://localhost:1/a.ts\n#EXT-X-ENDLIST\n";
    let said = write("list.mp4", playlist);
    assert!(said.contains("text") || said.contains("hls"), "{said}");
    let sound = clips.make("sound.mp4", "-f lavfi -i sine=duration=1 -c:a aac");
    assert!(refusal(&sound).ends_with("it holds sound but no video"));
    let empty = clips.path("empty folder");
    fs::create_dir(&empty).unwrap();
    assert!(refusal(&empty).ends_with("the folder holds no JPEG or PNG images"));
}

#[test]
fn a_cover_picture_is_no_video() {
    let Some(clips) = Clips::new("a_cover_picture_is_no_video") else {
        return;
    };
    let cover = clips.make("cover.png", &testsrc("64x64", 1));
    let song = clips.make(
        "song.m4a",
        &format!("-f lavfi -i sine=duration=1 -i {} -map 0 -map 1 -c:a aac -c:v copy -disposition:v attached_pic", cover.display()),
    );
    assert!(refusal(&song).ends_with("it holds sound but no video"));
}

#[test]
fn a_codec_nobody_knows_is_named_so() {
    let Some(clips) = Clips::new("a_codec_nobody_knows_is_named_so") else {
        return;
    };
    let path = clips.make(
        "a.mp4",
        &(testsrc("64x64", 5) + " -c:v libx264 -pix_fmt yuv420p"),
    );
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(4).rposition(|w| w == b"avc1").unwrap();
    bytes[at..at + 4].copy_from_slice(b"zzzz");
    fs::write(&path, bytes).unwrap();
    let said = refusal(&path);
    assert!(said.contains("codec"), "{said}");
}

#[test]
fn a_file_cut_off_gives_the_frames_it_has() {
    let Some(clips) = Clips::new("a_file_cut_off_gives_the_frames_it_has") else {
        return;
    };
    let args = testsrc("160x120", 60) + " -c:v libx264 -bf 2 -g 15 -pix_fmt yuv420p";
    for (name, extra) in [("cut.mp4", " -movflags faststart"), ("cut.mkv", "")] {
        let path = clips.make(name, &format!("{args}{extra}"));
        let whole = ffmpeg_hashes(&path);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() * 6 / 10]).unwrap();
        let mut source = FfmpegSource::open(&path).unwrap();
        let n = source.info().frames;
        assert!((10..55).contains(&n), "{name}: {n} frames");
        assert!(
            source.warnings().iter().any(|w| w.contains("cut off")),
            "{name}: {:?}",
            source.warnings()
        );
        // All but the very last, whose references may be gone, are the frames of the whole file.
        for i in 0..n - 3 {
            let frame = source.frame(FrameIndex(i)).unwrap();
            assert_eq!(hash(&frame), whole[i as usize], "{name}: frame {i}");
        }
        source.frame(FrameIndex(n - 1)).unwrap();
    }
    // Without the index at the front nothing is left to go by.
    let path = clips.make("tail.mp4", &args);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let said = refusal(&path);
    assert!(said.contains("cut off while it was written"), "{said}");
}

#[test]
fn a_hole_in_the_middle_keeps_the_numbering() {
    let Some(clips) = Clips::new("a_hole_in_the_middle_keeps_the_numbering") else {
        return;
    };
    let args =
        testsrc("160x120", 60) + " -c:v libx264 -bf 0 -g 10 -pix_fmt yuv420p -movflags faststart";
    let path = clips.make("hole.mp4", &args);
    let whole = ffmpeg_hashes(&path);
    let entry = *FfmpegSource::open(&path)
        .unwrap()
        .table()
        .unwrap()
        .frames()
        .get(23)
        .unwrap();
    let mut bytes = fs::read(&path).unwrap();
    // A NAL unit of length 0: the packet holds nothing that could be shown.
    let at = usize::try_from(entry.pos).unwrap();
    bytes[at..at + 8].fill(0);
    fs::write(&path, bytes).unwrap();
    let mut source = FfmpegSource::open(&path).unwrap();
    assert_eq!(source.info().frames, 60);
    for i in [59, 23, 5, 45, 30, 22] {
        let frame = source.frame(FrameIndex(i)).unwrap();
        assert_eq!(frame.index, FrameIndex(i));
        if i != 23 {
            assert_eq!(hash(&frame), whole[i as usize], "frame {i}");
        }
    }
}

#[test]
fn a_damaged_stretch_is_given_up_at_once() {
    let Some(clips) = Clips::new("a_damaged_stretch_is_given_up_at_once") else {
        return;
    };
    let args =
        testsrc("160x120", 60) + " -c:v libx264 -bf 0 -g 10 -pix_fmt yuv420p -movflags faststart";
    let path = clips.make("stretch.mp4", &args);
    let mut bytes = fs::read(&path).unwrap();
    let source = FfmpegSource::open(&path).unwrap();
    for entry in &source.table().unwrap().frames()[23..27] {
        let at = usize::try_from(entry.pos).unwrap();
        bytes[at..at + 8].fill(0);
    }
    fs::write(&path, bytes).unwrap();
    // One question finds them all: each would cost a reading of the whole file.
    let mut source = FfmpegSource::open(&path).unwrap();
    source.frame(FrameIndex(23)).unwrap();
    let said = source.warnings().last().unwrap();
    assert!(said.ends_with(": 23, 24, 25, 26"), "{said}");
    // At the end of the file as well.
    let mut bytes = fs::read(&path).unwrap();
    for entry in &source.table().unwrap().frames()[55..60] {
        let at = usize::try_from(entry.pos).unwrap();
        bytes[at..at + 8].fill(0);
    }
    fs::write(&path, bytes).unwrap();
    let mut source = FfmpegSource::open(&path).unwrap();
    source.frame(FrameIndex(55)).unwrap();
    let said = source.warnings().last().unwrap();
    assert!(
        said.ends_with("23, 24, 25, 26, 55, 56, 57, 58, 9 in all"),
        "{said}"
    );
}

/// 200 damaged copies: whatever happens, it is an answer.
#[test]
fn flipped_bytes_never_panic_or_hang() {
    let Some(clips) = Clips::new("flipped_bytes_never_panic_or_hang") else {
        return;
    };
    let src = testsrc("96x64", 20);
    let mp4 = clips.make(
        "a.mp4",
        &format!("{src} -c:v libx264 -bf 2 -g 8 -pix_fmt yuv420p -movflags faststart"),
    );
    let mkv = clips.make(
        "a.mkv",
        &format!("{src} -c:v libx264 -bf 2 -g 8 -pix_fmt yuv420p"),
    );
    let mut state = 12345_u64;
    let mut random = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    let (mut opened, mut refused) = (0, 0);
    for path in [mp4, mkv] {
        let whole = fs::read(&path).unwrap();
        for round in 0..100 {
            let mut bytes = whole.clone();
            for _ in 0..1 + round % 8 {
                // Half of the damage goes to the headers, where it hurts more.
                let reach = if round % 2 == 0 { bytes.len() } else { 1500 };
                let at = random() % reach;
                bytes[at] ^= 1 << (random() % 8);
            }
            fs::write(&path, &bytes).unwrap();
            let Ok(mut source) = open(&path) else {
                refused += 1;
                continue;
            };
            opened += 1;
            let n = source.info().frames;
            for i in [n - 1, 0, n / 2, n / 3, n] {
                match source.frame(FrameIndex(i)) {
                    Ok(frame) => assert_eq!(frame.index, FrameIndex(i)),
                    Err(e) => assert!(!e.to_string().is_empty()),
                }
            }
        }
    }
    assert!(opened > 50, "{opened} opened, {refused} refused");
}
