//! `sparrow parity DIR`: runs every stored case of a folder against our networks, metrics and losses, one line each.
//!
//! The comparisons live with what they compare ([`crate::nn::parity`] and the rooms named below); this file only lists
//! the folder, hands each case to its room and counts.

use std::{io::Write, path::Path};

use anyhow::{Context as _, Result, ensure};

use candle_core::Device;

use crate::{
    eval::parity::metrics,
    nn::parity::{Case, Kind, ParityError, Report, run_case},
    project::counted,
    train::parity::losses,
};

/// How a folder went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Cases whose every comparison is within tolerance.
    pub passed: usize,
    /// Cases with a comparison outside, or that stopped.
    pub failed: usize,
    /// Cases that nothing compares.
    pub uncovered: usize,
}

/// Runs every `*.safetensors` of `folder` in name order; lines go to `out` as they are known.
///
/// # Errors
/// If the folder cannot be listed or holds no case, or `out` cannot be written.
pub fn run_folder(folder: &Path, out: &mut dyn Write) -> Result<Outcome> {
    run_folder_on(folder, &Device::Cpu, out)
}

/// [`run_folder`] with the networks on a device; metrics and losses stay on the CPU.
///
/// # Errors
/// As [`run_folder`].
pub fn run_folder_on(folder: &Path, device: &Device, out: &mut dyn Write) -> Result<Outcome> {
    let entries = std::fs::read_dir(folder)
        .with_context(|| format!("cannot list the folder {}", folder.display()))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "safetensors") {
            paths.push(path);
        }
    }
    paths.sort();
    ensure!(
        !paths.is_empty(),
        "{} holds no .safetensors case",
        folder.display()
    );
    let mut outcome = Outcome::default();
    for path in &paths {
        let report = run_file_on(path, device);
        match (
            report.passed(),
            report.stages.is_empty() && report.stopped.is_none(),
        ) {
            (true, _) => outcome.passed += 1,
            (_, true) => outcome.uncovered += 1,
            _ => outcome.failed += 1,
        }
        writeln!(out, "{}", report.lines())?;
    }
    let Outcome {
        passed,
        failed,
        uncovered,
    } = outcome;
    writeln!(
        out,
        "{}: {passed} ok, {failed} failed, {uncovered} not covered",
        counted(paths.len(), "case")
    )?;
    Ok(outcome)
}

/// Runs one case file.
pub fn run_file(path: &Path) -> Report {
    run_file_on(path, &Device::Cpu)
}

fn run_file_on(path: &Path, device: &Device) -> Report {
    match Case::read(path) {
        Ok(case) if Kind::of(&case) == Some(Kind::Metrics) => run_metrics(path),
        Ok(case) if Kind::of(&case) == Some(Kind::Losses) => losses(&case),
        Ok(_) => match Case::read_on(path, device) {
            Ok(case) => run_case(&case),
            Err(error) => stopped(path, &error),
        },
        Err(error) => stopped(path, &error),
    }
}

fn stopped(path: &Path, error: &ParityError) -> Report {
    let mut report = Report::new(path.file_stem().unwrap_or_default().to_string_lossy());
    report.stopped = Some(error.to_string());
    report
}

/// The case of metrics, which the evaluation room compares.
fn run_metrics(path: &Path) -> Report {
    let mut report = Report::new(path.file_stem().unwrap_or_default().to_string_lossy());
    match metrics(path) {
        Ok(stages) => {
            for stage in stages {
                report.push(&stage.name, stage.error, stage.tolerance, None);
            }
        }
        Err(error) => report.stopped = Some(error.to_string()),
    }
    report
}
