//! Cases of the proposer and of the filtration head.

use super::{Case, Kind, ParityError, Report};

/// Runs the case if it is one of this file's; `Ok(false)` if it is not.
pub(super) fn run(_kind: Kind, _case: &Case, _report: &mut Report) -> Result<bool, ParityError> {
    Ok(false)
}
