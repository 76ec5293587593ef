//! Clips on disk: `CLIP/frames/00000.jpg`, `CLIP/masks/00000.png` (8-bit indexed, index = object id), `CLIP/clip.json`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Clip, ObjectInfo, Phrase};
use crate::train::{TrainError, TrainResult, checkpoint::write_whole};

/// What `clip.json` holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClipFile {
    /// Version of this layout.
    pub schema: u32,
    /// Seed the clip was made from.
    pub seed: u64,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Frames.
    pub frames: u32,
    /// Nominal frames per second.
    pub fps: f32,
    /// Objects by id.
    pub objects: Vec<ObjectInfo>,
    /// Phrases; referents are object ids.
    pub phrases: Vec<Phrase>,
}

/// Writes `clip` into the folder `dir`, in the place of an earlier one.
///
/// # Errors
/// If a file cannot be written.
pub fn write_clip(dir: &Path, seed: u64, clip: &Clip) -> TrainResult<()> {
    let (w, h) = (clip.width as u32, clip.height as u32);
    let picture = |i: usize| dir.join(format!("frames/{i:05}.jpg"));
    let mask = |i: usize| dir.join(format!("masks/{i:05}.png"));
    for (i, (rgb, ids)) in clip.frames.iter().zip(&clip.ids).enumerate() {
        let path = picture(i);
        let mut bytes = Vec::new();
        image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 95)
            .encode(rgb, w, h, image::ExtendedColorType::Rgb8)
            .map_err(|e| TrainError::file("cannot pack frame", &path, e))?;
        write_whole(&path, &bytes)?;
        let path = mask(i);
        write_whole(
            &path,
            &indexed_png(ids, w, h).map_err(|e| TrainError::file("cannot pack mask", &path, e))?,
        )?;
    }
    // A longer clip that was here before ends later.
    for i in clip.frames.len().. {
        let left: Vec<PathBuf> = [picture(i), mask(i)]
            .into_iter()
            .filter(|p| p.exists())
            .collect();
        if left.is_empty() {
            break;
        }
        for path in left {
            std::fs::remove_file(&path).map_err(|e| TrainError::file("cannot remove", &path, e))?;
        }
    }
    let file = ClipFile {
        schema: 1,
        seed,
        width: w,
        height: h,
        frames: clip.frames.len() as u32,
        fps: 8.0,
        objects: clip.objects.clone(),
        phrases: clip.phrases.clone(),
    };
    let path = dir.join("clip.json");
    let json =
        serde_json::to_vec_pretty(&file).map_err(|e| TrainError::file("cannot pack", &path, e))?;
    write_whole(&path, &json)
}

/// The palette of the DAVIS masks: bit-reversed counting, so that neighbours differ most.
fn palette() -> Vec<u8> {
    (0..=255_u8)
        .flat_map(|i| {
            let mut rgb = [0_u8; 3];
            for (bit, shift) in (0..8).step_by(3).zip([7_u32, 6, 5]) {
                for (c, v) in rgb.iter_mut().enumerate() {
                    *v |= ((u32::from(i) >> (bit + c as u32)) & 1)
                        .checked_shl(shift)
                        .unwrap_or(0) as u8;
                }
            }
            rgb
        })
        .collect()
}

fn indexed_png(ids: &[u8], w: u32, h: u32) -> Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, w, h);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_palette(palette());
    let mut writer = encoder.write_header()?;
    writer.write_image_data(ids)?;
    writer.finish()?;
    Ok(bytes)
}
