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

struct Fragment {
    @builtin(position) clip: vec4f,
    @location(0) canvas: vec2f,
}

// One triangle that covers the viewport; `canvas` runs from 0 to 1 inside it, y down.
fn full_triangle(vertex: u32) -> Fragment {
    let corner = vec2f(f32((vertex << 1u) & 2u), f32(vertex & 2u));
    return Fragment(vec4f(corner * vec2f(2.0, -2.0) + vec2f(-1.0, 1.0), 0.0, 1.0), corner);
}

fn point_in_video(view: View, canvas: vec2f) -> vec2f {
    return view.origin + canvas * view.extent;
}

fn is_inside(view: View, point: vec2f) -> bool {
    return all(point >= vec2f(0.0)) && all(point < view.size);
}
