//! Shaders: every file is valid, uniform structs have the offsets that the Rust side writes, and what is drawn equals
//! the CPU twin. The first two need no GPU; the last needs any wgpu adapter and says so when there is none.

use std::{fs, path::Path, sync::Arc};

use sparrow::{
    project::{Bitmap, Rle, Size},
    render::{
        FrameImage, HeatGrid, HeatPaint, MaskLayers, MaskPaint, MaskStyle, PixelsRef, SHADERS,
        VideoPaint, View, YuvCoding, blend_over, heat_ramp, uniform_layouts, yuv_to_rgb,
    },
};
use wgpu::naga;

use crate::gpu::{draw, with_adapter};

fn parse(name: &str, source: &str) -> naga::Module {
    naga::front::wgsl::parse_str(source)
        .unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(source)))
}

#[test]
fn every_shader_is_valid() {
    for shader in &SHADERS {
        let module = parse(shader.name, shader.source);
        let mut validator = naga::valid::Validator::new(
            naga::valid::ValidationFlags::all(),
            naga::valid::Capabilities::empty(),
        );
        if let Err(error) = validator.validate(&module) {
            panic!("{}: {}", shader.name, error.emit_to_string(shader.source));
        }
        let stages: Vec<_> = module
            .entry_points
            .iter()
            .map(|e| e.name.as_str())
            .collect();
        assert_eq!(stages, ["vs_main", "fs_main"], "{}", shader.name);
    }
}

#[test]
fn every_shader_file_is_compiled() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders");
    let mut files: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".wgsl"))
        .collect();
    files.sort();
    let mut names: Vec<_> = SHADERS.iter().map(|s| s.name.to_owned()).collect();
    names.sort();
    assert_eq!(files, names);
}

#[test]
fn uniforms_have_the_offsets_that_rust_writes() {
    for layout in uniform_layouts() {
        let shader = SHADERS.iter().find(|s| s.name == layout.shader).unwrap();
        let module = parse(shader.name, shader.source);
        let (members, span) = module
            .types
            .iter()
            .find_map(|(_, ty)| match &ty.inner {
                naga::TypeInner::Struct { members, span }
                    if ty.name.as_deref() == Some(layout.name) =>
                {
                    Some((members, *span))
                }
                _ => None,
            })
            .unwrap_or_else(|| panic!("{} has no struct {}", layout.shader, layout.name));
        let theirs: Vec<(&str, usize)> = members
            .iter()
            .map(|m| (m.name.as_deref().unwrap_or(""), m.offset as usize))
            .collect();
        assert_eq!(theirs, layout.fields, "{}", layout.name);
        assert!(layout.size >= span as usize, "{} is too small", layout.name);
    }
}

/// Whether an expression is made of uniforms and constants alone, at least one uniform among them.
fn hinges_on_uniform(
    module: &naga::Module,
    function: &naga::Function,
    expression: naga::Handle<naga::Expression>,
) -> bool {
    use naga::Expression as E;
    // All leaves: `Some(true)` a uniform, `Some(false)` a constant, `None` anything else.
    fn leaves(
        module: &naga::Module,
        function: &naga::Function,
        at: naga::Handle<naga::Expression>,
        out: &mut Vec<Option<bool>>,
    ) {
        let mut down = |inner: &[naga::Handle<naga::Expression>]| {
            for &i in inner {
                leaves(module, function, i, out);
            }
        };
        match &function.expressions[at] {
            E::Literal(_) | E::Constant(_) | E::ZeroValue(_) => out.push(Some(false)),
            E::GlobalVariable(g) => {
                let space = module.global_variables[*g].space;
                out.push((space == naga::AddressSpace::Uniform).then_some(true));
            }
            E::Load { pointer } => down(&[*pointer]),
            E::AccessIndex { base, .. } => down(&[*base]),
            E::Access { base, index } => down(&[*base, *index]),
            E::Splat { value, .. } => down(&[*value]),
            E::Swizzle { vector, .. } => down(&[*vector]),
            E::Compose { components, .. } => down(components),
            E::Unary { expr, .. } | E::As { expr, .. } => down(&[*expr]),
            E::Binary { left, right, .. } => down(&[*left, *right]),
            E::Select {
                condition,
                accept,
                reject,
            } => down(&[*condition, *accept, *reject]),
            _ => out.push(None),
        }
    }
    let mut found = Vec::new();
    leaves(module, function, expression, &mut found);
    found.iter().all(Option::is_some) && found.contains(&Some(true))
}

/// Every condition of a block, however deep.
fn conditions(block: &naga::Block, out: &mut Vec<naga::Handle<naga::Expression>>) {
    for statement in block {
        match statement {
            naga::Statement::If {
                condition,
                accept,
                reject,
            } => {
                out.push(*condition);
                conditions(accept, out);
                conditions(reject, out);
            }
            naga::Statement::Switch { selector, cases } => {
                out.push(*selector);
                cases.iter().for_each(|c| conditions(&c.body, out));
            }
            naga::Statement::Loop {
                body,
                continuing,
                break_if,
            } => {
                out.extend(break_if);
                conditions(body, out);
                conditions(continuing, out);
            }
            naga::Statement::Block(inner) => conditions(inner, out),
            _ => {}
        }
    }
}

/// A software driver that builds a shader for each value of such a uniform filled the memory by a megabyte per frame.
#[test]
fn no_fragment_branches_on_a_uniform() {
    for shader in &SHADERS {
        let module = parse(shader.name, shader.source);
        let entries = module.entry_points.iter().map(|e| &e.function);
        let functions = module.functions.iter().map(|(_, f)| f).chain(entries);
        for function in functions {
            let mut all = Vec::new();
            conditions(&function.body, &mut all);
            for condition in all {
                assert!(
                    !hinges_on_uniform(&module, function, condition),
                    "{}: {:?} branches on a uniform",
                    shader.name,
                    function.name
                );
            }
        }
    }
}

/// One colour all over, in YUV.
struct Flat {
    size: Size,
    planes: [Vec<u8>; 3],
    full_range: bool,
    bt709: bool,
}

impl FrameImage for Flat {
    fn coded_size(&self) -> Size {
        self.size
    }
    fn rotation(&self) -> u8 {
        0
    }
    fn pixels(&self) -> PixelsRef<'_> {
        PixelsRef::Yuv420 {
            y: &self.planes[0],
            u: &self.planes[1],
            v: &self.planes[2],
            full_range: self.full_range,
            bt709: self.bt709,
        }
    }
}

fn whole(size: Size) -> View {
    View {
        origin: [0.0, 0.0],
        extent: [size.width as f32, size.height as f32],
        size,
        scale: 1.0,
    }
}

fn assert_near(got: [u8; 3], want: [u8; 3], slack: u8, what: &str) {
    let far = (0..3).any(|i| got[i].abs_diff(want[i]) > slack);
    assert!(!far, "{what}: got {got:?}, want {want:?}");
}

#[test]
fn yuv_on_the_gpu_equals_the_twin() {
    with_adapter(|gpu| {
        let size = Size::new(15, 9);
        for (full_range, bt709) in [(false, false), (false, true), (true, false), (true, true)] {
            for coded in [
                [16, 128, 128],
                [235, 128, 128],
                [81, 90, 240],
                [145, 54, 34],
                [41, 240, 110],
                [120, 100, 160],
            ] {
                let chroma = 8 * 5;
                let flat = Flat {
                    size,
                    planes: [
                        vec![coded[0]; 15 * 9],
                        vec![coded[1]; chroma],
                        vec![coded[2]; chroma],
                    ],
                    full_range,
                    bt709,
                };
                let paint = VideoPaint {
                    image: Arc::new(flat),
                    key: gpu.next_key(),
                    view: whole(size),
                };
                let shot = draw(gpu, size, vec![Box::new(paint)]);
                let want = yuv_to_rgb(coded, YuvCoding { full_range, bt709 });
                assert_near(shot.rgb(7, 4), want, 2, &format!("{coded:?}"));
                assert_near(shot.rgb(14, 8), want, 2, "corner");
            }
        }
    });
}

/// A picture whose first row of pixels is red, all others blue, seen through each rotation.
struct Turned(u8);

impl FrameImage for Turned {
    fn coded_size(&self) -> Size {
        Size::new(8, 4)
    }
    fn rotation(&self) -> u8 {
        self.0
    }
    fn pixels(&self) -> PixelsRef<'_> {
        const ROWS: [[u8; 3]; 4] = [[255, 0, 0], [0, 0, 255], [0, 0, 255], [0, 0, 255]];
        static PIXELS: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        PixelsRef::Rgb(PIXELS.get_or_init(|| ROWS.iter().flat_map(|row| row.repeat(8)).collect()))
    }
}

#[test]
fn rotation_is_clockwise() {
    with_adapter(|gpu| {
        // Where the coded top row ends up: top, right, bottom, left.
        for (turns, red, blue) in [
            (0, (4, 0), (4, 3)),
            (1, (3, 4), (0, 4)),
            (2, (4, 3), (4, 0)),
            (3, (0, 4), (3, 4)),
        ] {
            let size = if turns % 2 == 0 {
                Size::new(8, 4)
            } else {
                Size::new(4, 8)
            };
            let paint = VideoPaint {
                image: Arc::new(Turned(turns)),
                key: gpu.next_key(),
                view: whole(size),
            };
            let shot = draw(gpu, size, vec![Box::new(paint)]);
            assert_eq!(shot.rgb(red.0, red.1), [255, 0, 0], "{turns} turns");
            assert_eq!(shot.rgb(blue.0, blue.1), [0, 0, 255], "{turns} turns");
        }
    });
}

#[test]
fn masks_blend_like_the_twin_and_have_an_outline() {
    with_adapter(|gpu| {
        let size = Size::new(40, 30);
        let mut bitmap = Bitmap::new(size);
        for y in 8..22 {
            for x in 10..30 {
                bitmap.data[y * 40 + x] = 1;
            }
        }
        let mut masks = MaskLayers::new(size);
        // Eight empty objects first: the ninth lies in the second layer.
        for _ in 0..8 {
            masks.push(&Rle::empty(size));
        }
        masks.push(&Rle::from_bitmap(&bitmap));
        let colour = [0.2, 0.8, 0.4];
        let mut colours = vec![[1.0; 4]; 8];
        colours.push([colour[0], colour[1], colour[2], 1.0]);
        let flat = Flat {
            size,
            planes: [vec![120; 1200], vec![128; 300], vec![128; 300]],
            full_range: true,
            bt709: false,
        };
        let video = VideoPaint {
            image: Arc::new(flat),
            key: gpu.next_key(),
            view: whole(size),
        };
        let overlay = MaskPaint {
            masks: Arc::new(masks),
            key: gpu.next_key(),
            style: MaskStyle {
                opacity: 0.4,
                outline_px: 2.0,
                colours,
                selected: None,
            },
            view: whole(size),
        };
        let shot = draw(gpu, size, vec![Box::new(video), Box::new(overlay)]);
        let grey = yuv_to_rgb(
            [120, 128, 128],
            YuvCoding {
                full_range: true,
                bt709: false,
            },
        );
        assert_near(shot.rgb(2, 2), grey, 2, "outside");
        let inside = blend_over(grey, colour, 0.4);
        assert_near(shot.rgb(20, 15), inside, 2, "inside");
        let line = blend_over(grey, colour, 1.0);
        assert_near(shot.rgb(10, 15), line, 12, "outline");
        assert_near(shot.rgb(20, 8), line, 12, "outline");
    });
}

/// The newest object lay over the one that a person was looking at.
#[test]
fn the_selected_mask_lies_over_all_others() {
    with_adapter(|gpu| {
        let size = Size::new(40, 30);
        let whole_frame = Rle {
            size,
            counts: vec![0, 1200],
        };
        let mut masks = MaskLayers::new(size);
        // Two that show in the first layer, one in the second.
        let colours: Vec<[f32; 4]> = (0..9)
            .map(|i| match i {
                0 => [1.0, 0.0, 0.0, 1.0],
                1 => [0.0, 1.0, 0.0, 1.0],
                8 => [0.0, 0.0, 1.0, 1.0],
                _ => [1.0, 1.0, 1.0, 0.0],
            })
            .collect();
        for _ in &colours {
            masks.push(&whole_frame);
        }
        let masks = Arc::new(masks);
        let middle = |selected: Option<usize>| {
            let overlay = MaskPaint {
                masks: masks.clone(),
                key: gpu.next_key(),
                style: MaskStyle {
                    opacity: 1.0,
                    outline_px: 2.0,
                    colours: colours.clone(),
                    selected,
                },
                view: whole(size),
            };
            draw(gpu, size, vec![Box::new(overlay)]).rgb(20, 15)
        };
        let (red, green, blue) = ([255, 0, 0], [0, 255, 0], [0, 0, 255]);
        for (selected, want) in [
            (None, blue),
            (Some(8), blue),
            (Some(0), red),
            (Some(1), green),
        ] {
            assert_near(middle(selected), want, 2, &format!("{selected:?}"));
        }
    });
}

#[test]
fn heat_goes_through_the_twins_ramp() {
    with_adapter(|gpu| {
        let size = Size::new(16, 16);
        let grid = HeatGrid {
            width: 4,
            height: 4,
            cells: vec![204; 16],
        };
        let paint = HeatPaint {
            grid: Arc::new(grid),
            key: gpu.next_key(),
            opacity: 1.0,
            view: whole(size),
        };
        let shot = draw(gpu, size, vec![Box::new(paint)]);
        let want = heat_ramp(0.8).map(|v| (v * 255.0).round() as u8);
        assert_near(shot.rgb(8, 8), want, 2, "heat");
    });
}
