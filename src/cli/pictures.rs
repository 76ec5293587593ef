//! Masks and overlays as pictures: `masks/<object>/<frame>.png` (0 and 255) and `overlays/<frame>.jpg`.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use image::{
    ExtendedColorType, ImageEncoder as _, codecs::jpeg::JpegEncoder, codecs::png::PngEncoder,
};

use crate::{
    infer::clip::Clip,
    project::{Bitmap, Document, FrameIndex, colour_rgb},
    task::Progress,
    video::RgbFrame,
};

/// Share of the object's colour inside its mask.
const BLEND: u16 = 45;

/// Writes every frame that has a mask.
pub(super) fn write(
    folder: &Path,
    doc: &Document,
    clip: &mut Clip,
    progress: &mut Progress<'_>,
) -> Result<()> {
    let overlays = folder.join("overlays");
    let make = |dir: &Path| {
        fs::create_dir_all(dir).with_context(|| format!("cannot make the folder {}", dir.display()))
    };
    make(&overlays)?;
    for object in &doc.objects {
        make(&folder.join(format!("masks/{}", object.id.0)))?;
    }
    let mut frames: Vec<FrameIndex> = doc
        .objects
        .iter()
        .flat_map(|o| o.frames.keys().copied())
        .collect();
    frames.sort_unstable();
    frames.dedup();
    for (i, &frame) in frames.iter().enumerate() {
        progress.step(i as u64, frames.len() as u64, "writing pictures")?;
        let mut picture = clip.rgb(frame)?;
        for object in &doc.objects {
            let Some(mask) = object.frames.get(&frame) else {
                continue;
            };
            let bitmap = mask.rle.to_bitmap();
            write_mask(
                &folder.join(format!("masks/{}/{:05}.png", object.id.0, frame.0)),
                &bitmap,
            )?;
            blend(&mut picture, &bitmap, colour_rgb(object.colour));
        }
        write_jpeg(&overlays.join(format!("{:05}.jpg", frame.0)), &picture)?;
    }
    let all = frames.len() as u64;
    progress.tell(all, all, "writing pictures");
    Ok(())
}

fn failed(path: &Path) -> String {
    format!("cannot write {}", path.display())
}

fn write_mask(path: &Path, mask: &Bitmap) -> Result<()> {
    let grey: Vec<u8> = mask
        .data
        .iter()
        .map(|&v| if v == 0 { 0 } else { 255 })
        .collect();
    let mut bytes = Vec::new();
    PngEncoder::new(&mut bytes)
        .write_image(
            &grey,
            mask.size.width,
            mask.size.height,
            ExtendedColorType::L8,
        )
        .with_context(|| failed(path))?;
    fs::write(path, bytes).with_context(|| failed(path))
}

fn write_jpeg(path: &Path, picture: &RgbFrame) -> Result<()> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, 90)
        .write_image(
            &picture.data,
            picture.size.width,
            picture.size.height,
            ExtendedColorType::Rgb8,
        )
        .with_context(|| failed(path))?;
    fs::write(path, bytes).with_context(|| failed(path))
}

/// Tints the mask and draws its edge in the full colour.
fn blend(picture: &mut RgbFrame, mask: &Bitmap, colour: [u8; 3]) {
    let (w, h) = (mask.size.width as usize, mask.size.height as usize);
    let set = |x: usize, y: usize| x < w && y < h && mask.data[y * w + x] != 0;
    for y in 0..h {
        for x in 0..w {
            if !set(x, y) {
                continue;
            }
            let edge = !set(x + 1, y)
                || !set(x, y + 1)
                || !set(x.wrapping_sub(1), y)
                || !set(x, y.wrapping_sub(1));
            let share = if edge { 100 } else { BLEND };
            let pixel = &mut picture.data[(y * w + x) * 3..][..3];
            for (p, c) in pixel.iter_mut().zip(colour) {
                *p = ((u16::from(*p) * (100 - share) + u16::from(c) * share) / 100) as u8;
            }
        }
    }
}
