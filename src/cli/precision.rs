//! `--precision`: how weights are stored, chosen by hand or by what the machine has room for.

use std::str::FromStr;

use anyhow::Result;
use candle_core::Device;

use crate::{
    infer::{LoadedModel, heeding, model::ModelSource},
    nn::precision::Precision,
};

use super::progress::cancel_on_ctrl_c;

/// `auto` or a precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PrecisionArg(Option<Precision>);

impl FromStr for PrecisionArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self(None));
        }
        text.parse().map(|p| Self(Some(p)))
    }
}

impl PrecisionArg {
    /// Loads a model so; `auto` takes what [`LoadedModel::load_fitting`] takes.
    /// Ctrl-C ends that between two tensors.
    pub(super) fn load(self, source: &ModelSource, device: &Device) -> Result<LoadedModel> {
        heeding(&cancel_on_ctrl_c(), || {
            Ok(match self.0 {
                Some(precision) => LoadedModel::load_in(source, device, precision),
                None => LoadedModel::load_fitting(source, device, 0),
            }?)
        })
    }

    /// What is asked for; `auto` is what a device prefers where there is room for it.
    pub(super) fn or_best(self, device: &Device) -> Precision {
        self.0
            .unwrap_or_else(|| Precision::preferred(!device.is_cpu()))
    }
}
