// Where the proposer saw objects: a coarse grid of objectness, smoothly enlarged, through a colour ramp.
// Needs shared/view.wgsl and shared/colour.wgsl before it.

struct Heat {
    view: View,
    // Strongest opacity, 0..1.
    opacity: f32,
}

@group(0) @binding(0) var<uniform> heat: Heat;
@group(0) @binding(1) var grid: texture_2d<f32>;
@group(0) @binding(2) var bilinear: sampler;

@vertex
fn vs_main(@builtin(vertex_index) vertex: u32) -> Fragment {
    return full_triangle(vertex, heat.view, vec2u(0u));
}

@fragment
fn fs_main(in: Fragment) -> @location(0) vec4f {
    let point = point_in_video(heat.view, in.canvas);
    if !is_inside(heat.view, point) {
        discard;
    }
    let value = textureSampleLevel(grid, bilinear, point / heat.view.size, 0.0).r;
    let alpha = heat.opacity * smoothstep(0.0, 0.35, value);
    return for_target(vec4f(heat_ramp(value) * alpha, alpha), in.linear_target);
}
