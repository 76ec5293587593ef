//! The tables of a project file and their version.
//!
//! The version stands in SQLite's header (`user_version`), where it can be read without opening the database, and once
//! more in `schema_version`, one row for each version the file went through. To change the tables: raise [`VERSION`],
//! add the step to [`upgrade`], never change an earlier step.

use rusqlite::Connection;

/// Version that this program writes, and the highest that it reads.
pub const VERSION: u32 = 4;

/// SQLite's `application_id` of a project: "SPRW".
pub(super) const APPLICATION_ID: u32 = 0x5350_5257;

/// Version 1.
const TABLES: &str = "
CREATE TABLE schema_version (version INTEGER PRIMARY KEY, program TEXT NOT NULL) STRICT;

-- One row, id 1. generation grows by one with each commit: who sees another number than he left was overtaken.
CREATE TABLE document (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    generation INTEGER NOT NULL,
    next_id INTEGER NOT NULL,
    model TEXT NOT NULL,
    objectness REAL NOT NULL, keep REAL NOT NULL, at_most INTEGER NOT NULL,
    video_path TEXT NOT NULL, video_width INTEGER NOT NULL, video_height INTEGER NOT NULL,
    video_frames INTEGER NOT NULL, video_fps REAL NOT NULL, video_hash TEXT NOT NULL
) STRICT;

-- place: position in the list of objects, from 0, without gaps.
CREATE TABLE object (
    id INTEGER PRIMARY KEY,
    place INTEGER NOT NULL,
    name TEXT NOT NULL, phrase TEXT NOT NULL,
    colour INTEGER NOT NULL, visible INTEGER NOT NULL, locked INTEGER NOT NULL
) STRICT;

-- counts: COCO's compressed run lengths at the video's size.
CREATE TABLE mask (
    object INTEGER NOT NULL REFERENCES object (id) ON DELETE CASCADE,
    frame INTEGER NOT NULL,
    counts TEXT NOT NULL,
    score REAL NOT NULL, iou REAL NOT NULL,
    provenance TEXT NOT NULL CHECK (provenance IN ('human', 'model', 'propagated')),
    anchor INTEGER NOT NULL,
    drift_object_score REAL NOT NULL, drift_predicted_iou REAL NOT NULL, drift_area_jump REAL NOT NULL,
    drift_centroid_jump REAL NOT NULL, drift_box_mask REAL NOT NULL,
    PRIMARY KEY (object, frame)
) STRICT;

-- json: the whole emission; place as above.
CREATE TABLE emission (place INTEGER NOT NULL, json TEXT NOT NULL) STRICT;

CREATE TABLE setting (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE frame_table (id INTEGER PRIMARY KEY CHECK (id = 1), bytes BLOB NOT NULL) STRICT;
";

/// Version 2: one more sign of drift.
const ON_OTHER: &str = "ALTER TABLE mask ADD COLUMN drift_on_other REAL NOT NULL DEFAULT 0;";

/// Version 3: and one more.
const SPLIT: &str = "ALTER TABLE mask ADD COLUMN drift_split REAL NOT NULL DEFAULT 0;";

/// Version 4: and a third.
const LEFT_OUT: &str = "ALTER TABLE mask ADD COLUMN drift_left_out REAL NOT NULL DEFAULT 0;";

fn program() -> String {
    format!("sparrow {}", env!("CARGO_PKG_VERSION"))
}

/// Brings a database of version `from` (0: empty) to [`VERSION`], inside the caller's transaction.
pub(super) fn upgrade(db: &Connection, from: u32) -> rusqlite::Result<()> {
    if from < 1 {
        db.execute_batch(TABLES)?;
        db.pragma_update(None, "application_id", APPLICATION_ID)?;
    }
    if from < 2 {
        db.execute_batch(ON_OTHER)?;
    }
    if from < 3 {
        db.execute_batch(SPLIT)?;
    }
    if from < 4 {
        db.execute_batch(LEFT_OUT)?;
    }
    if from < VERSION {
        db.pragma_update(None, "user_version", VERSION)?;
        db.execute(
            "INSERT INTO schema_version (version, program) VALUES (?1, ?2)",
            (VERSION, program()),
        )?;
    }
    Ok(())
}
