//! Checkpoints of a run and export of finished weights. Each file appears whole or not at all.
//!
//! One safetensors file holds `param/NAME`, `adam.m/NAME`, `adam.v/NAME`; its header's metadata holds [`State`] as JSON.
//! Training batches are functions of the seed and the step, so the step *is* the generator's state. What a stage gathers on
//! the way (looks at a trunk that is held still, the language stages' pool of clips) is not kept: a resumed run gathers anew,
//! and there goes on as well, but not to the bit.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, HashSet},
    io::Write as _,
    path::{Path, PathBuf},
};

use candle_core::{DType, Device, Tensor};
use safetensors::{Dtype, SafeTensors, tensor::View};
use serde::{Deserialize, Serialize};

use super::{AdamW, Job, Params, TrainError, TrainResult};
use crate::nn::weights::file::{MappedFile, TensorFile};

/// Where a run stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Stage name.
    pub stage: String,
    /// Steps done.
    pub step: u64,
    /// Seconds trained, over all resumptions.
    pub secs: f64,
    /// Seed of the run.
    pub seed: u64,
    /// Whatever the stage wants to find again.
    #[serde(default)]
    pub extra: serde_json::Value,
}

const STATE_KEY: &str = "sparrow_train_state";

/// The checkpoint of a stage in its output folder.
pub fn path_in(dir: &Path, stage: &str) -> PathBuf {
    dir.join(format!("{stage}.checkpoint.safetensors"))
}

/// Where a stage's initial files are written down in its output folder.
fn begun_with(dir: &Path, stage: &str) -> PathBuf {
    dir.join(format!("{stage}.init.json"))
}

/// The files that `stage` was begun with, if they were written down.
///
/// # Errors
/// If what was written down cannot be read.
pub fn remembered(dir: &Path, stage: &str) -> TrainResult<Option<Vec<PathBuf>>> {
    let path = begun_with(dir, stage);
    if !path.exists() {
        return Ok(None);
    }
    let bytes = std::fs::read(&path).map_err(|e| TrainError::file("cannot read", &path, e))?;
    let files = serde_json::from_slice(&bytes);
    files
        .map(Some)
        .map_err(|e| TrainError::file("damaged list of initial files", &path, e))
}

/// Writes down what a stage is begun with, wherever it may be gone on with from.
fn remember(job: &Job, stage: &str) -> TrainResult<()> {
    let path = begun_with(&job.out, stage);
    if job.init.is_empty() && !path.exists() {
        return Ok(());
    }
    let absolute = |file: &PathBuf| std::path::absolute(file).unwrap_or_else(|_| file.clone());
    let files: Vec<PathBuf> = job.init.iter().map(absolute).collect();
    let bytes =
        serde_json::to_vec(&files).map_err(|e| TrainError::file("cannot pack", &path, e))?;
    write_whole(&path, &bytes)
}

/// A tensor as safetensors wants it.
struct Bytes {
    dtype: Dtype,
    shape: Vec<usize>,
    data: Vec<u8>,
}

impl View for Bytes {
    fn dtype(&self) -> Dtype {
        self.dtype
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.data)
    }
    fn data_len(&self) -> usize {
        self.data.len()
    }
}

impl Bytes {
    fn f32(tensor: &Tensor) -> candle_core::Result<Self> {
        let values: Vec<f32> = tensor.flatten_all()?.to_dtype(DType::F32)?.to_vec1()?;
        Ok(Self {
            dtype: Dtype::F32,
            shape: tensor.dims().to_vec(),
            data: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        })
    }

    fn f16(tensor: &Tensor) -> candle_core::Result<Self> {
        let values: Vec<f32> = tensor.flatten_all()?.to_dtype(DType::F32)?.to_vec1()?;
        Ok(Self {
            dtype: Dtype::F16,
            shape: tensor.dims().to_vec(),
            data: values
                .iter()
                .flat_map(|&v| half::f16::from_f32(v).to_le_bytes())
                .collect(),
        })
    }
}

/// Writes `bytes` beside `path`, then renames.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> TrainResult<()> {
    let fail = |e: &dyn std::fmt::Display| TrainError::file("cannot write", path, e);
    let dir = path.parent().filter(|d| !d.as_os_str().is_empty());
    let dir = dir.unwrap_or_else(|| Path::new("."));
    std::fs::create_dir_all(dir).map_err(|e| fail(&e))?;
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(|e| fail(&e))?;
    file.write_all(bytes).map_err(|e| fail(&e))?;
    file.as_file().sync_all().map_err(|e| fail(&e))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // A temporary file is private; a finished one is like any other.
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o644))
            .map_err(|e| fail(&e))?;
    }
    file.persist(path).map_err(|e| fail(&e))?;
    Ok(())
}

fn serialise(
    path: &Path,
    tensors: BTreeMap<String, Bytes>,
    metadata: HashMap<String, String>,
) -> TrainResult<()> {
    let bytes = safetensors::serialize(tensors, Some(metadata))
        .map_err(|e| TrainError::file("cannot pack tensors", path, e))?;
    write_whole(path, &bytes)
}

/// Saves parameters, moments and state.
///
/// # Errors
/// If the file cannot be written.
pub fn save(path: &Path, params: &Params, adam: &AdamW, state: &State) -> TrainResult<()> {
    let mut tensors = BTreeMap::new();
    for (name, var) in params.all() {
        tensors.insert(format!("param/{name}"), Bytes::f32(var.as_tensor())?);
    }
    for (name, m, v) in adam.moments() {
        tensors.insert(format!("adam.m/{name}"), Bytes::f32(m)?);
        tensors.insert(format!("adam.v/{name}"), Bytes::f32(v)?);
    }
    let json = serde_json::json!({ "state": state, "adam_step": adam.steps_taken() });
    let metadata = HashMap::from([(STATE_KEY.to_owned(), json.to_string())]);
    serialise(path, tensors, metadata)
}

fn read_all(
    path: &Path,
    device: &Device,
) -> TrainResult<(HashMap<String, Tensor>, HashMap<String, String>)> {
    let bytes = std::fs::read(path).map_err(|e| TrainError::file("cannot read", path, e))?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| {
        TrainError::file(
            "the file is cut short or is not a safetensors file",
            path,
            e,
        )
    })?;
    let metadata = header.metadata().clone().unwrap_or_default();
    let tensors = candle_core::safetensors::load_buffer(&bytes, device)
        .map_err(|e| TrainError::file("damaged tensors", path, e))?;
    Ok((tensors, metadata))
}

/// The state in a checkpoint's header.
///
/// # Errors
/// If the file cannot be read or is no checkpoint.
pub fn state(path: &Path) -> TrainResult<State> {
    let file = MappedFile::open(path).map_err(|e| TrainError::Content(e.to_string()))?;
    let text = file.metadata().get(STATE_KEY);
    let header = header(text.map(String::as_str), path)?;
    serde_json::from_value(header["state"].clone())
        .map_err(|e| TrainError::file("damaged checkpoint state", path, e))
}

fn header(text: Option<&str>, path: &Path) -> TrainResult<serde_json::Value> {
    text.and_then(|s| serde_json::from_str(s).ok())
        .ok_or_else(|| TrainError::Content(format!("{} is no training checkpoint", path.display())))
}

/// Where `job` resumes: gives it the seed that `stage` was begun with, on which its clips and whatever its checkpoint lacks
/// depend, and the initial files, unless it names its own. To be called before anything is drawn from the seed; without
/// `job.resume` the initial files are written down.
///
/// # Errors
/// If there is no checkpoint to go on from, it cannot be read, or an initial file is not where it was.
pub(super) fn take_up(job: &mut Job, stage: &str) -> TrainResult<()> {
    if !job.resume {
        return remember(job, stage);
    }
    let path = path_in(&job.out, stage);
    if !path.exists() {
        return Err(TrainError::Content(format!(
            "there is no {} to go on from: start without --resume",
            path.display()
        )));
    }
    let seed = state(&path)?.seed;
    if seed != job.seed {
        tracing::info!(target: "train", "{stage} goes on with seed {seed}, as it was begun");
        job.seed = seed;
    }
    if job.init.is_empty()
        && let Some(files) = remembered(&job.out, stage)?
    {
        if let Some(gone) = files.iter().find(|file| !file.exists()) {
            return Err(TrainError::Content(format!(
                "{stage} was begun with --init {}, which is not there any more: say with --init where it is",
                gone.display()
            )));
        }
        job.init = files;
    }
    Ok(())
}

/// Fills `params` from the weight files and checkpoints that a stage starts from, later ones over earlier ones.
///
/// # Errors
/// If a file cannot be read, a shape differs, or none of the files holds a tensor of `params`.
pub(super) fn start_from(files: &[PathBuf], params: &Params) -> TrainResult<()> {
    if fill_from(files, params)? == 0 && !files.is_empty() {
        let names: Vec<_> = files.iter().map(|p| p.display().to_string()).collect();
        return Err(TrainError::Content(format!(
            "{} holds nothing that this stage could start from",
            names.join(", ")
        )));
    }
    Ok(())
}

/// [`start_from`] that says how many tensors the files held, and leaves to others whether there have to be any.
///
/// # Errors
/// If a file cannot be read, or a shape differs.
pub(super) fn fill_from(files: &[PathBuf], params: &Params) -> TrainResult<usize> {
    let mut filled = 0;
    for path in files {
        let (here, left) = params.fill(&weights(path, params.device())?)?;
        tracing::info!(target: "train", "{}: {here} tensors, {} stay as they are", path.display(), left.len());
        filled += here;
    }
    Ok(filled)
}

/// Restores parameters, moments and state. Tensors that the file lacks keep their values, so a stage may grow.
///
/// # Errors
/// If the file cannot be read, is no checkpoint, or a shape differs.
pub fn load(path: &Path, params: &Params, adam: &mut AdamW) -> TrainResult<State> {
    let (tensors, metadata) = read_all(path, params.device())?;
    let json = header(metadata.get(STATE_KEY).map(String::as_str), path)?;
    let state: State = serde_json::from_value(json["state"].clone())
        .map_err(|e| TrainError::file("damaged checkpoint state", path, e))?;
    params.fill(&strip(&tensors, "param/"))?;
    let m = strip(&tensors, "adam.m/");
    let v = strip(&tensors, "adam.v/");
    let step = json["adam_step"].as_u64().unwrap_or(state.step);
    adam.restore(step, |name| {
        Some((m.get(name)?.clone(), v.get(name)?.clone()))
    })?;
    Ok(state)
}

/// The tensors under `prefix`, under their usual names.
fn strip(tensors: &HashMap<String, Tensor>, prefix: &str) -> HashMap<String, Tensor> {
    let mut names: Vec<_> = tensors.keys().collect();
    names.sort();
    names
        .into_iter()
        .filter_map(|n| Some((usual_name(n.strip_prefix(prefix)?), tensors.get(n)?.clone())))
        .collect()
}

/// SAM2's own files call the layer scale of the memory encoder `gamma`, everything else calls it `weight`.
fn usual_name(name: &str) -> String {
    match name.strip_suffix(".gamma") {
        Some(stem) if stem.contains("memory_encoder.fuser.") => format!("{stem}.weight"),
        _ => name.to_owned(),
    }
}

/// Names of the parameters of a checkpoint or of exported weights; nothing else is read.
///
/// # Errors
/// If the file cannot be read.
pub(super) fn names(path: &Path) -> TrainResult<HashSet<String>> {
    let file = TensorFile::open(path).map_err(|e| TrainError::Content(e.to_string()))?;
    let names = file.tensors().into_iter().map(|(name, _)| name);
    let bare = names.map(|name| name.strip_prefix("param/").unwrap_or(name).to_owned());
    Ok(bare.collect())
}

/// Parameters of a checkpoint or of exported weights, by name, as f32.
///
/// # Errors
/// If the file cannot be read.
pub fn weights(path: &Path, device: &Device) -> TrainResult<HashMap<String, Tensor>> {
    read(path, device).map(|found| found.weights)
}

/// What [`read`] finds in a file.
pub struct Found {
    /// Parameters by name, as f32.
    pub weights: HashMap<String, Tensor>,
    /// Where the run stood, if the file is a checkpoint.
    pub state: Option<State>,
    /// The header's texts by name.
    pub metadata: HashMap<String, String>,
}

/// Everything in a checkpoint or in exported weights, but for the moments.
///
/// # Errors
/// If the file cannot be read.
pub fn read(path: &Path, device: &Device) -> TrainResult<Found> {
    let (tensors, metadata) = read_all(path, device)?;
    let state = metadata.get(STATE_KEY).and_then(|text| {
        let json: serde_json::Value = serde_json::from_str(text).ok()?;
        serde_json::from_value(json["state"].clone()).ok()
    });
    let tensors = if metadata.contains_key(STATE_KEY) {
        strip(&tensors, "param/")
    } else {
        tensors
    };
    let mut out = HashMap::with_capacity(tensors.len());
    let sorted: BTreeMap<_, _> = tensors.into_iter().collect();
    for (name, tensor) in sorted {
        out.insert(name, tensor.to_dtype(DType::F32)?);
    }
    Ok(Found {
        weights: out,
        state,
        metadata,
    })
}

/// Writes finished weights as f16, with `metadata` in the header.
///
/// # Errors
/// If a value does not fit f16 or the file cannot be written.
pub fn export_f16(
    path: &Path,
    tensors: &BTreeMap<String, Tensor>,
    metadata: HashMap<String, String>,
) -> TrainResult<()> {
    let mut out = BTreeMap::new();
    for (name, tensor) in tensors {
        let bytes = Bytes::f16(tensor)?;
        let finite = bytes
            .data
            .chunks_exact(2)
            .all(|b| half::f16::from_le_bytes([b[0], b[1]]).is_finite());
        if !finite {
            return Err(TrainError::Content(format!(
                "tensor {name} does not fit half precision"
            )));
        }
        out.insert(name.clone(), bytes);
    }
    serialise(path, out, metadata)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::{AdamConfig, Budget, Group};

    fn run(params: &Params, adam: &mut AdamW, steps: usize) {
        for _ in 0..steps {
            let x = params.get("x").unwrap();
            let loss = (x.as_tensor() - 3.0)
                .unwrap()
                .sqr()
                .unwrap()
                .sum_all()
                .unwrap();
            adam.step(&loss.backward().unwrap(), 0.1).unwrap();
        }
    }

    fn fresh() -> (Params, AdamW) {
        let params = Params::new(7, &Device::Cpu);
        params.var_builder().get((4,), "x").unwrap();
        let group = Group {
            vars: params.all(),
            lr_scale: 1.0,
        };
        let adam = AdamW::new(vec![group], AdamConfig::default()).unwrap();
        (params, adam)
    }

    #[test]
    fn resuming_is_the_same_as_never_stopping() {
        let dir = tempfile::tempdir().unwrap();
        let path = path_in(dir.path(), "toy");
        let (a, mut adam_a) = fresh();
        run(&a, &mut adam_a, 5);
        let state = State {
            stage: "toy".into(),
            step: 5,
            secs: 1.5,
            seed: 7,
            extra: serde_json::json!({"px": 128}),
        };
        save(&path, &a, &adam_a, &state).unwrap();
        run(&a, &mut adam_a, 5);

        let (b, mut adam_b) = fresh();
        assert_eq!(load(&path, &b, &mut adam_b).unwrap(), state);
        run(&b, &mut adam_b, 5);
        let value = |p: &Params| p.get("x").unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(value(&a), value(&b));
        assert!(weights(&path, &Device::Cpu).unwrap().contains_key("x"));
    }

    #[test]
    fn a_run_goes_on_with_the_seed_that_it_was_begun_with() {
        let dir = tempfile::tempdir().unwrap();
        let mut job = Job {
            out: dir.path().to_owned(),
            budget: Budget::new(Some(1), None),
            resume: true,
            init: vec![],
            device: Device::Cpu,
            seed: 1,
        };
        let refused = take_up(&mut job, "toy").unwrap_err().to_string();
        assert!(refused.contains("--resume"), "{refused}");
        let (params, adam) = fresh();
        let begun = State {
            seed: 7,
            ..State::default()
        };
        save(&path_in(dir.path(), "toy"), &params, &adam, &begun).unwrap();
        take_up(&mut job, "toy").unwrap();
        assert_eq!(job.seed, 7);
        (job.resume, job.seed) = (false, 1);
        take_up(&mut job, "toy").unwrap();
        assert_eq!(job.seed, 1, "a run that starts anew has its own");
    }

    /// A stage that was gone on with without `--init` said that its files hold nothing, though none were named.
    #[test]
    fn a_run_goes_on_with_the_files_that_it_was_begun_with() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("start.safetensors");
        std::fs::write(&file, b"x").unwrap();
        let mut job = Job {
            out: dir.path().to_owned(),
            budget: Budget::new(Some(1), None),
            resume: false,
            init: vec![file.clone()],
            device: Device::Cpu,
            seed: 1,
        };
        take_up(&mut job, "toy").unwrap();
        let (params, adam) = fresh();
        save(
            &path_in(dir.path(), "toy"),
            &params,
            &adam,
            &State::default(),
        )
        .unwrap();
        (job.resume, job.init) = (true, vec![]);
        take_up(&mut job, "toy").unwrap();
        assert_eq!(job.init, std::slice::from_ref(&file));
        // What is named anew is taken.
        job.init = vec!["other".into()];
        take_up(&mut job, "toy").unwrap();
        assert_eq!(job.init, [PathBuf::from("other")]);
        std::fs::remove_file(&file).unwrap();
        job.init.clear();
        let refused = take_up(&mut job, "toy").unwrap_err().to_string();
        assert!(refused.contains("start.safetensors"), "{refused}");
        // Begun anew without any, none are remembered.
        job.resume = false;
        take_up(&mut job, "toy").unwrap();
        assert_eq!(remembered(dir.path(), "toy").unwrap(), Some(vec![]));
    }

    #[test]
    fn files_that_hold_nothing_of_a_stage_are_no_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = path_in(dir.path(), "toy");
        let (params, adam) = fresh();
        save(&path, &params, &adam, &State::default()).unwrap();
        let (name, _) = params.all().remove(0);
        let held = names(&path).unwrap();
        assert!(held.contains(&name) && !held.contains("y"), "{held:?}");
        let files = [path];
        start_from(&files, &params).unwrap();
        let other = Params::new(7, &Device::Cpu);
        other.var_builder().get((4,), "y").unwrap();
        let refused = start_from(&files, &other).unwrap_err().to_string();
        assert!(refused.contains("toy.checkpoint"), "{refused}");
        start_from(&[], &other).unwrap();
    }

    #[test]
    fn the_layer_scale_is_read_under_either_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = path_in(dir.path(), "toy");
        let params = Params::new(7, &Device::Cpu);
        let vb = params.var_builder();
        vb.get((2,), "m.memory_encoder.fuser.layers.0.gamma")
            .unwrap();
        vb.get((2,), "m.blocks.0.ls1.gamma").unwrap();
        let adam = AdamW::new(Vec::new(), AdamConfig::default()).unwrap();
        save(&path, &params, &adam, &State::default()).unwrap();
        let found = weights(&path, &Device::Cpu).unwrap();
        assert!(found.contains_key("m.memory_encoder.fuser.layers.0.weight"));
        assert!(found.contains_key("m.blocks.0.ls1.gamma"));
    }

    #[test]
    fn export_is_half_precision_and_refuses_overflow() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.safetensors");
        let x = Tensor::new(&[0.5_f32, -2.0], &Device::Cpu).unwrap();
        export_f16(
            &path,
            &BTreeMap::from([("x".to_owned(), x)]),
            HashMap::new(),
        )
        .unwrap();
        let back = weights(&path, &Device::Cpu).unwrap();
        assert_eq!(back["x"].to_vec1::<f32>().unwrap(), [0.5, -2.0]);
        let big = Tensor::new(&[1e6_f32], &Device::Cpu).unwrap();
        let all = BTreeMap::from([("big".to_owned(), big)]);
        assert!(export_f16(&path, &all, HashMap::new()).is_err());
    }
}
