// Where a fragment lies in the video. Every pass draws one triangle over the canvas; the view says which part of the
// video the canvas shows.

struct View {
    // Video pixel at the canvas's top left corner.
    origin: vec2f,
    // Video pixels across the canvas.
    extent: vec2f,
    // Displayed size of the video.
    size: vec2f,
    // Video pixels per physical pixel of the screen.
    scale: f32,
    // 1 if the target converts from linear light by itself.
    linear_target: u32,
}

// What fragments branch on reaches them from the vertex stage and not from the uniform itself: drivers that compile a
// shader anew for every value of a uniform in a condition (Mesa's software Vulkan, which also keeps them all) would do
// so on every frame.
struct Fragment {
    @builtin(position) clip: vec4f,
    @location(0) canvas: vec2f,
    // As in View.
    @location(1) @interpolate(flat) scale: f32,
    @location(2) @interpolate(flat) linear_target: u32,
    // Numbers of the pass's own.
    @location(3) @interpolate(flat) choice: vec2u,
}

// One triangle that covers the viewport; `canvas` runs from 0 to 1 inside it, y down.
fn full_triangle(vertex: u32, view: View, choice: vec2u) -> Fragment {
    let corner = vec2f(f32((vertex << 1u) & 2u), f32(vertex & 2u));
    let clip = vec4f(corner * vec2f(2.0, -2.0) + vec2f(-1.0, 1.0), 0.0, 1.0);
    return Fragment(clip, corner, view.scale, view.linear_target, choice);
}

fn point_in_video(view: View, canvas: vec2f) -> vec2f {
    return view.origin + canvas * view.extent;
}

fn is_inside(view: View, point: vec2f) -> bool {
    return all(point >= vec2f(0.0)) && all(point < view.size);
}
