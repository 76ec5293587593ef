//! What every export shares: write beside the wanted place, read back, compare, then rename. Leaves what a file looks
//! like to the formats.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    Existing, ExportJob, ExportOptions, FORMATS, Format, FormatError, FrameReader, Kept, Loss,
    Watcher, clip_name, manifest, plain_name,
};
use crate::project::{Document, counted};

/// What an export did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportReport {
    /// Where it is.
    pub path: PathBuf,
    /// Name of the sequence in it.
    pub sequence: String,
    /// Masks written and read back, pixel by pixel.
    pub masks: usize,
    /// What the format could not hold.
    pub losses: Vec<Loss>,
}

/// Exports a document to the folder `out`.
///
/// # Errors
/// [`FormatError`]; the folder is then as it was before, or absent.
pub fn export<'a>(
    doc: &'a Document,
    format: &dyn Format,
    out: &Path,
    options: &'a ExportOptions,
    images: Option<&'a mut FrameReader<'a>>,
    watch: &'a mut Watcher<'a>,
) -> Result<ExportReport, FormatError> {
    // Refused at the door, before the long work.
    may_take_place(format, out, options.existing)?;
    must_not_go(doc, out, options)?;
    must_be_of_the_same_video(doc, format, out, options)?;
    let (kept, losses) = format.plan(doc, options)?;
    let sequence = options.sequence_name(doc);

    let parent = match out.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    fs::create_dir_all(parent).map_err(|e| FormatError::io(parent, &e))?;
    sweep(parent);
    let temporary = tempfile::Builder::new()
        .prefix(UNFINISHED)
        .tempdir_in(parent)
        .map_err(|e| FormatError::io(parent, &e))?;
    // Inside, because the temporary folder itself is closed to other users, and the export should not be.
    let dir = temporary.path().join("export");
    fs::create_dir(&dir).map_err(|e| FormatError::io(&dir, &e))?;
    let mut job = ExportJob {
        doc,
        options,
        dir: dir.clone(),
        images,
        watch,
    };
    format.write(&mut job)?;
    // From here on everything is written; reading back may take as long, and a wish to stop counts up to the renaming.
    let all = u64::from(doc.video.frames);
    job.step(all, all)?;
    let mut reading = |_, _| (job.watch)(all, all);
    read_back(format, &dir, &sequence, doc, &kept, &mut reading)?;
    let of = serde_json::to_string(&Origin::of(doc)).ok();
    manifest::write_about(&dir, format.name(), of.as_deref())
        .map_err(|e| FormatError::io(&dir, &e))?;
    job.step(all, all)?;

    let old = temporary.path().join("old");
    if out.exists() {
        may_take_place(format, out, options.existing)?;
        must_not_go(doc, out, options)?;
        must_be_of_the_same_video(doc, format, out, options)?;
        fs::rename(out, &old).map_err(|e| FormatError::io(out, &e))?;
    }
    if let Err(e) = fs::rename(&dir, out) {
        // Back as it was, as far as the system lets us.
        if old.exists() {
            fs::rename(&old, out).ok();
        }
        return Err(FormatError::io(out, &e));
    }
    Ok(ExportReport {
        path: out.to_path_buf(),
        sequence,
        masks: kept.len(),
        losses,
    })
}

/// How a folder that is being written is called until it is whole.
const UNFINISHED: &str = ".sparrow-export-";
/// Age from which an unfinished folder is taken to have nobody left who writes it.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// Removes what exports that were killed have left in `parent`; as good as it goes, for it is not what was asked. One that
/// holds an earlier export, moved out of the way, is left alone.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(UNFINISHED);
        let path = entry.path();
        let age = |dir: &Path| fs::metadata(dir).ok()?.modified().ok()?.elapsed().ok();
        // Where the age cannot be told, as when the folder's clock runs ahead, somebody may be writing.
        let old = |dir: &Path| age(dir).is_some_and(|age| age > ABANDONED);
        let inside = path.join("export");
        let untouched = old(&path) && (!inside.exists() || old(&inside));
        if ours && !path.join("old").exists() && untouched {
            fs::remove_dir_all(&path).ok();
        }
    }
}

/// Whether `out` is free, empty, or an earlier export that may be replaced: of the same format, and every file of it written by it.
fn may_take_place(format: &dyn Format, out: &Path, existing: Existing) -> Result<(), FormatError> {
    if !out.exists() {
        return Ok(());
    }
    if !out.is_dir() {
        return Err(FormatError::NotAFolder(out.to_path_buf()));
    }
    let io = |e: std::io::Error| FormatError::io(out, &e);
    // First: leave to replace is of no use where other things lie.
    if let Some(found) = manifest::foreign(out, format.name(), &[]).map_err(io)? {
        for other in FORMATS {
            if manifest::foreign(out, other.name(), &[])
                .map_err(io)?
                .is_none()
            {
                return Err(FormatError::OtherFormat {
                    format: other.name(),
                    path: out.to_path_buf(),
                });
            }
        }
        return Err(FormatError::NotAnExport {
            found: found.display().to_string(),
            path: out.to_path_buf(),
        });
    }
    let empty = fs::read_dir(out).map_err(io)?.next().is_none();
    match existing {
        Existing::Refuse if !empty => Err(FormatError::Exists(out.to_path_buf())),
        Existing::Refuse | Existing::Replace => Ok(()),
    }
}

/// Refuses an `out` that holds what must stay: the document's video (of an import, an earlier export's images), or the
/// folder that the program runs in.
fn must_not_go(doc: &Document, out: &Path, options: &ExportOptions) -> Result<(), FormatError> {
    let Ok(place) = out.canonicalize() else {
        return Ok(());
    };
    let inside = |path: &Path| path.canonicalize().is_ok_and(|p| p.starts_with(&place));
    if inside(Path::new(".")) {
        return Err(FormatError::Here(out.to_path_buf()));
    }
    let recorded = Path::new(&doc.video.path);
    if inside(recorded) || options.video.as_deref().is_some_and(inside) {
        return Err(FormatError::HoldsVideo(out.to_path_buf()));
    }
    Ok(())
}

/// Which video an export is of, in the list of its files.
#[derive(Debug, Serialize, Deserialize)]
struct Origin {
    /// Name of the clip as a folder name.
    clip: String,
    width: u32,
    height: u32,
    frames: u32,
    hash: String,
}

impl Origin {
    fn of(doc: &Document) -> Self {
        let v = &doc.video;
        Self {
            clip: plain_name(clip_name(&v.path), "video"),
            width: v.size.width,
            height: v.size.height,
            frames: v.frames,
            hash: v.hash.clone(),
        }
    }

    /// Whether the content is another one, as far as is known; by name where it is not.
    fn is_other(&self, than: &Self) -> bool {
        let shape = |o: &Self| (o.width, o.height, o.frames);
        let known = !self.hash.is_empty() && !than.hash.is_empty();
        let differs = if known {
            self.hash != than.hash
        } else {
            self.clip != than.clip
        };
        shape(self) != shape(than) || differs
    }
}

/// Refuses an `out` that holds an earlier export of another video. One that does not say which it is of is told by the names
/// of its sequences.
fn must_be_of_the_same_video(
    doc: &Document,
    format: &dyn Format,
    out: &Path,
    options: &ExportOptions,
) -> Result<(), FormatError> {
    let said = manifest::about(out).map_err(|e| FormatError::io(out, &e))?;
    let found = match said.and_then(|text| serde_json::from_str::<Origin>(&text).ok()) {
        Some(there) => there.is_other(&Origin::of(doc)).then(|| {
            let (frames, size) = (counted(there.frames, "frame"), (there.width, there.height));
            format!("{}, {frames} of {}×{} pixels", there.clip, size.0, size.1)
        }),
        None => {
            let mut names = format.sequences(out).unwrap_or_default();
            names.retain(|name| *name != options.sequence_name(doc));
            (!names.is_empty()).then(|| names.join(", "))
        }
    };
    match found {
        None => Ok(()),
        Some(found) => Err(FormatError::OtherVideo {
            found,
            path: out.to_path_buf(),
        }),
    }
}

fn read_back(
    format: &dyn Format,
    dir: &Path,
    sequence: &str,
    doc: &Document,
    kept: &Kept,
    watch: &mut Watcher<'_>,
) -> Result<(), FormatError> {
    let wrong = |what: String| Err(FormatError::ReadBack(what));
    let there = format.read(dir, sequence, watch)?.document;
    if there.video.size != doc.video.size && !kept.is_empty() {
        return wrong("the frame size differs".to_owned());
    }
    let mut found = 0;
    for object in &there.objects {
        for (&frame, mask) in &object.frames {
            if mask.rle.is_empty() {
                continue;
            }
            found += 1;
            match kept.get(&(object.id, frame)) {
                None => {
                    return wrong(format!(
                        "object {} on frame {} was never there",
                        object.id.0, frame.0
                    ));
                }
                Some(meant) if *meant != mask.rle => {
                    return wrong(format!(
                        "object {} on frame {} has other pixels",
                        object.id.0, frame.0
                    ));
                }
                Some(_) => {}
            }
        }
    }
    if found == kept.len() {
        Ok(())
    } else {
        wrong(format!("{found} masks instead of {}", kept.len()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn what_a_killed_export_left_goes_and_what_is_being_written_stays() {
        let dir = tempfile::tempdir().unwrap();
        let long_ago = SystemTime::now() - 2 * ABANDONED;
        let make = |name: &str, inside: &str, then: SystemTime| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.join(inside)).unwrap();
            for dir in [path.join(inside), path.clone()] {
                fs::File::open(dir).unwrap().set_modified(then).unwrap();
            }
            path
        };
        let killed = make(".sparrow-export-a", "export", long_ago);
        let alive = make(".sparrow-export-b", "export", SystemTime::now());
        let keeps = make(".sparrow-export-c", "old", long_ago);
        let other = make("export-d", "export", long_ago);
        let ahead = make(
            ".sparrow-export-e",
            "export",
            SystemTime::now() + 2 * ABANDONED,
        );
        sweep(dir.path());
        assert!(!killed.exists());
        assert!(alive.exists() && keeps.exists() && other.exists() && ahead.exists());
        sweep(&dir.path().join("nowhere"));
    }
}
