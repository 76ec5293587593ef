//! A folder of JPEG and PNG images as a clip, in natural order of the file names; a single image is a clip of one frame.
//! Works without FFmpeg.

use std::{
    fs,
    io::{BufReader, Read as _},
    path::{Path, PathBuf},
};

use image::{DynamicImage, ImageDecoder as _, ImageReader, metadata::Orientation};

use super::{Frame, FrameSource, Pixels, VideoError};
use crate::project::{FrameIndex, Size, VideoInfo, images_of};

/// Pixels of the largest image that is taken, about as many as FFmpeg takes: a damaged or malicious header may announce any
/// number, and memory is asked for by it.
const MOST_PIXELS: u64 = 1 << 28;

/// Images carry no time: they are taken to be this many per second (the rate of the DAVIS data set).
const FPS: f64 = 24.0;

/// Images in a folder, or one image.
pub struct FolderSource {
    info: VideoInfo,
    files: Vec<PathBuf>,
}

impl FolderSource {
    /// Opens all images directly inside `dir`.
    ///
    /// # Errors
    /// [`VideoError::Open`] if there is none, if one is damaged, or if they differ in size: the first odd one is named,
    /// because a mask of one size says nothing about a picture of another.
    pub fn open(dir: &Path) -> Result<Self, VideoError> {
        let files = image_files(dir).map_err(|e| VideoError::open(dir, e.to_string()))?;
        Self::from_files(dir, files)
    }

    /// Opens one image as a clip of one frame.
    ///
    /// # Errors
    /// [`VideoError::Open`] if it cannot be read.
    pub fn open_image(file: &Path) -> Result<Self, VideoError> {
        Self::from_files(file, vec![file.to_owned()])
    }

    fn from_files(path: &Path, files: Vec<PathBuf>) -> Result<Self, VideoError> {
        let Some(first) = files.first() else {
            return Err(VideoError::open(
                path,
                "the folder holds no JPEG or PNG images",
            ));
        };
        let size = displayed_size(first).map_err(|e| VideoError::open(first, e))?;
        for file in &files[1..] {
            let other = displayed_size(file).map_err(|e| VideoError::open(file, e))?;
            if other != size {
                let reason = format!(
                    "{} is {}×{} but the first image is {}×{}; the images of a clip have to be of one size",
                    file_name(file),
                    other.width,
                    other.height,
                    size.width,
                    size.height
                );
                return Err(VideoError::open(path, reason));
            }
        }
        let frames = u32::try_from(files.len())
            .map_err(|_too_big| VideoError::open(path, "the folder holds too many images"))?;
        Ok(Self {
            info: VideoInfo {
                path: path.display().to_string(),
                size,
                frames,
                fps: FPS,
                hash: String::new(),
            },
            files,
        })
    }

    /// File names in frame order, without the folder.
    pub fn file_names(&self) -> impl Iterator<Item = String> + '_ {
        self.files.iter().map(|f| file_name(f))
    }
}

impl FrameSource for FolderSource {
    fn info(&self) -> &VideoInfo {
        &self.info
    }

    fn pts_secs(&self, index: FrameIndex) -> Option<f64> {
        (index.0 < self.info.frames).then(|| f64::from(index.0) / FPS)
    }

    fn frame(&mut self, index: FrameIndex) -> Result<Frame, VideoError> {
        let Some(file) = self.files.get(index.0 as usize) else {
            return Err(VideoError::OutOfRange {
                index: index.0,
                frames: self.info.frames,
            });
        };
        let failed =
            |reason: String| VideoError::decode(index, format!("{}: {reason}", file_name(file)));
        let (image, orientation) = decode(file).map_err(failed)?;
        let mut image = image;
        image.apply_orientation(orientation);
        let rgb = image.into_rgb8();
        let size = Size::new(rgb.width(), rgb.height());
        if size != self.info.size {
            return Err(failed(
                "its size has changed since the folder was opened".into(),
            ));
        }
        Ok(Frame {
            index,
            pts_secs: f64::from(index.0) / FPS,
            coded_size: size,
            rotation: 0,
            pixels: Pixels::Rgb(rgb.into_raw()),
        })
    }

    fn second_reader(&self) -> Option<Box<dyn FrameSource>> {
        Some(Box::new(Self {
            info: self.info.clone(),
            files: self.files.clone(),
        }))
    }
}

/// JPEG and PNG files directly inside `dir`, by natural order of their names: the frames of the clip that the folder is.
/// Hidden files are none of it.
///
/// # Errors
/// If the folder cannot be listed.
pub(super) fn image_files(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    Ok(images_of(files))
}

/// Whether the file begins like a JPEG or a PNG, whatever its name.
pub(super) fn is_image(file: &Path) -> bool {
    let mut head = [0; 8];
    let read = fs::File::open(file).and_then(|mut f| f.read_exact(&mut head));
    read.is_ok() && (head.starts_with(b"\xff\xd8\xff") || &head == b"\x89PNG\r\n\x1a\n")
}

/// Whether the file is a PNG with more than one picture: what says so comes before the first of them.
pub(super) fn is_animation(file: &Path) -> bool {
    let mut head = Vec::new();
    let read = fs::File::open(file).and_then(|f| f.take(4096).read_to_end(&mut head));
    let mut words = head.windows(4);
    let first = words.find(|w| *w == b"acTL" || *w == b"IDAT");
    read.is_ok() && head.starts_with(b"\x89PNG") && first.is_some_and(|w| w == b"acTL")
}

pub(super) fn file_name(path: &Path) -> String {
    path.file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default()
}

fn decoder(file: &Path) -> Result<impl image::ImageDecoder + use<>, String> {
    let reader = fs::File::open(file).map_err(|e| e.to_string())?;
    ImageReader::new(BufReader::new(reader))
        .with_guessed_format()
        .map_err(|e| e.to_string())?
        .into_decoder()
        .map_err(|e| e.to_string())
}

fn displayed_size(file: &Path) -> Result<Size, String> {
    let mut decoder = decoder(file)?;
    let (w, h) = decoder.dimensions();
    let turned = matches!(
        decoder.orientation(),
        Ok(Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH)
    );
    let size = if turned {
        Size::new(h, w)
    } else {
        Size::new(w, h)
    };
    if size.area() > MOST_PIXELS {
        return Err(format!(
            "it is {}×{} pixels large; scale it down first",
            size.width, size.height
        ));
    }
    Ok(size)
}

fn decode(file: &Path) -> Result<(DynamicImage, Orientation), String> {
    let mut decoder = decoder(file)?;
    let (w, h) = decoder.dimensions();
    // It may be another file by now.
    if Size::new(w, h).area() > MOST_PIXELS {
        return Err("it is too large".to_owned());
    }
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let image = DynamicImage::from_decoder(decoder).map_err(|e| e.to_string())?;
    Ok((image, orientation))
}
