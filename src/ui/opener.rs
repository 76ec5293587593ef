//! From a path to what is to be opened: a project's document and its video, or a video and the project that belongs to
//! it. Runs on a thread of its own; decoding is the decoder's thread's work.

use std::path::{Path, PathBuf};

use crossbeam_channel::{Receiver, bounded};

use super::{Sample, session::Wake, settings};
use crate::{
    project::Document,
    store::{Store, VideoPlace, Writer, find_video},
};

/// What stands behind a path.
pub(crate) struct Resolved {
    /// What the decoder is to open.
    pub(crate) video: PathBuf,
    /// The project that is there already.
    pub(crate) project: Option<Project>,
    /// Where a new project may go, best first.
    pub(crate) places: Vec<PathBuf>,
}

/// A project on disk.
pub(crate) struct Project {
    pub(crate) doc: Document,
    pub(crate) path: PathBuf,
    /// `None` if the file may only be read.
    pub(crate) writer: Option<Writer>,
}

/// What is to be opened.
pub(crate) enum Target {
    Path(PathBuf),
    Sample(Sample),
}

/// The answer is one sentence if it does not work.
pub(crate) type Answer = Receiver<Result<Resolved, String>>;

/// Starts looking; `wake` is called when the answer is there.
pub(crate) fn start(target: Target, wake: Wake) -> std::io::Result<Answer> {
    let (send, answer) = bounded(1);
    std::thread::Builder::new()
        .name("sparrow-open".to_owned())
        .spawn(move || {
            // The window may have been closed meanwhile.
            send.send(resolve(target, &wake)).ok();
            wake();
        })?;
    Ok(answer)
}

fn resolve(target: Target, wake: &Wake) -> Result<Resolved, String> {
    match target {
        Target::Path(path) if is_project(&path) => open_project(path, wake),
        Target::Path(path) => open_video(path, wake),
        Target::Sample(Sample::Path(path)) => open_video(path, wake),
        Target::Sample(Sample::Bytes { name, bytes }) => {
            open_video(unpack_sample(name, bytes)?, wake)
        }
    }
}

fn is_project(path: &Path) -> bool {
    path.extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("sparrow"))
}

/// Puts the bundled clip where the decoder can open it; one that is there already is used.
fn unpack_sample(name: &str, bytes: &[u8]) -> Result<PathBuf, String> {
    let folder = settings::data_dir()
        .unwrap_or_else(std::env::temp_dir)
        .join("sample");
    let path = folder.join(name);
    let say = |error: std::io::Error| {
        format!(
            "the sample clip could not be unpacked to {}: {error}",
            folder.display()
        )
    };
    if std::fs::metadata(&path).is_ok_and(|m| m.len() == bytes.len() as u64) {
        return Ok(path);
    }
    std::fs::create_dir_all(&folder).map_err(say)?;
    let mut file = tempfile::NamedTempFile::new_in(&folder).map_err(say)?;
    std::io::Write::write_all(&mut file, bytes).map_err(say)?;
    file.persist(&path).map_err(|e| say(e.error))?;
    Ok(path)
}

fn open_project(path: PathBuf, wake: &Wake) -> Result<Resolved, String> {
    let project = load(&path, wake)?;
    let video = match find_video(&path, &project.doc.video) {
        VideoPlace::AsRecorded(at) | VideoPlace::BesideProject(at) => at,
        VideoPlace::Missing(recorded) => {
            return Err(format!(
                "the video of this project, {}, is not there; put it beside {} and open the project again",
                recorded.display(),
                path.display()
            ));
        }
    };
    Ok(Resolved {
        video,
        project: Some(project),
        places: Vec::new(),
    })
}

fn load(path: &Path, wake: &Wake) -> Result<Project, String> {
    let store = Store::open(path).map_err(|e| e.to_string())?;
    let doc = store.load().map_err(|e| e.to_string())?;
    let writer = if store.is_read_only() {
        None
    } else {
        let wake = wake.clone();
        Some(Writer::start(store, move || wake()).map_err(|e| e.to_string())?)
    };
    Ok(Project {
        doc,
        path: path.to_path_buf(),
        writer,
    })
}

fn open_video(path: PathBuf, wake: &Wake) -> Result<Resolved, String> {
    // Paths on the command line are relative; the project must find its video from anywhere.
    let path = std::path::absolute(&path).unwrap_or(path);
    let places = places_for(&path);
    let existing = places.iter().find(|p| p.exists());
    let project = match existing {
        Some(place) => match load(place, wake) {
            Ok(project) if is_of(&project, &path) => Some(project),
            // Another video's project, or a damaged file: it is left alone, a new one gets a number.
            Ok(_) => None,
            Err(why) => {
                tracing::warn!("{}: {why}", place.display());
                None
            }
        },
        None => None,
    };
    Ok(Resolved {
        video: path,
        project,
        places,
    })
}

fn is_of(project: &Project, video: &Path) -> bool {
    match find_video(&project.path, &project.doc.video) {
        VideoPlace::AsRecorded(at) | VideoPlace::BesideProject(at) => {
            let whole = |p: &Path| p.canonicalize().unwrap_or_else(|_| p.to_path_buf());
            whole(&at) == whole(video)
        }
        VideoPlace::Missing(_) => false,
    }
}

/// Beside the video, or in the user's data folder if that may not be written to.
fn places_for(video: &Path) -> Vec<PathBuf> {
    let name = video
        .file_stem()
        .or_else(|| video.file_name())
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
        + ".sparrow";
    let mut places = Vec::new();
    if let Some(folder) = video.parent() {
        places.push(folder.join(&name));
    }
    if let Some(data) = settings::data_dir() {
        places.push(data.join("projects").join(&name));
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        project::{Size, Thresholds, VideoInfo},
        store::Existing,
    };
    use std::sync::Arc;

    fn project_for(video: &Path) -> Document {
        let info = VideoInfo {
            path: video.display().to_string(),
            size: Size::new(4, 4),
            frames: 1,
            fps: 1.0,
            hash: String::new(),
        };
        Document::new(info, "nano", Thresholds::default())
    }

    #[test]
    fn a_video_brings_the_project_beside_it_but_not_another_ones() {
        let dir = tempfile::tempdir().unwrap();
        let video = dir.path().join("dog.mp4");
        let other = dir.path().join("cat.mp4");
        std::fs::write(&video, "v").unwrap();
        std::fs::write(&other, "v").unwrap();
        let place = dir.path().join("dog.sparrow");
        Store::create(&place, &project_for(&other), Existing::Refuse).unwrap();
        let wake: Wake = Arc::new(|| {});
        let found = open_video(video.clone(), &wake).unwrap();
        assert!(found.project.is_none());
        assert_eq!(found.places[0], place);
        std::fs::remove_file(&place).unwrap();
        Store::create(&place, &project_for(&video), Existing::Refuse).unwrap();
        let found = open_video(video.clone(), &wake).unwrap();
        assert_eq!(found.project.unwrap().path, place);
        let found = open_project(place, &wake).unwrap();
        assert_eq!(found.video, video);
    }

    #[test]
    fn a_project_without_its_video_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("dog.sparrow");
        let doc = project_for(&dir.path().join("gone.mp4"));
        Store::create(&place, &doc, Existing::Refuse).unwrap();
        let wake: Wake = Arc::new(|| {});
        let why = open_project(place, &wake).err().unwrap();
        assert!(why.contains("gone.mp4") && why.contains("beside"), "{why}");
    }

    #[test]
    fn the_sample_is_unpacked_once() {
        let why = unpack_sample("a/b\0c", b"x");
        assert!(why.is_err());
    }
}
