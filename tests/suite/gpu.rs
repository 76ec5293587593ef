//! Not a test: any wgpu adapter (a software one first), and drawing paint callbacks into a small picture.

use std::sync::atomic::{AtomicU64, Ordering};

use egui_wgpu::{CallbackTrait, RenderState, RendererOptions};
use sparrow::project::Size;

/// An adapter with the passes installed.
pub(crate) struct Gpu {
    state: RenderState,
    keys: AtomicU64,
}

impl Gpu {
    /// A key that no upload had before.
    pub(crate) fn next_key(&self) -> u64 {
        self.keys.fetch_add(1, Ordering::Relaxed)
    }
}

/// A fresh render state on a software adapter if there is one, else on any; `None` where there is none at all.
pub(crate) fn render_state() -> Option<RenderState> {
    // The set-up panics without an adapter; that is a machine's property, not a failure of the code under test.
    std::panic::catch_unwind(|| {
        egui_kittest::wgpu::create_render_state(
            egui_kittest::wgpu::default_wgpu_setup(),
            RendererOptions::PREDICTABLE,
        )
    })
    .ok()
}

#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
/// Runs `test` if there is an adapter, and says loudly if there is none.
pub(crate) fn with_adapter(test: impl FnOnce(&Gpu)) {
    let Some(state) = render_state() else {
        eprintln!(
            "SKIPPED: no wgpu adapter on this machine (a software one is enough: install Mesa's Vulkan drivers)"
        );
        return;
    };
    sparrow::render::install(&state);
    test(&Gpu {
        state,
        keys: AtomicU64::new(1),
    });
}

/// What was drawn.
pub(crate) struct Shot(image::RgbaImage);

impl Shot {
    pub(crate) fn rgb(&self, x: u32, y: u32) -> [u8; 3] {
        let [r, g, b, _] = self.0.get_pixel(x, y).0;
        [r, g, b]
    }
}

/// Draws the callbacks one over the other into a picture of `size`.
pub(crate) fn draw(gpu: &Gpu, size: Size, callbacks: Vec<Box<dyn CallbackTrait>>) -> Shot {
    let state = &gpu.state;
    let device = &state.device;
    let texture = device.create_texture(&wgpu::TextureDescriptor {
        label: Some("picture"),
        size: wgpu::Extent3d {
            width: size.width,
            height: size.height,
            depth_or_array_layers: 1,
        },
        mip_level_count: 1,
        sample_count: 1,
        dimension: wgpu::TextureDimension::D2,
        format: state.target_format,
        usage: wgpu::TextureUsages::RENDER_ATTACHMENT | wgpu::TextureUsages::COPY_SRC,
        view_formats: &[],
    });
    let screen = egui_wgpu::ScreenDescriptor {
        size_in_pixels: [size.width, size.height],
        pixels_per_point: 1.0,
    };
    let mut renderer = state.renderer.write();
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    for callback in &callbacks {
        callback.prepare(
            device,
            &state.queue,
            &screen,
            &mut encoder,
            &mut renderer.callback_resources,
        );
    }
    {
        let view = texture.create_view(&wgpu::TextureViewDescriptor::default());
        let mut pass = encoder
            .begin_render_pass(&wgpu::RenderPassDescriptor {
                color_attachments: &[Some(wgpu::RenderPassColorAttachment {
                    view: &view,
                    resolve_target: None,
                    depth_slice: None,
                    ops: wgpu::Operations {
                        load: wgpu::LoadOp::Clear(wgpu::Color::BLACK),
                        store: wgpu::StoreOp::Store,
                    },
                })],
                ..Default::default()
            })
            .forget_lifetime();
        let rect = egui::Rect::from_min_size(
            egui::Pos2::ZERO,
            egui::vec2(size.width as f32, size.height as f32),
        );
        for callback in &callbacks {
            callback.paint(
                egui::PaintCallbackInfo {
                    viewport: rect,
                    clip_rect: rect,
                    pixels_per_point: 1.0,
                    screen_size_px: [size.width, size.height],
                },
                &mut pass,
                &renderer.callback_resources,
            );
        }
    }
    state.queue.submit([encoder.finish()]);
    Shot(read_back(state, &texture, size))
}

fn read_back(state: &RenderState, texture: &wgpu::Texture, size: Size) -> image::RgbaImage {
    let row = (size.width * 4).next_multiple_of(wgpu::COPY_BYTES_PER_ROW_ALIGNMENT);
    let buffer = state.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("read back"),
        size: u64::from(row) * u64::from(size.height),
        usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
        mapped_at_creation: false,
    });
    let mut encoder = state
        .device
        .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    encoder.copy_texture_to_buffer(
        texture.as_image_copy(),
        wgpu::TexelCopyBufferInfo {
            buffer: &buffer,
            layout: wgpu::TexelCopyBufferLayout {
                offset: 0,
                bytes_per_row: Some(row),
                rows_per_image: None,
            },
        },
        texture.size(),
    );
    state.queue.submit([encoder.finish()]);
    buffer
        .slice(..)
        .map_async(wgpu::MapMode::Read, |result| result.unwrap());
    state
        .device
        .poll(wgpu::PollType::wait_indefinitely())
        .unwrap();
    let bytes = buffer.slice(..).get_mapped_range().unwrap();
    let swap = matches!(
        state.target_format,
        wgpu::TextureFormat::Bgra8Unorm | wgpu::TextureFormat::Bgra8UnormSrgb
    );
    image::RgbaImage::from_fn(size.width, size.height, |x, y| {
        let at = (y * row + x * 4) as usize;
        let [a, b, c, d] = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        image::Rgba(if swap { [c, b, a, d] } else { [a, b, c, d] })
    })
}
