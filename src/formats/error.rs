//! What can go wrong with a dataset, as one sentence each.

use std::path::{Path, PathBuf};

use super::FORMATS;
use crate::project::{FrameIndex, MaskError};

/// Why an import or export failed. A failed export leaves nothing behind, and what was there stays.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// No format has this name.
    #[error("there is no format {:?}; there are {}", .0, names())]
    UnknownFormat(String),
    /// An earlier export lies in the wanted place.
    #[error("the output exists already; choose another place, or allow it to be replaced: {}", .0.display())]
    Exists(PathBuf),
    /// An export in another format lies in the wanted place.
    #[error("the output folder holds an export in another format ({format}) and was not replaced; choose another place: {}", path.display())]
    OtherFormat {
        /// Name of that format.
        format: &'static str,
        /// The folder.
        path: PathBuf,
    },
    /// The wanted place is a file.
    #[error("the output is a file and was not replaced; choose another place: {}", .0.display())]
    NotAFolder(PathBuf),
    /// The wanted place holds something that no export wrote.
    #[error("the output folder holds other things ({found}) and was not replaced; choose another place: {}", path.display())]
    NotAnExport {
        /// One of the other things.
        found: String,
        /// The folder.
        path: PathBuf,
    },
    /// The wanted place holds the video, which would go with what is replaced.
    #[error("the output folder holds the video that the masks belong to and was not replaced; choose another place: {}", .0.display())]
    HoldsVideo(PathBuf),
    /// The wanted place holds the export of another video, whose masks and images would go.
    #[error("the output folder holds the export of another video ({found}) and was not replaced; choose another place, or remove that first: {}", path.display())]
    OtherVideo {
        /// The other video in a few words.
        found: String,
        /// The folder.
        path: PathBuf,
    },
    /// The wanted place is where the program runs: a folder is given its name from outside.
    #[error("the output folder is the current one, or holds it; name a folder in it: {}", .0.display())]
    Here(PathBuf),
    /// The dataset holds nothing of this format.
    #[error("no {format} dataset was found ({reason}): {}", path.display())]
    NotADataset {
        /// Format.
        format: &'static str,
        /// One clause: what was missing.
        reason: String,
        /// Where.
        path: PathBuf,
    },
    /// The dataset is of this format and empty.
    #[error("the dataset holds no sequence: {}", .0.display())]
    NoSequence(PathBuf),
    /// Several sequences, or not the one asked for.
    #[error("name one of the dataset's sequences ({names}): {}", path.display())]
    WhichSequence {
        /// The names.
        names: String,
        /// Where.
        path: PathBuf,
    },
    /// The dataset has no list of that split.
    #[error("there is no list of a split {name:?} (there are: {known}): {}", path.display())]
    NoSplit {
        /// The split.
        name: String,
        /// Those there are.
        known: String,
        /// Where lists are looked for.
        path: PathBuf,
    },
    /// A file makes no sense.
    #[error("{what}: {}", path.display())]
    Damaged {
        /// One clause: what and where.
        what: String,
        /// The file.
        path: PathBuf,
    },
    /// The document itself is damaged.
    #[error("frame {} cannot be exported: {source}", .frame.0)]
    Document {
        /// Frame.
        frame: FrameIndex,
        /// What is wrong.
        source: MaskError,
    },
    /// A frame's image cannot be had.
    #[error("the image of frame {} cannot be exported: {reason}", .frame.0)]
    Frame {
        /// Frame.
        frame: FrameIndex,
        /// Why.
        reason: String,
    },
    /// What was written is not what was meant. The export was thrown away.
    #[error(
        "the written dataset did not read back as it was meant ({0}), so it was thrown away; please report this"
    )]
    ReadBack(String),
    /// The operating system refused.
    #[error("{reason}: {}", path.display())]
    Io {
        /// The system's words.
        reason: String,
        /// The file.
        path: PathBuf,
    },
    /// Stopped on request.
    #[error("cancelled")]
    Cancelled,
}

fn names() -> String {
    let names: Vec<&str> = FORMATS.iter().map(|f| f.name()).collect();
    names.join(", ")
}

impl FormatError {
    pub(super) fn io(path: &Path, error: &std::io::Error) -> Self {
        Self::Io {
            reason: error.to_string(),
            path: path.to_path_buf(),
        }
    }

    pub(super) fn damaged(path: &Path, what: impl Into<String>) -> Self {
        Self::Damaged {
            what: what.into(),
            path: path.to_path_buf(),
        }
    }
}
