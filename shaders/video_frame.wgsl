// The video frame: planar YUV 4:2:0 or RGB, turned upright, sampled for the zoom in force.
// Needs shared/view.wgsl and shared/colour.wgsl before it.

struct VideoFrame {
    view: View,
    // Size as coded, before rotation.
    coded: vec2f,
    // Clockwise quarter turns that make it upright.
    rotation: u32,
    // 0 = YUV planes, 1 = RGB.
    kind: u32,
    full_range: u32,
    bt709: u32,
}

@group(0) @binding(0) var<uniform> frame: VideoFrame;
@group(0) @binding(1) var luma_plane: texture_2d<f32>;
@group(0) @binding(2) var blue_plane: texture_2d<f32>;
@group(0) @binding(3) var red_plane: texture_2d<f32>;
@group(0) @binding(4) var rgb_plane: texture_2d<f32>;
@group(0) @binding(5) var bilinear: sampler;

@vertex
fn vs_main(@builtin(vertex_index) vertex: u32) -> Fragment {
    return full_triangle(vertex, frame.view, vec2u(frame.kind, frame.rotation));
}

// Displayed 0..1 to coded 0..1.
fn coded_from_displayed(p: vec2f, rotation: u32) -> vec2f {
    switch rotation {
        case 1u: { return vec2f(p.y, 1.0 - p.x); }
        case 2u: { return vec2f(1.0) - p; }
        case 3u: { return vec2f(1.0 - p.y, p.x); }
        default: { return p; }
    }
}

fn sample_rgb(coded_px: vec2f, kind: u32) -> vec3f {
    let uv = coded_px / frame.coded;
    if kind == 1u {
        return textureSampleLevel(rgb_plane, bilinear, uv, 0.0).rgb;
    }
    // Chroma planes are rounded up, so they reach past odd frames by half a sample.
    let chroma_uv = uv * frame.coded / (2.0 * ceil(frame.coded / 2.0));
    let coded = vec3f(
        textureSampleLevel(luma_plane, bilinear, uv, 0.0).r,
        textureSampleLevel(blue_plane, bilinear, chroma_uv, 0.0).r,
        textureSampleLevel(red_plane, bilinear, chroma_uv, 0.0).r,
    );
    return yuv_to_rgb(coded, frame.full_range != 0u, frame.bt709 != 0u);
}

@fragment
fn fs_main(in: Fragment) -> @location(0) vec4f {
    let point = point_in_video(frame.view, in.canvas);
    if !is_inside(frame.view, point) {
        discard;
    }
    let kind = in.choice.x;
    var coded_px = coded_from_displayed(point / frame.view.size, in.choice.y) * frame.coded;
    var rgb: vec3f;
    if in.scale < 0.25 {
        // Zoomed in past 4×: single pixels are what one wants to see.
        coded_px = floor(coded_px) + vec2f(0.5);
        rgb = sample_rgb(coded_px, kind);
    } else if in.scale > 1.25 {
        // Shrunk: four taps across the screen pixel's footprint keep fine patterns from shimmering.
        let step = 0.25 * in.scale;
        rgb = 0.25 * (sample_rgb(coded_px + vec2f(-step, -step), kind) + sample_rgb(coded_px + vec2f(step, -step), kind)
            + sample_rgb(coded_px + vec2f(-step, step), kind) + sample_rgb(coded_px + vec2f(step, step), kind));
    } else {
        rgb = sample_rgb(coded_px, kind);
    }
    return for_target(vec4f(rgb, 1.0), in.linear_target);
}
