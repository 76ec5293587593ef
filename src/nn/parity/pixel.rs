//! Cases of the pixel pipelines: 8-bit stages by checksum, normalised tensors by samples and sums.

use candle_core::{Device, Tensor};

use super::{Case, Kind, ParityError, Report};
use crate::nn::pixels::{self, Filter, Rgb8};

const CLIP: ([f32; 3], [f32; 3]) = (
    [0.481_454_66, 0.457_827_5, 0.408_210_73],
    [0.268_629_54, 0.261_302_6, 0.275_777_1],
);
const IMAGENET: ([f32; 3], [f32; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
const SAM: ([f32; 3], [f32; 3]) = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]);

/// Runs the case if it is one of this file's; `Ok(false)` if it is not.
pub(super) fn run(kind: Kind, case: &Case, report: &mut Report) -> Result<bool, ParityError> {
    if kind != Kind::Preprocessing {
        return Ok(false);
    }
    for (name, image) in [("small", small(case)?), ("frame", frame(case)?)] {
        pipelines(case, report, name, &image)?;
        resizes(case, report, name, &image)?;
    }
    Ok(true)
}

fn small(case: &Case) -> Result<Rgb8, ParityError> {
    let (h, w, _) = case.tensor("input.small")?.dims3()?;
    let bytes = case.ints("input.small")?;
    Ok(Rgb8::new(w, h, bytes.iter().map(|&b| b as u8).collect())?)
}

fn frame(case: &Case) -> Result<Rgb8, ParityError> {
    let bytes: Vec<u8> = case
        .ints("input.frame_png_bytes")?
        .iter()
        .map(|&b| b as u8)
        .collect();
    let decoded = image::load_from_memory(&bytes)
        .map_err(|e| ParityError::Config {
            path: "input.frame_png_bytes".into(),
            reason: e.to_string(),
        })?
        .to_rgb8();
    let (w, h) = (decoded.width() as usize, decoded.height() as usize);
    Ok(Rgb8::new(w, h, decoded.into_raw())?)
}

/// The checksum of zip and PNG.
fn crc32(data: &[u8]) -> u32 {
    let table: Vec<u32> = (0..256_u32)
        .map(|i| {
            (0..8).fold(i, |c, _| {
                if c & 1 == 1 {
                    0xedb8_8320 ^ (c >> 1)
                } else {
                    c >> 1
                }
            })
        })
        .collect();
    !data.iter().fold(u32::MAX, |c, &b| {
        table[((c ^ u32::from(b)) & 0xff) as usize] ^ (c >> 8)
    })
}

/// Compares an 8-bit stage with its stored shape, sum and checksum, if the case has it.
fn bytes(case: &Case, report: &mut Report, stage: &str, image: &Rgb8) -> Result<(), ParityError> {
    // Stage names hold dots, so they are looked up whole.
    let Some(want) = case.get("u8_exact").and_then(|table| table.get(stage)) else {
        return Ok(());
    };
    let number = |key: &str| want.get(key).and_then(serde_json::Value::as_u64);
    let sum: u64 = image.data().iter().map(|&b| u64::from(b)).sum();
    let crc = crc32(image.data());
    let shape = serde_json::json!([image.height(), image.width(), 3]);
    report.check(
        &format!("bytes/{stage}"),
        want.get("shape_hwc") == Some(&shape)
            && number("crc32") == Some(u64::from(crc))
            && number("sum") == Some(sum),
        format!("{shape}, sum {sum}, crc {crc}; wanted {want}"),
    );
    Ok(())
}

/// Compares a normalised `(3, h, w)` tensor with its stored samples and sums.
fn floats(case: &Case, report: &mut Report, stage: &str, x: &Tensor) -> Result<(), ParityError> {
    let prefix = format!("output.{stage}.");
    for name in case.names(&format!("{prefix}strided")) {
        let step: usize = name[prefix.len() + "strided".len()..]
            .parse()
            .unwrap_or(1)
            .max(1);
        let mut got = x.clone();
        for axis in [1, 2] {
            let at: Vec<u32> = (0..x.dim(axis)?).step_by(step).map(|i| i as u32).collect();
            got = got.index_select(&Tensor::new(at, got.device())?, axis)?;
        }
        report.compare(
            &format!("normalised/{stage}"),
            &got,
            &case.float(&name)?,
            1e-6,
        )?;
    }
    let sums = format!("{prefix}checksum");
    if case.has(&sums) {
        let values: Vec<f32> = x.flatten_all()?.to_vec1()?;
        let wide = || values.iter().map(|&v| f64::from(v));
        let sum: f64 = wide().sum();
        let got = [
            sum,
            sum / values.len() as f64,
            wide().fold(f64::MIN, f64::max),
            wide().fold(f64::MAX, f64::min),
            wide().map(f64::abs).sum(),
        ];
        let got = Tensor::new(&got, &Device::Cpu)?;
        report.compare(
            &format!("normalised/{stage} sums"),
            &got,
            &case.float(&sums)?,
            1e-6,
        )?;
    }
    Ok(())
}

/// Part of the levels that may be the neighbouring one: a stretched picture has many that lie half-way, and libraries differ in
/// the last bit of a float.
const HALFWAY: f64 = 2e-3;

/// Which part of levels differ, and by how much at most.
fn apart(got: &[f32], want: &[f32]) -> (f64, f32) {
    let off = || got.iter().zip(want).map(|(a, b)| (a - b).abs());
    let many = off().filter(|d| *d > 0.0).count();
    (
        many as f64 / want.len().max(1) as f64,
        off().fold(0.0, f32::max),
    )
}

/// Compares levels that were rounded from floats with stored samples, `output.{stage}.levels{step}`.
fn levels(case: &Case, report: &mut Report, stage: &str, image: &Rgb8) -> Result<(), ParityError> {
    let prefix = format!("output.{stage}.levels");
    for name in case.names(&prefix) {
        let step: usize = name[prefix.len()..].parse().unwrap_or(1).max(1);
        let want: Vec<f32> = case.float(&name)?.flatten_all()?.to_vec1()?;
        let (w, h) = (image.width(), image.height());
        let at = |c: usize, y: usize, x: usize| f32::from(image.data()[(y * w + x) * 3 + c]);
        let got = (0..3).flat_map(|c| {
            let rows = (0..h).step_by(step);
            rows.flat_map(move |y| (0..w).step_by(step).map(move |x| at(c, y, x)))
        });
        let got: Vec<f32> = got.collect();
        let (differ, worst) = apart(&got, &want);
        report.check(
            &format!("levels/{stage}"),
            got.len() == want.len() && worst <= 1.0 && differ <= HALFWAY,
            format!(
                "{differ:.5} of {} levels differ, by at most {worst}",
                want.len()
            ),
        );
    }
    Ok(())
}

fn pipelines(
    case: &Case,
    report: &mut Report,
    name: &str,
    image: &Rgb8,
) -> Result<(), ParityError> {
    let cpu = Device::Cpu;
    let size = |stage: &str| -> Option<usize> {
        let shape = case.get("u8_exact")?.get(format!("{name}.{stage}"))?;
        Some(shape.get("shape_hwc")?.get(0)?.as_u64()? as usize)
    };
    let of = |stage: &str| format!("{name}.{stage}");
    if let Some(side) = size("clip.resized_cropped") {
        let pixels = pixels::clip_pixels(image, side)?;
        bytes(case, report, &of("clip.resized_cropped"), &pixels)?;
        let x = pixels.normalised(1.0 / 255.0, CLIP.0, CLIP.1, &cpu)?;
        floats(case, report, &of("clip.normalized"), &x)?;
    }
    if let Some(side) = size("internvideo.resized") {
        let pixels = pixels::resize_opencv(image, side, side)?;
        bytes(case, report, &of("internvideo.resized"), &pixels)?;
        let x = pixels.normalised(1.0 / 255.0, IMAGENET.0, IMAGENET.1, &cpu)?;
        floats(case, report, &of("internvideo.normalized"), &x)?;
    }
    // Where the way to SAM2 is there, but not its rounded end, the sizes are said.
    let said = |key: &str| {
        let side = case.get(key)?.as_u64()? as usize;
        size("sam.resized_longest").map(|_| side)
    };
    if let Some(side) = size("detector.recovered_1024").or_else(|| said("sam_side")) {
        let pixels = pixels::sam_pixels(image, side)?;
        bytes(case, report, &of("sam.resized_longest"), &pixels)?;
        let x = pixels::sam_input(image, side, SAM.0, SAM.1, &cpu)?.squeeze(0)?;
        floats(case, report, &of("sam.normalized"), &x)?;
        let back = pixels::recovered(&x, SAM.0, SAM.1)?;
        bytes(case, report, &of("detector.recovered_1024"), &back)?;
        levels(case, report, &of("detector.recovered_1024"), &back)?;
        if let Some(side) = size("detector.resized").or_else(|| said("detector_side")) {
            let pixels = pixels::proposer_pixels(&x, side, SAM.0, SAM.1)?;
            bytes(case, report, &of("detector.resized"), &pixels)?;
            levels(case, report, &of("detector.resized"), &pixels)?;
            let x = pixels.normalised(1.0 / 255.0, IMAGENET.0, IMAGENET.1, &cpu)?;
            floats(case, report, &of("detector.normalized"), &x)?;
        }
    }
    Ok(())
}

/// Plain resizes, named `pil_bicubic_{h}x{w}` and the like.
fn resizes(case: &Case, report: &mut Report, name: &str, image: &Rgb8) -> Result<(), ParityError> {
    let table: serde_json::Map<String, serde_json::Value> = case.value("u8_exact")?;
    for stage in table.keys() {
        let Some((kind, size)) = stage
            .strip_prefix(&format!("{name}."))
            .and_then(|s| s.rsplit_once('_'))
        else {
            continue;
        };
        let Some((h, w)) = size.split_once('x') else {
            continue;
        };
        let (Ok(h), Ok(w)) = (h.parse(), w.parse()) else {
            continue;
        };
        let resized = match kind {
            "pil_bilinear" => pixels::resize_pil(image, w, h, Filter::Bilinear)?,
            "pil_bicubic" => pixels::resize_pil(image, w, h, Filter::Bicubic)?,
            "cv2_linear" => pixels::resize_opencv(image, w, h)?,
            _ => continue,
        };
        bytes(case, report, stage, &resized)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_that_differ_are_counted_and_the_worst_is_said() {
        assert_eq!(
            apart(&[1.0, 2.0, 3.0, 4.0], &[1.0, 2.0, 3.0, 4.0]),
            (0.0, 0.0)
        );
        assert_eq!(
            apart(&[1.0, 2.0, 3.0, 6.0], &[1.0, 3.0, 3.0, 4.0]),
            (0.5, 2.0)
        );
    }
}
