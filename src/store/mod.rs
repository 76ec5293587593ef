//! The project file on disk: SQLite, one transaction per edit. Leaves the meaning of an edit to [`crate::project`].
