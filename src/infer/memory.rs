//! What a model needs in each precision, and what this machine has: which precision to take.

use candle_core::Device;

use crate::nn::{
    config::SparrowConfig,
    phi3::prefix_bytes,
    precision::{Inventory, Precision, inventory, shapes_only},
    sparrow::Sparrow,
};

use super::{
    clip::FEATURE_BYTES,
    model::{ModelError, ModelInfo, ModelSource},
};

/// Share of the memory that what stays may take, in percent: weights, and what is kept of a clip. The rest is for what comes and goes.
const STAYS_PERCENT: u64 = 85;

/// Share of a Mac's memory that is taken to be its GPU's, in percent: the system lets it hold a part alone, which was never measured here.
const METAL_PERCENT: u64 = 70;

/// What is taken for granted where the system does not tell: 16 GiB.
const ASSUMED_BYTES: u64 = 16 << 30;

/// What is recommended, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recommendation {
    /// The precision.
    pub precision: Precision,
    /// Bytes of weights in it.
    pub weights: u64,
    /// Bytes of what is kept of a clip: keys and values of its frames, and image features.
    pub clip: u64,
    /// Bytes of memory there are for it; `None` if the system does not tell.
    pub memory: Option<u64>,
}

impl Recommendation {
    /// Whether what stays leaves room to compute.
    pub fn fits(&self) -> bool {
        self.stays() <= room(self.memory)
    }

    /// Bytes of all that stays.
    fn stays(&self) -> u64 {
        self.weights + self.clip
    }

    fn in_precision(
        precision: Precision,
        weights: &Inventory,
        config: &SparrowConfig,
        (gpu, memory): (bool, Option<u64>),
    ) -> Self {
        let tokens = config.visual_tokens();
        Self {
            precision,
            weights: weights.bytes(precision),
            clip: (prefix_bytes(&config.phi3, tokens, precision, gpu) + FEATURE_BYTES) as u64,
            memory,
        }
    }
}

fn room(memory: Option<u64>) -> u64 {
    memory.unwrap_or(ASSUMED_BYTES) / 100 * STAYS_PERCENT
}

/// Every weight that a description asks for, counted without making any.
///
/// # Errors
/// [`ModelError::Description`] if the sizes make no sense.
pub fn weights(info: &ModelInfo) -> Result<Inventory, ModelError> {
    let vb = shapes_only();
    let (built, inventory) = inventory(|| build(&info.config, &vb));
    built.map_err(|e| ModelError::Description {
        id: info.id.clone(),
        reason: e.to_string(),
    })?;
    Ok(inventory)
}

fn build(config: &SparrowConfig, vb: &candle_nn::VarBuilder<'_>) -> candle_core::Result<Sparrow> {
    Sparrow::with_precision(config, vb, &vb.pp("detector"), Precision::F32)
}

/// What a model is loaded in on a device where nobody says: [`advised`] for the memory it has, less `held` bytes.
///
/// # Errors
/// As [`advised`]; also if files cannot be read.
pub fn recommended(
    source: &ModelSource,
    device: &Device,
    held: u64,
) -> Result<Recommendation, ModelError> {
    let gpu = !device.is_cpu();
    let memory = match device {
        Device::Cuda(_) => gpu_bytes(),
        Device::Cpu => host_bytes(),
        // It works in the machine's own memory, which is not all for it.
        Device::Metal(_) => host_bytes().map(|all| all / 100 * METAL_PERCENT),
    };
    let free = memory.map(|m| m.saturating_sub(held));
    let found = advised(source, gpu, free)?;
    let proposer = &source.info.config.proposer;
    let one_encoder = proposer.shared_trunk || proposer.encoder_of_sam2;
    let best = Precision::preferred(gpu);
    if one_encoder || source.parts.is_empty() || found.precision == best {
        return Ok(found);
    }
    // Of the released files only the numbers tell whether one image encoder is held for two, which may be what makes it fit.
    let known = ModelSource {
        info: source.described(&source.open()?.set)?,
        ..source.clone()
    };
    advised(&known, gpu, free)
}

/// What a model should be loaded in with so much memory: as its file stores it, if that is in blocks, since what was rounded away does
/// not come back by taking more; else the most exact precision in which they fit.
///
/// # Errors
/// As [`weights`]; also if a weight file cannot be read.
pub fn advised(
    source: &ModelSource,
    gpu: bool,
    memory: Option<u64>,
) -> Result<Recommendation, ModelError> {
    let (weights, config) = (weights(&source.info)?, &source.info.config);
    Ok(match source.blocks()? {
        Some(blocks) => {
            let precision = Precision::of_blocks(blocks);
            Recommendation::in_precision(precision, &weights, config, (gpu, memory))
        }
        None => recommend(&weights, config, gpu, memory),
    })
}

/// The most exact precision in which what stays fits into memory of a given size.
pub fn recommend(
    weights: &Inventory,
    config: &SparrowConfig,
    gpu: bool,
    memory: Option<u64>,
) -> Recommendation {
    let found = |p| Recommendation::in_precision(p, weights, config, (gpu, memory));
    found(Precision::that_fits(
        gpu,
        |p| found(p).stays(),
        room(memory),
    ))
}

/// Memory of this machine, as far as this process may use it: the smaller of what is built in and what the control
/// group allows. On Linux and macOS.
pub fn host_bytes() -> Option<u64> {
    if cfg!(target_os = "macos") {
        return told("sysctl", &["-n", "hw.memsize"])?.trim().parse().ok();
    }
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let total = meminfo_bytes(&text)?;
    let limit = std::fs::read_to_string("/sys/fs/cgroup/memory.max")
        .ok()
        .and_then(|t| t.trim().parse::<u64>().ok());
    Some(limit.map_or(total, |l| total.min(l)))
}

fn meminfo_bytes(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// Memory of the first NVIDIA GPU, by its driver's own tool: the tensor library does not tell.
pub fn gpu_bytes() -> Option<u64> {
    let query = ["--query-gpu=memory.total", "--format=csv,noheader,nounits"];
    let text = told("nvidia-smi", &query)?;
    let megabytes: u64 = text.lines().next()?.trim().parse().ok()?;
    Some(megabytes << 20)
}

/// What a program of the system says; `None` if it is not there.
fn told(program: &str, arguments: &[&str]) -> Option<String> {
    let out = std::process::Command::new(program)
        .args(arguments)
        .output()
        .ok()?;
    String::from_utf8(out.stdout).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::bench::Sizes;

    #[test]
    fn the_released_sizes_are_counted_and_a_precision_is_found_for_every_memory() {
        let mut info = ModelInfo::by_id("nano").unwrap();
        info.config = Sizes::released();
        let all = weights(&info).unwrap();
        // 5.44 B parameters with the detector's head, less what is never loaded (last blocks, pooling heads).
        assert!(
            (5.2e9..5.5e9).contains(&(all.values as f64)),
            "{}",
            all.values
        );
        assert_eq!(all.placed, 4 * all.values);
        let gib = |p| all.bytes(p) as f64 / f64::from(1 << 30);
        assert!(gib(Precision::F32) > 19.0 && gib(Precision::F32) < 21.0);
        assert!(gib(Precision::F16) < 10.5 && gib(Precision::Q8) < 7.5);
        assert!(gib(Precision::Q4) < 5.6, "{}", gib(Precision::Q4));
        let pick = |gpu, gib: u64| recommend(&all, &info.config, gpu, Some(gib << 30));
        assert_eq!(pick(false, 64).precision, Precision::F32);
        assert_eq!(pick(false, 24).precision, Precision::F16);
        assert_eq!(pick(true, 16).precision, Precision::F16);
        assert_eq!(pick(true, 12).precision, Precision::Q8);
        assert_eq!(pick(true, 8).precision, Precision::Q4);
        assert!(pick(true, 8).fits() && !pick(true, 4).fits());
        let unknown = recommend(&all, &info.config, false, None);
        assert_eq!(unknown.precision, Precision::F16);
        // The last 2 047 of the clip's tokens, in halves on a GPU: 32 layers of 3 072 numbers, twice.
        let kept = 2047 * 32 * 3072 * 2;
        let features = FEATURE_BYTES as u64;
        let clips = (pick(true, 8).clip, pick(false, 24).clip);
        assert_eq!(clips, (2 * kept + features, 4 * kept + features));
    }

    /// As the checkpoint is published: the proposer's image encoder is another than SAM2's.
    #[test]
    fn the_released_sizes_fit_into_8_gib_of_a_gpu_with_two_image_encoders() {
        let mut info = ModelInfo::by_id("nano").unwrap();
        info.config = Sizes::released();
        info.config.proposer.shared_trunk = false;
        let all = weights(&info).unwrap();
        let pick = |gib: u64| recommend(&all, &info.config, true, Some(gib << 30));
        assert_eq!(pick(8).precision, Precision::Q4);
        assert!(pick(8).fits() && !pick(6).fits());
        assert_eq!(pick(16).precision, Precision::F16);
        assert!(pick(16).fits());
    }

    /// What another model holds is not there, and a file of floats is rounded as far as it must be.
    #[test]
    fn advice_depends_on_what_is_free() {
        let nano = ModelSource::find("nano").unwrap();
        let need = |p| weights(&nano.info).unwrap().bytes(p);
        let pick = |free: u64| advised(&nano, false, Some(free)).unwrap();
        let clip = pick(u64::MAX).clip;
        let room = |p| (need(p) + clip) * 100 / STAYS_PERCENT + 200;
        let (whole, half) = (room(Precision::F32), room(Precision::F16));
        assert_eq!(pick(whole).precision, Precision::F32);
        assert_eq!(pick(half).precision, Precision::F16);
        let none = pick(0);
        assert!(none.precision == Precision::Q4 && !none.fits());
    }

    #[test]
    fn memory_sizes_are_read() {
        assert_eq!(
            meminfo_bytes("MemTotal:  1000 kB\nMemFree: 1 kB"),
            Some(1_024_000)
        );
        assert_eq!(meminfo_bytes("nothing"), None);
        if cfg!(target_os = "linux") {
            assert!(host_bytes().is_some_and(|b| b > 1 << 20));
        }
    }
}
