//! One project file: create, open, commit, copy. Leaves rows to [`super::rows`] and tables to [`super::schema`].

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, TransactionBehavior};

use super::{
    error::StoreError,
    rows::{self, RowError},
    schema::{self, APPLICATION_ID, VERSION},
};
use crate::project::{Document, Edit};

/// What to do when a file of the wanted name is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Leave it and fail.
    Refuse,
    /// Put the new file in its place, at once and whole.
    Replace,
}

/// An open project file.
#[derive(Debug)]
pub struct Store {
    pub(super) db: Connection,
    path: PathBuf,
    /// The file's generation as this store last saw it.
    generation: i64,
    read_only: bool,
}

const HEADER: usize = 100;
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

fn big_endian(header: &[u8; HEADER], at: usize) -> u32 {
    u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

/// Whether the file is a project of a known version, told by its header without SQLite, which might write (roll back a
/// journal).
fn check_header(path: &Path) -> Result<(), StoreError> {
    let io = |e: std::io::Error| match StoreError::io(path, &e) {
        // Nothing was to be saved here.
        StoreError::ReadOnly(path) => StoreError::Io {
            reason: e.to_string(),
            path,
        },
        other => other,
    };
    let mut file = File::open(path).map_err(io)?;
    if file.metadata().map_err(io)?.is_dir() {
        return Err(StoreError::NotAProject(path.to_path_buf()));
    }
    let mut header = [0; HEADER];
    if let Err(e) = file.read_exact(&mut header) {
        return Err(match e.kind() {
            std::io::ErrorKind::UnexpectedEof => StoreError::NotAProject(path.to_path_buf()),
            _ => io(e),
        });
    }
    if &header[..16] != MAGIC || big_endian(&header, 68) != APPLICATION_ID {
        return Err(StoreError::NotAProject(path.to_path_buf()));
    }
    match big_endian(&header, 60) {
        0 => Err(StoreError::NotAProject(path.to_path_buf())),
        version if version > VERSION => Err(StoreError::Newer {
            version,
            known: VERSION,
            path: path.to_path_buf(),
        }),
        _ => Ok(()),
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    // Without CREATE, and without reading the path as a URI.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(Duration::from_secs(2))?;
    db.pragma_update(None, "trusted_schema", false)?;
    db.pragma_update(None, "foreign_keys", true)?;
    db.pragma_update(None, "synchronous", "EXTRA")?;
    Ok(db)
}

/// A temporary file beside `path`, with the permissions that a new file would get.
fn temporary_beside(path: &Path) -> Result<tempfile::NamedTempFile, StoreError> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".sparrow-").suffix(".part");
    #[cfg(unix)]
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    #[cfg(unix)]
    builder.permissions(mode);
    builder
        .tempfile_in(dir)
        .map_err(|e| StoreError::making(path, dir, &e))
}

/// Gives a finished temporary file its name.
fn publish(
    file: tempfile::NamedTempFile,
    path: &Path,
    existing: Existing,
) -> Result<(), StoreError> {
    let io = |e: std::io::Error| StoreError::io(path, &e);
    // A journal left beside a file of this name belongs to that file: SQLite would roll it back into the new one.
    let mut journal = path.as_os_str().to_owned();
    journal.push("-journal");
    if existing == Existing::Replace || !path.exists() {
        match std::fs::remove_file(&journal) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(io(e)),
            _ => {}
        }
    }
    match existing {
        Existing::Refuse => file.persist_noclobber(path),
        Existing::Replace => file.persist(path),
    }
    .map_err(|e| io(e.error))?;
    // The name must survive a power cut too. Not every system lets a folder be synchronised.
    let folder = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    if let Ok(dir) = File::open(folder) {
        drop(dir.sync_all());
    }
    Ok(())
}

impl Store {
    /// Writes a new project file and opens it. The file appears whole or not at all.
    ///
    /// # Errors
    /// [`StoreError`]: the name is taken, the folder is write-protected, the disk is full.
    pub fn create(path: &Path, doc: &Document, existing: Existing) -> Result<Self, StoreError> {
        if existing == Existing::Refuse && path.exists() {
            return Err(StoreError::Exists(path.to_path_buf()));
        }
        let file = temporary_beside(path)?;
        let sql = |e: rusqlite::Error| StoreError::sql(path, &e);
        let mut db = connect(file.path()).map_err(sql)?;
        let transaction = db.transaction().map_err(sql)?;
        schema::upgrade(&transaction, 0).map_err(sql)?;
        rows::write_document(&transaction, doc).map_err(|e| row_error(path, e))?;
        transaction.commit().map_err(sql)?;
        db.close().map_err(|(_, e)| sql(e))?;
        publish(file, path, existing)?;
        Self::open(path)
    }

    /// Opens a project file. One of an older version is upgraded by the first write, so that what is only looked at
    /// stays as it is; a write-protected one opens for reading.
    ///
    /// # Errors
    /// [`StoreError`]: not there, not a project, of a newer version (then it is not touched).
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        check_header(path)?;
        let sql = |e: rusqlite::Error| StoreError::sql(path, &e);
        let db = connect(path).map_err(sql)?;
        let read_only = db.is_readonly("main").map_err(sql)?;
        let generation = db
            .query_row("SELECT generation FROM document", [], |r| r.get(0))
            .optional()
            .map_err(sql)?
            .ok_or_else(|| StoreError::damaged(path, "it holds no document"))?;
        Ok(Self {
            db,
            path: path.to_path_buf(),
            generation,
            read_only,
        })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file can only be read.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Reads the document.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if what the file holds makes no sense.
    pub fn load(&self) -> Result<Document, StoreError> {
        rows::read_document(&self.db, &self.path)
    }

    /// Keeps one edit, which the document has taken already; when this returns, it is on the disk. A group is one
    /// transaction like any other edit.
    ///
    /// # Errors
    /// [`StoreError`]; the file is then as it was, and the same edit may be tried again if
    /// [`StoreError::is_passing`].
    pub fn commit(&mut self, edit: &Edit) -> Result<(), StoreError> {
        self.transact(|db| rows::write_edit(db, edit))
    }

    fn transact(
        &mut self,
        write: impl FnOnce(&Connection) -> Result<(), RowError>,
    ) -> Result<(), StoreError> {
        if self.read_only {
            return Err(StoreError::ReadOnly(self.path.clone()));
        }
        let path = &self.path;
        let sql = |e: rusqlite::Error| StoreError::sql(path, &e);
        // Immediate: the lock is taken before the generation is looked at, so nobody slips in between.
        let transaction = self
            .db
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(sql)?;
        let generation: i64 = transaction
            .query_row("SELECT generation FROM document", [], |r| r.get(0))
            .map_err(sql)?;
        if generation != self.generation {
            return Err(StoreError::ChangedElsewhere(path.clone()));
        }
        // Another program may have upgraded it since it was opened.
        let version: u32 = transaction
            .pragma_query_value(None, "user_version", |r| r.get(0))
            .map_err(sql)?;
        if version > VERSION {
            return Err(StoreError::Newer {
                version,
                known: VERSION,
                path: path.clone(),
            });
        }
        schema::upgrade(&transaction, version).map_err(sql)?;
        write(&transaction).map_err(|e| row_error(path, e))?;
        transaction
            .execute("UPDATE document SET generation = ?1", [generation + 1])
            .map_err(sql)?;
        transaction.commit().map_err(sql)?;
        self.generation = generation + 1;
        Ok(())
    }

    /// A setting of this project.
    ///
    /// # Errors
    /// [`StoreError`] if the file cannot be read.
    pub fn setting(&self, key: &str) -> Result<Option<String>, StoreError> {
        self.db
            .query_row("SELECT value FROM setting WHERE key = ?1", [key], |r| {
                r.get(0)
            })
            .optional()
            .map_err(|e| StoreError::sql(&self.path, &e))
    }

    /// Keeps a setting of this project.
    ///
    /// # Errors
    /// [`StoreError`] if the file cannot be written.
    pub fn set_setting(&mut self, key: &str, value: &str) -> Result<(), StoreError> {
        self.transact(|db| {
            db.execute(
                "INSERT OR REPLACE INTO setting VALUES (?1, ?2)",
                (key, value),
            )?;
            Ok(())
        })
    }

    /// The video's frame table as it was kept; what the bytes mean is the video room's business.
    ///
    /// # Errors
    /// [`StoreError`] if the file cannot be read.
    pub fn frame_table(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.db
            .query_row("SELECT bytes FROM frame_table", [], |r| r.get(0))
            .optional()
            .map_err(|e| StoreError::sql(&self.path, &e))
    }

    /// Keeps the video's frame table.
    ///
    /// # Errors
    /// [`StoreError`] if the file cannot be written.
    pub fn set_frame_table(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.transact(|db| {
            db.execute("INSERT OR REPLACE INTO frame_table VALUES (1, ?1)", [bytes])?;
            Ok(())
        })
    }

    /// Writes a copy with everything in it under another name; this store stays with its own file.
    ///
    /// # Errors
    /// [`StoreError`]: the name is taken, the folder is write-protected, the disk is full.
    pub fn save_copy(&self, path: &Path, existing: Existing) -> Result<(), StoreError> {
        if existing == Existing::Refuse && path.exists() {
            return Err(StoreError::Exists(path.to_path_buf()));
        }
        let file = temporary_beside(path)?;
        let Some(name) = file.path().to_str() else {
            return Err(StoreError::Io {
                reason: "the path is not valid Unicode".to_owned(),
                path: path.to_path_buf(),
            });
        };
        self.db
            .execute("VACUUM INTO ?1", [name])
            .map_err(|e| StoreError::sql(path, &e))?;
        file.as_file()
            .sync_all()
            .map_err(|e| StoreError::io(path, &e))?;
        publish(file, path, existing)
    }
}

fn row_error(path: &Path, error: RowError) -> StoreError {
    match error {
        RowError::Sql(e) => StoreError::sql(path, &e),
        RowError::OutOfStep => StoreError::OutOfStep(path.to_path_buf()),
    }
}
