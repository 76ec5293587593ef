//! What loading holds at most: beside what it places, little more than a shard. Read from the system while the program runs, so on Linux.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use super::super::cli::place;
use super::{
    torch::Item,
    write::{Files, small_files, small_info, write_whole},
};

/// Bytes that a run of the program held at most.
fn peak(dir: &Path, args: &[&str]) -> u64 {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sparrow"))
        .args(args)
        .current_dir(dir)
        .env("SPARROW_DATA", dir.join("data"))
        .env("RAYON_NUM_THREADS", "1")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let end = loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok());
        peak = kilobytes.map_or(peak, |k| k << 10);
        if let Some(end) = child.try_wait().unwrap() {
            break end;
        }
        thread::sleep(Duration::from_millis(2));
    };
    assert!(end.success(), "{args:?}");
    peak
}

fn bytes(items: &[Item]) -> u64 {
    let numbers: usize = items
        .iter()
        .map(|i| i.shape.iter().product::<usize>())
        .sum();
    2 * numbers as u64
}

/// The checkpoint's own tensors in so many files of about the same size.
fn split(files: Files, n: u64) -> Files {
    let all: Vec<Item> = files.shards.into_iter().flatten().collect();
    let each = bytes(&all).div_ceil(n);
    let mut shards = vec![vec![]];
    for item in all {
        let last = shards.len() - 1;
        if bytes(&shards[last]) + bytes(std::slice::from_ref(&item)) > each
            && !shards[last].is_empty()
        {
            shards.push(vec![]);
        }
        let last = shards.len() - 1;
        shards[last].push(item);
    }
    Files { shards, ..files }
}

/// More and wider layers cost what they take up, and a shard: never all shards at once. What is computed on the way is small beside it.
#[test]
fn loading_holds_little_more_than_it_places() {
    let mut placed = vec![];
    let mut peaks = vec![];
    let mut largest = 0;
    for (layers, wide) in [(4, 384), (60, 2048)] {
        let dir = place();
        let mut info = small_info();
        let language = &mut info.config.phi3;
        (language.num_hidden_layers, language.intermediate_size) = (layers, wide);
        let files = split(small_files(&info), 3);
        write_whole(&dir.path().join("model"), &info, &files);
        let numbers: u64 = files.shards.iter().map(|s| bytes(s) / 2).sum();
        placed.push(4 * numbers);
        largest = files.shards.iter().map(|s| bytes(s)).max().unwrap();
        let ground = [
            "ground",
            "clip",
            "--phrase",
            "the red horse",
            "--model",
            "model",
        ];
        let once = ["--range", "0..0", "--precision", "f32", "--device", "cpu"];
        peaks.push(peak(dir.path(), &[&ground[..], &once[..]].concat()));
    }
    let more = peaks[1] - peaks[0];
    let allowed = placed[1] - placed[0] + largest * 6 / 5;
    assert!(largest > 10 << 20, "{largest}");
    assert!(
        more <= allowed,
        "{more} bytes more, allowed {allowed}; placed {placed:?}, shard {largest}"
    );
}
