//! What a model needs in each precision, and what this machine has: which precision to take.

use candle_core::Device;

use crate::nn::{
    config::SparrowConfig,
    precision::{Inventory, Precision, inventory, shapes_only},
    sparrow::Sparrow,
};

use super::model::{ModelError, ModelInfo, ModelSource};

/// Share of the memory that weights may take, in percent; the rest is for what is computed.
const WEIGHTS_PERCENT: u64 = 75;

/// What is recommended, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recommendation {
    /// The precision.
    pub precision: Precision,
    /// Bytes of weights in it.
    pub weights: u64,
    /// Bytes of memory there are for it; `None` if the system does not tell.
    pub memory: Option<u64>,
}

impl Recommendation {
    /// Whether the weights leave room to compute.
    pub fn fits(&self) -> bool {
        self.memory.is_none_or(|m| self.weights <= room(m))
    }
}

fn room(memory: u64) -> u64 {
    memory / 100 * WEIGHTS_PERCENT
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
    let memory = if gpu { gpu_bytes() } else { host_bytes() };
    let free = memory.map(|m| m.saturating_sub(held));
    let found = advised(source, gpu, free)?;
    let proposer = &source.info.config.proposer;
    let one_encoder = proposer.shared_trunk || proposer.encoder_of_sam2;
    let best = Precision::that_fits(gpu, |_| 0, u64::MAX);
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
/// not come back by taking more; else the most exact precision whose weights fit.
///
/// # Errors
/// As [`weights`]; also if a weight file cannot be read.
pub fn advised(
    source: &ModelSource,
    gpu: bool,
    memory: Option<u64>,
) -> Result<Recommendation, ModelError> {
    let weights = weights(&source.info)?;
    Ok(match source.blocks()? {
        Some(blocks) => {
            let precision = Precision::of_blocks(blocks);
            Recommendation {
                precision,
                weights: weights.bytes(precision),
                memory,
            }
        }
        None => recommend(&weights, gpu, memory),
    })
}

/// The most exact precision whose weights fit into memory of a given size.
pub fn recommend(weights: &Inventory, gpu: bool, memory: Option<u64>) -> Recommendation {
    let room = memory.map_or(u64::MAX, room);
    let precision = Precision::that_fits(gpu, |p| weights.bytes(p), room);
    Recommendation {
        precision,
        weights: weights.bytes(precision),
        memory,
    }
}

/// Memory of this machine, as far as this process may use it: the smaller of what is built in and what the control
/// group allows. Linux only.
pub fn host_bytes() -> Option<u64> {
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
    let out = std::process::Command::new("nvidia-smi")
        .args(["--query-gpu=memory.total", "--format=csv,noheader,nounits"])
        .output()
        .ok()?;
    let text = String::from_utf8(out.stdout).ok()?;
    let megabytes: u64 = text.lines().next()?.trim().parse().ok()?;
    Some(megabytes << 20)
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
        let pick = |gpu, gib: u64| recommend(&all, gpu, Some(gib << 30));
        assert_eq!(pick(false, 64).precision, Precision::F32);
        assert_eq!(pick(false, 24).precision, Precision::F16);
        assert_eq!(pick(true, 16).precision, Precision::F16);
        assert_eq!(pick(true, 12).precision, Precision::Q8);
        assert_eq!(pick(true, 8).precision, Precision::Q4);
        assert!(pick(true, 8).fits() && !pick(true, 4).fits());
        assert_eq!(recommend(&all, false, None).precision, Precision::F32);
    }

    /// What another model holds is not there, and a file of floats is rounded as far as it must be.
    #[test]
    fn advice_depends_on_what_is_free() {
        let nano = ModelSource::find("nano").unwrap();
        let need = |p| weights(&nano.info).unwrap().bytes(p);
        let pick = |free: u64| advised(&nano, false, Some(free)).unwrap();
        let (whole, half) = (need(Precision::F32) * 2, need(Precision::F16) * 2);
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
