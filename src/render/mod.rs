//! wgpu passes: one `.rs` per `.wgsl`, texture upload. Knows nothing of panels or state.
