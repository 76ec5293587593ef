//! Cases of SAM2: image encoder, prompt encoder and mask decoder, tracking.

use super::{Case, Kind, ParityError, Report};

/// Runs the case if it is one of this file's; `Ok(false)` if it is not.
pub(super) fn run(_kind: Kind, _case: &Case, _report: &mut Report) -> Result<bool, ParityError> {
    Ok(false)
}
