//! From a path to what is to be opened: a project's document and its video, or a video and the project that belongs to
//! it. Runs on a thread of its own; decoding is the decoder's thread's work.

use std::{
    cell::LazyCell,
    path::{Path, PathBuf},
};

use crossbeam_channel::{Receiver, bounded};

use super::{
    Sample,
    saver::{NAMES, numbered},
    session::Wake,
    settings,
};
use crate::{
    project::Document,
    store::{Store, VideoChange, VideoPlace, Writer, compare_video, find_video},
};

/// What stands behind a path.
pub(crate) struct Resolved {
    /// What the decoder is to open.
    pub(crate) video: PathBuf,
    /// The project that is there already.
    pub(crate) project: Option<Project>,
    /// Where a new project may go, best first.
    pub(crate) places: Vec<PathBuf>,
    /// What to open the next time: the project if that was named, else the video.
    pub(crate) remember: PathBuf,
    /// Something to say about what was found, one sentence.
    pub(crate) notice: Option<String>,
}

/// A project on disk.
pub(crate) struct Project {
    pub(crate) doc: Document,
    pub(crate) path: PathBuf,
    /// `None` if the file may only be read.
    pub(crate) writer: Option<Writer>,
}

/// What is to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Path(PathBuf),
    Sample(Sample),
}

/// What is open now: its project must not be read while it is still being written.
#[derive(Clone, Debug)]
pub(crate) struct Open {
    pub(crate) video: PathBuf,
    pub(crate) project: Option<PathBuf>,
}

/// Disconnected once a document that was closed is on the disk.
pub(crate) type Closed = Receiver<std::convert::Infallible>;

/// Why nothing is opened.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is open; there is nothing to do.
    AlreadyOpen,
    /// One sentence.
    Fault(String),
}

impl From<String> for Refusal {
    fn from(why: String) -> Self {
        Self::Fault(why)
    }
}

pub(crate) type Answer = Receiver<Result<Resolved, Refusal>>;

/// Starts looking, once what was `closed` is on the disk; `wake` is called when the answer is there.
pub(crate) fn start(
    target: Target,
    open: Option<Open>,
    closed: Vec<Closed>,
    wake: Wake,
) -> std::io::Result<Answer> {
    let (send, answer) = bounded(1);
    std::thread::Builder::new()
        .name("sparrow-open".to_owned())
        .spawn(move || {
            wait_for(&closed);
            // The window may have been closed meanwhile.
            send.send(resolve(target, open.as_ref(), &wake)).ok();
            wake();
        })?;
    Ok(answer)
}

/// Waits until what was closed is on the disk.
pub(crate) fn wait_for(closed: &[Closed]) {
    for one in closed {
        // Nothing is ever sent: it ends when the other side does.
        one.recv().ok();
    }
}

fn resolve(target: Target, open: Option<&Open>, wake: &Wake) -> Result<Resolved, Refusal> {
    match target {
        Target::Path(path) if is_project(&path) => open_project(path, open, wake),
        Target::Path(path) => open_video(path, open, wake),
        Target::Sample(Sample::Path(path)) => open_video(path, open, wake),
        Target::Sample(Sample::Bytes { name, bytes }) => {
            open_video(unpack_sample(name, bytes)?, open, wake)
        }
    }
}

fn whole(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf())
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

fn open_project(path: PathBuf, open: Option<&Open>, wake: &Wake) -> Result<Resolved, Refusal> {
    let path = std::path::absolute(&path).unwrap_or(path);
    let is_open = open.and_then(|o| o.project.as_deref());
    if is_open.is_some_and(|p| whole(p) == whole(&path)) {
        return Err(Refusal::AlreadyOpen);
    }
    let found = read(&path)?;
    let video = match find_video(&path, &found.doc.video) {
        VideoPlace::AsRecorded(at) | VideoPlace::BesideProject(at) => at,
        VideoPlace::Missing(recorded) => {
            return Err(Refusal::Fault(format!(
                "the video of this project, {}, is not there; put it beside {} and open the project again",
                recorded.display(),
                path.display()
            )));
        }
    };
    Ok(Resolved {
        // For the case that the project does not fit what the video is now.
        places: places_for(&video),
        video,
        project: Some(found.into_project(wake)?),
        remember: path,
        notice: None,
    })
}

/// A project that was read and is not written to yet.
struct Found {
    path: PathBuf,
    doc: Document,
    store: Store,
}

fn read(path: &Path) -> Result<Found, String> {
    let store = Store::open(path).map_err(|e| e.to_string())?;
    let doc = store.load().map_err(|e| e.to_string())?;
    Ok(Found {
        path: path.to_path_buf(),
        doc,
        store,
    })
}

impl Found {
    fn into_project(self, wake: &Wake) -> Result<Project, String> {
        let writer = if self.store.is_read_only() {
            None
        } else {
            let wake = wake.clone();
            Some(Writer::start(self.store, move || wake()).map_err(|e| e.to_string())?)
        };
        Ok(Project {
            doc: self.doc,
            path: self.path,
            writer,
        })
    }

    /// Whether it is a project of this video: the one that it would be opened with.
    fn is_of(&self, video: &Path) -> bool {
        match find_video(&self.path, &self.doc.video) {
            VideoPlace::AsRecorded(at) | VideoPlace::BesideProject(at) => {
                whole(&at) == whole(video)
            }
            VideoPlace::Missing(_) => false,
        }
    }
}

fn open_video(path: PathBuf, open: Option<&Open>, wake: &Wake) -> Result<Resolved, Refusal> {
    // Paths on the command line are relative; the project must find its video from anywhere.
    let path = std::path::absolute(&path).unwrap_or(path);
    let places = places_for(&path);
    let (found, notice) = find_project(&path, &places);
    // A project that is being made has no name yet, whether it is found here or not.
    let same = |open: &Open| {
        let found = found.as_ref().map(|f| whole(&f.path));
        let project = open.project.as_deref().map(whole);
        whole(&open.video) == whole(&path) && (project.is_none() || project == found)
    };
    if open.is_some_and(same) {
        return Err(Refusal::AlreadyOpen);
    }
    Ok(Resolved {
        project: found.map(|f| f.into_project(wake)).transpose()?,
        remember: path.clone(),
        video: path,
        places,
        notice,
    })
}

/// The project of a video among all that could be by their names, best place first, and what to say about one that cannot
/// be read if there is none. Of several the first whose masks can be shown on the video as it is now counts: where a file
/// was replaced by one of another size, a project was begun for that, too.
fn find_project(video: &Path, places: &[PathBuf]) -> (Option<Found>, Option<String>) {
    let names = places
        .iter()
        .flat_map(|place| (1..NAMES).map(|n| numbered(place, n)));
    // One in the midst may have been deleted.
    let names: Vec<PathBuf> = names.filter(|p| p.exists()).collect();
    // A video that cannot be opened is told about by who opens it.
    let now = LazyCell::new(|| crate::video::open(video).ok());
    let fits = |found: &Found| {
        names.len() == 1
            || now.as_ref().is_none_or(|now| {
                let changes = compare_video(&found.doc.video, now.info());
                !changes.iter().any(VideoChange::is_fatal)
            })
    };
    let (mut first, mut notice) = (None, None);
    for name in &names {
        match read(name) {
            Ok(found) if !found.is_of(video) => {}
            Ok(found) if fits(&found) => return (Some(found), None),
            Ok(found) => {
                first.get_or_insert(found);
            }
            Err(why) => {
                notice.get_or_insert(format!(
                    "{} was left alone, since it cannot be read ({why}); a new project is begun",
                    name.display()
                ));
            }
        }
    }
    let notice = notice.filter(|_| first.is_none());
    (first, notice)
}

/// Beside the video, or in the user's data folder if that may not be written to.
fn places_for(video: &Path) -> Vec<PathBuf> {
    // A folder has no ending: "shot.01" and "shot.02" are two names.
    let stem = if video.is_dir() {
        video.file_name()
    } else {
        video.file_stem()
    };
    let stem = stem.or_else(|| video.file_name()).unwrap_or_default();
    let name = stem.to_string_lossy().into_owned() + ".sparrow";
    let mut places = Vec::new();
    if let Some(folder) = video.parent() {
        places.push(folder.join(&name));
    }
    if let Some(data) = settings::data_dir() {
        places.push(data.join("projects").join(&name));
    }
    // As they were named once.
    if let (true, Some(folder), Some(stem)) = (video.is_dir(), video.parent(), video.file_stem()) {
        places.push(folder.join(stem.to_string_lossy().into_owned() + ".sparrow"));
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
        let found = open_video(video.clone(), None, &wake).ok().unwrap();
        assert!(found.project.is_none());
        assert_eq!(found.places[0], place);
        std::fs::remove_file(&place).unwrap();
        Store::create(&place, &project_for(&video), Existing::Refuse).unwrap();
        let found = open_video(video.clone(), None, &wake).ok().unwrap();
        assert_eq!(found.project.unwrap().path, place);
        let found = open_project(place, None, &wake).ok().unwrap();
        assert_eq!(found.video, video);
    }

    #[test]
    fn a_project_under_another_number_is_found_and_a_damaged_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let (video, other) = (dir.path().join("dog.mp4"), dir.path().join("dog.mov"));
        std::fs::write(&video, "v").unwrap();
        std::fs::write(&other, "v").unwrap();
        let place = |n: u32| numbered(&dir.path().join("dog.sparrow"), n);
        Store::create(&place(1), &project_for(&other), Existing::Refuse).unwrap();
        std::fs::write(place(2), "no project").unwrap();
        let wake: Wake = Arc::new(|| {});
        let found = open_video(video.clone(), None, &wake).ok().unwrap();
        assert!(found.project.is_none());
        let notice = found.notice.unwrap();
        assert!(notice.contains("dog 2.sparrow"), "{notice}");
        Store::create(&place(3), &project_for(&video), Existing::Refuse).unwrap();
        let found = open_video(video, None, &wake).ok().unwrap();
        assert_eq!(found.project.unwrap().path, place(3));
        assert_eq!(found.notice, None);
    }

    #[test]
    fn a_copied_folder_is_one_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        std::fs::create_dir(&one).unwrap();
        std::fs::create_dir(&two).unwrap();
        for folder in [&one, &two] {
            std::fs::write(folder.join("dog.mp4"), "v").unwrap();
        }
        let doc = project_for(&one.join("dog.mp4"));
        Store::create(&one.join("dog.sparrow"), &doc, Existing::Refuse).unwrap();
        std::fs::copy(one.join("dog.sparrow"), two.join("dog.sparrow")).unwrap();
        let wake: Wake = Arc::new(|| {});
        let found = open_video(two.join("dog.mp4"), None, &wake).ok().unwrap();
        assert_eq!(found.project.unwrap().path, two.join("dog.sparrow"));
        let found = open_project(two.join("dog.sparrow"), None, &wake);
        assert_eq!(found.ok().unwrap().video, two.join("dog.mp4"));
    }

    #[test]
    fn a_project_of_what_the_video_was_does_not_hide_the_one_of_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let video = dir.path().join("shot");
        std::fs::create_dir(&video).unwrap();
        let picture = |side: u32| {
            let picture = image::RgbImage::new(side, side);
            picture.save(video.join("1.png")).unwrap();
        };
        picture(4);
        let place = |n: u32| numbered(&dir.path().join("shot.sparrow"), n);
        let mut doc = project_for(&video);
        Store::create(&place(1), &doc, Existing::Refuse).unwrap();
        doc.video.size = Size::new(8, 8);
        // The second was deleted.
        Store::create(&place(3), &doc, Existing::Refuse).unwrap();
        let wake: Wake = Arc::new(|| {});
        let found = || open_video(video.clone(), None, &wake).ok().unwrap().project;
        assert_eq!(found().unwrap().path, place(1));
        picture(8);
        assert_eq!(found().unwrap().path, place(3));
    }

    #[test]
    fn folders_whose_names_differ_behind_a_dot_have_projects_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let names = ["shot.01", "shot.02"].map(|n| dir.path().join(n));
        for name in &names {
            std::fs::create_dir(name).unwrap();
        }
        assert_eq!(places_for(&names[0])[0], dir.path().join("shot.01.sparrow"));
        assert_ne!(places_for(&names[0])[0], places_for(&names[1])[0]);
        // One that was made when they were cut off is found all the same.
        let old = dir.path().join("shot.sparrow");
        Store::create(&old, &project_for(&names[1]), Existing::Refuse).unwrap();
        let wake: Wake = Arc::new(|| {});
        let found = |n: usize| open_video(names[n].clone(), None, &wake).ok().unwrap();
        assert!(found(0).project.is_none());
        assert_eq!(found(1).project.unwrap().path, old);
    }

    /// Its file would be read while edits are on their way to it, and then take no more.
    #[test]
    fn what_is_open_is_not_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let video = dir.path().join("dog.mp4");
        std::fs::write(&video, "v").unwrap();
        let place = dir.path().join("dog.sparrow");
        let wake: Wake = Arc::new(|| {});
        let mut open = Open {
            video: video.clone(),
            project: None,
        };
        let again = |open: &Open| open_video(video.clone(), Some(open), &wake).err();
        assert_eq!(
            again(&open),
            Some(Refusal::AlreadyOpen),
            "before its first edit"
        );
        Store::create(&place, &project_for(&video), Existing::Refuse).unwrap();
        open.project = Some(place.clone());
        assert_eq!(again(&open), Some(Refusal::AlreadyOpen));
        let by_name = open_project(place, Some(&open), &wake).err();
        assert_eq!(by_name, Some(Refusal::AlreadyOpen));
        // Work on it that was saved elsewhere is another project.
        open.project = Some(dir.path().join("work.sparrow"));
        assert_eq!(again(&open), None);
    }

    #[test]
    fn a_project_without_its_video_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("dog.sparrow");
        let doc = project_for(&dir.path().join("gone.mp4"));
        Store::create(&place, &doc, Existing::Refuse).unwrap();
        let wake: Wake = Arc::new(|| {});
        let Some(Refusal::Fault(why)) = open_project(place, None, &wake).err() else {
            panic!("it has no video");
        };
        assert!(why.contains("gone.mp4") && why.contains("beside"), "{why}");
    }

    #[test]
    fn the_sample_is_unpacked_once() {
        let why = unpack_sample("a/b\0c", b"x");
        assert!(why.is_err());
    }
}
