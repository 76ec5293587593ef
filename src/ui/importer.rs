//! From a dataset's folder or file to a project of it, beside it. Runs on the opener's thread.

use std::path::{Path, PathBuf};

use super::{
    opener::{Refusal, places_for, video_beside},
    saver::{NAMES, create_file, numbered},
};
use crate::{
    formats::{self, Format},
    store::Store,
};

/// The project's setting that says which dataset and sequence it was made of.
const ORIGIN: &str = "imported from";

/// A sequence that is a project now.
pub(super) struct Imported {
    pub(super) project: PathBuf,
    /// What was done and what was found, in sentences.
    pub(super) notice: String,
}

/// A dataset's format and its sequences, one at least.
pub(super) type Dataset = (&'static dyn Format, Vec<String>);

/// What lies at `path`, if that is a dataset and no clip.
pub(super) fn dataset(path: &Path) -> Option<Dataset> {
    let is_json = path
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("json"));
    let may_be = if path.is_dir() {
        !formats::images_in(path).is_ok_and(|images| !images.is_empty())
    } else {
        is_json
    };
    may_be.then(|| formats::detect(path)).flatten()
}

/// Makes a project of the sequence of that name, or of the only one, in a file beside the dataset. One that was made
/// before is taken again.
pub(super) fn import(
    dataset: &Path,
    (format, names): Dataset,
    sequence: Option<&str>,
) -> Result<Imported, Refusal> {
    let name = match (sequence, names.as_slice()) {
        (Some(name), _) => name.to_owned(),
        (None, [only]) => only.clone(),
        (None, _) => {
            return Err(Refusal::WhichSequence {
                dataset: dataset.to_path_buf(),
                names,
            });
        }
    };
    let mut places = places_for(dataset);
    for place in places.iter_mut().filter(|_| names.len() > 1) {
        let stem = place.file_stem().unwrap_or_default().to_string_lossy();
        *place = place.with_file_name(format!("{stem}-{}.sparrow", plain(&name)));
    }
    let origin = format!("{}\n{name}", dataset.display());
    if let Some(project) = earlier(&places, &origin) {
        return Ok(Imported {
            notice: format!(
                "The dataset was imported before: this is {}. Move that away to import it anew.",
                project.display()
            ),
            project,
        });
    }
    let imported = format
        .read(dataset, &name, &mut |_, _| true)
        .map_err(|e| Refusal::Fault(e.to_string()))?;
    let mut doc = imported.document;
    if doc.video.path.is_empty() {
        let like = format!("{}.sparrow", plain(&name));
        let found = places
            .iter()
            .find_map(|place| video_beside(&place.with_file_name(&like), &doc.video));
        if let Some(video) = found {
            doc.video.path = video.display().to_string();
        }
    }
    let (project, mut store) = create_file(&places, &doc).map_err(Refusal::Fault)?;
    if let Err(error) = store.set_setting(ORIGIN, &origin) {
        tracing::warn!("where it was imported from was not kept: {error}");
    }
    // It is opened like any other.
    drop(store);
    let masks: usize = doc.objects.iter().map(|o| o.frames.len()).sum();
    let mut notice = format!(
        "{} objects with {masks} masks were imported to {}.",
        doc.objects.len(),
        project.display()
    );
    let warnings: Vec<String> = imported
        .warnings
        .into_iter()
        // What helps is asked for at once, or found.
        .filter(|w| !w.ends_with(formats::PUT_VIDEO))
        .collect();
    if !warnings.is_empty() {
        notice += &format!(" In the dataset: {}.", warnings.join("; "));
    }
    Ok(Imported { project, notice })
}

/// A sequence may be called like a folder in a folder.
fn plain(name: &str) -> String {
    name.replace(['/', '\\'], "_")
}

/// An earlier import of the same sequence.
fn earlier(places: &[PathBuf], origin: &str) -> Option<PathBuf> {
    let names = places
        .iter()
        .flat_map(|place| (1..NAMES).map(|n| numbered(place, n)));
    names.filter(|name| name.exists()).find(|name| {
        let told = Store::open(name).and_then(|store| store.setting(ORIGIN));
        told.is_ok_and(|told| told.as_deref() == Some(origin))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        formats::{ExportOptions, FORMATS, export},
        project::{Document, FrameIndex, FrameMask, Rle, Size, Thresholds, VideoInfo},
    };

    fn davis(at: &Path) -> Dataset {
        let names = formats::Davis.sequences(at).unwrap();
        (&formats::Davis, names)
    }

    fn exported(format: &dyn Format, at: &Path, sequence: &str) {
        let size = Size::new(4, 4);
        let video = VideoInfo {
            path: String::new(),
            size,
            frames: 2,
            fps: 25.0,
            hash: String::new(),
        };
        let mut doc = Document::new(video, "nano", Thresholds::default());
        let mut object = doc.new_object("the box");
        let rle = Rle::new(size, vec![4, 4, 8]).unwrap();
        object.frames.insert(FrameIndex(0), FrameMask::by_hand(rle));
        doc.objects.push(object);
        let options = ExportOptions {
            sequence: Some(sequence.to_owned()),
            ..ExportOptions::default()
        };
        export(&doc, format, at, &options, None, &mut |_, _| true).unwrap();
    }

    #[test]
    fn a_dataset_of_every_format_is_known_and_becomes_a_project_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        for &format in FORMATS {
            let at = dir.path().join(format.name());
            exported(format, &at, "shot");
            let known = dataset(&at).unwrap();
            assert_eq!(known.0.name(), format.name());
            let made = import(&at, known.clone(), None).ok().unwrap();
            assert_eq!(made.project, at.with_extension("sparrow"));
            let doc = Store::open(&made.project).unwrap().load().unwrap();
            assert_eq!(doc.objects.len(), 1);
            // What was made of it stays what it is.
            let again = import(&at, known, None).ok().unwrap();
            assert_eq!(again.project, made.project);
            assert!(again.notice.contains("imported before"));
        }
    }

    #[test]
    fn a_dataset_without_images_finds_the_video_of_its_sequence() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("out");
        exported(&formats::Davis, &at, "shot");
        let video = dir.path().join("shot");
        std::fs::create_dir(&video).unwrap();
        for name in ["0.png", "1.png"] {
            image::RgbImage::new(4, 4).save(video.join(name)).unwrap();
        }
        let made = import(&at, davis(&at), None).ok().unwrap();
        let doc = Store::open(&made.project).unwrap().load().unwrap();
        assert_eq!(Path::new(&doc.video.path), video);
    }

    #[test]
    fn of_several_sequences_one_is_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let (at, other) = (dir.path().join("out"), dir.path().join("other"));
        exported(&formats::Davis, &at, "a");
        exported(&formats::Davis, &other, "b");
        let inside = "Annotations/480p/b";
        std::fs::rename(other.join(inside), at.join(inside)).unwrap();
        let asked = import(&at, davis(&at), None).err().unwrap();
        assert!(matches!(asked, Refusal::WhichSequence { names, .. } if names == ["a", "b"]));
        let made = import(&at, davis(&at), Some("b")).ok().unwrap();
        assert_eq!(made.project, dir.path().join("out-b.sparrow"));
    }

    #[test]
    fn a_project_of_that_name_that_is_no_import_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("out");
        exported(&formats::Davis, &at, "shot");
        let first = import(&at, davis(&at), None).ok().unwrap().project;
        let doc = Store::open(&first).unwrap().load().unwrap();
        std::fs::remove_file(&first).unwrap();
        Store::create(&first, &doc, crate::store::Existing::Refuse).unwrap();
        for _ in 0..2 {
            let made = import(&at, davis(&at), None).ok().unwrap();
            assert_eq!(made.project, dir.path().join("out 2.sparrow"));
        }
    }

    #[test]
    fn a_folder_of_images_is_a_clip_whatever_lies_beside_them() {
        let dir = tempfile::tempdir().unwrap();
        exported(&formats::Davis, &dir.path().join("out"), "a");
        let at = dir.path().join("out");
        image::RgbImage::new(4, 4).save(at.join("0.png")).unwrap();
        assert!(dataset(&at).is_none());
        assert!(dataset(dir.path()).is_none());
    }
}
