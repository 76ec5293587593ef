//! A matte's pixels: written as 8-bit grey, read in whatever form a picture has. Leaves whose they are to [`super`].

use std::{fs, io::BufReader, path::Path};

use super::super::{FormatError, MAX_SIDE};
use crate::project::{Bitmap, Rle, Size};

/// The level from which a pixel is inside.
const INSIDE: u8 = 128;
/// One pixel in so many may be neither black nor white: the smoothed edge of a matte, and not a photograph.
const SMOOTHED: usize = 10;

/// PNG bytes of a mask: 8-bit grey, 255 inside and 0 outside.
pub(super) fn encode(rle: &Rle) -> Result<Vec<u8>, String> {
    let mut data = rle.to_bitmap().data;
    for value in &mut data {
        *value *= u8::MAX;
    }
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, rle.size.width, rle.size.height);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_filter(png::Filter::NoFilter);
    let mut writer = encoder.write_header().map_err(|e| e.to_string())?;
    writer.write_image_data(&data).map_err(|e| e.to_string())?;
    writer.finish().map_err(|e| e.to_string())?;
    Ok(bytes)
}

/// A picture as it is shown.
pub(super) struct Picture {
    pub(super) size: Size,
    /// The brightest channel of each pixel, row by row, as far as it is opaque.
    levels: Vec<u8>,
    /// Whether no pixel has a hue.
    is_grey: bool,
    /// The level from which a pixel is inside.
    inside: u8,
}

impl Picture {
    pub(super) fn open(path: &Path) -> Result<Self, FormatError> {
        let file = fs::File::open(path).map_err(|e| FormatError::io(path, &e))?;
        let damaged =
            |e: png::DecodingError| FormatError::damaged(path, format!("damaged PNG ({e})"));
        let too_large = || FormatError::damaged(path, "the picture is too large");
        let mut decoder = png::Decoder::new(BufReader::new(file));
        decoder.set_transformations(png::Transformations::normalize_to_color8());
        let mut reader = decoder.read_info().map_err(damaged)?;
        let size = Size::new(reader.info().width, reader.info().height);
        if size.width > MAX_SIDE || size.height > MAX_SIDE {
            return Err(too_large());
        }
        let is_indexed = reader.info().color_type == png::ColorType::Indexed;
        let mut bytes = vec![0; reader.output_buffer_size().ok_or_else(too_large)?];
        let info = reader.next_frame(&mut bytes).map_err(damaged)?;
        bytes.truncate(info.buffer_size());
        let colour = info.color_type;
        let has_alpha = matches!(
            colour,
            png::ColorType::GrayscaleAlpha | png::ColorType::Rgba
        );
        let channels = colour.samples() - usize::from(has_alpha);
        let pixels = || bytes.chunks_exact(colour.samples());
        let is_grey = pixels().all(|p| p[..channels].iter().all(|&v| v == p[0]));
        let level = |p: &[u8]| {
            let brightest = p[..channels].iter().copied().max().unwrap_or(0);
            brightest.min(p.get(channels).copied().unwrap_or(u8::MAX))
        };
        let levels: Vec<u8> = pixels().map(level).collect();
        let inside = match levels.iter().max() {
            // Numbers rather than greys, and a palette of many objects.
            Some(1) => 1,
            Some(&most) if is_indexed && most < INSIDE => 1,
            _ => INSIDE,
        };
        Ok(Self {
            size,
            levels,
            is_grey,
            inside,
        })
    }

    /// The pixels that are inside.
    pub(super) fn mask(&self) -> Rle {
        let inside = |&level: &u8| u8::from(level >= self.inside);
        Rle::from_bitmap(&Bitmap {
            size: self.size,
            data: self.levels.iter().map(inside).collect(),
        })
    }

    /// Whether a pixel is inside.
    pub(super) fn has_inside(&self) -> bool {
        self.levels.iter().any(|&level| level >= self.inside)
    }

    /// Whether it is black and white, but for smoothed edges.
    pub(super) fn is_matte(&self) -> bool {
        let white = if self.inside == 1 { 1 } else { u8::MAX };
        let between = self.levels.iter().filter(|&&v| v != 0 && v != white);
        self.is_grey && between.count() <= self.levels.len() / SMOOTHED
    }
}

/// The mask in a picture that must be of `size`.
pub(super) fn read_mask(path: &Path, size: Size) -> Result<Rle, FormatError> {
    let picture = Picture::open(path)?;
    let (own, all) = (picture.size, size);
    if own != all {
        let what = format!(
            "it has {}×{} pixels, the clip {}×{}",
            own.width, own.height, all.width, all.height
        );
        return Err(FormatError::damaged(path, what));
    }
    Ok(picture.mask())
}
