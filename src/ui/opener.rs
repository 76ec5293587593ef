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
    formats::file_name,
    project::{Document, VideoInfo, counted},
    store::{Store, VideoChange, VideoPlace, Writer, compare_video, find_video, videos_named_like},
    task::Progress,
    video::content_hash,
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
    /// What was done, in sentences.
    pub(crate) fact: Option<String>,
    /// What is worth a look in what was found, in sentences.
    pub(crate) notice: Option<String>,
    /// The project does not know yet that this is its video.
    pub(crate) is_located: bool,
    /// A person has said that it is, although it differs.
    pub(crate) is_accepted: bool,
    /// The video was named, and the project came with it.
    pub(crate) is_by_video: bool,
}

impl Resolved {
    /// What a person has to be asked before the video, which was opened by now, is taken for that of the project.
    pub(crate) fn objection(&self, info: &VideoInfo) -> Option<Refusal> {
        let Project { doc, path, .. } = self.project.as_ref()?;
        let changes = compare_video(&doc.video, info);
        let misfit = misfit(doc, info);
        if misfit.is_none() && (changes.is_empty() || self.is_accepted) {
            return None;
        }
        let (project, video) = (path.clone(), self.video.clone());
        Some(match misfit {
            _ if self.is_by_video => Refusal::OtherProject {
                why: format!(
                    "{} is not what the masks of {} were made on: {}.",
                    file_name(&video),
                    file_name(&project),
                    said(&changes)
                ),
                project,
                video,
            },
            Some(misfit) => Refusal::NoVideo {
                project,
                why: is_not_it(&video, &misfit),
                place: video.display().to_string(),
            },
            None => Refusal::OtherVideo {
                project,
                why: said(&changes),
                video,
            },
        })
    }
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
    /// A video that a new project is begun for, whatever lies beside it.
    Fresh(PathBuf),
    Sample(Sample),
    /// A project, and where its video is.
    Located {
        project: PathBuf,
        video: PathBuf,
        /// Also if it differs from the one that the masks were made on.
        anyway: bool,
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
    /// A person has to say whether the masks are to lie on this video: it differs from the one that they were made on.
    OtherVideo {
        project: PathBuf,
        video: PathBuf,
        /// How it differs, in clauses.
        why: String,
    },
    /// A person has to choose between a project that bears the video's name but was made on another one, and a new one.
    OtherProject {
        project: PathBuf,
        video: PathBuf,
        /// One sentence.
        why: String,
    },
    /// The project is open, and this is to be opened in its place once it is on the disk.
    Again(Target),
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
        Target::Fresh(path) => fresh(path, open),
        Target::Located {
            project,
            video,
            anyway,
        } => open_project(project, Some((video, anyway)), open, wake),
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
        let why = match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                "the disk is full"
            }
            _ => "it does not exist or may not be written",
        };
        let folder = folder.display();
        format!("the sample clip could not be unpacked to the folder {folder}: {why}")
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

/// `located`: where a person says that its video is, and whether that may differ.
fn open_project(
    path: PathBuf,
    located: Option<(PathBuf, bool)>,
    open: Option<&Open>,
    wake: &Wake,
) -> Result<Resolved, Refusal> {
    let path = std::path::absolute(&path).unwrap_or(path);
    let is_open = open.and_then(|o| o.project.as_deref());
    let is_open = is_open.is_some_and(|p| whole(p) == whole(&path));
    if is_open && located.is_none() {
        return Err(Refusal::AlreadyOpen);
    }
    let found = read(&path)?;
    let mut is_located = located.is_some() || found.doc.video.path.is_empty();
    let is_accepted = matches!(located, Some((_, true)));
    let mut swapped = None;
    let (video, again) = match located {
        Some((video, anyway)) => {
            let video = found.located(video, anyway)?;
            let again = |anyway| Target::Located {
                project: path.clone(),
                video: video.clone(),
                anyway,
            };
            if is_open {
                // Looked at already.
                return Err(Refusal::Again(again(true)));
            }
            let again = again(anyway);
            (video, again)
        }
        None => {
            let known = found.video();
            let video = match found.better_than(known.as_deref().ok()) {
                Some(better) => {
                    is_located = true;
                    swapped = Some(format!(
                        "{} is shown: its content is that of the video that the masks were made on.",
                        better.display()
                    ));
                    better
                }
                None => known?,
            };
            (video, Target::Path(path.clone()))
        }
    };
    let (project, elsewhere) = found.into_project(wake)?;
    Ok(Resolved {
        places: Vec::new(),
        video,
        project: Some(project),
        remember: path,
        again,
        fact: None,
        notice: joined([swapped, elsewhere]),
        is_located,
        is_accepted,
        is_by_video: false,
    })
}

/// A video without a project.
fn fresh(path: PathBuf, open: Option<&Open>) -> Result<Resolved, Refusal> {
    let path = std::path::absolute(&path).unwrap_or(path);
    let is_same = |open: &Open| open.project.is_none() && whole(&open.video) == whole(&path);
    if open.is_some_and(is_same) {
        return Err(Refusal::AlreadyOpen);
    }
    Ok(Resolved {
        places: places_for(&path),
        project: None,
        remember: path.clone(),
        again: Target::Fresh(path.clone()),
        video: path,
        fact: None,
        notice: None,
        is_located: false,
        is_accepted: false,
        is_by_video: true,
    })
}

/// Sentences one after the other, if there are any.
fn joined(sentences: [Option<String>; 2]) -> Option<String> {
    let sentences: Vec<String> = sentences.into_iter().flatten().collect();
    (!sentences.is_empty()).then(|| sentences.join(" "))
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
    let importer::Imported {
        project,
        fact,
        warning,
    } = importer::import(&dataset, known, sequence)?;
    let mut resolved = match open_project(project, None, open, wake) {
        Err(Refusal::NoVideo {
            project,
            place,
            why,
        }) => {
            // It was imported all the same, and is not said to be another time.
            let said = [Some(fact), warning, Some(why)].into_iter().flatten();
            return Err(Refusal::NoVideo {
                project,
                place,
                why: said.collect::<Vec<String>>().join(" "),
            });
        }
        other => other?,
    };
    resolved.fact = Some(fact);
    resolved.notice = joined([warning, resolved.notice]);
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

    /// The video whose content the masks were made on, if another one, or none, stands where the project says and that one
    /// lies beside it under its own name or the project's.
    fn better_than(&self, known: Option<&Path>) -> Option<PathBuf> {
        let recorded = &self.doc.video;
        if recorded.hash.is_empty() {
            return None;
        }
        let folder = self.path.parent().unwrap_or(Path::new(""));
        let name = recorded.path.rsplit(['/', '\\']).next();
        let beside = name.filter(|n| !n.is_empty()).map(|n| folder.join(n));
        let others = beside.into_iter().chain(videos_named_like(&self.path));
        let is_other = |video: &PathBuf| {
            video.exists() && known.is_none_or(|known| whole(known) != whole(video))
        };
        let others: Vec<PathBuf> = others.filter(is_other).collect();
        // Reading a long video takes its time; mostly there is no other.
        if others.is_empty() || known.is_some_and(|known| has_content(known, recorded)) {
            return None;
        }
        others
            .into_iter()
            .find(|video| has_content(video, recorded))
    }

    /// The video that a person has named, if the masks fit it, and if it is the one that they were made on or may differ.
    fn located(&self, video: PathBuf, anyway: bool) -> Result<PathBuf, Refusal> {
        let video = std::path::absolute(&video).unwrap_or(video);
        let source =
            crate::video::open(&video).map_err(|e| self.no_video(&video, e.to_string()))?;
        if let Some(misfit) = misfit(&self.doc, source.info()) {
            return Err(self.no_video(&video, is_not_it(&video, &misfit)));
        }
        if anyway {
            return Ok(video);
        }
        let recorded = &self.doc.video;
        let mut changes = compare_video(recorded, source.info());
        if !recorded.hash.is_empty() && !has_content(&video, recorded) {
            changes.push(VideoChange::Content);
        }
        if changes.is_empty() {
            return Ok(video);
        }
        Err(Refusal::OtherVideo {
            project: self.path.clone(),
            why: said(&changes),
            video,
        })
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

/// Why a project's masks and emissions have no place on a video, if they have none; one clause.
fn misfit(doc: &Document, video: &VideoInfo) -> Option<String> {
    let changes = compare_video(&doc.video, video);
    if let Some(change) = changes.iter().find(|c| c.is_fatal()) {
        return Some(change.to_string());
    }
    let masks = doc
        .objects
        .iter()
        .filter_map(|o| o.frames.keys().next_back());
    let last = masks.chain(doc.emissions.iter().map(|e| &e.frame)).max()?;
    (last.0 >= video.frames).then(|| {
        let frames = counted(video.frames, "frame");
        format!(
            "it has only {frames}, and the project has something on frame {}",
            last.0
        )
    })
}

fn is_not_it(video: &Path, why: &str) -> String {
    let video = video.display();
    format!("{video} is not the video of this project: {why}.")
}

/// What has changed, in clauses.
fn said(changes: &[VideoChange]) -> String {
    let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
    changes.join("; ")
}

/// Whether a video is the recorded one byte for byte; a hash of it must be known.
fn has_content(video: &Path, recorded: &VideoInfo) -> bool {
    let hash = content_hash(video, &mut Progress::silent());
    hash.is_ok_and(|hash| hash == recorded.hash)
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
    let Search {
        found,
        other,
        notice,
    } = find_project(&path, &places);
    // A project that is being made has no name yet, whether it is found here or not.
    let same = |open: &Open| {
        let found = found.as_ref().map(|f| whole(&f.path));
        let project = open.project.as_deref().map(whole);
        whole(&open.video) == whole(&path) && (project.is_none() || project == found)
    };
    if open.is_some_and(same) {
        return Err(Refusal::AlreadyOpen);
    }
    if let (None, Some(other)) = (&found, other) {
        let recorded = &other.doc.video.path;
        let of = if recorded.is_empty() {
            "one that this does not fit"
        } else {
            recorded
        };
        return Err(Refusal::OtherProject {
            why: format!("{} was made on another video, {of}.", other.path.display()),
            project: other.path,
            video: path,
        });
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
        fact: None,
        notice: joined([notice, elsewhere.flatten()]),
        is_located,
        is_accepted: false,
        is_by_video: true,
    })
}

/// What was found of projects that a video could have by their names.
struct Search {
    /// Its own.
    found: Option<Found>,
    /// One that lies beside it but was made on another video.
    other: Option<Found>,
    /// What to say about one that cannot be read and would have been looked at before.
    notice: Option<String>,
}

/// Looks for the project of a video, best place first. Of several the first whose masks were made on what the video is now
/// counts: where a file was replaced by one of another size or length, a project was begun for that, too.
fn find_project(video: &Path, places: &[PathBuf]) -> Search {
    let names = places
        .iter()
        .enumerate()
        // Elsewhere lie projects of whatever is called like this.
        .flat_map(|(i, place)| (1..NAMES).map(move |n| (numbered(place, n), i == 0)));
    // One in the midst may have been deleted.
    let names: Vec<(PathBuf, bool)> = names.filter(|(p, _)| p.exists()).collect();
    // A video that cannot be opened is told about by who opens it.
    let now = LazyCell::new(|| crate::video::open(video).ok());
    let fits = |found: &Found| {
        names.len() == 1
            || now
                .as_ref()
                .is_none_or(|now| compare_video(&found.doc.video, now.info()).is_empty())
    };
    let (mut first, mut other, mut unread) = (None::<Found>, None, None);
    for (name, is_beside) in &names {
        match read(name) {
            Ok(found) if !found.is_of(video) => {
                if *is_beside {
                    other.get_or_insert(found);
                }
            }
            Ok(found) if fits(&found) => {
                first = Some(found);
                other = None;
                break;
            }
            Ok(found) => {
                first.get_or_insert(found);
            }
            Err(why) if first.is_none() => {
                unread.get_or_insert((name, why));
            }
            Err(_) => {}
        }
    }
    let left_alone = |(name, why): (&PathBuf, String)| {
        let name = name.display().to_string();
        // Most errors end with the file that they are about.
        let why = why.trim_end_matches(&format!(": {name}"));
        let instead = match &first {
            Some(found) => format!("{} is used", found.path.display()),
            None => "a new project is begun".to_owned(),
        };
        format!("{name} was left alone, since it cannot be read ({why}); {instead}.")
    };
    Search {
        notice: unread.map(left_alone),
        found: first,
        other,
    }
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
mod tests;
