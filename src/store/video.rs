//! Whether the video that a project speaks of is still where and what it was. Leaves reading videos to others: they
//! hand in what they found.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

use crate::project::{CLIP_ENDINGS, Size, VideoInfo, images_of};

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

/// Looks for the video of the project at `project`. A relative path is meant from the project's folder. Of a whole one, a
/// copy of the same name and length beside the project counts first: a folder that was copied is one of its own, and what
/// is done in the copy is done on what lies there. Something else of that name counts only where the recorded one is gone.
/// Where no path is recorded, as after an import of masks alone, it is the first of [`videos_named_like`].
pub fn find_video(project: &Path, video: &VideoInfo) -> VideoPlace {
    let recorded = Path::new(&video.path);
    if video.path.is_empty() {
        let beside = videos_named_like(project).into_iter().next();
        return beside.map_or_else(
            || VideoPlace::Missing(recorded.to_path_buf()),
            VideoPlace::BesideProject,
        );
    }
    let folder = project.parent().unwrap_or_else(|| Path::new(""));
    let at = folder.join(recorded);
    // A path written on Windows must be understood elsewhere too.
    let name = video.path.rsplit(['/', '\\']).next().map(OsStr::new);
    let beside = name.filter(|n| !n.is_empty()).map(|n| folder.join(n));
    let beside = beside.filter(|b| *b != at && b.exists());
    let is_copy = |beside: &PathBuf| {
        let theirs = lengths(beside);
        recorded.is_absolute() && theirs.is_some() && theirs == lengths(&at)
    };
    match beside {
        Some(beside) if !at.exists() || is_copy(&beside) => VideoPlace::BesideProject(beside),
        _ if at.exists() => VideoPlace::AsRecorded(at),
        _ => VideoPlace::Missing(recorded.to_path_buf()),
    }
}

/// Video files and folders beside a project that are called like it, by name. Whether they are its video is not looked at.
pub fn videos_named_like(project: &Path) -> Vec<PathBuf> {
    let folder = match project.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let Some(name) = project.file_stem() else {
        return Vec::new();
    };
    let is_clip = |path: &Path| {
        let ending = path.extension().and_then(OsStr::to_str);
        let ending = ending.map(str::to_ascii_lowercase);
        ending.is_some_and(|e| CLIP_ENDINGS.contains(&e.as_str()))
    };
    let is_like = |path: &PathBuf| {
        if path.is_dir() {
            path.file_name() == Some(name)
        } else {
            path.file_stem() == Some(name) && is_clip(path)
        }
    };
    let entries = folder.read_dir().into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.map(|e| e.path()).filter(is_like).collect();
    found.sort();
    found
}

/// Length of a file, or names and lengths of the images in a folder: what copies have in common.
fn lengths(path: &Path) -> Option<Vec<(OsString, u64)>> {
    let of = |path: &Path| Some((path.file_name()?.to_owned(), path.metadata().ok()?.len()));
    if !path.is_dir() {
        return Some(vec![of(path)?]);
    }
    let entries = path.read_dir().ok()?.filter_map(Result::ok);
    let images = images_of(entries.map(|e| e.path()).collect());
    images.iter().map(|image| of(image)).collect()
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
