//! The CPU's side of the shaders whose numbers matter: `shared/colour.wgsl` and the blending of masks, in plain Rust.
//! A test renders both and compares.

/// How luma and chroma are coded.
#[derive(Clone, Copy, Debug)]
pub struct YuvCoding {
    /// 0–255 instead of 16–235.
    pub full_range: bool,
    /// BT.709 instead of BT.601.
    pub bt709: bool,
}

/// `yuv_to_rgb` of the shader, on 8-bit code values.
pub fn yuv_to_rgb(coded: [u8; 3], coding: YuvCoding) -> [u8; 3] {
    let YuvCoding { full_range, bt709 } = coding;
    let [y, u, v] = coded.map(|c| f32::from(c) / 255.0);
    let luma = if full_range {
        y
    } else {
        (y - 16.0 / 255.0) * (255.0 / 219.0)
    };
    let gain = if full_range { 1.0 } else { 255.0 / 224.0 };
    let blue_difference = (u - 128.0 / 255.0) * gain;
    let red_difference = (v - 128.0 / 255.0) * gain;
    let (kr, kb) = if bt709 {
        (0.2126, 0.0722)
    } else {
        (0.299, 0.114)
    };
    let red = luma + 2.0 * (1.0 - kr) * red_difference;
    let blue = luma + 2.0 * (1.0 - kb) * blue_difference;
    let green = (luma - kr * red - kb * blue) / (1.0 - kr - kb);
    [red, green, blue].map(to_byte)
}

/// A straight colour of `alpha` over an opaque one, channel by channel, on gamma-coded values.
pub fn blend_over(under: [u8; 3], colour: [f32; 3], alpha: f32) -> [u8; 3] {
    [0, 1, 2].map(|i| to_byte(colour[i] * alpha + f32::from(under[i]) / 255.0 * (1.0 - alpha)))
}

/// `heat_ramp` of the shader.
pub fn heat_ramp(heat: f32) -> [f32; 3] {
    let t = heat.clamp(0.0, 1.0) * 3.0;
    let mix = |a: [f32; 3], b: [f32; 3], t: f32| [0, 1, 2].map(|i| a[i] + (b[i] - a[i]) * t);
    let (cold, cool) = ([0.11, 0.14, 0.45], [0.55, 0.18, 0.58]);
    let (warm, hot) = ([0.96, 0.47, 0.25], [1.0, 0.93, 0.60]);
    mix(
        mix(
            mix(cold, cool, t.clamp(0.0, 1.0)),
            warm,
            (t - 1.0).clamp(0.0, 1.0),
        ),
        hot,
        (t - 2.0).clamp(0.0, 1.0),
    )
}

fn to_byte(value: f32) -> u8 {
    (value.clamp(0.0, 1.0) * 255.0).round() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITED_601: YuvCoding = YuvCoding {
        full_range: false,
        bt709: false,
    };
    const LIMITED_709: YuvCoding = YuvCoding {
        full_range: false,
        bt709: true,
    };
    const FULL_601: YuvCoding = YuvCoding {
        full_range: true,
        bt709: false,
    };

    #[test]
    fn grey_stays_grey_and_ranges_reach_black_and_white() {
        for limited in [LIMITED_601, LIMITED_709] {
            assert_eq!(yuv_to_rgb([16, 128, 128], limited), [0, 0, 0]);
            assert_eq!(yuv_to_rgb([235, 128, 128], limited), [255, 255, 255]);
        }
        assert_eq!(yuv_to_rgb([0, 128, 128], FULL_601), [0, 0, 0]);
        assert_eq!(yuv_to_rgb([255, 128, 128], FULL_601), [255, 255, 255]);
    }

    /// Code values of pure red from the standards' own matrices.
    #[test]
    fn pure_red_comes_back_from_both_standards() {
        let near = |got: [u8; 3]| {
            assert!(got[0] >= 252 && got[1] <= 3 && got[2] <= 3, "{got:?}");
        };
        near(yuv_to_rgb([81, 90, 240], LIMITED_601));
        near(yuv_to_rgb([63, 102, 240], LIMITED_709));
        near(yuv_to_rgb([76, 85, 255], FULL_601));
    }

    #[test]
    fn blending_meets_both_ends() {
        assert_eq!(blend_over([10, 20, 30], [1.0, 0.0, 0.5], 0.0), [10, 20, 30]);
        assert_eq!(
            blend_over([10, 20, 30], [1.0, 0.0, 0.5], 1.0),
            [255, 0, 128]
        );
    }
}
