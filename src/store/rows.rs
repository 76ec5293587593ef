//! Documents and edits as rows. Leaves transactions, versions and sentences to [`super::file`].

use std::{collections::BTreeMap, path::Path};

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::error::StoreError;
use crate::project::{
    Document, DriftSignal, Edit, Emission, FrameIndex, FrameMask, Object, ObjectId, Provenance,
    Rle, Size, Thresholds, VideoInfo,
};

/// Longest side of a video that a file may claim: beyond it a mask's pixels no longer fit 32 bits.
const MAX_SIDE: u32 = 65_535;

/// What stops a row from being written.
pub(super) enum RowError {
    /// SQLite said no.
    Sql(rusqlite::Error),
    /// The row that the edit changes is not there, or is not what the edit expects.
    OutOfStep,
}

impl From<rusqlite::Error> for RowError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

type Written = Result<(), RowError>;

/// Exactly one row must have changed.
fn one(rows: usize) -> Written {
    if rows == 1 {
        Ok(())
    } else {
        Err(RowError::OutOfStep)
    }
}

fn provenance_text(provenance: Provenance) -> &'static str {
    match provenance {
        Provenance::Human => "human",
        Provenance::Model => "model",
        Provenance::Propagated => "propagated",
    }
}

/// An emission is plain data with text keys, which JSON always holds.
fn emission_json(emission: &Emission) -> Result<String, RowError> {
    serde_json::to_string(emission).map_err(|_source| RowError::OutOfStep)
}

/// Fills an empty database with a document.
pub(super) fn write_document(db: &Connection, doc: &Document) -> Written {
    let (v, t) = (&doc.video, &doc.thresholds);
    db.execute(
        "INSERT INTO document VALUES (1, 0, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        params![
            doc.next_id,
            doc.model,
            t.objectness,
            t.keep,
            t.at_most,
            v.path,
            v.size.width,
            v.size.height,
            v.frames,
            v.fps,
            v.hash
        ],
    )?;
    for (place, object) in doc.objects.iter().enumerate() {
        insert_object(db, object, place_of(place))?;
    }
    for (place, emission) in doc.emissions.iter().enumerate() {
        insert_emission(db, emission, place_of(place))?;
    }
    Ok(())
}

fn insert_object(db: &Connection, object: &Object, place: u32) -> Written {
    db.prepare_cached("INSERT INTO object VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
        .execute(params![
            object.id.0,
            place,
            object.name,
            object.phrase,
            object.colour,
            object.visible,
            object.locked
        ])?;
    for (&frame, mask) in &object.frames {
        put_mask(db, object.id, frame, mask)?;
    }
    Ok(())
}

fn put_mask(db: &Connection, id: ObjectId, frame: FrameIndex, mask: &FrameMask) -> Written {
    let d = &mask.drift;
    db.prepare_cached(
        "INSERT OR REPLACE INTO mask VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
    )?
    .execute(params![
        id.0,
        frame.0,
        mask.rle.to_coco_string(),
        mask.score,
        mask.iou,
        provenance_text(mask.provenance),
        mask.anchor,
        d.object_score,
        d.predicted_iou,
        d.area_jump,
        d.centroid_jump,
        d.box_mask,
        d.on_other,
        d.split,
        d.left_out
    ])?;
    Ok(())
}

fn insert_emission(db: &Connection, emission: &Emission, place: u32) -> Written {
    let json = emission_json(emission)?;
    db.prepare_cached("INSERT INTO emission VALUES (?1, ?2)")?
        .execute((place, json))?;
    Ok(())
}

fn count(db: &Connection, table: &str) -> rusqlite::Result<u32> {
    db.query_row(&format!("SELECT COUNT(*) FROM {table}"), [], |r| r.get(0))
}

/// A list index as a place; no list is longer than 32 bits hold, so a larger index means "at the end".
fn place_of(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// Writes what an edit changes, inside the caller's transaction.
pub(super) fn write_edit(db: &Connection, edit: &Edit) -> Written {
    match edit {
        Edit::AddObject { object, at } => {
            let at = place_of(*at).min(count(db, "object")?);
            db.execute("UPDATE object SET place = place + 1 WHERE place >= ?1", [at])?;
            insert_object(db, object, at)?;
            let next = object.id.0.saturating_add(1);
            one(db.execute("UPDATE document SET next_id = MAX(next_id, ?1)", [next])?)
        }
        Edit::RemoveObject { id } => {
            let place = place_in_list(db, *id)?;
            one(db.execute("DELETE FROM object WHERE id = ?1", [id.0])?)?;
            db.execute("UPDATE object SET place = place - 1 WHERE place > ?1", [place])?;
            Ok(())
        }
        Edit::MoveObject { id, at } => move_object(db, *id, *at),
        Edit::Rename { id, name } => {
            one(db.execute("UPDATE object SET name = ?2 WHERE id = ?1", (id.0, name))?)
        }
        Edit::SetPhrase { id, phrase } => {
            one(db.execute("UPDATE object SET phrase = ?2 WHERE id = ?1", (id.0, phrase))?)
        }
        Edit::SetVisible { id, visible } => {
            one(db.execute("UPDATE object SET visible = ?2 WHERE id = ?1", (id.0, visible))?)
        }
        Edit::SetColour { id, colour } => {
            one(db.execute("UPDATE object SET colour = ?2 WHERE id = ?1", (id.0, colour))?)
        }
        Edit::SetLocked { id, locked } => {
            one(db.execute("UPDATE object SET locked = ?2 WHERE id = ?1", (id.0, locked))?)
        }
        Edit::SetMasks { id, masks, .. } => {
            for (&frame, mask) in masks {
                match mask {
                    Some(mask) => put_mask(db, *id, frame, mask)?,
                    None => one(db
                        .prepare_cached("DELETE FROM mask WHERE object = ?1 AND frame = ?2")?
                        .execute((id.0, frame.0))?)?,
                }
            }
            Ok(())
        }
        Edit::SetAnchor { id, frame, anchor } => one(db.execute(
            "UPDATE mask SET anchor = ?3, provenance = CASE WHEN ?3 THEN 'human' ELSE provenance END
             WHERE object = ?1 AND frame = ?2",
            (id.0, frame.0, anchor),
        )?),
        Edit::AddEmission { emission, at } => {
            let at = place_of(*at).min(count(db, "emission")?);
            db.execute("UPDATE emission SET place = place + 1 WHERE place >= ?1", [at])?;
            insert_emission(db, emission, at)
        }
        Edit::RemoveEmission { at } => {
            let at = place_of(*at);
            one(db.execute("DELETE FROM emission WHERE place = ?1", [at])?)?;
            db.execute("UPDATE emission SET place = place - 1 WHERE place > ?1", [at])?;
            Ok(())
        }
        Edit::ReplaceEmission { at, emission } => replace_emission(db, place_of(*at), emission),
        Edit::SetSelection { at, selected } => {
            let at = place_of(*at);
            let json: Option<String> = db
                .query_row("SELECT json FROM emission WHERE place = ?1", [at], |r| r.get(0))
                .optional()?;
            let mut emission: Emission = json
                .and_then(|json| serde_json::from_str(&json).ok())
                .ok_or(RowError::OutOfStep)?;
            if emission.proposals.len() != selected.len() {
                return Err(RowError::OutOfStep);
            }
            for (proposal, &flag) in emission.proposals.iter_mut().zip(selected) {
                proposal.selected = flag;
            }
            replace_emission(db, at, &emission)
        }
        Edit::SetThresholds { thresholds: t } => one(db.execute(
            "UPDATE document SET objectness = ?1, keep = ?2, at_most = ?3",
            (t.objectness, t.keep, t.at_most),
        )?),
        Edit::SetModel { model } => one(db.execute("UPDATE document SET model = ?1", [model])?),
        Edit::SetVideo { video: v } => one(db.execute(
            "UPDATE document SET video_path = ?1, video_width = ?2, video_height = ?3, video_frames = ?4,
             video_fps = ?5, video_hash = ?6",
            params![v.path, v.size.width, v.size.height, v.frames, v.fps, v.hash],
        )?),
        Edit::Group(edits) => edits.iter().try_for_each(|edit| write_edit(db, edit)),
    }
}

fn place_in_list(db: &Connection, id: ObjectId) -> Result<i64, RowError> {
    let place: Option<i64> = db
        .query_row("SELECT place FROM object WHERE id = ?1", [id.0], |r| {
            r.get(0)
        })
        .optional()?;
    place.ok_or(RowError::OutOfStep)
}

/// Puts an object at index `at` of the list; what lies between goes one place towards where it came from.
fn move_object(db: &Connection, id: ObjectId, at: usize) -> Written {
    let from = place_in_list(db, id)?;
    let last = count(db, "object")?.saturating_sub(1);
    let to = i64::from(place_of(at).min(last));
    db.execute(
        "UPDATE object SET place = place - 1 WHERE place > ?1 AND place <= ?2",
        (from, to),
    )?;
    db.execute(
        "UPDATE object SET place = place + 1 WHERE place >= ?2 AND place < ?1",
        (from, to),
    )?;
    one(db.execute("UPDATE object SET place = ?2 WHERE id = ?1", (id.0, to))?)
}

fn replace_emission(db: &Connection, at: u32, emission: &Emission) -> Written {
    let json = emission_json(emission)?;
    one(db.execute("UPDATE emission SET json = ?2 WHERE place = ?1", (at, json))?)
}

/// Reads the document back, checking everything that a damaged or foreign file could get wrong.
pub(super) fn read_document(db: &Connection, path: &Path) -> Result<Document, StoreError> {
    let sql = |e: rusqlite::Error| StoreError::sql(path, &e);
    let head = db.query_row(
        "SELECT next_id, model, objectness, keep, at_most, video_path, video_width, video_height, video_frames,
         video_fps, video_hash FROM document",
        [],
        |r| {
            Ok(Document {
                next_id: r.get(0)?,
                model: r.get(1)?,
                thresholds: Thresholds {
                    objectness: r.get(2)?,
                    keep: r.get(3)?,
                    at_most: r.get(4)?,
                },
                video: VideoInfo {
                    path: r.get(5)?,
                    size: Size::new(r.get(6)?, r.get(7)?),
                    frames: r.get(8)?,
                    fps: r.get(9)?,
                    hash: r.get(10)?,
                },
                objects: Vec::new(),
                emissions: Vec::new(),
            })
        },
    );
    let mut doc = match head {
        Err(rusqlite::Error::QueryReturnedNoRows) => {
            return Err(StoreError::damaged(path, "it holds no document"));
        }
        other => other.map_err(sql)?,
    };
    let size = doc.video.size;
    if size.width > MAX_SIDE || size.height > MAX_SIDE {
        return Err(StoreError::damaged(path, "the video's size"));
    }

    let mut masks = read_masks(db, path, &doc.video)?;
    let mut statement = db
        .prepare("SELECT id, name, phrase, colour, visible, locked FROM object ORDER BY place")
        .map_err(sql)?;
    let objects = statement
        .query_map([], |r| {
            let id = ObjectId(r.get(0)?);
            Ok(Object {
                id,
                name: r.get(1)?,
                phrase: r.get(2)?,
                colour: r.get(3)?,
                visible: r.get(4)?,
                locked: r.get(5)?,
                frames: masks.remove(&id).unwrap_or_default(),
            })
        })
        .map_err(sql)?;
    doc.objects = objects.collect::<Result<_, _>>().map_err(sql)?;
    if let Some(id) = masks.keys().next() {
        return Err(StoreError::damaged(
            path,
            format!("masks of an object {} that does not exist", id.0),
        ));
    }

    let mut statement = db
        .prepare("SELECT json FROM emission ORDER BY place")
        .map_err(sql)?;
    let texts = statement
        .query_map([], |r| r.get::<_, String>(0))
        .map_err(sql)?;
    for (i, text) in texts.enumerate() {
        let emission = serde_json::from_str(&text.map_err(sql)?)
            .map_err(|e| StoreError::damaged(path, format!("emission {i}: {e}")))?;
        doc.emissions.push(emission);
    }
    Ok(doc)
}

type Masks = BTreeMap<ObjectId, BTreeMap<FrameIndex, FrameMask>>;

fn read_masks(db: &Connection, path: &Path, video: &VideoInfo) -> Result<Masks, StoreError> {
    let sql = |e: rusqlite::Error| StoreError::sql(path, &e);
    let version: u32 = db
        .pragma_query_value(None, "user_version", |r| r.get(0))
        .map_err(sql)?;
    // A file that nobody has written to since stays of its version.
    let since = |first: u32, column: &'static str| if version < first { "0.0" } else { column };
    let (on_other, split) = (since(2, "drift_on_other"), since(3, "drift_split"));
    let left_out = since(4, "drift_left_out");
    let mut statement = db
        .prepare(&format!(
            "SELECT object, frame, counts, score, iou, provenance, anchor, drift_object_score, drift_predicted_iou,
             drift_area_jump, drift_centroid_jump, drift_box_mask, {on_other}, {split},
             {left_out} FROM mask"
        ))
        .map_err(sql)?;
    let mut rows = statement.query([]).map_err(sql)?;
    let mut masks = Masks::new();
    while let Some(row) = rows.next().map_err(sql)? {
        let id = ObjectId(row.get(0).map_err(sql)?);
        let frame = FrameIndex(row.get(1).map_err(sql)?);
        let place = || format!("object {}, frame {}", id.0, frame.0);
        if frame.0 >= video.frames {
            let what = format!("{}: the video has {} frames", place(), video.frames);
            return Err(StoreError::damaged(path, what));
        }
        let counts: String = row.get(2).map_err(sql)?;
        let rle = Rle::from_coco_string(video.size, &counts)
            .map_err(|e| StoreError::damaged(path, format!("{}: {e}", place())))?;
        let mask = read_mask(row, rle).map_err(sql)?;
        masks.entry(id).or_default().insert(frame, mask);
    }
    Ok(masks)
}

fn read_mask(row: &Row<'_>, rle: Rle) -> rusqlite::Result<FrameMask> {
    Ok(FrameMask {
        rle,
        score: row.get(3)?,
        iou: row.get(4)?,
        provenance: match row.get::<_, String>(5)?.as_str() {
            "human" => Provenance::Human,
            "model" => Provenance::Model,
            // The table's CHECK admits nothing else.
            _ => Provenance::Propagated,
        },
        anchor: row.get(6)?,
        drift: DriftSignal {
            object_score: row.get(7)?,
            predicted_iou: row.get(8)?,
            area_jump: row.get(9)?,
            centroid_jump: row.get(10)?,
            box_mask: row.get(11)?,
            on_other: row.get(12)?,
            split: row.get(13)?,
            left_out: row.get(14)?,
        },
    })
}
