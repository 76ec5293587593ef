// Masks of all objects on the frame: a translucent fill and a crisp outline whose width does not depend on the zoom.
// Needs shared/view.wgsl and shared/colour.wgsl before it.
//
// One bit per object: layer i / 8, bit i % 8. The texture is transposed (its rows are the video's columns), because
// run-length masks are column-major and are copied in without a turn.

const MOST_OBJECTS: u32 = 64u;

struct MaskOverlay {
    view: View,
    // Of the fill, 0..1.
    opacity: f32,
    // Width in physical pixels.
    outline_px: f32,
    // Index of the selected object, or anything past the end.
    selected: u32,
    // Texture layers in use.
    layers: u32,
    // Straight RGB; alpha 0 hides the object.
    colours: array<vec4f, MOST_OBJECTS>,
}

@group(0) @binding(0) var<uniform> overlay: MaskOverlay;
@group(0) @binding(1) var masks: texture_2d_array<u32>;

@vertex
fn vs_main(@builtin(vertex_index) vertex: u32) -> Fragment {
    return full_triangle(vertex, overlay.view, vec2u(overlay.layers, 0u));
}

fn bits_at(px: vec2i, layer: u32) -> u32 {
    let last = vec2i(overlay.view.size) - vec2i(1);
    let p = clamp(px, vec2i(0), last);
    return textureLoad(masks, p.yx, layer, 0).r;
}

fn bits_near(point: vec2f, layer: u32) -> u32 {
    return bits_at(vec2i(floor(point)), layer);
}

fn is_on(px: vec2i, layer: u32, bit: u32) -> f32 {
    return f32((bits_at(px, layer) >> bit) & 1u);
}

// How much of a screen pixel around `point` the object covers: the contour at one half of the mask under a quadratic
// B-spline, which rounds the pixels' stairs off without moving straight edges, softened over one screen pixel. Zoomed in
// past 4×, where the video shows its single pixels, so does the mask.
fn coverage(point: vec2f, layer: u32, bit: u32, scale: f32) -> f32 {
    let centre = vec2i(floor(point));
    if scale < 0.25 {
        return is_on(centre, layer, bit);
    }
    let t = point - floor(point) - vec2f(0.5);
    let before = 0.5 * (vec2f(0.5) - t) * (vec2f(0.5) - t);
    let after = 0.5 * (vec2f(0.5) + t) * (vec2f(0.5) + t);
    let weights = array<vec2f, 3>(before, vec2f(1.0) - before - after, after);
    var sum = 0.0;
    for (var y = 0; y < 3; y++) {
        for (var x = 0; x < 3; x++) {
            let weight = weights[x].x * weights[y].y;
            sum += weight * is_on(centre + vec2i(x - 1, y - 1), layer, bit);
        }
    }
    // The spline rises by 3/4 per video pixel across a straight edge.
    let soft = 0.75 * min(scale, 1.0);
    return clamp((sum - 0.5) / soft + 0.5, 0.0, 1.0);
}

// `over` in premultiplied colours.
fn blend_over(top: vec4f, below: vec4f) -> vec4f {
    return top + below * (1.0 - top.a);
}

fn paint_object(
    point: vec2f,
    layer: u32,
    bit: u32,
    is_near_edge: bool,
    scale: f32,
    below: vec4f,
) -> vec4f {
    let index = layer * 8u + bit;
    let colour = overlay.colours[index];
    if colour.a <= 0.0 {
        return below;
    }
    let is_selected = index == overlay.selected;
    var fill = 1.0;
    var line = 0.0;
    if is_near_edge {
        fill = coverage(point, layer, bit, scale);
        let width = overlay.outline_px * select(1.0, 1.5, is_selected);
        let reach = 0.5 * width * scale;
        let slant = 0.7071 * reach;
        var low = fill;
        var high = fill;
        for (var i = 0u; i < 8u; i++) {
            var offset = vec2f(0.0);
            switch i {
                case 0u: { offset = vec2f(reach, 0.0); }
                case 1u: { offset = vec2f(-reach, 0.0); }
                case 2u: { offset = vec2f(0.0, reach); }
                case 3u: { offset = vec2f(0.0, -reach); }
                case 4u: { offset = vec2f(slant, slant); }
                case 5u: { offset = vec2f(-slant, slant); }
                case 6u: { offset = vec2f(slant, -slant); }
                default: { offset = vec2f(-slant, -slant); }
            }
            let there = coverage(point + offset, layer, bit, scale);
            low = min(low, there);
            high = max(high, there);
        }
        line = high - low;
    }
    let fill_alpha = fill * overlay.opacity * colour.a;
    let filled = blend_over(vec4f(colour.rgb * fill_alpha, fill_alpha), below);
    let line_alpha = line * colour.a;
    return blend_over(vec4f(colour.rgb * line_alpha, line_alpha), filled);
}

@fragment
fn fs_main(in: Fragment) -> @location(0) vec4f {
    let point = point_in_video(overlay.view, in.canvas);
    if !is_inside(overlay.view, point) {
        discard;
    }
    // As far as an outline or the bilinear footprint can reach.
    let reach = 0.75 * overlay.outline_px * in.scale + 1.5;
    var out = vec4f(0.0);
    // Of the selected object, which is drawn last, over all others: 1 well inside of it, 2 near its edge.
    var selected = 0u;
    for (var layer = 0u; layer < in.choice.x; layer++) {
        let here = bits_near(point, layer);
        var any = here;
        var all_bits = here;
        for (var i = 0u; i < 8u; i++) {
            var offset = vec2f(reach, 0.0);
            switch i {
                case 0u: { offset = vec2f(reach, 0.0); }
                case 1u: { offset = vec2f(-reach, 0.0); }
                case 2u: { offset = vec2f(0.0, reach); }
                case 3u: { offset = vec2f(0.0, -reach); }
                case 4u: { offset = vec2f(reach, reach); }
                case 5u: { offset = vec2f(-reach, reach); }
                case 6u: { offset = vec2f(reach, -reach); }
                default: { offset = vec2f(-reach, -reach); }
            }
            let there = bits_near(point + offset, layer);
            any |= there;
            all_bits &= there;
        }
        if any == 0u {
            continue;
        }
        for (var bit = 0u; bit < 8u; bit++) {
            if ((any >> bit) & 1u) == 1u {
                let is_near_edge = ((all_bits >> bit) & 1u) == 0u;
                if layer * 8u + bit == overlay.selected {
                    selected = select(1u, 2u, is_near_edge);
                    continue;
                }
                out = paint_object(point, layer, bit, is_near_edge, in.scale, out);
            }
        }
    }
    if selected > 0u {
        let layer = overlay.selected / 8u;
        let bit = overlay.selected % 8u;
        out = paint_object(point, layer, bit, selected == 2u, in.scale, out);
    }
    if out.a <= 0.0 {
        discard;
    }
    return for_target(out, in.linear_target);
}
