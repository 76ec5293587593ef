//! The released files from the hub where their authors publish them: into the cache that other programs of that hub share,
//! resumed where a download broke off, compared with the hub's own checksums.
//!
//! `HF_HOME` and `HF_ENDPOINT` say where the cache and the hub are, `HF_TOKEN` who asks, `HF_HUB_OFFLINE` that nothing is
//! to be fetched. What the files hold is found out by [`super::find`], exactly as for files that were there already.

use std::{
    collections::BTreeSet,
    io::{self, ErrorKind, Read as _},
    path::{Path, PathBuf},
};

use hf_hub::{
    Cache, Repo,
    api::sync::{Api, ApiBuilder, ApiError, ApiRepo},
};
use sha2::{Digest as _, Sha256};

use crate::task::Progress;

use super::{
    super::model::{ModelError, ModelInfo, PartInfo},
    Parts, find,
};

/// Tries after a connection broke.
const RETRIES: usize = 5;

/// What is told once it was asked to stop.
const STOPPING: &str =
    "stops behind this file; Ctrl-C again ends at once, and the next fetch goes on there";

fn failed(part: &PartInfo, reason: impl Into<String>) -> ModelError {
    ModelError::Fetch {
        repository: part.repository.clone(),
        reason: reason.into(),
    }
}

/// A file system's own error among those of the hub's crate, which come through the same call as a connection's.
fn of_the_disk(error: &ApiError) -> Option<&io::Error> {
    let error = match error {
        ApiError::TooManyRetries(last) => return of_the_disk(last),
        ApiError::IoError(error) => error,
        _ => return None,
    };
    let connection = matches!(
        error.kind(),
        ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::NotConnected
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::BrokenPipe
            | ErrorKind::TimedOut
            | ErrorKind::WouldBlock
    );
    // What the system did not say itself is a connection that ended too early.
    (error.raw_os_error().is_some() && !connection).then_some(error)
}

/// A clause for the user from the hub's words.
fn clause(error: &ApiError, endpoint: &str, cache: &Path) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    if let Some(error) = of_the_disk(error) {
        format!(
            "{} cannot be written ({error}): make room there, or set HF_HOME to another folder; what has arrived stays, and \
             the next fetch goes on behind it",
            cache.display()
        )
    } else if line.contains("status: 401") || line.contains("status: 403") {
        "the hub refuses it without an account: accept the terms on the repository's page, then set HF_TOKEN".into()
    } else if line.contains("status: 404") {
        "the hub has no such repository or file: it may have been moved or not been released yet"
            .into()
    } else if line.contains("Lock acquisition") {
        "another program is downloading the same file".into()
    } else {
        format!(
            "{endpoint} does not answer ({line}): check the network, set HF_ENDPOINT to a mirror, or give the files with \
             --from"
        )
    }
}

/// Whether a name, folders left out, fits one of the patterns (`*` stands for anything).
fn wanted(part: &PartInfo, name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name);
    let outside = Path::new(name)
        .components()
        .any(|c| !matches!(c, std::path::Component::Normal(_)));
    !outside
        && part
            .files
            .iter()
            .any(|pattern| match pattern.split_once('*') {
                None => file == pattern,
                Some((head, tail)) => {
                    file.len() >= head.len() + tail.len()
                        && file.starts_with(head)
                        && file.ends_with(tail)
                }
            })
}

/// Of two forms of the same weights, safetensors alone.
fn chosen(part: &PartInfo, names: impl IntoIterator<Item = String>) -> BTreeSet<String> {
    let all: BTreeSet<String> = names.into_iter().filter(|n| wanted(part, n)).collect();
    let folder = |n: &str| {
        n.rsplit_once('/')
            .map_or("", |(folder, _)| folder)
            .to_owned()
    };
    let safe: BTreeSet<String> = all
        .iter()
        .filter(|n| n.ends_with(".safetensors"))
        .map(|n| folder(n))
        .collect();
    all.into_iter()
        .filter(|n| {
            let pickled = n.ends_with(".bin") || n.ends_with(".bin.index.json");
            !(pickled && safe.contains(&folder(n)))
        })
        .collect()
}

/// Tells how far a file is.
struct Watch<'a, 'b> {
    progress: &'a mut Progress<'b>,
    done: u64,
    total: u64,
    name: String,
}

impl hf_hub::api::Progress for Watch<'_, '_> {
    fn init(&mut self, size: usize, name: &str) {
        self.done = 0;
        self.total = size as u64;
        self.name = name.rsplit('/').next().unwrap_or(name).to_owned();
    }

    fn update(&mut self, size: usize) {
        self.done += size as u64;
        let (done, total) = (self.done >> 20, self.total >> 20);
        if self.progress.step(done, total, &self.name).is_err() {
            // The hub's crate cannot be stopped from here, so that the rest of the file still comes, and is still told of.
            self.progress.tell(done, total, STOPPING);
        }
    }

    fn finish(&mut self) {}
}

/// Downloads what a model is put together from and says where each part is.
///
/// # Errors
/// [`ModelError::Fetch`] if the hub cannot be reached, refuses, or sends something else than it announces.
pub fn fetch(info: &ModelInfo, progress: &mut Progress<'_>) -> Result<Parts, ModelError> {
    let cache = Cache::from_env();
    let set = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    let offline = set("HF_HUB_OFFLINE").is_some_and(|v| v != "0");
    let endpoint = set("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into());
    let mut builder = ApiBuilder::from_env()
        .with_retries(RETRIES)
        .with_progress(false);
    if let Some(token) = set("HF_TOKEN") {
        builder = builder.with_token(Some(token));
    }
    let mut parts = Parts::new();
    let hub = Hub {
        api: builder.build().map_err(|e| ModelError::Fetch {
            repository: endpoint.clone(),
            reason: e.to_string(),
        })?,
        endpoint,
        cache,
    };
    for part in &info.weights.parts {
        go_on(part, progress)?;
        let folder = if offline {
            hub.kept(part)?
        } else {
            hub.fetch(part, progress)?
        };
        // A repository may hold more than its own part; what was found first stays.
        for (role, place) in find(&folder, &[part.role])? {
            parts.entry(role).or_insert(place);
        }
        if !parts.contains_key(&part.role) {
            return Err(failed(part, format!("{} is not in it", part.role.words())));
        }
    }
    Ok(parts)
}

fn stopped(part: &PartInfo) -> ModelError {
    failed(part, "stopped: the next fetch goes on where this one was")
}

/// # Errors
/// [`ModelError::Fetch`] if it was asked to stop.
fn go_on(part: &PartInfo, progress: &Progress<'_>) -> Result<(), ModelError> {
    progress.cancel.check().map_err(|_cancelled| stopped(part))
}

struct Hub {
    api: Api,
    endpoint: String,
    cache: Cache,
}

impl Hub {
    /// The snapshot of a part that was fetched before.
    fn kept(&self, part: &PartInfo) -> Result<PathBuf, ModelError> {
        let repo = Repo::model(part.repository.clone());
        let folder = self.cache.path().join(repo.folder_name());
        std::fs::read_to_string(folder.join("refs/main"))
            .ok()
            .map(|commit| folder.join("snapshots").join(commit.trim()))
            .filter(|snapshot| snapshot.is_dir())
            .ok_or_else(|| {
                failed(
                    part,
                    format!(
                        "it is not in {} and HF_HUB_OFFLINE forbids to fetch it",
                        self.cache.path().display()
                    ),
                )
            })
    }

    fn fetch(&self, part: &PartInfo, progress: &mut Progress<'_>) -> Result<PathBuf, ModelError> {
        let repo = self.api.model(part.repository.clone());
        let said = |e: &ApiError| self.said(part, e);
        let info = repo.info().map_err(|e| said(&e))?;
        let names = chosen(part, info.siblings.into_iter().map(|s| s.rfilename));
        if names.is_empty() {
            return Err(failed(part, "it holds none of the files that are needed"));
        }
        let mut root = None;
        for name in names {
            go_on(part, progress)?;
            let path = self.file(part, &repo, &name, progress)?;
            // The snapshot's folder is as many steps above the file as its name has.
            root = path
                .ancestors()
                .nth(name.split('/').count())
                .map(Path::to_owned);
        }
        root.ok_or_else(|| failed(part, "its files have no folder"))
    }

    fn said(&self, part: &PartInfo, error: &ApiError) -> ModelError {
        failed(part, clause(error, &self.endpoint, self.cache.path()))
    }

    fn file(
        &self,
        part: &PartInfo,
        repo: &ApiRepo,
        name: &str,
        progress: &mut Progress<'_>,
    ) -> Result<PathBuf, ModelError> {
        let said = |e: &ApiError| self.said(part, e);
        let announced = self.api.metadata(&repo.url(name)).map_err(|e| said(&e))?;
        // Large files are named after their checksum.
        let etag = announced.etag().to_owned();
        let checksum = part
            .sha256
            .get(name)
            .cloned()
            .or_else(|| (etag.len() == 64).then_some(etag.clone()));
        let size = announced.size() as u64;
        let cached = self.cache.repo(Repo::model(part.repository.clone()));
        let kept = cached.pointer_path(announced.commit_hash()).join(name);
        let announced = (size, checksum.as_deref());
        // Whoever put it there may have been ended before comparing it.
        if is_whole(part, &kept, announced, progress)? {
            return Ok(kept);
        }
        remove(&kept);
        let unfinished = cached.blob_path(&etag).with_extension("part");
        make_resumable(&unfinished, size).map_err(|e| said(&e.into()))?;
        let watch = Watch {
            progress: &mut *progress,
            done: 0,
            total: 0,
            name: String::new(),
        };
        let path = repo
            .download_with_progress(name, watch)
            .map_err(|e| said(&e))?;
        if !is_whole(part, &path, announced, progress)? {
            // A damaged file must not be taken for a good one the next time.
            remove(&path);
            return Err(failed(
                part,
                format!("{name} arrived damaged and was removed: fetch it again"),
            ));
        }
        Ok(path)
    }
}

/// Whether a file is there as the hub announces it: its bytes, and its SHA-256 in hex where that is known.
///
/// # Errors
/// [`ModelError::Fetch`] if that was not found out: the file cannot be read to its end, or it was asked to stop.
fn is_whole(
    part: &PartInfo,
    path: &Path,
    (size, sum): (u64, Option<&str>),
    progress: &mut Progress<'_>,
) -> Result<bool, ModelError> {
    let unread = |e: io::Error| failed(part, format!("{} cannot be read ({e})", path.display()));
    match std::fs::metadata(path) {
        Ok(found) if found.len() == size => {}
        Ok(_) => return Ok(false),
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(unread(e)),
    }
    let Some(sum) = sum else {
        return Ok(true);
    };
    let found = digest(path, progress).map_err(unread)?;
    Ok(found.ok_or_else(|| stopped(part))? == sum)
}

/// Removes a file, and what it is a link to.
fn remove(path: &Path) {
    for damaged in [path.canonicalize().ok(), Some(path.into())] {
        drop(damaged.map(std::fs::remove_file));
    }
}

/// Brings the beginning of a file of `size` bytes into a form that the hub's crate goes on from: it gives up on one that is too
/// long, and of one that lacks nothing it asks for bytes that there are not.
fn make_resumable(unfinished: &Path, size: u64) -> io::Result<()> {
    match std::fs::metadata(unfinished) {
        Ok(found) if found.len() > size => std::fs::remove_file(unfinished),
        Ok(found) if found.len() == size && size > 0 => {
            let file = std::fs::OpenOptions::new().write(true).open(unfinished)?;
            file.set_len(size - 1)
        }
        _ => Ok(()),
    }
}

/// SHA-256 of a file, in hex; `None` if it was asked to stop.
fn digest(path: &Path, progress: &mut Progress<'_>) -> io::Result<Option<String>> {
    let mut file = std::fs::File::open(path)?;
    let (mut done, total) = (0, file.metadata()?.len());
    let name = path.file_name().unwrap_or_default();
    let stage = format!("comparing {}", name.to_string_lossy());
    let mut hash = Sha256::new();
    let mut block = vec![0; 1 << 20];
    loop {
        if progress.step(done >> 20, total >> 20, &stage).is_err() {
            return Ok(None);
        }
        match file.read(&mut block)? {
            0 => break,
            n => {
                hash.update(&block[..n]);
                done += n as u64;
            }
        }
    }
    let sum = hash.finalize();
    Ok(Some(sum.iter().map(|b| format!("{b:02x}")).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_not_called_a_network_that_does_not_answer() {
        let cache = Path::new("/some/cache");
        let says = |error: ApiError| clause(&error, "https://hub", cache);
        let full = || ApiError::IoError(io::Error::from_raw_os_error(28));
        for error in [full(), ApiError::TooManyRetries(Box::new(full()))] {
            let text = says(error);
            assert!(
                text.contains("/some/cache") && text.contains("HF_HOME"),
                "{text}"
            );
            assert!(!text.contains("network"), "{text}");
        }
        for kind in [ErrorKind::ConnectionReset, ErrorKind::UnexpectedEof] {
            let text = says(ApiError::IoError(kind.into()));
            assert!(text.contains("https://hub does not answer"), "{text}");
        }
    }

    #[test]
    fn once_asked_to_stop_a_download_says_what_will_happen() {
        let told = std::sync::Mutex::new(Vec::new());
        let cancel = crate::task::CancelToken::default();
        let mut progress = Progress::new(cancel.clone(), |_, _, stage| {
            told.lock().unwrap().push(stage.to_owned());
        });
        let mut watch = Watch {
            progress: &mut progress,
            done: 0,
            total: 0,
            name: String::new(),
        };
        hf_hub::api::Progress::init(&mut watch, 10, "a/weights.bin");
        hf_hub::api::Progress::update(&mut watch, 5);
        cancel.cancel();
        hf_hub::api::Progress::update(&mut watch, 5);
        assert!(progress.cancel.is_cancelled(), "it is still asked to stop");
        drop(progress);
        assert_eq!(told.into_inner().unwrap(), ["weights.bin", STOPPING]);
    }

    /// A folder opens as a file does, and cannot be read as one.
    #[test]
    fn a_file_that_cannot_be_read_is_not_called_damaged() {
        let info = ModelInfo::by_id("sparrow-videoglamm").unwrap();
        let part = &info.weights.parts[0];
        let dir = tempfile::tempdir().unwrap();
        let (path, unreadable) = (dir.path().join("weights.bin"), dir.path());
        std::fs::write(&path, "abc").unwrap();
        let sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let mut progress = Progress::silent();
        let mut whole = |path: &Path, size, sum| is_whole(part, path, (size, sum), &mut progress);
        assert!(whole(&path, 3, Some(sum)).unwrap() && whole(&path, 3, None).unwrap());
        assert!(!whole(&path, 4, Some(sum)).unwrap() && !whole(&path, 3, Some("ba")).unwrap());
        assert!(!whole(&dir.path().join("none.bin"), 3, Some(sum)).unwrap());
        let size = unreadable.metadata().unwrap().len();
        let error = whole(unreadable, size, Some(sum)).unwrap_err().to_string();
        assert!(error.contains("cannot be read"), "{error}");
        // Nor is one that nobody waited for.
        let mut stopped = Progress::silent();
        stopped.cancel.cancel();
        let error = is_whole(part, &path, (3, Some("ba")), &mut stopped).unwrap_err();
        assert!(error.to_string().contains("stopped"), "{error}");
    }

    #[test]
    fn only_what_is_needed_is_fetched() {
        let info = ModelInfo::by_id("sparrow-videoglamm").unwrap();
        let part = &info.weights.parts[0];
        let names = [
            "README.md",
            "config.json",
            "hf_model/config.json",
            "hf_model/pytorch_model-00001-of-00002.bin",
            "hf_model/pytorch_model.bin.index.json",
            "hf_model/optimizer.bin",
            "../config.json",
            "/etc/config.json",
            "safe/pytorch_model.bin",
            "safe/model.safetensors",
        ];
        let all = chosen(part, names.map(str::to_owned));
        let want = [
            "config.json",
            "hf_model/config.json",
            "hf_model/pytorch_model-00001-of-00002.bin",
            "hf_model/pytorch_model.bin.index.json",
            "safe/model.safetensors",
        ];
        assert_eq!(all, want.map(str::to_owned).into());
    }
}
