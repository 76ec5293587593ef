//! From the stages' checkpoints to the one file that the program carries: half precision, exactly the tensors that the
//! networks ask for, thresholds in the header.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use candle_core::{Device, Tensor};

use super::{TrainError, TrainResult, checkpoint};
use crate::infer::{
    LoadedModel,
    model::ModelInfo,
    source::{DESCRIPTION_KEY, THRESHOLDS_KEY},
};

/// What an export holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Tensors written.
    pub tensors: usize,
    /// Numbers in them.
    pub parameters: usize,
    /// Tensors of the inputs that no network of the program asks for.
    pub dropped: usize,
}

/// How the inputs become one weight file.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Recipe {
    /// The mean of the inputs, tensor by tensor; each must then hold everything. Otherwise later ones win.
    pub mean: bool,
    /// The confidence from which filtration keeps a proposal, 0 to 1, in place of what was fitted.
    pub keep: Option<f32>,
}

/// What is known of a model's tensors and thresholds.
struct Gathered {
    tensors: HashMap<String, Tensor>,
    thresholds: serde_json::Value,
    /// Without any, the description's hold, and may still be changed without touching the weights.
    any_fitted: bool,
}

/// Makes the weights of `info` at `out` from `inputs`, checkpoints or weight files. Thresholds are the description's, replaced field by
/// field by those in a weight file's header and by a checkpoint's `extra.thresholds`, in the order of the inputs, and by the recipe's.
///
/// # Errors
/// If an input cannot be read, a tensor is missing, of another shape or not finite, or `out` cannot be written.
pub fn export(
    inputs: &[PathBuf],
    recipe: Recipe,
    info: &ModelInfo,
    out: &Path,
) -> TrainResult<Exported> {
    let wanted =
        LoadedModel::tensor_shapes(info).map_err(|e| TrainError::Content(e.to_string()))?;
    let mut found = Gathered {
        tensors: HashMap::new(),
        thresholds: serde_json::to_value(info.thresholds)
            .map_err(|e| TrainError::Content(format!("thresholds of {}: {e}", info.id)))?,
        any_fitted: false,
    };
    for path in inputs {
        let weights = found.add(path)?;
        if recipe.mean {
            for (name, shape) in &wanted {
                let tensor = weights.get(name).ok_or_else(|| {
                    TrainError::Content(format!(
                        "{} lacks the tensor {name}: a mean is one of whole weight files, as an export without it makes them",
                        path.display()
                    ))
                })?;
                fits(name, tensor, shape, info)?;
                let part = (tensor / inputs.len() as f64)?;
                let sum = match found.tensors.remove(name) {
                    Some(sum) => (sum + part)?,
                    None => part,
                };
                found.tensors.insert(name.clone(), sum);
            }
        } else {
            found.tensors.extend(weights);
        }
    }
    if let Some(keep) = recipe.keep {
        found.set("keep", keep.into());
    }
    found.write(&wanted, info, out)
}

/// Refuses a tensor of another shape than the model's.
fn fits(name: &str, tensor: &Tensor, shape: &[usize], info: &ModelInfo) -> TrainResult<()> {
    if tensor.dims() == shape {
        return Ok(());
    }
    Err(TrainError::Content(format!(
        "tensor {name} has shape {:?}, model {} needs {shape:?}",
        tensor.dims(),
        info.id
    )))
}

impl Gathered {
    fn set(&mut self, threshold: &str, value: serde_json::Value) {
        self.thresholds[threshold] = value;
        self.any_fitted = true;
    }

    /// Takes over a file's thresholds and gives its tensors.
    fn add(&mut self, path: &Path) -> TrainResult<HashMap<String, Tensor>> {
        let file = checkpoint::read(path, &Device::Cpu)?;
        let stored = file.metadata.get(THRESHOLDS_KEY);
        let stored: Option<serde_json::Value> =
            stored.and_then(|text| serde_json::from_str(text).ok());
        let fitted = file
            .state
            .and_then(|mut s| Some(s.extra.get_mut("thresholds")?.take()));
        for given in stored.into_iter().chain(fitted) {
            for (name, value) in given.as_object().into_iter().flatten() {
                self.set(name, value.clone());
            }
        }
        Ok(file.weights)
    }

    /// Writes what the model wants of it.
    fn write(
        mut self,
        wanted: &BTreeMap<String, Vec<usize>>,
        info: &ModelInfo,
        out: &Path,
    ) -> TrainResult<Exported> {
        let unwanted = |name: &&String| !wanted.contains_key(*name);
        let dropped = self.tensors.keys().filter(unwanted).count();
        let mut missing = Vec::new();
        let mut kept = BTreeMap::new();
        for (name, shape) in wanted {
            match self.tensors.remove(name) {
                None => missing.push(name.as_str()),
                Some(tensor) => {
                    fits(name, &tensor, shape, info)?;
                    kept.insert(name.clone(), tensor);
                }
            }
        }
        if let Some(first) = missing.first() {
            return Err(TrainError::Content(format!(
                "{} tensors are in none of the inputs, the first is {first}",
                missing.len()
            )));
        }
        let mut metadata = HashMap::from([
            (DESCRIPTION_KEY.to_owned(), info.id.clone()),
            ("licence".to_owned(), info.licence.clone()),
        ]);
        if self.any_fitted {
            metadata.insert(THRESHOLDS_KEY.to_owned(), self.thresholds.to_string());
        }
        checkpoint::export_f16(out, &kept, metadata)?;
        Ok(Exported {
            tensors: kept.len(),
            parameters: kept.values().map(Tensor::elem_count).sum(),
            dropped,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::Params;

    /// Every network's tensors as a stage would leave them, in two files of which the second lacks most.
    #[test]
    fn an_export_holds_exactly_what_the_model_asks_for() {
        let info = ModelInfo::by_id("nano").unwrap();
        let wanted = LoadedModel::tensor_shapes(&info).unwrap();
        let params = Params::new(1, &Device::Cpu);
        let vb = params.var_builder();
        for (name, shape) in &wanted {
            vb.get_with_hints(shape.as_slice(), name, candle_nn::Init::Const(0.5))
                .unwrap();
        }
        vb.get_with_hints((3,), "aux.head", candle_nn::Init::Const(0.1))
            .unwrap();
        let adam =
            crate::train::AdamW::new(Vec::new(), crate::train::AdamConfig::default()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stage.safetensors");
        let state = checkpoint::State {
            extra: serde_json::json!({ "thresholds": { "objectness": 0.25 } }),
            ..checkpoint::State::default()
        };
        checkpoint::save(&path, &params, &adam, &state).unwrap();
        let out = dir.path().join("nano.safetensors");
        let done = export(std::slice::from_ref(&path), Recipe::default(), &info, &out).unwrap();
        assert_eq!((done.tensors, done.dropped), (wanted.len(), 1));
        let size = std::fs::metadata(&out).unwrap().len();
        assert!(size < 12_000_000, "{size} bytes are too many to carry");

        // By its path alone, as a person who has trained something passes it.
        let source = crate::infer::model::ModelSource::find(&out.display().to_string()).unwrap();
        assert_eq!(source.info.id, "nano");
        assert_eq!(source.file.as_deref(), Some(out.as_path()));
        let (store, thresholds, _) = source.weights(&Device::Cpu).unwrap();
        assert_eq!(store.names().len(), wanted.len());
        assert!((thresholds.objectness - 0.25).abs() < 1e-6);

        let lone = export(
            &[dir.path().join("nano.safetensors")],
            Recipe::default(),
            &info,
            &dir.path().join("again"),
        )
        .unwrap();
        assert_eq!(lone.tensors, done.tensors);
        // A weight file's thresholds belong to it and go along.
        let again = checkpoint::read(&dir.path().join("again"), &Device::Cpu).unwrap();
        let kept: serde_json::Value =
            serde_json::from_str(&again.metadata[THRESHOLDS_KEY]).unwrap();
        assert_eq!(kept["objectness"], 0.25);
        let nothing = export(&[], Recipe::default(), &info, &dir.path().join("none")).unwrap_err();
        assert!(
            nothing.to_string().contains("in none of the inputs"),
            "{nothing}"
        );
    }

    #[test]
    fn a_mean_is_one_of_whole_files_and_may_keep_less() {
        let info = ModelInfo::by_id("nano").unwrap();
        let wanted = LoadedModel::tensor_shapes(&info).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let file = |value: f64, left_out: usize| {
            let tensors = wanted.iter().skip(left_out).map(|(name, shape)| {
                let filled = Tensor::full(value as f32, shape.as_slice(), &Device::Cpu).unwrap();
                (name.clone(), filled)
            });
            let thresholds = serde_json::json!({ "keep": 0.125 * value, "presence": 0.5 });
            let header = HashMap::from([(THRESHOLDS_KEY.to_owned(), thresholds.to_string())]);
            let path = at(&format!("{value}-{left_out}"));
            checkpoint::export_f16(&path, &tensors.collect(), header).unwrap();
            path
        };
        let mean = Recipe {
            mean: true,
            keep: Some(0.75),
        };
        let files = [file(1.0, 0), file(4.0, 0)];
        let done = export(&files, mean, &info, &at("mean")).unwrap();
        assert_eq!(done.tensors, wanted.len());
        let made = checkpoint::read(&at("mean"), &Device::Cpu).unwrap();
        assert_eq!(made.weights.len(), wanted.len());
        for name in wanted.keys() {
            let values = made.weights[name]
                .flatten_all()
                .unwrap()
                .to_vec1::<f32>()
                .unwrap();
            assert!(values.iter().all(|v| *v == 2.5), "{name}");
        }
        let kept: serde_json::Value = serde_json::from_str(&made.metadata[THRESHOLDS_KEY]).unwrap();
        assert_eq!(
            (&kept["keep"], &kept["presence"]),
            (&0.75.into(), &0.5.into())
        );
        let part = [file(1.0, 0), file(1.0, 1)];
        let refused = export(&part, mean, &info, &at("none")).unwrap_err();
        assert!(
            refused.to_string().contains("whole weight files"),
            "{refused}"
        );
        assert!(!at("none").exists());
    }
}
