//! What the passes share: building a pipeline that draws one triangle over the canvas, and textures that are made anew
//! only when their size changes.

use super::shaders::Shader;

/// A pipeline, its uniform buffer and the layout of its one bind group.
pub(super) struct Pass {
    pub(super) pipeline: wgpu::RenderPipeline,
    pub(super) layout: wgpu::BindGroupLayout,
    pub(super) uniform: wgpu::Buffer,
    pub(super) target: wgpu::TextureFormat,
}

impl Pass {
    /// `entries` are the bindings after the uniform, which is binding 0.
    pub(super) fn new(
        device: &wgpu::Device,
        target: wgpu::TextureFormat,
        shader: &Shader,
        uniform_bytes: usize,
        entries: &[wgpu::BindGroupLayoutEntry],
    ) -> Self {
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(shader.name),
            source: wgpu::ShaderSource::Wgsl(shader.source.into()),
        });
        let mut all = vec![wgpu::BindGroupLayoutEntry {
            binding: 0,
            visibility: wgpu::ShaderStages::VERTEX_FRAGMENT,
            ty: wgpu::BindingType::Buffer {
                ty: wgpu::BufferBindingType::Uniform,
                has_dynamic_offset: false,
                min_binding_size: None,
            },
            count: None,
        }];
        all.extend_from_slice(entries);
        let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some(shader.name),
            entries: &all,
        });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(shader.name),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let pipeline = device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
            label: Some(shader.name),
            layout: Some(&pipeline_layout),
            vertex: wgpu::VertexState {
                module: &module,
                entry_point: Some("vs_main"),
                compilation_options: wgpu::PipelineCompilationOptions::default(),
                buffers: &[],
            },
            primitive: wgpu::PrimitiveState::default(),
            depth_stencil: None,
            multisample: wgpu::MultisampleState::default(),
            fragment: Some(wgpu::FragmentState {
                module: &module,
                entry_point: Some("fs_main"),
                compilation_options: wgpu::PipelineCompilationOptions::default(),
                targets: &[Some(wgpu::ColorTargetState {
                    format: target,
                    blend: Some(wgpu::BlendState::PREMULTIPLIED_ALPHA_BLENDING),
                    write_mask: wgpu::ColorWrites::ALL,
                })],
            }),
            multiview_mask: None,
            cache: None,
        });
        let uniform = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(shader.name),
            size: uniform_bytes as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        Self {
            pipeline,
            layout,
            uniform,
            target,
        }
    }

    pub(super) fn draw(&self, pass: &mut wgpu::RenderPass<'static>, group: &wgpu::BindGroup) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, group, &[]);
        pass.draw(0..3, 0..1);
    }
}

/// Size, layers and format of a texture.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) layers: u32,
    pub(super) format: wgpu::TextureFormat,
}

/// A texture that is written whole and made anew only when its shape changes.
pub(super) struct Plane {
    texture: wgpu::Texture,
    shape: Shape,
    is_array: bool,
}

impl Plane {
    pub(super) fn new(device: &wgpu::Device, shape: Shape, is_array: bool) -> Self {
        let texture = device.create_texture(&wgpu::TextureDescriptor {
            label: None,
            size: wgpu::Extent3d {
                width: shape.width.max(1),
                height: shape.height.max(1),
                depth_or_array_layers: shape.layers.max(1),
            },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: shape.format,
            usage: wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::COPY_DST,
            view_formats: &[],
        });
        Self {
            texture,
            shape,
            is_array,
        }
    }

    /// A plane of one pixel, to have something to bind.
    pub(super) fn dummy(device: &wgpu::Device, format: wgpu::TextureFormat) -> Self {
        let shape = Shape {
            width: 1,
            height: 1,
            layers: 1,
            format,
        };
        Self::new(device, shape, false)
    }

    /// Makes the texture anew if the shape differs; says whether it did (bind groups must follow).
    pub(super) fn reshape(&mut self, device: &wgpu::Device, shape: Shape) -> bool {
        if shape == self.shape {
            return false;
        }
        *self = Self::new(device, shape, self.is_array);
        true
    }

    /// Writes one layer; `bytes` has tight rows. Too few bytes are left unwritten rather than read past.
    pub(super) fn write(&self, queue: &wgpu::Queue, layer: u32, bytes: &[u8]) {
        let pixel = self.shape.format.block_copy_size(None).unwrap_or(1);
        let row = self.shape.width * pixel;
        if row == 0 || bytes.len() < row as usize {
            return;
        }
        let rows = (bytes.len() as u64 / u64::from(row)).min(u64::from(self.shape.height)) as u32;
        queue.write_texture(
            wgpu::TexelCopyTextureInfo {
                texture: &self.texture,
                mip_level: 0,
                origin: wgpu::Origin3d {
                    x: 0,
                    y: 0,
                    z: layer,
                },
                aspect: wgpu::TextureAspect::All,
            },
            bytes,
            wgpu::TexelCopyBufferLayout {
                offset: 0,
                bytes_per_row: Some(row),
                rows_per_image: Some(rows),
            },
            wgpu::Extent3d {
                width: self.shape.width,
                height: rows,
                depth_or_array_layers: 1,
            },
        );
    }

    pub(super) fn view(&self) -> wgpu::TextureView {
        self.texture.create_view(&wgpu::TextureViewDescriptor {
            dimension: Some(if self.is_array {
                wgpu::TextureViewDimension::D2Array
            } else {
                wgpu::TextureViewDimension::D2
            }),
            ..Default::default()
        })
    }
}

/// A layout entry for a texture seen by the fragment stage.
pub(super) fn texture_entry(
    binding: u32,
    sample_type: wgpu::TextureSampleType,
    view_dimension: wgpu::TextureViewDimension,
) -> wgpu::BindGroupLayoutEntry {
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::FRAGMENT,
        ty: wgpu::BindingType::Texture {
            sample_type,
            view_dimension,
            multisampled: false,
        },
        count: None,
    }
}

/// A layout entry for a filtering sampler seen by the fragment stage.
pub(super) fn sampler_entry(binding: u32) -> wgpu::BindGroupLayoutEntry {
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::FRAGMENT,
        ty: wgpu::BindingType::Sampler(wgpu::SamplerBindingType::Filtering),
        count: None,
    }
}

/// Bilinear, clamped at the edges.
pub(super) fn bilinear_sampler(device: &wgpu::Device) -> wgpu::Sampler {
    device.create_sampler(&wgpu::SamplerDescriptor {
        label: Some("bilinear"),
        mag_filter: wgpu::FilterMode::Linear,
        min_filter: wgpu::FilterMode::Linear,
        ..Default::default()
    })
}
