//! Whether the video that a project speaks of is still where and what it was. Leaves reading videos to others: they
//! hand in what they found.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use crate::project::{Size, VideoInfo};

/// Where a project's video is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VideoPlace {
    /// Where the project says.
    AsRecorded(PathBuf),
    /// A file of that name lies beside the project: the folder was moved, probably.
    BesideProject(PathBuf),
    /// Nowhere known; ask.
    Missing(PathBuf),
}

/// How a video differs from the one that the masks were made on.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum VideoChange {
    /// The masks do not fit.
    #[error("its frames are {}×{} pixels, the project's masks {}×{}", found.width, found.height, recorded.width, recorded.height)]
    Size {
        /// As the project has it.
        recorded: Size,
        /// As found.
        found: Size,
    },
    /// Masks may sit on the wrong frames.
    #[error("it has {found} frames, the project was made with {recorded}")]
    Frames {
        /// As the project has it.
        recorded: u32,
        /// As found.
        found: u32,
    },
    /// Other bytes: another video, or the same one encoded again.
    #[error("its content differs from the video that the project was made with")]
    Content,
}

impl VideoChange {
    /// Whether the project's masks cannot be shown on this video at all.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Size { .. })
    }
}

/// Looks for the video of the project at `project`: at its recorded path (a relative one is meant from the project's
/// folder), then under the same file name beside the project.
pub fn find_video(project: &Path, video: &VideoInfo) -> VideoPlace {
    let recorded = Path::new(&video.path);
    let folder = project.parent().unwrap_or_else(|| Path::new(""));
    let at = folder.join(recorded);
    if at.exists() {
        return VideoPlace::AsRecorded(at);
    }
    // A path written on Windows must be understood elsewhere too.
    let name = video.path.rsplit(['/', '\\']).next().map(OsStr::new);
    match name.filter(|n| !n.is_empty()).map(|n| folder.join(n)) {
        Some(beside) if beside.exists() => VideoPlace::BesideProject(beside),
        _ => VideoPlace::Missing(recorded.to_path_buf()),
    }
}

/// How `found` differs from `recorded`, the worst first; empty if it is the same video. A hash that was never computed
/// says nothing.
pub fn compare_video(recorded: &VideoInfo, found: &VideoInfo) -> Vec<VideoChange> {
    let mut changes = Vec::new();
    if recorded.size != found.size {
        changes.push(VideoChange::Size {
            recorded: recorded.size,
            found: found.size,
        });
    }
    if recorded.frames != found.frames {
        changes.push(VideoChange::Frames {
            recorded: recorded.frames,
            found: found.frames,
        });
    }
    let known = !recorded.hash.is_empty() && !found.hash.is_empty();
    if known && recorded.hash != found.hash {
        changes.push(VideoChange::Content);
    }
    changes
}
