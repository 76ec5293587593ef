//! Images that travel with the masks: a frame that is a JPEG file already goes as it is, byte for byte; packed anew it would lose
//! a little each time. Leaves reading frames to whoever exports.

use std::{fs, io::Cursor, path::PathBuf};

use image::{ImageDecoder as _, ImageReader, metadata::Orientation};

use super::{ExportJob, ExportOptions, FormatError, images_in, jpeg, write_file};
use crate::project::{Document, FrameIndex, Size};

/// The video's own files, one a frame; none if it is a file of many frames.
pub(super) struct Originals(Vec<PathBuf>);

impl Originals {
    /// Looks where the video was found.
    pub(super) fn of(doc: &Document, options: &ExportOptions) -> Self {
        let files = match &options.video {
            Some(folder) if folder.is_dir() => images_in(folder).unwrap_or_default(),
            Some(file) => vec![file.clone()],
            None => Vec::new(),
        };
        let one_each = files.len() == doc.video.frames as usize;
        Self(if one_each { files } else { Vec::new() })
    }

    /// A frame's image as a JPEG file; `None` where images do not travel along. It is read in either case, for what cannot be
    /// read is no image.
    ///
    /// # Errors
    /// [`FormatError::Frame`] if the frame cannot be read.
    pub(super) fn image(
        &self,
        job: &mut ExportJob<'_>,
        frame: FrameIndex,
    ) -> Result<Option<Vec<u8>>, FormatError> {
        let Some(read) = &mut job.images else {
            return Ok(None);
        };
        let rgb = read(frame).map_err(|reason| FormatError::Frame { frame, reason })?;
        match self.as_it_is(frame, rgb.size) {
            Some(bytes) => Ok(Some(bytes)),
            None => jpeg(&rgb, frame).map(Some),
        }
    }

    /// The frame's own file, if it is a JPEG that shows the frame however it is read: one that is to be turned is not.
    fn as_it_is(&self, frame: FrameIndex, size: Size) -> Option<Vec<u8>> {
        let bytes = fs::read(self.0.get(frame.0 as usize)?).ok()?;
        if !bytes.starts_with(b"\xff\xd8\xff") {
            return None;
        }
        let reader = ImageReader::new(Cursor::new(&bytes)).with_guessed_format();
        let mut decoder = reader.ok()?.into_decoder().ok()?;
        let upright = decoder.orientation().ok()? == Orientation::NoTransforms;
        let same = decoder.dimensions() == (size.width, size.height);
        drop(decoder);
        (upright && same).then_some(bytes)
    }
}

/// Writes the images of these frames to their places, if images travel along.
///
/// # Errors
/// [`FormatError`] if a frame cannot be read, a file cannot be written, or the watcher says stop.
pub(super) fn write_all(
    job: &mut ExportJob<'_>,
    images: Vec<(FrameIndex, PathBuf)>,
) -> Result<(), FormatError> {
    let total = images.len() as u64;
    let originals = Originals::of(job.doc, job.options);
    for (done, (frame, path)) in images.into_iter().enumerate() {
        job.step(done as u64, total)?;
        let Some(image) = originals.image(job, frame)? else {
            break;
        };
        write_file(&path, &image)?;
    }
    Ok(())
}
