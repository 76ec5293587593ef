//! Test clips and FFmpeg's word on what is in them.

#![expect(
    clippy::print_stderr,
    reason = "a test that proves nothing for want of a tool has to say so"
)]

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use sha2::{Digest as _, Sha256};
use sparrow::video::{Frame, Pixels};

/// A temporary folder with clips in it.
pub(super) struct Clips(tempfile::TempDir);

impl Clips {
    /// `None`, said loudly, where there is no `ffmpeg` tool.
    pub(super) fn new(test: &str) -> Option<Self> {
        if Command::new("ffmpeg").arg("-version").output().is_err() {
            eprintln!("SKIPPED {test}: the ffmpeg command-line tool is not installed");
            return None;
        }
        Some(Self(tempfile::tempdir().unwrap()))
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs `ffmpeg ARGS… name`; `None`, said loudly, if this FFmpeg cannot do it (an encoder that was not built in).
    pub(super) fn try_make(&self, name: &str, args: &str) -> Option<PathBuf> {
        let path = self.path(name);
        let out = Command::new("ffmpeg")
            .args(["-hide_banner", "-v", "error", "-y"])
            .args(args.split_whitespace())
            .arg(&path)
            .output()
            .unwrap();
        if !out.status.success() {
            eprintln!("SKIPPED {name}: {}", String::from_utf8_lossy(&out.stderr));
            return None;
        }
        Some(path)
    }

    pub(super) fn make(&self, name: &str, args: &str) -> PathBuf {
        self.try_make(name, args)
            .unwrap_or_else(|| panic!("ffmpeg cannot make {name}"))
    }
}

/// A moving test picture: `size` is `WxH`.
pub(super) fn testsrc(size: &str, frames: u32) -> String {
    format!("-f lavfi -i testsrc2=size={size}:rate=25 -frames:v {frames}")
}

/// SHA-256 of each frame of the first video stream in display order, by FFmpeg.
pub(super) fn ffmpeg_hashes(path: &Path) -> Vec<String> {
    let out = Command::new("ffmpeg")
        .args(["-hide_banner", "-v", "quiet", "-noautorotate", "-i"])
        .arg(path)
        .args("-map 0:v:0 -fps_mode passthrough -pix_fmt yuv420p".split(' '))
        .args("-f framehash -hash sha256 -".split(' '))
        .output()
        .unwrap();
    String::from_utf8(out.stdout)
        .unwrap()
        .lines()
        .filter(|l| !l.starts_with('#'))
        .map(|l| l.rsplit(',').next().unwrap().trim().to_owned())
        .collect()
}

/// The same of our frame.
pub(super) fn hash(frame: &Frame) -> String {
    let mut hasher = Sha256::new();
    match &frame.pixels {
        Pixels::Yuv420 { y, u, v, .. } => {
            let (w, h) = (frame.coded_size.width, frame.coded_size.height);
            assert_eq!(y.len(), (w * h) as usize);
            let chroma = (w.div_ceil(2) * h.div_ceil(2)) as usize;
            assert_eq!((u.len(), v.len()), (chroma, chroma));
            hasher.update(y);
            hasher.update(u);
            hasher.update(v);
        }
        Pixels::Rgb(rgb) => hasher.update(rgb),
    }
    hasher
        .finalize()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

/// `0..n` in an order that jumps about, the same every time.
pub(super) fn shuffled(n: u32) -> Vec<u32> {
    let mut order: Vec<u32> = (0..n).collect();
    let mut state = 0x9e37_79b9_u32;
    for i in (1..order.len()).rev() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        order.swap(i, (state >> 8) as usize % (i + 1));
    }
    order
}
