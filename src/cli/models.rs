//! `sparrow models`: which models there are, whether one is whole, and what a weight file holds.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use candle_core::Device;
use clap::Subcommand;
use safetensors::SafeTensors;
use sha2::{Digest as _, Sha256};

use crate::infer::{
    engine::LoadedModel,
    model::{ModelInfo, ModelSource},
};

use super::output::{require_input, say};

/// What to do with models.
#[derive(Debug, Subcommand)]
pub(super) enum ModelsCommand {
    /// Every model this program knows.
    List,
    /// Loads a model strictly: every tensor there, of the right shape, and a number.
    Verify {
        /// Model id, or the path of a weight file.
        id: String,
    },
    /// Names, types and shapes of the tensors in a .safetensors file.
    Inspect {
        /// The file.
        path: PathBuf,
    },
}

pub(super) fn run(command: &ModelsCommand) -> Result<()> {
    match command {
        ModelsCommand::List => list(),
        ModelsCommand::Verify { id } => verify(id),
        ModelsCommand::Inspect { path } => inspect(path),
    }
}

fn list() -> Result<()> {
    for model in ModelInfo::all()? {
        let source = ModelSource::find(&model.id)?;
        let place = match source.bytes() {
            Ok(bytes) if model.weights.bundled => {
                format!("in the program, {:.1} MB", bytes.len() as f64 / 1e6)
            }
            Ok(bytes) => format!("{:.1} MB", bytes.len() as f64 / 1e6),
            Err(e) => e.to_string(),
        };
        say(format!(
            "{}\t{}\t{}\t{place}",
            model.id, model.title, model.licence
        ))?;
    }
    Ok(())
}

fn verify(id: &str) -> Result<()> {
    let source = ModelSource::find(id)?;
    let bytes = source.bytes()?;
    let model = LoadedModel::load(&source, &Device::Cpu)?;
    say(format!(
        "{}: {} tensors, {} numbers, {:.1} MB, sha256 {}: whole",
        source.name(),
        model.tensors,
        model.parameters,
        bytes.len() as f64 / 1e6,
        hex(&Sha256::digest(&bytes))
    ))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn inspect(path: &std::path::Path) -> Result<()> {
    require_input(path, "a .safetensors file")?;
    ensure!(
        path.is_file(),
        "{} is a folder: give the path of a .safetensors file",
        path.display()
    );
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let damaged = || {
        format!(
            "{} is cut short or is not a safetensors file",
            path.display()
        )
    };
    let (_, header) = SafeTensors::read_metadata(&bytes).with_context(damaged)?;
    let file = SafeTensors::deserialize(&bytes).with_context(damaged)?;
    if let Some(metadata) = header.metadata() {
        let mut keys: Vec<_> = metadata.iter().collect();
        keys.sort();
        for (key, value) in keys {
            say(format!("# {key} = {value}"))?;
        }
    }
    let mut total = 0;
    let mut tensors = file.tensors();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, view) in &tensors {
        let count: usize = view.shape().iter().product();
        total += count;
        say(format!("{name}\t{:?}\t{:?}", view.dtype(), view.shape()))?;
    }
    say(format!("# {} tensors, {total} numbers", tensors.len()))
}
