//! Fetching and remembering: against a hub of our own on this machine that serves small files, and with files that are
//! here already.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Mutex},
    thread,
};

use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{ID, place, small, sparrow};
use crate::cli::sparrow_with;

/// Files of every repository, and what was asked for.
#[derive(Clone, Default)]
struct Hub {
    files: Arc<BTreeMap<(String, String), Vec<u8>>>,
    /// Sent instead of the right bytes of files with this name.
    damage: Option<String>,
    asked: Arc<Mutex<Vec<String>>>,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

impl Hub {
    /// Serves until the test ends; the answer is the address.
    fn serve(self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        // One connection after another: every one is closed with its answer.
        thread::Builder::new()
            .name("hub".into())
            .spawn(move || {
                for stream in listener.incoming().flatten() {
                    self.answer(stream);
                }
            })
            .unwrap();
        address
    }

    fn answer(&self, mut stream: TcpStream) {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let request = lines.next().and_then(Result::ok).unwrap_or_default();
        let mut from = 0;
        let mut to = usize::MAX;
        for line in lines.map_while(Result::ok).take_while(|l| !l.is_empty()) {
            let line = line.to_lowercase();
            if let Some((a, b)) = line
                .strip_prefix("range: bytes=")
                .and_then(|r| r.split_once('-'))
            {
                from = a.parse().unwrap_or(0);
                to = b.parse().unwrap_or(usize::MAX);
            }
        }
        let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
        self.asked
            .lock()
            .unwrap()
            .push(format!("{path} from {from} to {to}"));
        let reply = if let Some(repository) = path.strip_prefix("/api/models/") {
            self.listing(repository)
        } else {
            self.content(path.trim_start_matches('/'), from, to)
        };
        let reply = reply.unwrap_or_else(|| {
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec()
        });
        drop(stream.write_all(&reply));
    }

    fn listing(&self, repository: &str) -> Option<Vec<u8>> {
        let repository = repository.split("/revision/").next()?;
        let siblings: Vec<_> = self
            .files
            .keys()
            .filter(|(r, _)| r == repository)
            .map(|(_, name)| json!({"rfilename": name}))
            .collect();
        if siblings.is_empty() {
            return None;
        }
        let body = json!({"siblings": siblings, "sha": "c0ffee"}).to_string();
        Some(
            format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            )
            .into_bytes(),
        )
    }

    fn content(&self, path: &str, from: usize, to: usize) -> Option<Vec<u8>> {
        let (repository, name) = path.split_once("/resolve/main/")?;
        let right = self.files.get(&(repository.to_owned(), name.to_owned()))?;
        let mut content = right.clone();
        if self.damage.as_deref() == Some(name) {
            content.fill(7);
        }
        if from > 0 && from >= content.len() {
            return Some(
                b"HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                    .to_vec(),
            );
        }
        let end = to.saturating_add(1).min(content.len());
        let body = content.get(from.min(end)..end)?;
        let mut reply = format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{}/{}\r\nETag: \"{}\"\r\n\
             x-repo-commit: c0ffee\r\nConnection: close\r\n\r\n",
            body.len(),
            end.saturating_sub(1),
            right.len(),
            hex(&Sha256::digest(right))
        )
        .into_bytes();
        reply.extend(body);
        Some(reply)
    }
}

/// The small checkpoint's files as four repositories.
fn repositories(files: &Path) -> BTreeMap<(String, String), Vec<u8>> {
    let mut out = BTreeMap::new();
    for (folder, repository) in [
        ("sparrow", "RISys-Lab/sparrow-finetune"),
        (
            "clip-vit-large-patch14-336",
            "openai/clip-vit-large-patch14-336",
        ),
        ("ddetr_sam2", "RISys-Lab/sparrow-det-pretrain"),
    ] {
        for entry in fs::read_dir(files.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            // One repository keeps its files in a folder of its own.
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let name = if folder == "sparrow" {
                format!("hf_model/{name}")
            } else {
                name
            };
            out.insert((repository.to_owned(), name), fs::read(path).unwrap());
        }
        out.insert(
            (repository.to_owned(), "README.md".into()),
            b"read me".to_vec(),
        );
    }
    let video = "InternVideo2-stage2_1b-224p-f4.pt";
    out.insert(
        (
            "OpenGVLab/InternVideo2-Stage2_1B-224p-f4".into(),
            video.into(),
        ),
        fs::read(files.join(video)).unwrap(),
    );
    out
}

#[test]
fn files_are_fetched_resumed_compared_and_remembered() {
    let dir = place();
    let here = dir.path();
    small(&here.join("files"));
    let hub = Hub {
        files: Arc::new(repositories(&here.join("files"))),
        ..Hub::default()
    };
    let asked = Arc::clone(&hub.asked);
    let video = "InternVideo2-stage2_1b-224p-f4.pt";
    let content = hub.files[&(
        "OpenGVLab/InternVideo2-Stage2_1B-224p-f4".to_owned(),
        video.to_owned(),
    )]
        .clone();
    // A download that broke off in the middle.
    let sum = hex(&Sha256::digest(&content));
    let blobs = here.join("hub/hub/models--OpenGVLab--InternVideo2-Stage2_1B-224p-f4/blobs");
    fs::create_dir_all(&blobs).unwrap();
    let half = content.len() / 2;
    fs::write(blobs.join(format!("{sum}.part")), &content[..half]).unwrap();
    // One that was ended before it had its name, and one that holds more than there is.
    let begun = |name: &str, more: &[u8]| {
        let repository = "RISys-Lab/sparrow-finetune";
        let content = &hub.files[&(repository.to_owned(), format!("hf_model/{name}"))];
        let blobs = here.join("hub/hub/models--RISys-Lab--sparrow-finetune/blobs");
        fs::create_dir_all(&blobs).unwrap();
        let part = blobs.join(format!("{}.part", hex(&Sha256::digest(content))));
        fs::write(part, [content.as_slice(), more].concat()).unwrap();
    };
    begun(&super::shard(0, 3), b"");
    begun(&super::shard(1, 3), b"too much");
    let address = hub.serve();

    let fetched = sparrow_with(here, &["models", "fetch", ID], &[("HF_ENDPOINT", &address)]);
    assert_eq!(fetched.code, 0, "{}{}", fetched.stdout, fetched.stderr);
    let asked: BTreeSet<String> = asked.lock().unwrap().drain(..).collect();
    assert!(
        asked
            .iter()
            .any(|a| a.contains(video) && a.contains(&format!("from {half} "))),
        "the rest alone is asked for: {asked:?}"
    );
    assert!(!asked.iter().any(|a| a.contains("README")), "{asked:?}");

    // What was fetched is the same bytes, and found again without a network.
    let list = sparrow(here, &["models", "list"]);
    assert!(
        list.stdout
            .contains("models--openai--clip-vit-large-patch14-336"),
        "{}",
        list.stdout
    );
    let again = sparrow_with(here, &["models", "fetch", ID], &[("HF_HUB_OFFLINE", "1")]);
    assert_eq!(again.code, 0, "{}{}", again.stdout, again.stderr);
    let snapshot = "hub/hub/models--RISys-Lab--sparrow-finetune/snapshots/c0ffee/hf_model";
    for entry in fs::read_dir(here.join("files/sparrow")).unwrap() {
        let path = entry.unwrap().path();
        let copy = here.join(snapshot).join(path.file_name().unwrap());
        assert_eq!(fs::read(&path).unwrap(), fs::read(copy).unwrap());
    }
    // The small files are not of the released size, and that is said.
    let verify = sparrow(here, &["models", "verify", ID]);
    assert_eq!(verify.code, 1);
    assert!(verify.stderr.contains("has shape"), "{}", verify.stderr);
}

/// A file of the right length in the cache may have been written by a program that was ended before it compared it.
#[test]
fn a_damaged_file_in_the_cache_is_fetched_again() {
    let dir = place();
    let here = dir.path();
    small(&here.join("files"));
    let files = Arc::new(repositories(&here.join("files")));
    let fetch = || {
        let hub = Hub {
            files: Arc::clone(&files),
            ..Hub::default()
        };
        let asked = Arc::clone(&hub.asked);
        let address = hub.serve();
        let run = sparrow_with(here, &["models", "fetch", ID], &[("HF_ENDPOINT", &address)]);
        assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
        let asked = asked.lock().unwrap().clone();
        // What is announced is asked for with its first byte alone.
        asked
            .into_iter()
            .filter(|a| !a.ends_with("to 0"))
            .collect::<Vec<_>>()
    };
    fetch();
    let folder = here.join("hub/hub/models--openai--clip-vit-large-patch14-336/snapshots/c0ffee");
    let path = folder.join("pytorch_model.bin");
    let right = fs::read(&path).unwrap();
    let mut wrong = right.clone();
    wrong[right.len() / 2] ^= 1;
    fs::write(&path, &wrong).unwrap();
    let asked = fetch();
    assert_eq!(fs::read(&path).unwrap(), right);
    let files = asked.iter().filter(|a| a.contains("/resolve/"));
    assert_eq!(files.count(), 1, "the others are there: {asked:?}");
}

#[test]
fn what_the_hub_does_wrong_is_named() {
    let dir = place();
    let here = dir.path();
    small(&here.join("files"));
    let files = Arc::new(repositories(&here.join("files")));
    let fetch = |hub: Hub, more: &[(&str, &str)]| {
        let address = hub.serve();
        let variables = [&[("HF_ENDPOINT", address.as_str())], more].concat();
        let run = sparrow_with(here, &["models", "fetch", ID], &variables);
        assert_eq!(run.code, 1, "{}", run.stdout);
        assert!(!here.join("data/models.json").exists());
        run.stderr
    };
    let damaged = "hf_model/pytorch_model-00002-of-00003.bin";
    let hub = Hub {
        files: Arc::clone(&files),
        damage: Some(damaged.into()),
        ..Hub::default()
    };
    let error = fetch(hub, &[]);
    assert!(
        error.contains(damaged) && error.contains("damaged"),
        "{error}"
    );

    let mut fewer = (*files).clone();
    fewer.retain(|(repository, _), _| repository != "openai/clip-vit-large-patch14-336");
    let hub = Hub {
        files: Arc::new(fewer),
        ..Hub::default()
    };
    let error = fetch(hub, &[]);
    assert!(
        error.contains("openai/clip-vit-large-patch14-336") && error.contains("no such"),
        "{error}"
    );

    fs::remove_dir_all(here.join("hub")).unwrap();
    let hub = Hub {
        files: Arc::clone(&files),
        ..Hub::default()
    };
    let error = fetch(hub, &[("HF_HUB_OFFLINE", "1")]);
    assert!(error.contains("HF_HUB_OFFLINE"), "{error}");

    // Nobody listens there.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let run = sparrow_with(here, &["models", "fetch", ID], &[("HF_ENDPOINT", &address)]);
    assert_eq!(run.code, 1);
    assert!(
        run.stderr.contains("does not answer") && run.stderr.contains("--from"),
        "{}",
        run.stderr
    );
}

#[test]
fn files_that_are_here_already_are_remembered() {
    let dir = place();
    let here = dir.path();
    small(&here.join("files"));
    let remember = sparrow(here, &["models", "fetch", ID, "--from", "files"]);
    assert_eq!(remember.code, 0, "{}", remember.stderr);
    let verify = sparrow(here, &["models", "verify", ID]);
    assert_eq!(verify.code, 0, "{}{}", verify.stdout, verify.stderr);
    let list = sparrow(here, &["models", "list"]);
    assert!(list.stdout.contains("ddetr_sam2"), "{}", list.stdout);
    let ground = [
        "ground",
        "clip",
        "--phrase",
        "the horse",
        "--model",
        ID,
        "--mode",
        "framewise",
        "--json",
        "-",
    ];
    let by_id = sparrow(here, &ground);
    assert_eq!(by_id.code, 0, "{}", by_id.stderr);
    assert!(by_id.stdout.contains("[BOX] [SEG]"));

    let bundle = sparrow(here, &["models", "convert", ID, "--out", "one.safetensors"]);
    assert_eq!(bundle.code, 0, "{}", bundle.stderr);
    let remember = sparrow(here, &["models", "fetch", ID, "--from", "one.safetensors"]);
    assert_eq!(remember.code, 0, "{}", remember.stderr);
    assert_eq!(sparrow(here, &ground).code, 0);
    let doctor = sparrow(here, &["doctor"]);
    assert!(doctor.stdout.contains("models verify"), "{}", doctor.stdout);

    fs::rename(here.join("one.safetensors"), here.join("moved.safetensors")).unwrap();
    let gone = sparrow(here, &ground);
    assert_eq!(gone.code, 1);
    assert!(
        gone.stderr.contains("are gone") && gone.stderr.contains("--from"),
        "{}",
        gone.stderr
    );
    assert_eq!(sparrow(here, &["models", "list"]).code, 0);
    for wrong in ["clip", "nowhere"] {
        let run = sparrow(here, &["models", "fetch", ID, "--from", wrong]);
        assert_eq!(run.code, 1, "{wrong}: {}", run.stdout);
    }
    fs::write(here.join("data/models.json"), "[]").unwrap();
    let run = sparrow(here, &["models", "verify", ID]);
    assert!(
        run.stderr.contains("models.json") && run.stderr.contains("damaged"),
        "{}",
        run.stderr
    );
}
