//! `sparrow models`: which models there are, whether one is whole, what a weight file holds, and one file made of many.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use candle_core::Device;
use clap::{
    Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
};
use sha2::{Digest as _, Sha256};

use crate::{
    infer::{
        checkpoint::{
            config, fetch,
            registry::{self, Place},
            report::{self, Report},
        },
        engine::LoadedModel,
        model::{ModelInfo, ModelSource},
        source::{DESCRIPTION_KEY, Opened},
        tokenizer::TokenizerConfig,
    },
    nn::{
        phi3::is_language_matrix,
        precision::{Precision, Stored},
        sparrow::is_spare,
        weights::{blocks::Blocks, bundle, file::TensorFile},
    },
    project::counted,
    video::hex,
};

use super::{
    asked::digest,
    output::{NewFile, keep_apart, require_input, say},
    progress::Reporter,
};

/// Bytes in a step of progress.
const MEGA: u64 = 1_000_000;

/// What to do with models.
#[derive(Debug, Subcommand)]
pub(super) enum ModelsCommand {
    /// Every model this program knows, and where its files are.
    List,
    /// Downloads a model's files from where their authors publish them, or remembers where they are already.
    Fetch {
        /// Model id.
        id: String,
        /// A folder with the files, or a bundle: nothing is downloaded, the place is remembered.
        #[arg(long, value_name = "PATH")]
        from: Option<PathBuf>,
    },
    /// Checks a model: every tensor there, of the right shape, a number, and none too many.
    Verify {
        /// Model id, the path of a weight file, or that of a folder with released files.
        id: String,
        /// Folder with the files, instead of the remembered one.
        #[arg(long, value_name = "FOLDER")]
        from: Option<PathBuf>,
    },
    /// Puts the released files together into one file that loads at once.
    Convert {
        /// Model id.
        id: String,
        /// Folder with the files, instead of the remembered one.
        #[arg(long, value_name = "FOLDER")]
        from: Option<PathBuf>,
        /// File to write, a .safetensors.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// How numbers are stored: q8 and q4 are the language model in blocks of 8 and of 4 bits, the rest in f16.
        #[arg(long, value_parser = precisions(), default_value = Precision::F16.name())]
        dtype: Precision,
        /// Replace the file if it is there.
        #[arg(long)]
        force: bool,
    },
    /// Names, types and shapes of the tensors in a .safetensors or PyTorch file.
    Inspect {
        /// The file.
        path: PathBuf,
    },
}

/// Reads a precision, and lists all of them where it is none.
fn precisions() -> impl TypedValueParser<Value = Precision> {
    PossibleValuesParser::new(Precision::ALL.map(Precision::name))
        .try_map(|name| name.parse::<Precision>())
}

pub(super) fn run(command: &ModelsCommand) -> Result<()> {
    match command {
        ModelsCommand::List => list(),
        ModelsCommand::Fetch { id, from } => fetch(id, from.as_deref()),
        ModelsCommand::Verify { id, from } => verify(id, from.as_deref()),
        ModelsCommand::Convert {
            id,
            from,
            out,
            dtype,
            force,
        } => convert(id, from.as_deref(), out, *dtype, *force),
        ModelsCommand::Inspect { path } => inspect(path),
    }
}

/// A model's source: the folder that is named, else the place that is remembered.
fn source(id: &str, from: Option<&Path>) -> Result<ModelSource> {
    let Some(from) = from else {
        return Ok(ModelSource::find(id)?);
    };
    require_input(from, "a folder with the model's files")?;
    Ok(ModelSource::at(Some(&ModelInfo::by_id(id)?), from)?)
}

fn list() -> Result<()> {
    for model in ModelInfo::all()? {
        let mut parts = Vec::new();
        let place = match ModelSource::find(&model.id) {
            Ok(source) if model.weights.bundled => {
                format!(
                    "in the program, {:.1} MB",
                    source.bytes()?.len() as f64 / 1e6
                )
            }
            Ok(source) => match &source.file {
                Some(file) => format!("{}, {}", file.display(), size(file)?),
                None if source.parts.is_empty() => "not here".to_owned(),
                None => {
                    parts = source.parts.into_iter().collect();
                    "released files".to_owned()
                }
            },
            Err(e) => e.to_string(),
        };
        say(format!(
            "{}\t{}\t{}\t{place}",
            model.id, model.title, model.licence
        ))?;
        for part in &model.weights.parts {
            let here = parts.iter().find(|(role, _)| *role == part.role);
            let here = match here {
                Some((_, path)) => path.display().to_string(),
                None if parts.is_empty() => String::new(),
                None => "missing".to_owned(),
            };
            say(format!(
                "  {}\t{:.2} B numbers\t{}\t{here}",
                part.title,
                part.parameters as f64 / 1e9,
                part.repository
            ))?;
        }
    }
    Ok(())
}

fn size(path: &Path) -> Result<String> {
    let bytes = std::fs::metadata(path)
        .with_context(|| format!("cannot read {}", path.display()))?
        .len();
    Ok(format!("{:.1} MB", bytes as f64 / 1e6))
}

fn fetch(id: &str, from: Option<&Path>) -> Result<()> {
    let info = ModelInfo::by_id(id)?;
    if info.weights.bundled {
        return say(format!("{id} is in the program: there is nothing to fetch"));
    }
    let place = match from {
        Some(from) => {
            require_input(from, "a folder with the model's files, or a bundle")?;
            // Opened, so that a wrong place is named now and not when it is needed.
            let source = ModelSource::at(Some(&info), from)?;
            source.open()?;
            Place::One(from.into())
        }
        None => {
            let reporter = Reporter::new();
            let parts = fetch::fetch(&info, &mut reporter.progress())?;
            Place::Parts(parts)
        }
    };
    registry::remember(id, &place)?;
    let source = ModelSource::find(id)?;
    let shown = match &source.file {
        Some(file) => vec![file.display().to_string()],
        None => source
            .parts
            .iter()
            .map(|(role, path)| format!("{}: {}", role.words(), path.display()))
            .collect(),
    };
    for line in shown {
        say(line)?;
    }
    say(format!(
        "{id} is remembered; `sparrow models verify {id}` checks it, `sparrow models convert {id} --out FILE` makes one \
         file of it that loads at once"
    ))
}

fn verify(id: &str, from: Option<&Path>) -> Result<()> {
    let source = source(id, from)?;
    if source.file.is_none() && source.info.weights.bundled {
        let bytes = source.bytes()?;
        let model = LoadedModel::load(&source, &Device::Cpu)?;
        return say(format!(
            "{}: {} tensors, {} numbers, {:.1} MB, sha256 {}: whole",
            source.name(),
            model.tensors,
            model.parameters,
            bytes.len() as f64 / 1e6,
            hex(&Sha256::digest(&bytes))
        ));
    }
    let opened = source.open()?;
    let report = Report::new(&source.info, &opened.set)?;
    for (name, shape) in &report.missing {
        say(format!("missing\t{name}\t{shape:?}"))?;
    }
    for (name, found, needed) in &report.misshapen {
        say(format!("misshapen\t{name}\t{found:?}, needed {needed:?}"))?;
    }
    for (name, found) in &report.not_floats {
        say(format!("no floats\t{name}\t{found}"))?;
    }
    for name in &report.superfluous {
        say(format!("superfluous\t{name}"))?;
    }
    let tokenizer = source.tokenizer();
    if let Err(e) = &tokenizer {
        say(format!("tokenizer\t{e}"))?;
    }
    let bad = unreadable(&opened)?;
    if let (Some(first), true) = (report.first(), !report.is_clean()) {
        bail!("{} is not whole: {first}", source.name());
    }
    tokenizer?;
    ensure!(
        bad == 0,
        "{} is not whole: {bad} tensors cannot be read or hold values that are not numbers",
        source.name()
    );
    say(format!(
        "{}: {} tensors, {} numbers, {} more tensors that are not needed{}: whole",
        source.name(),
        report.fitting,
        report.numbers,
        report.spare,
        match &source.file {
            Some(file) => {
                let hash =
                    digest(file).with_context(|| format!("cannot read {}", file.display()))?;
                format!(", {}, sha256 {hash}", size(file)?)
            }
            None => String::new(),
        }
    ))
}

/// Reads every tensor once, names those that hold a value that is not a number, and counts them.
fn unreadable(opened: &Opened) -> Result<usize> {
    let mut bad = 0;
    for name in opened.set.by_file() {
        if let Err(e) = opened.set.bytes(name) {
            say(format!("unreadable\t{e}"))?;
            bad += 1;
        }
    }
    Ok(bad)
}

fn convert(id: &str, from: Option<&Path>, out: &Path, dtype: Precision, force: bool) -> Result<()> {
    let source = source(id, from)?;
    ensure!(
        source.file.is_some() || !source.info.weights.bundled,
        "{id} is in the program, whole and in one piece: there is nothing to convert"
    );
    let mut inputs: Vec<&Path> = source.parts.values().map(PathBuf::as_path).collect();
    inputs.extend(source.file.as_deref());
    keep_apart(&inputs, &[out])?;
    // Next to shards a new file would be taken for the model the next time.
    ensure!(
        !inputs.iter().any(|input| is_inside(out, input)),
        "{} is among the files that are read: choose another folder for the output",
        out.display()
    );
    let file = NewFile::claim(out, force)?;
    let mut opened = source.open()?;
    let report = Report::new(&source.info, &opened.set)?;
    if let Some(first) = report.first() {
        bail!(
            "{} is not whole: {first}; `sparrow models verify {id}` lists everything that is wrong",
            source.name()
        );
    }
    // A bundle is read by a program that knows what it needs.
    source.tokenizer()?;
    let info = source.described(&opened.set)?;
    // A second name may be the only one there is: what is asked for stays whatever it is called.
    let asked = report::asked(&info, opened.set.names().map(str::to_owned))?;
    opened
        .set
        .retain(|name| asked.contains_key(name) || !is_spare(&info.config, name));
    let mut metadata = opened.metadata;
    metadata.insert(
        DESCRIPTION_KEY.to_owned(),
        serde_json::to_string(&info).context("cannot describe the model")?,
    );
    let mut extra = BTreeMap::new();
    if matches!(info.tokenizer, TokenizerConfig::Pieces(_)) {
        extra.insert(config::TOKENIZER.to_owned(), source.tokenizer_file()?);
    }
    let set = &opened.set;
    let storage = |name: &str| storage(dtype, name, set.info(name).map(|i| &*i.shape));
    let reporter = Reporter::new();
    let mut written = None;
    file.finish_with(|file| {
        let mut progress = reporter.progress();
        written = bundle::write(
            &opened.set,
            file,
            storage,
            &metadata,
            &extra,
            |done, total| {
                progress
                    .step(done / MEGA, total / MEGA, "writing megabytes")
                    .is_ok()
            },
        )
        .map_err(|e| source.file_error(e))?;
        ensure!(
            written.is_some(),
            "stopped; {} was not written",
            out.display()
        );
        Ok(())
    })?;
    drop(reporter);
    match written {
        Some(written) => say(format!(
            "{}: {} tensors, {:.1} MB",
            out.display(),
            written.tensors,
            written.bytes as f64 / 1e6
        )),
        None => Ok(()),
    }
}

/// Whether a file, there or to come, lies in a folder or in one below it, whatever links lead there.
fn is_inside(file: &Path, folder: &Path) -> bool {
    let mut above = file
        .ancestors()
        .skip(1)
        .map(|folder| match folder.as_os_str() {
            name if name.is_empty() => Path::new("."),
            _ => folder,
        });
    // Folders that are to come hold no links: what counts is the nearest that is there.
    let there = above.find_map(|folder| folder.canonicalize().ok());
    match (there, folder.canonicalize()) {
        (Some(there), Ok(folder)) => folder.is_dir() && there.starts_with(folder),
        _ => false,
    }
}

/// How a tensor of a bundle is stored: as a model of that precision keeps it in memory, but that small tensors are as narrow as
/// matrices.
fn storage(precision: Precision, name: &str, shape: Option<&[usize]>) -> bundle::Storage {
    if let Some(&[_, width]) = shape
        && is_language_matrix(name)
        && let Stored::Blocks(kind) = precision.language(width)
        && let Some(blocks) = Blocks::of(kind)
    {
        return bundle::Storage::Blocks(blocks);
    }
    match precision {
        Precision::F32 => bundle::Storage::F32,
        Precision::Bf16 => bundle::Storage::BF16,
        _ => bundle::Storage::F16,
    }
}

fn inspect(path: &Path) -> Result<()> {
    require_input(path, "a .safetensors or PyTorch file")?;
    ensure!(
        path.is_file(),
        "{} is a folder: give the path of a .safetensors or PyTorch file",
        path.display()
    );
    let file = TensorFile::open(path)?;
    if let TensorFile::Mapped(mapped) = &file {
        for (key, value) in mapped.metadata() {
            say(format!("# {key} = {value}"))?;
        }
    }
    let tensors = file.tensors();
    let mut total = 0;
    for (name, info) in &tensors {
        total += info.count();
        say(format!("{name}\t{}\t{:?}", info.element.name(), info.shape))?;
    }
    say(format!(
        "# {}, {total} numbers",
        counted(tensors.len(), "tensor")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_in_a_folder_that_is_to_come_lies_in_the_nearest_that_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let released = dir.path().join("released");
        std::fs::create_dir(&released).unwrap();
        let inside = |file: &str| is_inside(&dir.path().join(file), &released);
        for file in ["released/a.safetensors", "released/x/y/a.safetensors"] {
            assert!(inside(file), "{file}");
        }
        for file in [
            "a.safetensors",
            "x/y/a.safetensors",
            "releasedx/a.safetensors",
        ] {
            assert!(!inside(file), "{file}");
        }
        assert!(!is_inside(Path::new("a.safetensors"), &released));
        assert!(is_inside(Path::new("x/a.safetensors"), Path::new(".")));
    }
}
