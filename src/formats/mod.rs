//! Dataset import and export, one file per format. Leaves pixels on screen and models to others.
//!
//! [`export`] writes beside the wanted place, reads everything back, compares it pixel by pixel with the document, and
//! only then gives it its name: an export is there whole and correct, or not at all. What a format cannot hold is not
//! dropped silently: the report lists each [`Loss`].

pub mod coco;
mod coco_json;
pub mod davis;
mod error;
mod export;
#[cfg(test)]
mod foreign;
pub mod labels;
mod loss;
pub mod manifest;
pub mod mattes;
pub mod mevis;
mod originals;
mod polygon;
pub mod synth;
#[cfg(test)]
mod tests;
pub mod youtube_vis;

use std::path::{Path, PathBuf};

use crate::project::{CLIP_ENDINGS, Document, FrameIndex, FrameMask, Size, frames_of, images_of};

pub use coco::Coco;
pub use davis::Davis;
pub use error::FormatError;
pub use export::{ExportReport, export};
pub use loss::Loss;
pub use mattes::Mattes;
pub use mevis::Mevis;
pub use polygon::fill as fill_polygon;
pub use youtube_vis::YoutubeVis;

/// Interleaved 8-bit RGB, row-major: what an export asks for when images travel with the masks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rgb {
    /// Size.
    pub size: Size,
    /// `height × width × 3` bytes.
    pub data: Vec<u8>,
}

/// Gives the frame with this index, or a clause saying why not.
pub type FrameReader<'a> = dyn FnMut(FrameIndex) -> Result<Rgb, String> + 'a;

/// Hears `(done, total)` and answers whether to go on. Once all is written, what is read back is heard as `(total, total)`.
pub type Watcher<'a> = dyn FnMut(u64, u64) -> bool + 'a;

/// What to do when the wanted place is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Existing {
    /// Leave it and fail.
    #[default]
    Refuse,
    /// Put the new export in the place of an earlier one of the same video. A folder that holds anything else is never
    /// replaced.
    Replace,
}

/// How an export is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportOptions {
    /// Only masks that a person made or accepted.
    pub verified_only: bool,
    /// Name of the sequence; by default [`clip_name`] of the video.
    pub sequence: Option<String>,
    /// Name of the split that the sequence is listed under.
    pub split: String,
    /// What to do when the wanted place is taken.
    pub existing: Existing,
    /// Where the document's video was found, if not where the document says: an export never takes its place.
    pub video: Option<PathBuf>,
}

impl Default for ExportOptions {
    fn default() -> Self {
        Self {
            verified_only: false,
            sequence: None,
            split: "train".to_owned(),
            existing: Existing::Refuse,
            video: None,
        }
    }
}

impl ExportOptions {
    /// The sequence's name as a folder name: letters, digits, `.`, `_` and `-`.
    pub fn sequence_name(&self, doc: &Document) -> String {
        let wanted = self.sequence.as_deref();
        plain_name(
            wanted.unwrap_or_else(|| clip_name(&doc.video.path)),
            "video",
        )
    }

    /// Whether a mask is to be exported.
    fn wants(&self, mask: &FrameMask) -> bool {
        mask.anchor || !self.verified_only
    }

    fn split_name(&self) -> String {
        plain_name(&self.split, "train")
    }
}

/// What a clip is called: the last part of its path, without the ending of a video file or an image. Folders have no
/// ending: `shot.01` and `shot.02` are two names.
pub fn clip_name(path: &str) -> &str {
    let last = path
        .rsplit(['/', '\\'])
        .find(|p| !p.is_empty())
        .unwrap_or("");
    match last.rsplit_once('.') {
        Some((stem, ending))
            if !stem.is_empty() && CLIP_ENDINGS.iter().any(|e| ending.eq_ignore_ascii_case(e)) =>
        {
            stem
        }
        _ => last,
    }
}

/// `name` with everything but letters, digits, `.`, `_` and `-` replaced; never a hidden or parent folder.
fn plain_name(name: &str, otherwise: &str) -> String {
    let plain: String = name
        .chars()
        .map(|c| {
            let keep = c.is_alphanumeric() || matches!(c, '.' | '_' | '-');
            if keep { c } else { '_' }
        })
        .collect();
    let plain = plain.trim_start_matches('.');
    if plain.is_empty() {
        otherwise.to_owned()
    } else {
        plain.to_owned()
    }
}

/// What helps a project of masks alone to its video.
pub(crate) const PUT_VIDEO: &str =
    "put the video beside the project under the project's name, or open the project and locate it";

/// What an import brings.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The document; its video is the dataset's image folder, if there is one.
    pub document: Document,
    /// What the dataset has and the document has not, or what was guessed; one sentence each.
    pub warnings: Vec<String>,
}

/// What a format's writer is handed.
pub struct ExportJob<'a> {
    /// What to write.
    pub doc: &'a Document,
    /// How.
    pub options: &'a ExportOptions,
    /// An empty folder to write into.
    pub dir: PathBuf,
    /// Where frames come from, if images travel with the masks.
    pub images: Option<&'a mut FrameReader<'a>>,
    /// Who watches.
    pub watch: &'a mut Watcher<'a>,
}

impl ExportJob<'_> {
    fn step(&mut self, done: u64, total: u64) -> Result<(), FormatError> {
        if (self.watch)(done, total) {
            Ok(())
        } else {
            Err(FormatError::Cancelled)
        }
    }
}

/// Masks by object and frame, as they must come back from a written dataset: ids as the format's reader gives them.
pub type Kept =
    std::collections::BTreeMap<(crate::project::ObjectId, FrameIndex), crate::project::Rle>;

/// A dataset format.
pub trait Format: Sync {
    /// The name on the command line.
    fn name(&self) -> &'static str;

    /// One line for a list.
    fn title(&self) -> &'static str;

    /// The masks without empty ones that a written dataset holds, and what is lost of the document.
    ///
    /// # Errors
    /// [`FormatError::Document`] if the document's masks are damaged.
    fn plan(
        &self,
        doc: &Document,
        options: &ExportOptions,
    ) -> Result<(Kept, Vec<Loss>), FormatError>;

    /// Writes the dataset. Use [`export`], which adds everything that makes it safe.
    ///
    /// # Errors
    /// [`FormatError`] if a file cannot be written, a frame cannot be read, or the watcher says stop.
    fn write(&self, job: &mut ExportJob<'_>) -> Result<(), FormatError>;

    /// Names of the sequences in a dataset, sorted.
    ///
    /// # Errors
    /// [`FormatError`] if it is no dataset of this format.
    fn sequences(&self, path: &Path) -> Result<Vec<String>, FormatError>;

    /// Reads one sequence.
    ///
    /// # Errors
    /// [`FormatError`] if it is not there or damaged, or the watcher says stop.
    fn read(
        &self,
        path: &Path,
        sequence: &str,
        watch: &mut Watcher<'_>,
    ) -> Result<Imported, FormatError>;
}

/// Every format.
pub const FORMATS: &[&dyn Format] = &[&Coco, &Davis, &Mattes, &Mevis, &YoutubeVis];

/// The format of that name.
///
/// # Errors
/// [`FormatError::UnknownFormat`], which lists the names there are.
pub fn by_name(name: &str) -> Result<&'static dyn Format, FormatError> {
    FORMATS
        .iter()
        .copied()
        .find(|f| f.name() == name)
        .ok_or_else(|| FormatError::UnknownFormat(name.to_owned()))
}

/// The format of the dataset at `path`, a folder or a JSON file, if it is one, and its sequences, one at least. A folder of
/// images is a clip, whatever lies beside them. What several formats could read is the one's that asks for most.
pub fn detect(path: &Path) -> Option<(&'static dyn Format, Vec<String>)> {
    let is_json = || {
        let ending = path.extension();
        ending.is_some_and(|e| e.eq_ignore_ascii_case("json"))
    };
    let may_be = if path.is_dir() {
        !images_in(path).is_ok_and(|images| !images.is_empty())
    } else {
        is_json()
    };
    if !may_be {
        return None;
    }
    let by_demands: [&'static dyn Format; 4] = [&Davis, &Mevis, &YoutubeVis, &Coco];
    let named = |format: &'static dyn Format| {
        let names = format.sequences(path).ok()?;
        (!names.is_empty()).then_some((format, names))
    };
    // A list of ours says what it is; folders without one are mattes only where they are nothing else.
    if mattes::has_list(path) {
        return named(&Mattes);
    }
    let found = by_demands.into_iter().find_map(named);
    found.or_else(|| named(&Mattes).filter(|_| mattes::looks_like_mattes(path)))
}

/// Reads a dataset's only sequence, or the one named.
///
/// # Errors
/// [`FormatError`]; of several sequences one must be named, and the error lists them.
pub fn import(
    format: &dyn Format,
    path: &Path,
    sequence: Option<&str>,
) -> Result<Imported, FormatError> {
    let names = format.sequences(path)?;
    let chosen = match (sequence, names.as_slice()) {
        (Some(name), _) if names.iter().any(|n| n == name) => name,
        (None, [only]) => only,
        (_, []) => return Err(FormatError::NoSequence(path.to_path_buf())),
        _ => {
            return Err(FormatError::WhichSequence {
                names: names.join(", "),
                path: path.to_path_buf(),
            });
        }
    };
    format.read(path, chosen, &mut |_, _| true)
}

/// A side longer than this is refused: beyond it a frame's pixels no longer fit what masks count with.
pub(crate) const MAX_SIDE: u32 = 32_767;

fn files_in(dir: &Path) -> Result<Vec<PathBuf>, FormatError> {
    let entries = std::fs::read_dir(dir).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    let entries = entries.map_err(|e| FormatError::io(dir, &e))?.into_iter();
    Ok(entries.map(|e| e.path()).filter(|p| p.is_file()).collect())
}

/// Files of a folder with one of the extensions, in the order in which a folder of images is shown.
pub(crate) fn files_with(dir: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>, FormatError> {
    Ok(frames_of(files_in(dir)?, extensions))
}

/// Images of a folder, in the order in which they are shown.
pub(crate) fn images_in(dir: &Path) -> Result<Vec<PathBuf>, FormatError> {
    Ok(images_of(files_in(dir)?))
}

/// Folders inside a folder, sorted by name; none if it cannot be listed.
pub(crate) fn folders_in(dir: &Path) -> Vec<PathBuf> {
    let mut out: Vec<PathBuf> = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_dir())
        .collect();
    out.sort();
    out
}

/// A path's last part as text.
pub(crate) fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// A file name without its extension.
pub(crate) fn file_stem(path: &Path) -> String {
    path.file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

pub(super) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), FormatError> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(|e| FormatError::io(dir, &e))?;
    }
    std::fs::write(path, bytes).map_err(|e| FormatError::io(path, &e))
}

/// Writes a file of JSON, as serialised by its format: a line end closes it.
fn write_json(path: &Path, text: serde_json::Result<Vec<u8>>) -> Result<(), FormatError> {
    let mut text =
        text.map_err(|e| FormatError::damaged(path, format!("cannot be written ({e})")))?;
    text.push(b'\n');
    write_file(path, &text)
}

/// A frame as JPEG bytes of the quality that video datasets ship with.
pub(super) fn jpeg(rgb: &Rgb, frame: FrameIndex) -> Result<Vec<u8>, FormatError> {
    let mut bytes = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 95)
        .encode(
            &rgb.data,
            rgb.size.width,
            rgb.size.height,
            image::ExtendedColorType::Rgb8,
        )
        .map_err(|e| FormatError::Frame {
            frame,
            reason: e.to_string(),
        })?;
    Ok(bytes)
}
