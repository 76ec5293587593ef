//! From FFmpeg's picture to [`Pixels`]: 8-bit 4:2:0 is copied row by row, everything else goes through swscale. Knows
//! colour range, matrix and mirroring; turning is left to whoever displays.

use video_rs::ffmpeg::{
    color::{Range, Space},
    format::Pixel,
    frame, software,
};

use crate::{project::Size, video::Pixels};

/// Copies `picture` as `size`, mirrored left to right if asked.
///
/// # Errors
/// One clause if swscale cannot convert the picture's format.
pub(super) fn convert(
    picture: &frame::Video,
    size: Size,
    mirrored: bool,
) -> Result<Pixels, String> {
    let format = picture.format();
    let full_range = is_full_range(picture);
    let target = target_format(format);
    let fits = picture.width() == size.width && picture.height() == size.height;
    // Bottom-up pictures have negative strides, which the binding's slices cannot express: swscale turns them over.
    let top_down = (0..picture.planes()).all(|p| (picture.stride(p) as isize) > 0);
    let direct = matches!(
        format,
        Pixel::YUV420P | Pixel::YUVJ420P | Pixel::RGB24 | Pixel::NV12
    );
    let converted;
    let picture_ready = if fits && top_down && direct {
        picture
    } else {
        converted = rescale(picture, target, size)?;
        &converted
    };
    let (w, h) = (size.width as usize, size.height as usize);
    let (cw, ch) = (w.div_ceil(2), h.div_ceil(2));
    let plane = |index: usize, width: usize, height: usize| {
        let mut rows = tight(picture_ready, index, width, height)?;
        if mirrored {
            rows.chunks_exact_mut(width).for_each(<[u8]>::reverse);
        }
        Ok::<_, String>(rows)
    };
    match picture_ready.format() {
        Pixel::RGB24 => {
            let mut rgb = tight(picture_ready, 0, w * 3, h)?;
            if mirrored {
                for row in rgb.chunks_exact_mut(w * 3) {
                    // Reversing the bytes reverses the pixels and their channels; the second reversal sets these right.
                    row.reverse();
                    row.chunks_exact_mut(3).for_each(<[u8]>::reverse);
                }
            }
            Ok(Pixels::Rgb(rgb))
        }
        Pixel::NV12 => {
            let interleaved = tight(picture_ready, 1, cw * 2, ch)?;
            let pick = |offset: usize| {
                let mut plane: Vec<u8> = interleaved[offset..].iter().step_by(2).copied().collect();
                if mirrored {
                    plane.chunks_exact_mut(cw).for_each(<[u8]>::reverse);
                }
                plane
            };
            Ok(Pixels::Yuv420 {
                y: plane(0, w, h)?,
                u: pick(0),
                v: pick(1),
                full_range,
                bt709: is_bt709(picture, size),
            })
        }
        _ => Ok(Pixels::Yuv420 {
            y: plane(0, w, h)?,
            u: plane(1, cw, ch)?,
            v: plane(2, cw, ch)?,
            full_range,
            bt709: is_bt709(picture, size),
        }),
    }
}

fn tight(
    picture: &frame::Video,
    plane: usize,
    width: usize,
    height: usize,
) -> Result<Vec<u8>, String> {
    if plane >= picture.planes() {
        return Err("the decoder gave a picture without pixels".to_owned());
    }
    let stride = picture.stride(plane);
    let data = picture.data(plane);
    if stride < width || data.len() < stride * (height - 1) + width {
        return Err("the decoder gave a picture that is too small".to_owned());
    }
    if stride == width {
        return Ok(data[..width * height].to_vec());
    }
    let mut out = Vec::with_capacity(width * height);
    for row in data.chunks(stride).take(height) {
        out.extend_from_slice(&row[..width]);
    }
    Ok(out)
}

fn rescale(picture: &frame::Video, target: Pixel, size: Size) -> Result<frame::Video, String> {
    use software::scaling::{Context, Flags};
    // Made anew for each picture: the binding's context may not move between threads, and sources do.
    let mut scaler = Context::get(
        picture.format(),
        picture.width(),
        picture.height(),
        target,
        size.width,
        size.height,
        Flags::BICUBIC | Flags::ACCURATE_RND | Flags::FULL_CHR_H_INT,
    )
    .map_err(|_only_that_it_cannot| {
        format!(
            "pixel format {} cannot be converted",
            name(picture.format())
        )
    })?;
    let mut out = frame::Video::empty();
    scaler.run(picture, &mut out).map_err(|e| e.to_string())?;
    Ok(out)
}

fn name(format: Pixel) -> &'static str {
    format.descriptor().map_or("unknown", |d| d.name())
}

/// Formats of the RGB family become RGB; the rest 4:2:0, of the `J` kind where swscale takes the source for full range
/// (it would squeeze the values otherwise).
fn target_format(format: Pixel) -> Pixel {
    let name = name(format);
    let rgb_like = [
        "rgb", "bgr", "gbr", "argb", "abgr", "0rgb", "0bgr", "pal8", "x2rgb", "x2bgr", "bayer",
        "xyz", "mono",
    ];
    if rgb_like.iter().any(|family| name.starts_with(family)) {
        Pixel::RGB24
    } else if is_full_range_format(format) {
        Pixel::YUVJ420P
    } else {
        Pixel::YUV420P
    }
}

fn is_full_range_format(format: Pixel) -> bool {
    let name = name(format);
    ["yuvj", "gray", "ya"].iter().any(|f| name.starts_with(f))
}

fn is_full_range(picture: &frame::Video) -> bool {
    match picture.color_range() {
        Range::JPEG => true,
        Range::MPEG => false,
        Range::Unspecified => is_full_range_format(picture.format()),
    }
}

/// The matrix, guessed as players do where the file is silent: BT.709 from 720p up, BT.601 below; JPEG is always BT.601.
fn is_bt709(picture: &frame::Video, size: Size) -> bool {
    match picture.color_space() {
        Space::BT470BG | Space::SMPTE170M | Space::FCC => false,
        Space::Unspecified | Space::Reserved => {
            let hd = size.width >= 1280 || size.height > 576;
            hd && !is_full_range_format(picture.format())
        }
        // BT.2020 and its kin are far nearer to BT.709 than to BT.601.
        _ => true,
    }
}
