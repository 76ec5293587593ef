//! Frames by display index: sources (FFmpeg, image folder, synthetic), the frame table, the decoder thread and its
//! cache. Leaves drawing to `render` and resizing for networks to [`crate::infer`].

mod cache;
mod convert;
mod damage;
mod decoder;
#[cfg(feature = "ffmpeg")]
mod encode;
#[cfg(feature = "ffmpeg")]
mod ffmpeg;
mod folder;
mod frame;
mod hash;
mod synthetic;
mod table;

use std::path::Path;

pub use convert::{to_rgb, to_rgb_scaled};
pub use damage::{Damage, Flaw};
pub use decoder::{Decoder, Wake};
#[cfg(feature = "ffmpeg")]
pub use encode::{EncodeError, EncodeOptions, VideoWriter};
#[cfg(feature = "ffmpeg")]
pub use ffmpeg::FfmpegSource;
pub use folder::FolderSource;
pub use frame::{Frame, FrameSource, OnTheWay, Pixels, RgbFrame, Straight, VideoError};
pub use hash::{HashError, content_hash};
pub(crate) use hash::{file_hash, hex};
pub use synthetic::SyntheticSource;
pub use table::{FrameEntry, FrameTable};

/// Opens whatever is at `path`: a folder of images, an image, or a video file.
///
/// # Errors
/// [`VideoError::Open`] with one sentence that says what it is instead.
pub fn open(path: &Path) -> Result<Box<dyn FrameSource>, VideoError> {
    if !path.exists() {
        return Err(VideoError::open(path, "there is no such file or folder"));
    }
    if path.is_dir() {
        return Ok(Box::new(FolderSource::open(path)?));
    }
    if !path.is_file() {
        return Err(VideoError::open(path, "it is neither a file nor a folder"));
    }
    // FFmpeg plays animations.
    if folder::is_image(path) && (!cfg!(feature = "ffmpeg") || !folder::is_animation(path)) {
        return Ok(Box::new(FolderSource::open_image(path)?));
    }
    open_video(path)
}

#[cfg(feature = "ffmpeg")]
fn open_video(path: &Path) -> Result<Box<dyn FrameSource>, VideoError> {
    Ok(Box::new(FfmpegSource::open(path)?))
}

#[cfg(not(feature = "ffmpeg"))]
fn open_video(path: &Path) -> Result<Box<dyn FrameSource>, VideoError> {
    Err(VideoError::open(
        path,
        "this build of Sparrow reads image folders only, it has no FFmpeg; extract the frames into a folder",
    ))
}
