//! The released files from the hub where their authors publish them: into the cache that other programs of that hub share,
//! resumed where a download broke off, compared with the hub's own checksums.
//!
//! `HF_HOME` and `HF_ENDPOINT` say where the cache and the hub are, `HF_TOKEN` who asks, `HF_HUB_OFFLINE` that nothing is
//! to be fetched. What the files hold is found out by [`super::find`], exactly as for files that were there already.

use std::{
    collections::BTreeSet,
    io::Read as _,
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

fn failed(part: &PartInfo, reason: impl Into<String>) -> ModelError {
    ModelError::Fetch {
        repository: part.repository.clone(),
        reason: reason.into(),
    }
}

/// A clause for the user from the hub's words.
fn clause(error: &ApiError, endpoint: &str) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    if line.contains("status: 401") || line.contains("status: 403") {
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
        // The hub's crate cannot be stopped from here; a broken download goes on where it was.
        self.progress
            .step(self.done >> 20, self.total >> 20, &self.name)
            .unwrap_or_default();
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
        progress
            .cancel
            .check()
            .map_err(|e| failed(part, e.to_string()))?;
        let folder = if offline {
            hub.kept(part)?
        } else {
            hub.fetch(part, progress)?
        };
        // A repository may hold more than its own part; what was found first stays.
        for (role, place) in find(&folder)? {
            parts.entry(role).or_insert(place);
        }
        if !parts.contains_key(&part.role) {
            return Err(failed(part, format!("{} is not in it", part.role.words())));
        }
    }
    Ok(parts)
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
        let said = |e: &ApiError| failed(part, clause(e, &self.endpoint));
        let info = repo.info().map_err(|e| said(&e))?;
        let names = chosen(part, info.siblings.into_iter().map(|s| s.rfilename));
        if names.is_empty() {
            return Err(failed(part, "it holds none of the files that are needed"));
        }
        let mut root = None;
        for name in names {
            let path = self.file(part, &repo, &name, progress)?;
            // The snapshot's folder is as many steps above the file as its name has.
            root = path
                .ancestors()
                .nth(name.split('/').count())
                .map(Path::to_owned);
        }
        root.ok_or_else(|| failed(part, "its files have no folder"))
    }

    fn file(
        &self,
        part: &PartInfo,
        repo: &ApiRepo,
        name: &str,
        progress: &mut Progress<'_>,
    ) -> Result<PathBuf, ModelError> {
        let said = |e: &ApiError| failed(part, clause(e, &self.endpoint));
        let announced = self.api.metadata(&repo.url(name)).map_err(|e| said(&e))?;
        // Large files are named after their checksum.
        let etag = announced.etag().to_owned();
        let checksum = part
            .sha256
            .get(name)
            .cloned()
            .or_else(|| (etag.len() == 64).then_some(etag.clone()));
        let commit = announced.commit_hash();
        let kept = self
            .cache
            .repo(Repo::model(part.repository.clone()))
            .pointer_path(commit)
            .join(name);
        let length = |path: &Path| std::fs::metadata(path).map(|m| m.len()).ok();
        if length(&kept) == Some(announced.size() as u64) {
            return Ok(kept);
        }
        let watch = Watch {
            progress: &mut *progress,
            done: 0,
            total: 0,
            name: String::new(),
        };
        let path = repo
            .download_with_progress(name, watch)
            .map_err(|e| said(&e))?;
        let whole = length(&path) == Some(announced.size() as u64);
        if !whole || checksum.is_some_and(|sum| digest(&path).is_none_or(|d| d != sum)) {
            // A damaged file must not be taken for a good one the next time.
            for damaged in path.canonicalize().iter().chain([&path]) {
                drop(std::fs::remove_file(damaged));
            }
            return Err(failed(
                part,
                format!("{name} arrived damaged and was removed: fetch it again"),
            ));
        }
        Ok(path)
    }
}

/// SHA-256 of a file, in hex.
fn digest(path: &Path) -> Option<String> {
    let mut file = std::fs::File::open(path).ok()?;
    let mut hash = Sha256::new();
    let mut block = vec![0; 1 << 20];
    loop {
        match file.read(&mut block).ok()? {
            0 => break,
            n => hash.update(&block[..n]),
        }
    }
    Some(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

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
