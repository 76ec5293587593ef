//! From a path to what is to be opened: a project's document and its video, or a video and the project that belongs to
//! it. Runs on a thread of its own; decoding is the decoder's thread's work.

use std::{
    cell::LazyCell,
    path::{Path, PathBuf},
};

use crossbeam_channel::{Receiver, bounded};

use super::{
    Sample,
    claim::{Claim, Claimed},
    importer,
    saver::{NAMES, numbered},
    session::Wake,
    settings,
};
use crate::{
    project::{Document, VideoInfo},
    store::{Store, VideoChange, VideoPlace, Writer, compare_video, find_video, videos_named_like},
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
    /// What finds all of this once more.
    pub(crate) again: Target,
    /// Something to say about what was found, one sentence.
    pub(crate) notice: Option<String>,
    /// The project does not know yet that this is its video.
    pub(crate) is_located: bool,
}

/// A project on disk.
pub(crate) struct Project {
    pub(crate) doc: Document,
    pub(crate) path: PathBuf,
    /// `None` if the file may only be read.
    pub(crate) writer: Option<Writer>,
    /// Says to other windows that it is open here.
    pub(crate) claim: Option<Claim>,
}

/// What is to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Path(PathBuf),
    Sample(Sample),
    /// A project, and where its video is.
    Located {
        project: PathBuf,
        video: PathBuf,
    },
    /// One sequence of a dataset.
    Sequence {
        dataset: PathBuf,
        name: String,
    },
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
    /// A person has to say where the video of this project is.
    NoVideo {
        project: PathBuf,
        /// Where it was, or the place that was tried, as text; empty if that is not known.
        place: String,
        /// In sentences.
        why: String,
    },
    /// A person has to choose.
    WhichSequence {
        dataset: PathBuf,
        names: Vec<String>,
    },
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
        Target::Path(path) if is_project(&path) => open_project(path, None, open, wake),
        Target::Path(path) => match importer::dataset(&path) {
            Some(known) => import(path, known, None, open, wake),
            None => open_video(path, open, wake),
        },
        Target::Located { project, video } => open_project(project, Some(video), open, wake),
        Target::Sequence { dataset, name } => match importer::dataset(&dataset) {
            Some(known) => import(dataset, known, Some(&name), open, wake),
            None => Err(Refusal::Fault(format!(
                "{} is no dataset any more",
                dataset.display()
            ))),
        },
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

fn open_project(
    path: PathBuf,
    located: Option<PathBuf>,
    open: Option<&Open>,
    wake: &Wake,
) -> Result<Resolved, Refusal> {
    let path = std::path::absolute(&path).unwrap_or(path);
    let is_open = open.and_then(|o| o.project.as_deref());
    if is_open.is_some_and(|p| whole(p) == whole(&path)) {
        return Err(Refusal::AlreadyOpen);
    }
    let found = read(&path)?;
    let is_located = located.is_some() || found.doc.video.path.is_empty();
    let (video, again) = match located {
        Some(video) => {
            let video = found.located(video)?;
            let again = Target::Located {
                project: path.clone(),
                video: video.clone(),
            };
            (video, again)
        }
        None => (found.video()?, Target::Path(path.clone())),
    };
    let (project, notice) = found.into_project(wake)?;
    Ok(Resolved {
        // For the case that the project does not fit what the video is now.
        places: places_for(&video),
        video,
        project: Some(project),
        remember: path,
        again,
        notice,
        is_located,
    })
}

/// Makes a project of a dataset's sequence and opens it.
fn import(
    dataset: PathBuf,
    known: importer::Dataset,
    sequence: Option<&str>,
    open: Option<&Open>,
    wake: &Wake,
) -> Result<Resolved, Refusal> {
    let dataset = std::path::absolute(&dataset).unwrap_or(dataset);
    let imported = importer::import(&dataset, known, sequence)?;
    let mut resolved = match open_project(imported.project, None, open, wake) {
        Err(Refusal::NoVideo {
            project,
            place,
            why,
        }) => {
            return Err(Refusal::NoVideo {
                project,
                place,
                // It was imported all the same, and is not said to be another time.
                why: format!("{} {why}", imported.notice),
            });
        }
        other => other?,
    };
    let notices = [Some(imported.notice), resolved.notice];
    let notices: Vec<String> = notices.into_iter().flatten().collect();
    resolved.notice = Some(notices.join(" "));
    Ok(resolved)
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
    /// Where its video is, if anybody knows.
    fn video(&self) -> Result<PathBuf, Refusal> {
        if self.doc.video.path.is_empty() {
            return video_beside(&self.path, &self.doc.video).ok_or_else(|| {
                self.no_video(
                    Path::new(""),
                    "The project came from a dataset without images and does not know its video."
                        .to_owned(),
                )
            });
        }
        match find_video(&self.path, &self.doc.video) {
            VideoPlace::AsRecorded(at) | VideoPlace::BesideProject(at) => Ok(at),
            VideoPlace::Missing(at) => {
                let why = format!(
                    "The video of this project, {}, is not there any more.",
                    at.display()
                );
                Err(self.no_video(Path::new(&self.doc.video.path), why))
            }
        }
    }

    /// The video that a person has named, if the masks fit it.
    fn located(&self, video: PathBuf) -> Result<PathBuf, Refusal> {
        let video = std::path::absolute(&video).unwrap_or(video);
        let changes =
            change_of(&video, &self.doc.video).map_err(|why| self.no_video(&video, why))?;
        match changes.iter().find(|c| c.is_fatal()) {
            None => Ok(video),
            Some(change) => {
                let why = format!(
                    "{} is not the video of this project: {change}.",
                    video.display()
                );
                Err(self.no_video(&video, why))
            }
        }
    }

    fn no_video(&self, place: &Path, why: String) -> Refusal {
        Refusal::NoVideo {
            project: self.path.clone(),
            place: place.display().to_string(),
            why,
        }
    }

    /// The project, and what is to be said about its being open elsewhere.
    fn into_project(self, wake: &Wake) -> Result<(Project, Option<String>), String> {
        let (claim, notice) = match Claim::of(&self.path) {
            Claimed::Here(claim) => (Some(claim), None),
            Claimed::Unknown => (None, None),
            Claimed::Elsewhere => {
                let text = format!(
                    "{} is open in another window, too, and only one of them can save. Close one of them, or save elsewhere.",
                    self.path.display()
                );
                (None, Some(text))
            }
        };
        let writer = if self.store.is_read_only() {
            None
        } else {
            let wake = wake.clone();
            Some(Writer::start(self.store, move || wake()).map_err(|e| e.to_string())?)
        };
        let project = Project {
            doc: self.doc,
            path: self.path,
            writer,
            claim,
        };
        Ok((project, notice))
    }

    /// Whether it is a project of this video: the one that it would be opened with.
    fn is_of(&self, video: &Path) -> bool {
        if self.doc.video.path.is_empty() {
            return is_recorded(video, &self.doc.video);
        }
        match find_video(&self.path, &self.doc.video) {
            VideoPlace::AsRecorded(at) | VideoPlace::BesideProject(at) => {
                whole(&at) == whole(video)
            }
            VideoPlace::Missing(_) => false,
        }
    }
}

/// How a video differs from what is recorded of it, or why it cannot be opened.
fn change_of(video: &Path, recorded: &VideoInfo) -> Result<Vec<VideoChange>, String> {
    let source = crate::video::open(video).map_err(|e| e.to_string())?;
    Ok(compare_video(recorded, source.info()))
}

fn is_recorded(video: &Path, recorded: &VideoInfo) -> bool {
    change_of(video, recorded).is_ok_and(|changes| changes.is_empty())
}

/// The video named like a project and lying beside it, if it is the recorded one.
pub(super) fn video_beside(project: &Path, recorded: &VideoInfo) -> Option<PathBuf> {
    let mut named_like = videos_named_like(project).into_iter();
    named_like.find(|video| is_recorded(video, recorded))
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
    let is_located = found.as_ref().is_some_and(|f| f.doc.video.path.is_empty());
    let found = found.map(|f| f.into_project(wake)).transpose()?;
    let (project, elsewhere) = found.unzip();
    Ok(Resolved {
        project,
        remember: path.clone(),
        again: Target::Path(path.clone()),
        video: path,
        places,
        notice: notice.or(elsewhere.flatten()),
        is_located,
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
pub(super) fn places_for(video: &Path) -> Vec<PathBuf> {
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
        formats::{Davis, ExportOptions, export},
        project::{FrameIndex, FrameMask, Rle, Size, Thresholds, VideoInfo},
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
        let found = open_project(place, None, None, &wake).ok().unwrap();
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
        let found = open_project(two.join("dog.sparrow"), None, None, &wake);
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
        let by_name = open_project(place, None, Some(&open), &wake).err();
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
        let Some(Refusal::NoVideo { why, .. }) = open_project(place, None, None, &wake).err()
        else {
            panic!("it has no video");
        };
        assert!(why.contains("gone.mp4"), "{why}");
    }

    /// A folder of `frames` images of 4 × 4 pixels.
    fn clip(at: &Path, frames: u32) {
        std::fs::create_dir(at).unwrap();
        for frame in 0..frames {
            let name = format!("{frame}.png");
            image::RgbImage::new(4, 4).save(at.join(name)).unwrap();
        }
    }

    #[test]
    fn a_video_that_was_located_is_opened_if_the_masks_fit_it() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("dog.sparrow");
        let doc = project_for(&dir.path().join("gone.mp4"));
        Store::create(&place, &doc, Existing::Refuse).unwrap();
        let (moved, other) = (dir.path().join("moved"), dir.path().join("other"));
        clip(&moved, 1);
        std::fs::create_dir(&other).unwrap();
        image::RgbImage::new(8, 8)
            .save(other.join("1.png"))
            .unwrap();
        let wake: Wake = Arc::new(|| {});
        let locate = |video: &Path| open_project(place.clone(), Some(video.into()), None, &wake);
        let found = locate(&moved).ok().unwrap();
        assert!(found.is_located && found.video == moved);
        for wrong in [other, dir.path().join("nowhere.mp4")] {
            let Some(Refusal::NoVideo { place, .. }) = locate(&wrong).err() else {
                panic!("{} is not its video", wrong.display());
            };
            // A slip in what was typed is mended, not typed anew.
            assert_eq!(Path::new(&place), wrong);
        }
    }

    /// As after an import of a dataset without images.
    #[test]
    fn a_project_that_knows_no_video_takes_the_one_of_its_name_and_length() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("dog.sparrow");
        let doc = project_for(Path::new(""));
        Store::create(&place, &doc, Existing::Refuse).unwrap();
        let wake: Wake = Arc::new(|| {});
        let open = || open_project(place.clone(), None, None, &wake);
        let is_asked = |refused: Option<Refusal>| matches!(refused, Some(Refusal::NoVideo { place, .. }) if place.is_empty());
        assert!(is_asked(open().err()));
        let video = dir.path().join("dog");
        clip(&video, 2);
        assert!(is_asked(open().err()), "it is longer");
        std::fs::remove_file(video.join("1.png")).unwrap();
        let found = open().ok().unwrap();
        assert!(found.is_located && found.video == video);
        drop(found);
        let found = open_video(video.clone(), None, &wake).ok().unwrap();
        assert!(found.is_located && found.project.unwrap().path == place);
    }

    #[test]
    fn an_import_whose_video_must_be_asked_for_says_what_it_did() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("out");
        let mut doc = project_for(Path::new(""));
        let mut object = doc.new_object("the box");
        let rle = Rle::new(doc.video.size, vec![4, 4, 8]).unwrap();
        object.frames.insert(FrameIndex(0), FrameMask::by_hand(rle));
        doc.objects.push(object);
        let options = ExportOptions {
            sequence: Some("shot".to_owned()),
            ..ExportOptions::default()
        };
        export(&doc, &Davis, &at, &options, None, &mut |_, _| true).unwrap();
        let wake: Wake = Arc::new(|| {});
        let known = importer::dataset(&at).unwrap();
        let refused = import(at, known, None, None, &wake).err();
        let Some(Refusal::NoVideo { why, .. }) = refused else {
            panic!("{refused:?}");
        };
        assert!(
            why.contains("were imported to") && why.contains("does not know its video"),
            "{why}"
        );
    }

    #[test]
    fn a_project_that_is_open_elsewhere_is_said_to_be() {
        let dir = tempfile::tempdir().unwrap();
        let video = dir.path().join("dog.mp4");
        std::fs::write(&video, "v").unwrap();
        let place = dir.path().join("dog.sparrow");
        Store::create(&place, &project_for(&video), Existing::Refuse).unwrap();
        let wake: Wake = Arc::new(|| {});
        let open = || open_video(video.clone(), None, &wake).ok().unwrap();
        let first = open();
        assert_eq!(first.notice, None);
        let said = open().notice.unwrap();
        assert!(said.contains("another window"), "{said}");
        drop(first);
        assert_eq!(open().notice, None);
    }

    #[test]
    fn the_sample_is_unpacked_once() {
        let why = unpack_sample("a/b\0c", b"x");
        assert!(why.is_err());
    }
}
