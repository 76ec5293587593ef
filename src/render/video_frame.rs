//! `video_frame.wgsl`: YUV planes or RGB to the screen, upright, at the zoom in force.

use std::sync::Arc;

use egui_wgpu::{CallbackResources, CallbackTrait, ScreenDescriptor};

use super::{
    pass::{Pass, Plane, Shape, bilinear_sampler, sampler_entry, texture_entry},
    shaders::VIDEO_FRAME,
    view::{View, ViewUniform},
};
use crate::project::Size;

/// Pixels of a frame, borrowed, in coded orientation.
pub enum PixelsRef<'a> {
    /// Planar 4:2:0, 8 bit, tight rows; chroma planes are `ceil(height/2) × ceil(width/2)`.
    Yuv420 {
        /// Luma.
        y: &'a [u8],
        /// Blue difference.
        u: &'a [u8],
        /// Red difference.
        v: &'a [u8],
        /// 0–255 instead of 16–235.
        full_range: bool,
        /// BT.709 instead of BT.601.
        bt709: bool,
    },
    /// Interleaved RGB, 8 bit.
    Rgb(&'a [u8]),
}

/// Whatever holds a decoded frame.
pub trait FrameImage: Send + Sync {
    /// Size as coded, before rotation.
    fn coded_size(&self) -> Size;
    /// Clockwise quarter turns that make it upright.
    fn rotation(&self) -> u8;
    /// The pixels.
    fn pixels(&self) -> PixelsRef<'_>;
}

/// `VideoFrame` in the shader.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct VideoUniform {
    pub(super) view: ViewUniform,
    pub(super) coded: [f32; 2],
    pub(super) rotation: u32,
    pub(super) kind: u32,
    pub(super) full_range: u32,
    pub(super) bt709: u32,
}

/// Draws a frame over the canvas.
pub struct VideoPaint {
    /// The frame.
    pub image: Arc<dyn FrameImage>,
    /// Differs between frames that differ; an equal key is not uploaded again.
    pub key: u64,
    /// What the canvas shows.
    pub view: View,
}

pub(super) struct Resources {
    pass: Pass,
    /// Luma, blue difference, red difference, RGB.
    planes: [Plane; 4],
    sampler: wgpu::Sampler,
    group: wgpu::BindGroup,
    uploaded: Option<u64>,
    /// RGB with a fourth byte per pixel, kept to be written into again.
    scratch: Vec<u8>,
}

const GREY: wgpu::TextureFormat = wgpu::TextureFormat::R8Unorm;
const COLOUR: wgpu::TextureFormat = wgpu::TextureFormat::Rgba8Unorm;

impl Resources {
    pub(super) fn new(device: &wgpu::Device, target: wgpu::TextureFormat) -> Self {
        let filterable = wgpu::TextureSampleType::Float { filterable: true };
        let flat = wgpu::TextureViewDimension::D2;
        let mut entries: Vec<_> = (1..=4)
            .map(|binding| texture_entry(binding, filterable, flat))
            .collect();
        entries.push(sampler_entry(5));
        let pass = Pass::new(
            device,
            target,
            &VIDEO_FRAME,
            size_of::<VideoUniform>(),
            &entries,
        );
        let planes = [GREY, GREY, GREY, COLOUR].map(|format| Plane::dummy(device, format));
        let sampler = bilinear_sampler(device);
        let group = bind(device, &pass, &planes, &sampler);
        Self {
            pass,
            planes,
            sampler,
            group,
            uploaded: None,
            scratch: Vec::new(),
        }
    }

    fn upload(&mut self, device: &wgpu::Device, queue: &wgpu::Queue, image: &dyn FrameImage) {
        let size = image.coded_size();
        let full = |format| Shape {
            width: size.width,
            height: size.height,
            layers: 1,
            format,
        };
        let mut stale = false;
        match image.pixels() {
            PixelsRef::Yuv420 { y, u, v, .. } => {
                let half = Shape {
                    width: size.width.div_ceil(2),
                    height: size.height.div_ceil(2),
                    layers: 1,
                    format: GREY,
                };
                for (i, (shape, bytes)) in [(full(GREY), y), (half, u), (half, v)]
                    .into_iter()
                    .enumerate()
                {
                    stale |= self.planes[i].reshape(device, shape);
                    self.planes[i].write(queue, 0, bytes);
                }
            }
            PixelsRef::Rgb(bytes) => {
                self.scratch.clear();
                self.scratch.resize(bytes.len() / 3 * 4, 255);
                for (wide, narrow) in self.scratch.chunks_exact_mut(4).zip(bytes.chunks_exact(3)) {
                    wide[..3].copy_from_slice(narrow);
                }
                stale |= self.planes[3].reshape(device, full(COLOUR));
                self.planes[3].write(queue, 0, &self.scratch);
            }
        }
        if stale {
            self.group = bind(device, &self.pass, &self.planes, &self.sampler);
        }
    }
}

fn bind(
    device: &wgpu::Device,
    pass: &Pass,
    planes: &[Plane; 4],
    sampler: &wgpu::Sampler,
) -> wgpu::BindGroup {
    let views = planes.each_ref().map(Plane::view);
    let mut entries = vec![wgpu::BindGroupEntry {
        binding: 0,
        resource: pass.uniform.as_entire_binding(),
    }];
    entries.extend(
        views
            .iter()
            .zip(1..)
            .map(|(view, binding)| wgpu::BindGroupEntry {
                binding,
                resource: wgpu::BindingResource::TextureView(view),
            }),
    );
    entries.push(wgpu::BindGroupEntry {
        binding: 5,
        resource: wgpu::BindingResource::Sampler(sampler),
    });
    device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some(VIDEO_FRAME.name),
        layout: &pass.layout,
        entries: &entries,
    })
}

impl CallbackTrait for VideoPaint {
    fn prepare(
        &self,
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        _screen: &ScreenDescriptor,
        _encoder: &mut wgpu::CommandEncoder,
        resources: &mut CallbackResources,
    ) -> Vec<wgpu::CommandBuffer> {
        let Some(own) = resources.get_mut::<Resources>() else {
            return Vec::new();
        };
        if own.uploaded != Some(self.key) {
            own.upload(device, queue, self.image.as_ref());
            own.uploaded = Some(self.key);
        }
        let size = self.image.coded_size();
        let (kind, full_range, bt709) = match self.image.pixels() {
            PixelsRef::Yuv420 {
                full_range, bt709, ..
            } => (0, full_range, bt709),
            PixelsRef::Rgb(_) => (1, true, false),
        };
        let uniform = VideoUniform {
            view: ViewUniform::new(&self.view, own.pass.target),
            coded: [size.width as f32, size.height as f32],
            rotation: u32::from(self.image.rotation() % 4),
            kind,
            full_range: u32::from(full_range),
            bt709: u32::from(bt709),
        };
        queue.write_buffer(&own.pass.uniform, 0, bytemuck::bytes_of(&uniform));
        Vec::new()
    }

    fn paint(
        &self,
        _info: egui::PaintCallbackInfo,
        pass: &mut wgpu::RenderPass<'static>,
        resources: &CallbackResources,
    ) {
        if let Some(own) = resources.get::<Resources>() {
            own.pass.draw(pass, &own.group);
        }
    }
}
