//! From a dataset's folder or file to a project of it, beside it. Runs on the opener's thread.

use std::path::{Path, PathBuf};

use super::{
    opener::{Refusal, places_for, video_beside},
    saver::{NAMES, create_file, numbered},
};
use crate::{
    formats::{self, Format},
    project::{counted, were},
    store::Store,
};

/// The project's setting that says which dataset and sequence it was made of.
const ORIGIN: &str = "imported from";

/// A sequence that is a project now.
pub(super) struct Imported {
    pub(super) project: PathBuf,
    /// What was done, one or two sentences.
    pub(super) fact: String,
    /// What the dataset has and the project has not, or what was guessed; `None` where nothing was.
    pub(super) warning: Option<String>,
}

/// A dataset's format and its sequences, one at least.
pub(super) type Dataset = (&'static dyn Format, Vec<String>);

/// What lies at `path`, if that is a dataset and no clip.
pub(super) fn dataset(path: &Path) -> Option<Dataset> {
    formats::detect(path)
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
            fact: format!(
                "The dataset was imported before: this is {}. Move that away to import it anew.",
                project.display()
            ),
            warning: None,
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
    // Frames on which an object is known to be absent have an empty one.
    let masks = doc.objects.iter().flat_map(|o| o.frames.values());
    let masks = masks.filter(|m| !m.rle.is_empty()).count();
    let objects = doc.objects.len();
    let fact = format!(
        "{} with {} {} imported to {}.",
        counted(objects, "object"),
        counted(masks, "mask"),
        were(objects),
        project.display()
    );
    let mut warnings: Vec<String> = imported
        .warnings
        .into_iter()
        // What helps is asked for at once, or found.
        .filter(|w| !w.ends_with(formats::PUT_VIDEO))
        .collect();
    if masks == 0 {
        warnings.push(format!("“{name}” has no mask, so there is only its video"));
    }
    let warning =
        (!warnings.is_empty()).then(|| format!("In the dataset: {}.", warnings.join("; ")));
    Ok(Imported {
        project,
        fact,
        warning,
    })
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
    use std::time::Instant;

    use super::*;
    use crate::{
        formats::{ExportOptions, FORMATS, export},
        project::{Document, FrameIndex, FrameMask, Rle, Size, Thresholds, VideoInfo},
        ui::{app::App, state::Weight},
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
            assert!(again.fact.contains("imported before"));
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

    /// A window in which what stands at a path was opened.
    fn opened(path: &Path) -> App {
        let mut app = App::without_model(&egui::Context::default());
        app.open(path.to_path_buf());
        let start = Instant::now();
        while app.state.opening.is_some() {
            assert!(start.elapsed().as_secs() < 120);
            app.poll_opening();
            std::thread::yield_now();
        }
        app
    }

    /// Every import was told in the colour of warnings.
    #[test]
    fn an_import_is_a_warning_only_where_something_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let video = dir.path().join("shot");
        std::fs::create_dir(&video).unwrap();
        for name in ["0.png", "1.png"] {
            image::RgbImage::new(4, 4).save(video.join(name)).unwrap();
        }
        let at = |name: &str| {
            let at = dir.path().join(name);
            exported(&formats::YoutubeVis, &at, "shot");
            at
        };
        let said = |app: &App| {
            let toasts = app.state.toasts.iter();
            let said = toasts.map(|t| (t.weight, t.text.clone()));
            said.collect::<Vec<_>>()
        };
        let whole = said(&opened(&at("whole")));
        assert_eq!(whole.len(), 1, "{whole:?}");
        assert_eq!(whole[0].0, Weight::Info);
        let fact = "1 object with 1 mask was imported to ";
        assert!(whole[0].1.starts_with(fact), "{whole:?}");
        // A crowd is no object.
        let part = at("part");
        let file = part.join("train/instances.json");
        let text = std::fs::read_to_string(&file).unwrap();
        let crowd = text.replace("\"iscrowd\":0", "\"iscrowd\":1");
        assert_ne!(crowd, text);
        std::fs::write(&file, crowd).unwrap();
        let part = said(&opened(&part));
        let weights: Vec<Weight> = part.iter().map(|(weight, _)| *weight).collect();
        assert_eq!(weights, [Weight::Info, Weight::Look], "{part:?}");
        assert!(
            part[1].1.contains("1 crowd region was left out"),
            "{part:?}"
        );
        assert!(part[1].1.contains("“shot” has no mask"), "{part:?}");
    }
}
