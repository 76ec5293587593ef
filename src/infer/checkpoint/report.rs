//! What is wrong with a set of tensors, all of it at once: what networks ask for and is missing or misshapen, what is
//! there and nobody asks for, and what holds no floating-point numbers.

use std::collections::BTreeMap;

use crate::nn::{
    sparrow::{Sparrow, is_spare},
    weights::{recorder::Recorder, set::TensorSet},
};

use super::super::model::{ModelError, ModelInfo};

/// Heads that a checkpoint of the base model lacks.
const HEADS: [&str; 2] = ["model.proposal_selector.", "model.roi_helper."];

/// Differences between a set of tensors and a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Tensors that fit.
    pub fitting: usize,
    /// Numbers in them.
    pub numbers: u64,
    /// Tensors that released files hold and nobody needs.
    pub spare: usize,
    /// Asked for and not there, with the shape that they should have.
    pub missing: Vec<(String, Vec<usize>)>,
    /// There in another shape: name, found, needed.
    pub misshapen: Vec<(String, Vec<usize>, Vec<usize>)>,
    /// There, and no network asks for it.
    pub superfluous: Vec<String>,
    /// There, but of a type that is no float.
    pub not_floats: Vec<(String, &'static str)>,
}

impl Report {
    /// Compares tensors with what a model's networks ask for; no number is read.
    ///
    /// # Errors
    /// [`ModelError::Description`] if the description makes no sense.
    pub fn new(info: &ModelInfo, set: &TensorSet) -> Result<Self, ModelError> {
        let asked = asked(info, set.names().map(str::to_owned))?;
        let mut report = Self::default();
        for (name, shape) in &asked {
            match set.info(name) {
                None => report.missing.push((name.clone(), shape.clone())),
                Some(found) if found.shape != *shape => {
                    let wrong = (name.clone(), found.shape.clone(), shape.clone());
                    report.misshapen.push(wrong);
                }
                Some(found) if !found.element.is_real() => {
                    report.not_floats.push((name.clone(), found.element.name()));
                }
                Some(found) => {
                    report.fitting += 1;
                    report.numbers += found.count() as u64;
                }
            }
        }
        for name in set.names().filter(|n| !asked.contains_key(*n)) {
            if is_spare(&info.config, name) {
                report.spare += 1;
            } else {
                report.superfluous.push(name.to_owned());
            }
        }
        Ok(report)
    }

    /// Whether everything fits.
    pub fn is_clean(&self) -> bool {
        self.missing.is_empty()
            && self.misshapen.is_empty()
            && self.superfluous.is_empty()
            && self.not_floats.is_empty()
    }

    /// The first thing that is wrong, as one clause.
    pub fn first(&self) -> Option<String> {
        if let Some((name, found, needed)) = self.misshapen.first() {
            return Some(format!(
                "tensor {name} has shape {found:?}, the configuration needs {needed:?}{}",
                more(self.misshapen.len())
            ));
        }
        if let Some((name, _)) = self.missing.first() {
            let heads = |n: &str| HEADS.iter().any(|h| n.starts_with(h));
            if self.missing.iter().all(|(n, _)| heads(n)) {
                return Some(
                    "this is the base model without SPARROW's filtration heads (proposal_selector, roi_helper): use \
                     SPARROW's own checkpoint"
                        .into(),
                );
            }
            return Some(format!(
                "tensor {name} is missing{}",
                more(self.missing.len())
            ));
        }
        if let Some((name, found)) = self.not_floats.first() {
            return Some(format!(
                "tensor {name} holds {found}, where floating-point numbers are needed{}",
                more(self.not_floats.len())
            ));
        }
        self.superfluous.first().map(|name| {
            format!(
                "tensor {name} belongs to none of the networks{}",
                more(self.superfluous.len())
            )
        })
    }
}

fn more(n: usize) -> String {
    match n {
        0 | 1 => String::new(),
        n => format!(" (and {} more)", n - 1),
    }
}

/// Name and shape of every tensor that a model asks for, given which names are there.
///
/// # Errors
/// [`ModelError::Description`] if the description makes no sense.
pub fn asked(
    info: &ModelInfo,
    present: impl IntoIterator<Item = String>,
) -> Result<BTreeMap<String, Vec<usize>>, ModelError> {
    let recorder = Recorder::new(present);
    let vb = recorder.var_builder();
    Sparrow::new(&info.config, &vb, &vb.pp("detector")).map_err(|e| ModelError::Description {
        id: info.id.clone(),
        reason: e.to_string().lines().next().unwrap_or_default().into(),
    })?;
    Ok(recorder.asked())
}
