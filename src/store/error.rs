//! What can go wrong with a project file, as one sentence each.

use std::path::{Path, PathBuf};

use rusqlite::{ErrorCode, ffi::SQLITE_READONLY_DBMOVED};

/// Why a project file could not be read or written. Whatever was committed before is untouched.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A new project would replace a file.
    #[error("a file of that name exists already, choose another name: {}", .0.display())]
    Exists(PathBuf),
    /// There is no such file.
    #[error("there is no project file {}", .0.display())]
    NotFound(PathBuf),
    /// There is no folder to put the file in.
    #[error("the folder does not exist or may not be written: {}", .0.display())]
    NoFolder(PathBuf),
    /// The file is something else.
    #[error("this is not a Sparrow project: {}", .0.display())]
    NotAProject(PathBuf),
    /// The file was written by a later Sparrow.
    #[error("this project was made by a newer Sparrow (file version {version}, this one knows up to {known}); it was not touched, please update: {}", path.display())]
    Newer {
        /// Version of the file.
        version: u32,
        /// Highest version that this program knows.
        known: u32,
        /// The file.
        path: PathBuf,
    },
    /// The file or its folder is write-protected.
    #[error("the change was not saved, because the file or its folder is write-protected: {}", .0.display())]
    ReadOnly(PathBuf),
    /// The file is no longer where it was opened: what would be written would be lost.
    #[error("the change was not saved, because the project file was moved or replaced; save it elsewhere: {}", .0.display())]
    Moved(PathBuf),
    /// No space is left.
    #[error("the change was not saved, because the disk is full; free some space and try again: {}", .0.display())]
    DiskFull(PathBuf),
    /// Another program is writing at this moment.
    #[error("another program is using the project, try again: {}", .0.display())]
    Busy(PathBuf),
    /// Another program has changed the project since it was opened here.
    #[error("the change was not saved, because another window or program has changed the project since it was opened here: {}", .0.display())]
    ChangedElsewhere(PathBuf),
    /// The edit does not fit what the file holds.
    #[error("the change was not saved, because it does not fit the file; open the project again: {}", .0.display())]
    OutOfStep(PathBuf),
    /// The file is a project, but what it holds makes no sense.
    #[error("the project is damaged ({what}): {}", path.display())]
    Damaged {
        /// One clause: where.
        what: String,
        /// The file.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("the project cannot be read or written ({reason}): {}", path.display())]
    Io {
        /// The system's words.
        reason: String,
        /// The file.
        path: PathBuf,
    },
}

impl StoreError {
    /// Whether trying the same again may help: the disk was full, another program was writing.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::DiskFull(_) | Self::Busy(_) | Self::ReadOnly(_))
    }

    /// Whether this file will never take the same edit: only another place helps.
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            Self::ChangedElsewhere(_)
                | Self::OutOfStep(_)
                | Self::Moved(_)
                | Self::Newer { .. }
                | Self::Damaged { .. }
        )
    }

    pub(super) fn io(path: &Path, error: &std::io::Error) -> Self {
        let path = path.to_path_buf();
        match error.kind() {
            std::io::ErrorKind::NotFound => Self::NotFound(path),
            std::io::ErrorKind::AlreadyExists => Self::Exists(path),
            std::io::ErrorKind::ReadOnlyFilesystem | std::io::ErrorKind::PermissionDenied => {
                Self::ReadOnly(path)
            }
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                Self::DiskFull(path)
            }
            _ => Self::Io {
                reason: error.to_string(),
                path,
            },
        }
    }

    /// Of making a file beside others: what is not found is the folder.
    pub(super) fn making(path: &Path, folder: &Path, error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
                Self::NoFolder(folder.to_path_buf())
            }
            _ => Self::io(path, error),
        }
    }

    pub(super) fn damaged(path: &Path, what: impl Into<String>) -> Self {
        Self::Damaged {
            what: what.into(),
            path: path.to_path_buf(),
        }
    }

    pub(super) fn sql(path: &Path, error: &rusqlite::Error) -> Self {
        let file = path.to_path_buf();
        let moved = |e: &rusqlite::ffi::Error| e.extended_code == SQLITE_READONLY_DBMOVED;
        if error.sqlite_error().is_some_and(moved) {
            return Self::Moved(file);
        }
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::DiskFull(file),
            // A journal that cannot be created is reported as "cannot open": the folder is write-protected.
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
                Self::ReadOnly(file)
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy(file),
            Some(ErrorCode::NotADatabase) => Self::NotAProject(file),
            Some(ErrorCode::DatabaseCorrupt) => Self::damaged(path, "the file's pages"),
            Some(ErrorCode::ConstraintViolation) => Self::OutOfStep(file),
            Some(_) => Self::Io {
                reason: error.to_string(),
                path: file,
            },
            // Not SQLite's own: a column that is missing or of another type.
            None => Self::damaged(path, error.to_string()),
        }
    }
}
