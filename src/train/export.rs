//! From the stages' checkpoints to the one file that the program carries: half precision, exactly the tensors that the
//! networks ask for, thresholds in the header.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use candle_core::Device;

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

/// Merges `inputs` (checkpoints or weight files; later ones win) into the weights of `info` at `out`. Thresholds
/// are the description's, replaced field by field by those in a weight file's header and by a checkpoint's
/// `extra.thresholds`, in the order of the inputs.
///
/// # Errors
/// If an input cannot be read, a tensor is missing, of another shape or not finite, or `out` cannot be written.
pub fn export(inputs: &[PathBuf], info: &ModelInfo, out: &Path) -> TrainResult<Exported> {
    let mut found = BTreeMap::new();
    let mut thresholds = serde_json::to_value(info.thresholds)
        .map_err(|e| TrainError::Content(format!("thresholds of {}: {e}", info.id)))?;
    let mut any_fitted = false;
    for path in inputs {
        let file = checkpoint::read(path, &Device::Cpu)?;
        found.extend(file.weights);
        let stored = file.metadata.get(THRESHOLDS_KEY);
        let stored: Option<serde_json::Value> =
            stored.and_then(|text| serde_json::from_str(text).ok());
        let fitted = file
            .state
            .and_then(|mut s| Some(s.extra.get_mut("thresholds")?.take()));
        for given in stored.into_iter().chain(fitted) {
            for (name, value) in given.as_object().into_iter().flatten() {
                thresholds[name] = value.clone();
                any_fitted = true;
            }
        }
    }
    let wanted =
        LoadedModel::tensor_shapes(info).map_err(|e| TrainError::Content(e.to_string()))?;
    let dropped = found
        .keys()
        .filter(|name| !wanted.contains_key(*name))
        .count();
    let mut missing = Vec::new();
    let mut kept = BTreeMap::new();
    for (name, shape) in &wanted {
        match found.remove(name) {
            None => missing.push(name.as_str()),
            Some(tensor) if tensor.dims() != shape.as_slice() => {
                return Err(TrainError::Content(format!(
                    "tensor {name} has shape {:?}, model {} needs {shape:?}",
                    tensor.dims(),
                    info.id
                )));
            }
            Some(tensor) => {
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
    // Without any, the description's hold, and may still be changed without touching the weights.
    if any_fitted {
        metadata.insert(THRESHOLDS_KEY.to_owned(), thresholds.to_string());
    }
    checkpoint::export_f16(out, &kept, metadata)?;
    Ok(Exported {
        tensors: kept.len(),
        parameters: kept.values().map(candle_core::Tensor::elem_count).sum(),
        dropped,
    })
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
        let done = export(std::slice::from_ref(&path), &info, &out).unwrap();
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
        let nothing = export(&[], &info, &dir.path().join("none")).unwrap_err();
        assert!(
            nothing.to_string().contains("in none of the inputs"),
            "{nothing}"
        );
    }
}
