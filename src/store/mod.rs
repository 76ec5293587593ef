//! The project file on disk: SQLite, one transaction per edit. Leaves the meaning of an edit to [`crate::project`].
//!
//! # Never losing a committed edit
//!
//! [`Store::commit`] returns after the edit's transaction is on the disk, so killing the process at any later moment
//! loses nothing, and killing it earlier leaves the file as it was before that edit. The rollback journal (not WAL) is
//! chosen on purpose: between edits the project is exactly one file, which people copy, mail and back up, and a folder
//! that may only be read can still be opened. `synchronous = EXTRA` also survives a power cut. An edit costs a few
//! milliseconds that way, which is why the window hands edits to a [`Writer`] instead of waiting.
//!
//! A file of a newer Sparrow is told by its header, read before SQLite sees the file; it is never touched. One of an
//! older Sparrow is read as it is and upgraded in the transaction of the first write: masks that cannot be written can
//! still be read.

mod error;
mod file;
mod rows;
mod schema;
#[cfg(test)]
mod tests;
mod video;
mod writer;

pub use error::StoreError;
pub use file::{Existing, Store};
pub use schema::VERSION;
pub use video::{VideoChange, VideoPlace, compare_video, find_video, videos_named_like};
pub use writer::{Writer, WriterState};
