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
    /// Bytes of weights in it, on a CPU with the second copies that its products make of blocks.
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
        let copies = if gpu { 0 } else { weights.regrouped(precision) };
        Self {
            precision,
            weights: weights.bytes(precision) + copies,
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

/// What a model is loaded in on a device where nobody says: [`advised`] for the memory that is free, `held` bytes being taken by a
/// model of this program. That memory is too full for what it has room for in all is logged as a warning.
///
/// # Errors
/// As [`advised`]; also if files cannot be read.
pub fn recommended(
    source: &ModelSource,
    device: &Device,
    held: u64,
) -> Result<Recommendation, ModelError> {
    let gpu = !device.is_cpu();
    let less = |all: u64| all.saturating_sub(held);
    let host = if device.is_cuda() {
        None
    } else {
        host_memory()
    };
    let card = if device.is_cuda() { gpu_memory() } else { None };
    let free = match device {
        Device::Cuda(_) => card.map(|card| card.beside(held)),
        Device::Cpu => host.map(|host| host.free.unwrap_or_else(|| less(host.total))),
        // It works in the machine's own memory, which is not all for it.
        Device::Metal(_) => host.map(|host| less(host.total / 100 * METAL_PERCENT)),
    };
    let mut demand = Demand::of(source)?;
    let mut found = demand.within(gpu, free);
    if found.precision == Precision::preferred(gpu) {
        // More room would change nothing.
        return Ok(found);
    }
    let proposer = &source.info.config.proposer;
    let one_encoder = proposer.shared_trunk || proposer.encoder_of_sam2;
    if !(one_encoder || source.parts.is_empty()) {
        // Of the released files only the numbers tell whether one image encoder is held for two, which may be what makes it fit.
        demand = Demand::of(&ModelSource {
            info: source.described(&source.open()?.set)?,
            ..source.clone()
        })?;
        found = demand.within(gpu, free);
    }
    let total = match device {
        Device::Cuda(_) => card.map(|card| card.total),
        Device::Cpu => host.map(|host| host.total),
        Device::Metal(_) => None,
    };
    if let Some(why) = total.and_then(|total| demand.narrowed(found, gpu, total)) {
        tracing::warn!("{why}");
    }
    Ok(found)
}

/// All that decides a model's precision but the memory there is.
struct Demand {
    weights: Inventory,
    config: SparrowConfig,
    /// The precision of the blocks that its file stores.
    stored: Option<Precision>,
}

impl Demand {
    fn of(source: &ModelSource) -> Result<Self, ModelError> {
        Ok(Self {
            weights: weights(&source.info)?,
            config: source.info.config.clone(),
            stored: source.blocks()?.map(Precision::of_blocks),
        })
    }

    fn within(&self, gpu: bool, memory: Option<u64>) -> Recommendation {
        let (weights, config) = (&self.weights, &self.config);
        match self.stored {
            Some(stored) => Recommendation::in_precision(stored, weights, config, (gpu, memory)),
            None => recommend(weights, config, gpu, memory),
        }
    }

    /// A sentence where a model is stored narrower than in a machine of which all `total` bytes were free.
    fn narrowed(&self, found: Recommendation, gpu: bool, total: u64) -> Option<String> {
        let free = found.memory?;
        let idle = self.within(gpu, Some(total)).precision;
        let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        (idle != found.precision).then(|| {
            format!(
                "the model is loaded in {} and not in {idle}: {:.1} of {:.1} GiB of memory are free",
                found.precision,
                gib(free),
                gib(total)
            )
        })
    }
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
    Ok(Demand::of(source)?.within(gpu, memory))
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

/// Memory of this machine, as far as this process may use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostMemory {
    /// Bytes in all: the smaller of what is built in and what the control group allows.
    pub total: u64,
    /// Bytes of it that nobody holds, what the system would give back for it included; `None` if it does not tell.
    pub free: Option<u64>,
}

/// Memory of this machine. On Linux and macOS.
pub fn host_memory() -> Option<HostMemory> {
    if cfg!(target_os = "macos") {
        let total = told("sysctl", &["-n", "hw.memsize"])?.trim().parse().ok()?;
        return Some(HostMemory { total, free: None });
    }
    let group = |name: &str| std::fs::read_to_string(format!("/sys/fs/cgroup/memory.{name}")).ok();
    let limit = group("max").and_then(|max| {
        let (current, stat) = (group("current"), group("stat"));
        group_memory(
            &max,
            &current.unwrap_or_default(),
            &stat.unwrap_or_default(),
        )
    });
    let machine = meminfo(&std::fs::read_to_string("/proc/meminfo").ok()?)?;
    Some(within(machine, limit))
}

fn meminfo(text: &str) -> Option<HostMemory> {
    let bytes = |key: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(key))?;
        let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kilobytes * 1024)
    };
    Some(HostMemory {
        total: bytes("MemTotal:")?,
        free: bytes("MemAvailable:"),
    })
}

/// What a control group allows. Of what it holds, the pages of files can be had back, but for those of shared memory, which have
/// no file to go to; so can what the kernel keeps for files.
fn group_memory(max: &str, current: &str, stat: &str) -> Option<HostMemory> {
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let total = number(max)?;
    let bytes = |key: &str| {
        let line = stat.lines().find_map(|l| l.strip_prefix(key));
        line.and_then(number).unwrap_or(0)
    };
    let files = bytes("file ").saturating_sub(bytes("shmem "));
    let returned = files.saturating_add(bytes("slab_reclaimable "));
    let held = number(current).map(|held| held.saturating_sub(returned));
    Some(HostMemory {
        total,
        free: held.map(|held| total.saturating_sub(held)),
    })
}

/// The narrower of a machine and a limit.
fn within(machine: HostMemory, limit: Option<HostMemory>) -> HostMemory {
    let Some(limit) = limit else {
        return machine;
    };
    let total = machine.total.min(limit.total);
    let free = [machine.free, limit.free].into_iter().flatten().min();
    HostMemory {
        total,
        free: free.map(|free| free.min(total)),
    }
}

/// Memory of a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GpuMemory {
    /// Bytes that are built in.
    pub total: u64,
    /// Bytes that no program holds; `None` if the driver does not tell.
    pub free: Option<u64>,
    /// Bytes that this process holds; 0 if the driver does not tell.
    pub own: u64,
}

impl GpuMemory {
    /// Bytes for a model beside `held` of this process that stay taken. What else the process holds it can use again.
    pub fn beside(self, held: u64) -> u64 {
        match self.free {
            Some(free) => (free + self.own.saturating_sub(held)).min(self.total),
            None => self.total.saturating_sub(held),
        }
    }
}

/// Memory of the NVIDIA GPU that is worked on, by its driver's own tool: the tensor library does not tell. That is the first one, or
/// the first that `CUDA_VISIBLE_DEVICES` names.
pub fn gpu_memory() -> Option<GpuMemory> {
    // The GPUs there are, as `first_visible` reads them.
    let gpus = table("--query-gpu=index,uuid,memory.total,memory.free")?;
    let held = table("--query-compute-apps=pid,gpu_uuid,used_memory");
    let (mut memory, name) = first_visible(&gpus, visible().as_deref())?;
    memory.own = held_by(std::process::id(), &held.unwrap_or_default(), name);
    Some(memory)
}

fn table(query: &str) -> Option<String> {
    told("nvidia-smi", &[query, "--format=csv,noheader,nounits"])
}

fn visible() -> Option<String> {
    std::env::var("CUDA_VISIBLE_DEVICES").ok()
}

/// The first visible of some GPUs, of which nobody says yet what this process holds, and its name: a line each with number, name,
/// megabytes and free ones; `visible` may cut a name short.
fn first_visible<'a>(gpus: &'a str, visible: Option<&str>) -> Option<(GpuMemory, &'a str)> {
    let first = visible.map(|all| all.split(',').next().unwrap_or_default().trim());
    gpus.lines().find_map(|line| {
        let mut cells = line.split(',').map(str::trim);
        let (index, name) = (cells.next()?, cells.next()?);
        let total = megabytes(cells.next()?)?;
        let meant = match first {
            None => true,
            Some(first) => first == index || (first.starts_with("GPU-") && name.starts_with(first)),
        };
        let memory = GpuMemory {
            total,
            free: cells.next().and_then(megabytes),
            own: 0,
        };
        meant.then_some((memory, name))
    })
}

/// Bytes that a process holds of a GPU: a line for each process and GPU with number, name and megabytes. A system that hides
/// processes from each other names none.
fn held_by(process: u32, held: &str, gpu: &str) -> u64 {
    let of_line = |line: &str| {
        let mut cells = line.split(',').map(str::trim);
        let number: u32 = cells.next()?.parse().ok()?;
        let same = number == process && cells.next()? == gpu;
        same.then(|| megabytes(cells.next()?)).flatten()
    };
    held.lines().filter_map(of_line).sum()
}

fn megabytes(cell: &str) -> Option<u64> {
    cell.parse::<u64>().ok().map(|n| n << 20)
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
        // A CPU's products make second copies of blocks, a GPU's do not.
        let (host, gpu) = (pick(false, 1), pick(true, 1));
        assert_eq!(
            (host.precision, gpu.precision),
            (Precision::Q4, Precision::Q4)
        );
        let (stored, copies) = (all.bytes(Precision::Q4), all.regrouped(Precision::Q4));
        assert_eq!((host.weights, gpu.weights), (stored + copies, stored));
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
        let memory = |total, free| HostMemory { total, free };
        let text = "MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:  500 kB";
        assert_eq!(meminfo(text), Some(memory(1_024_000, Some(512_000))));
        assert_eq!(meminfo("MemTotal: 1 kB"), Some(memory(1024, None)));
        assert_eq!(meminfo("nothing"), None);
        if cfg!(target_os = "linux") {
            let host = host_memory().unwrap();
            assert!(host.total > 1 << 20 && host.free.is_some_and(|free| free <= host.total));
        }
        // What a group holds of files is given back; one without a limit says nothing.
        let group = group_memory("900\n", "700\n", "anon 400\nfile 300\nfile_mapped 7");
        assert_eq!(group, Some(memory(900, Some(500))));
        assert_eq!(group_memory("max", "700", ""), None);
        let machine = memory(1000, Some(600));
        assert_eq!(within(machine, group), memory(900, Some(500)));
        assert_eq!(within(machine, None), machine);
    }

    #[test]
    fn pages_of_shared_memory_stay_and_what_the_kernel_keeps_for_files_is_given_back() {
        let free = |stat: &str| group_memory("900\n", "700\n", stat).unwrap().free;
        let stat = "anon 300\nfile 300\nshmem 120\nshmem_thp 99\nslab_reclaimable 50\nslab 60";
        assert_eq!(free(stat), Some(430));
        assert_eq!(free("file 100\nshmem 120"), Some(200));
        assert_eq!(free("file 800\nslab_reclaimable 50"), Some(900));
        assert_eq!(free(""), Some(200));
    }

    #[test]
    fn what_other_programs_hold_is_named_where_it_narrows_a_model() {
        let nano = ModelSource::find("nano").unwrap();
        let total = 16 << 30;
        let demand = Demand::of(&nano).unwrap();
        let says = |free: u64| demand.narrowed(demand.within(false, Some(free)), false, total);
        assert_eq!((says(total), says(total / 2)), (None, None));
        let text = says(0).unwrap();
        assert_eq!(
            text,
            "the model is loaded in q4 and not in f32: 0.0 of 16.0 GiB of memory are free"
        );
    }

    #[test]
    fn the_gpu_that_is_counted_is_the_one_that_is_worked_on() {
        let gpus = "0, GPU-aa11, 8192, 1024\n1, GPU-bb22, 81920, [N/A]\n";
        let found = |visible| first_visible(gpus, visible).map(|(memory, _)| memory);
        let memory = |total: u64, free: Option<u64>| GpuMemory {
            total: total << 20,
            free: free.map(|n| n << 20),
            own: 0,
        };
        assert_eq!(found(None), Some(memory(8192, Some(1024))));
        assert_eq!(found(Some("1,0")), Some(memory(81920, None)));
        assert_eq!(found(Some("GPU-bb")), Some(memory(81920, None)));
        for none in ["", "-1", "7", "NoDevFiles"] {
            assert_eq!(found(Some(none)), None, "{none}");
        }
    }

    /// As of a model that is to replace another of this program.
    #[test]
    fn what_other_programs_hold_of_a_gpu_is_no_room() {
        let apps = "7, GPU-aa11, 300\n9, GPU-aa11, 100\n7, GPU-bb22, 5\n7, GPU-aa11, [N/A]\n";
        assert_eq!(held_by(7, apps, "GPU-aa11"), 300 << 20);
        assert_eq!(held_by(8, apps, "GPU-aa11"), 0);
        let room = |free, own, held| {
            let total = 1000;
            GpuMemory { total, free, own }.beside(held)
        };
        assert_eq!(room(Some(200), 0, 0), 200);
        assert_eq!(room(Some(200), 300, 100), 400);
        // Nobody tells what is this program's: what is free is free beside what it holds.
        assert_eq!(room(Some(200), 0, 100), 200);
        assert_eq!(room(Some(900), 300, 0), 1000);
        assert_eq!((room(None, 0, 100), room(None, 0, 2000)), (900, 0));
    }
}
