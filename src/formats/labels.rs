//! Label maps as PNG files: one byte a pixel, the object's number. Written indexed with the DAVIS palette; read in every
//! form that mask datasets use.
//!
//! What pixels cannot tell of an object is a text chunk of the file, which other readers pass over: whether anybody looked
//! for it at all, and whether a person vouches for it. Whoever writes the picture anew drops the chunk with it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::File,
    io::BufReader,
    path::Path,
};

use super::{FormatError, MAX_SIDE};
use crate::project::{Provenance, Size};

/// The label that says "do not look here".
pub const VOID: u8 = 255;

/// Level of 16 bits from which a grey is meant to be seen rather than a number.
const BRIGHT: u16 = 0x8000;

/// Keyword of the text chunk: words like `2:unseen 3:model`.
const REMARKS: &str = "Sparrow";

/// What is known of an object on a frame, where that is not the mask of a person or an absence that one vouches for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remark {
    /// Nobody has looked: it is not absent.
    Unseen,
    /// No person vouches for what the pixels say; who made it.
    Unverified(Provenance),
}

/// Remarks by label.
pub type Remarks = BTreeMap<u8, Remark>;

const REMARK_WORDS: [(Remark, &str); 4] = [
    (Remark::Unseen, "unseen"),
    (Remark::Unverified(Provenance::Human), "human"),
    (Remark::Unverified(Provenance::Model), "model"),
    (Remark::Unverified(Provenance::Propagated), "propagated"),
];

fn remarks_text(remarks: &Remarks) -> String {
    let words = remarks.iter().filter_map(|(label, remark)| {
        let (_, word) = REMARK_WORDS.iter().find(|(r, _)| r == remark)?;
        Some(format!("{label}:{word}"))
    });
    words.collect::<Vec<_>>().join(" ")
}

/// What it does not know it passes over.
fn parse_remarks(text: &str) -> Remarks {
    let words = text.split_whitespace().filter_map(|pair| {
        let (label, word) = pair.split_once(':')?;
        let (remark, _) = REMARK_WORDS.iter().find(|(_, w)| *w == word)?;
        Some((label.parse().ok()?, *remark))
    });
    words.collect()
}

/// How a label map was stored, which decides what 255 means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// With a palette: 255 is void.
    Indexed,
    /// Grey: usually a single object, 0 or 255.
    Grey,
    /// Colours: those of the palette are its numbers; of a single other colour, anything not black is label 1.
    Colour,
}

/// Labels of one frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelMap {
    /// Frame size.
    pub size: Size,
    /// One label per pixel, row-major.
    pub data: Vec<u8>,
    /// How it was stored.
    pub stored: Stored,
    /// What is said of labels beside the pixels.
    pub remarks: Remarks,
}

impl LabelMap {
    /// Labels in which 255 means void: a grey map that holds nothing but 0 and 255 is one object, number 1.
    pub fn normalised(mut self) -> Self {
        if self.stored == Stored::Grey && self.data.iter().all(|&v| v == 0 || v == 255) {
            for value in &mut self.data {
                *value = u8::from(*value != 0);
            }
        }
        self
    }
}

/// The palette of DAVIS (and PASCAL VOC): the bits of the number, spread over the three channels from the top.
pub fn palette() -> [u8; 768] {
    let mut out = [0; 768];
    for (number, rgb) in out.chunks_exact_mut(3).enumerate() {
        for bit in 0..8 {
            let (channel, place) = (bit % 3, 7 - bit / 3);
            rgb[channel] |= ((number >> bit & 1) as u8) << place;
        }
    }
    out
}

/// PNG bytes of a label map, indexed, 8 bit.
///
/// # Errors
/// A clause if `data` does not fill the frame.
pub fn encode(size: Size, data: &[u8]) -> Result<Vec<u8>, String> {
    encode_with(size, data, &Remarks::new())
}

/// [`encode`] with what is said of labels beside the pixels.
pub(super) fn encode_with(size: Size, data: &[u8], remarks: &Remarks) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, size.width, size.height);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_palette(palette().to_vec());
    // Rows of label maps repeat and have no gradients: filters only get in the way of the packer.
    encoder.set_filter(png::Filter::NoFilter);
    if !remarks.is_empty() {
        let text = remarks_text(remarks);
        encoder
            .add_text_chunk(REMARKS.to_owned(), text)
            .map_err(|e| e.to_string())?;
    }
    let mut writer = encoder.write_header().map_err(|e| e.to_string())?;
    writer.write_image_data(data).map_err(|e| e.to_string())?;
    writer.finish().map_err(|e| e.to_string())?;
    Ok(bytes)
}

/// Reads a label map.
///
/// # Errors
/// [`FormatError`] if the file cannot be read, is no PNG, or has several colours that are not the palette's.
pub fn read(path: &Path) -> Result<LabelMap, FormatError> {
    let file = File::open(path).map_err(|e| FormatError::io(path, &e))?;
    let damaged = |e: png::DecodingError| FormatError::damaged(path, format!("damaged PNG ({e})"));
    let mut decoder = png::Decoder::new(BufReader::new(file));
    decoder.set_transformations(png::Transformations::IDENTITY);
    let mut reader = decoder.read_info().map_err(damaged)?;
    let size = Size::new(reader.info().width, reader.info().height);
    if size.width > MAX_SIDE || size.height > MAX_SIDE {
        return Err(FormatError::damaged(path, "the picture is too large"));
    }
    let texts = reader.info().uncompressed_latin1_text.iter();
    let remarks = texts
        .filter(|chunk| chunk.keyword == REMARKS)
        .flat_map(|chunk| parse_remarks(&chunk.text))
        .collect();
    let Some(length) = reader.output_buffer_size() else {
        return Err(FormatError::damaged(path, "the picture is too large"));
    };
    let mut bytes = vec![0; length];
    let info = reader.next_frame(&mut bytes).map_err(damaged)?;
    bytes.truncate(info.buffer_size());
    let depth = info.bit_depth as usize;
    let width = size.width as usize;
    let rows = bytes.chunks(info.line_size.max(1));
    let (stored, data) = match info.color_type {
        png::ColorType::Indexed | png::ColorType::Grayscale if depth <= 8 => {
            let grey = info.color_type == png::ColorType::Grayscale;
            // Grey of fewer bits is stretched, so that white is 255 whatever the depth.
            let scale = if grey {
                255 / ((1_u32 << depth) - 1)
            } else {
                1
            };
            let data = rows
                .flat_map(|row| {
                    (0..width).map(move |x| {
                        let bit = x * depth;
                        let byte = row[bit / 8] >> (8 - depth - bit % 8);
                        let value = u32::from(byte) & ((1 << depth) - 1);
                        (value * scale) as u8
                    })
                })
                .collect();
            let stored = if grey { Stored::Grey } else { Stored::Indexed };
            (stored, data)
        }
        colour => {
            let alpha = matches!(
                colour,
                png::ColorType::GrayscaleAlpha | png::ColorType::Rgba
            );
            let samples = colour.samples();
            let pixel = samples * depth / 8;
            let visible = (samples - usize::from(alpha)) * depth / 8;
            let pixels = rows.flat_map(|row| row.chunks_exact(pixel).take(width));
            let data = if visible / (depth / 8) == 3 {
                by_palette(pixels.map(|p| rgb16(p, depth))).ok_or_else(|| {
                    let what = "its colours are not those of the DAVIS palette, so they do not say which object is which";
                    FormatError::damaged(path, what)
                })?
            } else {
                let set = |p: &[u8]| u8::from(p[..visible].iter().any(|&v| v != 0));
                pixels.map(set).collect()
            };
            (Stored::Colour, data)
        }
    };
    Ok(LabelMap {
        size,
        data,
        stored,
        remarks,
    })
}

/// A colour of 8 or 16 bits a channel, as one of 16.
fn rgb16(pixel: &[u8], depth: usize) -> [u16; 3] {
    if depth == 16 {
        [0, 2, 4].map(|at| u16::from_be_bytes([pixel[at], pixel[at + 1]]))
    } else {
        [0, 1, 2].map(|at| u16::from(pixel[at]) * 257)
    }
}

/// The palette's numbers of colours; 1 for a colour that it does not have, if that is the only one beside black and void, and
/// for greys up to a bright one, which are the smoothed edges of one thing.
fn by_palette(colours: impl Iterator<Item = [u16; 3]>) -> Option<Vec<u8>> {
    let palette = palette();
    let entries = palette.chunks_exact(3).map(|rgb| rgb16(rgb, 8));
    let numbers: HashMap<[u16; 3], u8> = entries.zip(0..=255).collect();
    let colours: Vec<[u16; 3]> = colours.collect();
    let distinct: HashSet<[u16; 3]> = colours.iter().copied().collect();
    let (known, unknown): (Vec<_>, Vec<_>) =
        distinct.iter().partition(|c| numbers.contains_key(*c));
    let is_smoothed = !unknown.is_empty()
        && distinct.iter().all(|[r, g, b]| r == g && g == b)
        && distinct.iter().any(|c| c[0] >= BRIGHT);
    // Beside numbered things nothing says what another colour is.
    let is_alone = unknown.len() == 1 && known.iter().all(|c| [0, VOID].contains(&numbers[*c]));
    let label = |c: &[u16; 3]| match numbers.get(c) {
        _ if is_smoothed => u8::from(c[0] != 0),
        Some(&number) => number,
        None => 1,
    };
    (unknown.is_empty() || is_smoothed || is_alone).then(|| colours.iter().map(label).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_palette_is_the_known_one() {
        let p = palette();
        let colour = |i: usize| [p[3 * i], p[3 * i + 1], p[3 * i + 2]];
        assert_eq!(colour(0), [0, 0, 0]);
        assert_eq!(colour(1), [128, 0, 0]);
        assert_eq!(colour(2), [0, 128, 0]);
        assert_eq!(colour(3), [128, 128, 0]);
        assert_eq!(colour(4), [0, 0, 128]);
        assert_eq!(colour(8), [64, 0, 0]);
        assert_eq!(colour(15), [192, 128, 128]);
        assert_eq!(colour(20), [0, 64, 128]);
        assert_eq!(colour(255), [224, 224, 192]);
    }

    #[test]
    fn what_is_written_is_an_indexed_png_with_that_palette() {
        let size = Size::new(5, 3);
        let data: Vec<u8> = (0..15).map(|k| k * 17).collect();
        let bytes = encode(size, &data).unwrap();
        assert_eq!(&bytes[..8], b"\x89PNG\r\n\x1a\n");
        // IHDR: 5 × 3, 8 bit, colour type 3 (indexed), nothing else.
        let header = b"\0\0\0\x0dIHDR\0\0\0\x05\0\0\0\x03\x08\x03\0\0\0";
        assert_eq!(&bytes[8..8 + header.len()], header);
        let at = bytes.windows(4).position(|w| w == b"PLTE").unwrap();
        assert_eq!(&bytes[at + 4..at + 4 + 768], &palette());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("00000.png");
        std::fs::write(&path, &bytes).unwrap();
        let back = read(&path).unwrap();
        assert_eq!((back.size, back.stored), (size, Stored::Indexed));
        assert_eq!(back.data, data);
        assert!(encode(size, &data[..9]).is_err());
        for cut in [0, 7, 40, bytes.len() - 5] {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            assert!(read(&path).is_err());
        }
    }

    #[test]
    fn remarks_travel_in_the_picture_and_unknown_ones_are_passed_over() {
        let remarks: Remarks = (1..).zip(REMARK_WORDS.map(|(remark, _)| remark)).collect();
        assert_eq!(parse_remarks(&remarks_text(&remarks)), remarks);
        assert!(parse_remarks("300:unseen 2:blessed model 3").is_empty());
        let bytes = encode_with(Size::new(2, 1), &[0, 1], &remarks).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        std::fs::write(&path, bytes).unwrap();
        let back = read(&path).unwrap();
        assert_eq!((back.data, back.remarks), (vec![0, 1], remarks));
    }

    fn png_of(colour: png::ColorType, depth: png::BitDepth, w: u32, data: &[u8]) -> LabelMap {
        try_png_of(colour, depth, w, data).unwrap()
    }

    fn try_png_of(
        colour: png::ColorType,
        depth: png::BitDepth,
        w: u32,
        data: &[u8],
    ) -> Result<LabelMap, FormatError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        let mut encoder = png::Encoder::new(File::create(&path).unwrap(), w, 1);
        encoder.set_color(colour);
        encoder.set_depth(depth);
        if colour == png::ColorType::Indexed {
            encoder.set_palette(palette().to_vec());
        }
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(data).unwrap();
        writer.finish().unwrap();
        read(&path)
    }

    #[test]
    fn colours_of_the_palette_are_its_numbers_and_several_others_are_refused() {
        use png::{BitDepth, ColorType};
        let (black, one, two) = ([0, 0, 0], [128, 0, 0], [0, 128, 0]);
        let (void, red, white) = ([224, 224, 192], [255, 0, 0], [255, 255, 255]);
        let of = |colours: &[[u8; 3]]| {
            let w = colours.len() as u32;
            try_png_of(ColorType::Rgb, BitDepth::Eight, w, &colours.concat())
        };
        let known = of(&[black, one, two, void]).unwrap();
        assert_eq!(known.normalised().data, [0, 1, 2, VOID]);
        assert_eq!(of(&[black, white, void]).unwrap().data, [0, 1, VOID]);
        // The smoothed edge of one thing.
        assert_eq!(of(&[black, [90; 3], white]).unwrap().data, [0, 1, 1]);
        // A grey of the palette, and greys that are numbers.
        assert_eq!(of(&[black, [128; 3]]).unwrap().data, [0, 7]);
        for bad in [
            [black, [1; 3], [2; 3]],
            [black, red, white],
            [two, red, black],
        ] {
            let refused = of(&bad).unwrap_err().to_string();
            assert!(refused.contains("DAVIS palette"), "{refused}");
        }
        let wide: Vec<u8> = two.iter().flat_map(|&v| [v, v]).collect();
        let wide = png_of(ColorType::Rgb, BitDepth::Sixteen, 1, &wide);
        assert_eq!(wide.data, [2]);
    }

    #[test]
    fn other_kinds_of_masks_are_understood() {
        use png::{BitDepth, ColorType};
        let grey = png_of(ColorType::Grayscale, BitDepth::Eight, 3, &[0, 255, 255]);
        assert_eq!(grey.normalised().data, [0, 1, 1]);
        let numbered = png_of(ColorType::Grayscale, BitDepth::Eight, 3, &[0, 2, 255]);
        assert_eq!(numbered.normalised().data, [0, 2, 255]);
        let bits = png_of(ColorType::Grayscale, BitDepth::One, 3, &[0b0110_0000]);
        assert_eq!(bits.normalised().data, [0, 1, 1]);
        let four = png_of(ColorType::Indexed, BitDepth::Four, 3, &[0x12, 0xf0]);
        assert_eq!(four.normalised().data, [1, 2, 15]);
        let rgb = png_of(ColorType::Rgb, BitDepth::Eight, 2, &[0, 0, 0, 0, 0, 9]);
        assert_eq!(rgb.normalised().data, [0, 1]);
        let wide = png_of(ColorType::Grayscale, BitDepth::Sixteen, 2, &[0, 0, 0, 1]);
        assert_eq!(wide.normalised().data, [0, 1]);
        let rgba = png_of(
            ColorType::Rgba,
            BitDepth::Eight,
            2,
            &[0, 0, 0, 255, 1, 0, 0, 0],
        );
        assert_eq!(rgba.normalised().data, [0, 1]);
    }
}
