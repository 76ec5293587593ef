//! A project file to come. The store writes it whole or not at all; this only says early that it could not.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::{
    project::Document,
    store::{Existing, Store},
};

use super::output::NewFile;

/// The name of a project file, claimed.
pub(super) struct NewProject {
    path: PathBuf,
    existing: Existing,
}

impl NewProject {
    /// Claims `path`.
    pub(super) fn claim(path: &Path, force: bool) -> Result<Self> {
        ensure!(
            path.file_name().is_some(),
            "{} is no file name",
            path.display()
        );
        // Claiming and letting go proves that the folder can be written.
        drop(NewFile::claim(path, force)?);
        Ok(Self {
            path: path.into(),
            existing: if force {
                Existing::Replace
            } else {
                Existing::Refuse
            },
        })
    }

    /// Writes the document.
    pub(super) fn finish(self, doc: &Document) -> Result<()> {
        Store::create(&self.path, doc, self.existing)?;
        Ok(())
    }
}
