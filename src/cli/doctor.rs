//! `sparrow doctor`: what this machine and this build have, and what is missing. Never fails because something is absent:
//! it is here to say so.

use anyhow::Result;
use candle_core::Device;

use crate::{
    infer::{
        engine::LoadedModel,
        memory::{self, GpuMemory, HostMemory},
        model::{ModelInfo, ModelSource, device},
    },
    project::counted,
};

use super::{output::say, window};

pub(super) fn run() -> Result<()> {
    line("sparrow", env!("CARGO_PKG_VERSION"))?;
    line(
        "platform",
        &format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
    )?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    line(
        "threads",
        &format!(
            "{} in use, {}",
            rayon::current_num_threads(),
            counted(cores, "core")
        ),
    )?;
    for name in ["cuda", "metal"] {
        match device(name) {
            Ok(_) => line(name, "ready")?,
            Err(e) => line(name, &e.to_string())?,
        }
    }
    line("ffmpeg", &ffmpeg())?;
    line("gpu adapter", &adapter())?;
    line(
        "display",
        match window::display() {
            Ok(()) => "found",
            Err(why) => why,
        },
    )?;
    let (host, gpu) = (memory::host_memory(), memory::gpu_memory());
    for model in ModelInfo::all()? {
        let name = format!("model {}", model.id);
        let source = match ModelSource::find(&model.id) {
            Ok(source) => source,
            Err(e) => {
                line(&name, &e.to_string())?;
                continue;
            }
        };
        // What takes minutes to read is not read for a glance.
        let state = if !model.weights.bundled && source.is_here() {
            format!("here; `sparrow models verify {}` checks it", model.id)
        } else {
            match LoadedModel::load(&source, &Device::Cpu) {
                Ok(loaded) => format!("whole, {} numbers", loaded.parameters),
                Err(e) => e.to_string(),
            }
        };
        line(&name, &state)?;
        line("", &advice(&source, host, gpu))?;
    }
    Ok(())
}

/// Which precision a model should be loaded in here, at least, and on the GPU too, by what is free of each, as `auto` does: of
/// released files only reading them tells whether one image encoder serves twice, which is left to loading.
fn advice(source: &ModelSource, host: Option<HostMemory>, gpu: Option<GpuMemory>) -> String {
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    let on = |place: &str, gpu: bool, bytes: Option<u64>, known: &str| {
        let found = match memory::advised(source, gpu, bytes) {
            Ok(found) => found,
            Err(e) => return e.to_string(),
        };
        let says = if found.fits() {
            format!("--precision {} on the {place} ({known})", found.precision)
        } else {
            let smallest = found.precision;
            format!("too large for the {place} ({known}) even in {smallest}")
        };
        let (weights, clip) = (gib(found.weights), gib(found.clip));
        format!("{says}: {weights:.3} GiB of weights, {clip:.3} GiB for a clip")
    };
    let amount = |total: u64, free: Option<u64>| {
        let free = free.map(|free| format!(", {:.1} of them free", gib(free)));
        format!("{:.1} GiB{}", gib(total), free.unwrap_or_default())
    };
    let known = host.map_or("unknown memory".into(), |host| {
        amount(host.total, host.free)
    });
    let free = host.map(|host| host.free.unwrap_or(host.total));
    let mut text = on("CPU", false, free, &known);
    if let Some(gpu) = gpu {
        // What looking for it has taken of it is given back.
        let free = gpu.beside(0);
        let known = amount(gpu.total, gpu.free.map(|_| free));
        text += "; ";
        text += &on("GPU", true, Some(free), &known);
        if !cfg!(feature = "cuda") {
            text += ", with a build that has CUDA, which this one has not";
        }
    }
    text
}

fn line(what: &str, state: &str) -> Result<()> {
    say(format!("{what:<13} {state}"))
}

#[cfg(feature = "ffmpeg")]
fn ffmpeg() -> String {
    let version = video_rs::ffmpeg::codec::version();
    format!(
        "libavcodec {}.{}.{}",
        version >> 16,
        (version >> 8) & 0xff,
        version & 0xff
    )
}

#[cfg(not(feature = "ffmpeg"))]
fn ffmpeg() -> String {
    "not in this build: only image folders and synthetic clips open".into()
}

#[cfg(feature = "gui")]
fn adapter() -> String {
    let instance = wgpu::Instance::default();
    let adapters = ready(instance.enumerate_adapters(wgpu::Backends::all()));
    let names: Vec<_> = adapters
        .iter()
        .flatten()
        .map(|a| {
            let info = a.get_info();
            format!("{} ({:?})", info.name, info.backend)
        })
        .collect();
    if names.is_empty() {
        "none: install a Vulkan or OpenGL driver (for example mesa-vulkan-drivers)".into()
    } else {
        names.join(", ")
    }
}

/// The result of a future that is done as soon as it is looked at, as wgpu's are outside a browser.
#[cfg(feature = "gui")]
fn ready<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(value) => Some(value),
        std::task::Poll::Pending => None,
    }
}

#[cfg(not(feature = "gui"))]
fn adapter() -> String {
    "not looked for: this build has no window".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_is_judged_by_what_is_free_of_it_and_both_are_said() {
        let nano = ModelSource::find("nano").unwrap();
        let says = |free: Option<u64>, own: u64| {
            let gpu = GpuMemory {
                total: 80 << 30,
                free,
                own,
            };
            let text = advice(&nano, None, Some(gpu));
            text.split_once("; ").unwrap().1.to_owned()
        };
        let idle = says(Some(79 << 30), 0);
        assert!(
            idle.starts_with("--precision f16 on the GPU (80.0 GiB, 79.0 of them free)"),
            "{idle}"
        );
        let full = says(Some(0), 0);
        assert!(
            full.starts_with("too large for the GPU (80.0 GiB, 0.0 of them free) even in q4"),
            "{full}"
        );
        // What this process holds, another model could have.
        assert!(says(Some(0), 2 << 30).contains("(80.0 GiB, 2.0 of them free)"));
        let untold = says(None, 0);
        assert!(
            untold.starts_with("--precision f16 on the GPU (80.0 GiB):"),
            "{untold}"
        );
    }
}
