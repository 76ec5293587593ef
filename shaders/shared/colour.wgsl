// Colour conversions. Values are gamma-coded 0..1 unless a name says linear. `src/render/twin.rs` mirrors
// `yuv_to_rgb` and `heat_ramp` in Rust; a test compares them.

// Coefficients of red and blue luma: BT.601 or BT.709.
fn luma_weights(bt709: bool) -> vec2f {
    return select(vec2f(0.299, 0.114), vec2f(0.2126, 0.0722), bt709);
}

// 8-bit code values / 255 to RGB. Limited range: luma 16..235, chroma 16..240.
fn yuv_to_rgb(coded: vec3f, full_range: bool, bt709: bool) -> vec3f {
    let limited_luma = (coded.x - 16.0 / 255.0) * (255.0 / 219.0);
    let luma = select(limited_luma, coded.x, full_range);
    let chroma_gain = select(255.0 / 224.0, 1.0, full_range);
    let chroma = (coded.yz - vec2f(128.0 / 255.0)) * chroma_gain;
    let k = luma_weights(bt709);
    let red = luma + 2.0 * (1.0 - k.x) * chroma.y;
    let blue = luma + 2.0 * (1.0 - k.y) * chroma.x;
    let green = (luma - k.x * red - k.y * blue) / (1.0 - k.x - k.y);
    return clamp(vec3f(red, green, blue), vec3f(0.0), vec3f(1.0));
}

fn linear_from_gamma(rgb: vec3f) -> vec3f {
    let low = rgb / 12.92;
    let high = pow((rgb + vec3f(0.055)) / 1.055, vec3f(2.4));
    return select(high, low, rgb <= vec3f(0.04045));
}

// A premultiplied colour for the target: as it is, or linear if the target codes it again.
fn for_target(premultiplied: vec4f, linear_target: u32) -> vec4f {
    if linear_target == 0u || premultiplied.a <= 0.0 {
        return premultiplied;
    }
    let straight = premultiplied.rgb / premultiplied.a;
    return vec4f(linear_from_gamma(straight) * premultiplied.a, premultiplied.a);
}

// Deep blue, violet, orange, pale yellow: rises in lightness all the way, so it also reads without hue.
fn heat_ramp(heat: f32) -> vec3f {
    let t = clamp(heat, 0.0, 1.0) * 3.0;
    let cold = vec3f(0.11, 0.14, 0.45);
    let cool = vec3f(0.55, 0.18, 0.58);
    let warm = vec3f(0.96, 0.47, 0.25);
    let hot = vec3f(1.0, 0.93, 0.60);
    return mix(mix(mix(cold, cool, clamp(t, 0.0, 1.0)), warm, clamp(t - 1.0, 0.0, 1.0)), hot, clamp(t - 2.0, 0.0, 1.0));
}
