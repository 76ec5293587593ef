//! Every way in which a checkpoint can be wrong: one sentence that names what and where, and nothing half-done.

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::{
    ID, place, refused,
    torch::{Data, Item, Kind, pickle, save, save_with},
    write::{self, shard, small, small_files, small_info},
};

/// A folder with a clip and a small checkpoint in `files`.
fn checkpoint() -> TempDir {
    let dir = place();
    small(&dir.path().join("files"));
    dir
}

fn own(dir: &TempDir) -> PathBuf {
    dir.path().join("files/sparrow")
}

/// Verifying, converting and grounding all say so; no output appears.
fn all_refuse(dir: &TempDir, words: &[&str]) {
    let here = dir.path();
    refused(here, &["models", "verify", ID, "--from", "files"], 1, words);
    let out = "out.safetensors";
    refused(
        here,
        &["models", "convert", ID, "--from", "files", "--out", out],
        1,
        words,
    );
    refused(
        here,
        &[
            "ground",
            "clip",
            "--phrase",
            "the horse",
            "--model",
            "files",
        ],
        1,
        words,
    );
    assert!(!here.join(out).exists());
}

fn cut_short(path: &Path, keep: impl Fn(u64) -> u64) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len();
    file.set_len(keep(length)).unwrap();
}

/// The checkpoint's own items changed, as one file.
fn changed(dir: &TempDir, change: impl FnOnce(&mut Vec<Item>)) {
    let info = small_info();
    let mut files = small_files(&info);
    let mut all = files.shards.concat();
    change(&mut all);
    files.shards = vec![all];
    for old in fs::read_dir(own(dir)).unwrap() {
        fs::remove_file(old.unwrap().path()).unwrap();
    }
    write::write(&dir.path().join("files"), &info, &files);
    write::write_tokenizer(&dir.path().join("files"));
}

fn item<'a>(items: &'a mut [Item], name: &str) -> &'a mut Item {
    items.iter_mut().find(|i| i.name == name).unwrap()
}

#[test]
fn shards_that_are_cut_short_swapped_or_absent() {
    let dir = checkpoint();
    let second = own(&dir).join(shard(1, 3));
    let whole = fs::read(&second).unwrap();
    for keep in [|n: u64| n - 1, |n: u64| n / 2, |_: u64| 100, |_: u64| 0] {
        cut_short(&second, keep);
        all_refuse(&dir, &["pytorch_model-00002-of-00003.bin"]);
        fs::write(&second, &whole).unwrap();
    }
    let third = own(&dir).join(shard(2, 3));
    fs::rename(&second, own(&dir).join("kept")).unwrap();
    all_refuse(
        &dir,
        &["index", "pytorch_model-00002-of-00003.bin", "not there"],
    );
    fs::copy(&third, &second).unwrap();
    all_refuse(
        &dir,
        &[
            "pytorch_model-00002-of-00003.bin",
            "does not hold",
            "swapped",
        ],
    );
}

#[test]
fn files_of_another_kind() {
    let dir = checkpoint();
    let video = dir.path().join("files/InternVideo2-stage2_1b-224p-f4.pt");
    for (content, word) in [
        (
            &b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03."[..],
            "before version 1.6",
        ),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n",
            "Git LFS pointer",
        ),
        (
            b"<html>404</html>",
            "neither a .safetensors nor a PyTorch file",
        ),
        (b"PK\x03\x04 and then nothing", "cut short"),
    ] {
        fs::write(&video, content).unwrap();
        all_refuse(&dir, &["InternVideo2-stage2_1b-224p-f4.pt", word]);
    }
    // A zip archive with code where the list of tensors should be.
    for (program, name) in [
        (
            &b"\x80\x02cposix\nsystem\nq\x00X\x09\x00\x00\x00touch hit\x85q\x01R."[..],
            "posix.system",
        ),
        (b"\x80\x02cbuiltins\neval\n.", "builtins.eval"),
        (b"\x80\x04\x8c\x05torch\x8c\x04load\x93.", "torch.load"),
    ] {
        save_with(&video, program, &[]).unwrap();
        all_refuse(&dir, &["InternVideo2-stage2_1b-224p-f4.pt", name]);
        assert!(!dir.path().join("hit").exists());
    }
    // More numbers announced than there are.
    let small = Item {
        name: "vision_encoder.cls_token".into(),
        shape: vec![4],
        kind: Kind::F32,
        data: Data::Values(vec![0.5; 4]),
    };
    let larger = Item {
        shape: vec![400],
        ..small.clone()
    };
    save_with(&video, &pickle(Some("model"), &[larger]), &[small]).unwrap();
    all_refuse(&dir, &["vision_encoder.cls_token", "16 bytes", "1600"]);
    save(&video, Some("model"), &[]).unwrap();
    all_refuse(&dir, &["no named tensors"]);
}

#[test]
fn tensors_that_are_missing_misshapen_superfluous_or_no_numbers() {
    let dir = checkpoint();
    let name = "model.visual_model.no_mem_embed";
    changed(&dir, |all| all.retain(|i| i.name != name));
    all_refuse(&dir, &[name, "missing"]);
    changed(&dir, |all| {
        let item = item(all, name);
        item.shape = vec![1, 1, 7];
        item.data = Data::Values(vec![0.0; 7]);
    });
    all_refuse(&dir, &[name, "[1, 1, 7]", "[1, 1, 96]"]);
    changed(&dir, |all| item(all, name).kind = Kind::I64);
    all_refuse(&dir, &[name, "I64", "floating-point"]);
    changed(&dir, |all| {
        let mut more = item(all, name).clone();
        more.name = "model.other_head.weight".into();
        all.push(more);
    });
    all_refuse(&dir, &["model.other_head.weight", "none of the networks"]);
    for bad in [f32::NAN, f32::INFINITY] {
        changed(&dir, |all| {
            let Data::Values(values) = &mut item(all, name).data else {
                panic!("values");
            };
            values[5] = bad;
        });
        let here = dir.path();
        let verify = super::sparrow(here, &["models", "verify", ID, "--from", "files"]);
        assert_eq!(verify.code, 1);
        assert!(verify.stdout.contains(name) && verify.stdout.contains("not a number"));
        let args = [
            "models",
            "convert",
            ID,
            "--from",
            "files",
            "--out",
            "o.safetensors",
        ];
        refused(here, &args, 1, &[name, "not a number"]);
        assert!(!here.join("o.safetensors").exists());
        let args = [
            "ground",
            "clip",
            "--phrase",
            "the horse",
            "--model",
            "files",
        ];
        refused(here, &args, 1, &[name, "not a number"]);
    }
    // Everything wrong is listed, not only the first.
    changed(&dir, |all| {
        all.retain(|i| !i.name.starts_with("model.proposal_selector.seg_proj"));
        item(all, name).shape = vec![96];
    });
    let verify = super::sparrow(dir.path(), &["models", "verify", ID, "--from", "files"]);
    for line in [
        "missing\tmodel.proposal_selector.seg_proj.weight",
        "missing\tmodel.proposal_selector.seg_proj.bias",
        "misshapen\tmodel.visual_model.no_mem_embed",
    ] {
        assert!(verify.stdout.contains(line), "{line}: {}", verify.stdout);
    }
    // A checkpoint of the base model.
    changed(&dir, |all| {
        all.retain(|i| {
            !i.name.starts_with("model.proposal_selector.") && !i.name.starts_with("model.roi_")
        });
    });
    all_refuse(&dir, &["base model", "filtration heads"]);
}

#[test]
fn configurations_that_disagree() {
    let dir = checkpoint();
    let path = own(&dir).join("config.json");
    let text = fs::read_to_string(&path).unwrap();
    let with = |from: &str, to: &str| {
        let new = text.replace(from, to);
        assert_ne!(new, text, "{from}");
        fs::write(&path, new).unwrap();
    };
    with("\"num_hidden_layers\": 4", "\"num_hidden_layers\": 5");
    all_refuse(&dir, &["model.layers.4", "missing"]);
    with("\"intermediate_size\": 432", "\"intermediate_size\": 400");
    all_refuse(&dir, &["model.layers.0.mlp", "432", "400"]);
    with("\"vocab_size\": 608", "\"vocab_size\": 609");
    all_refuse(&dir, &["608", "609"]);
    with("\"num_attention_heads\": 5", "\"num_attention_heads\": 7");
    all_refuse(&dir, &["config.json", "160", "7 heads"]);
    with(
        "\"rope_scaling\": null",
        "\"rope_scaling\": {\"type\": \"linear\"}",
    );
    all_refuse(&dir, &["config.json", "rope_scaling"]);
    for (layers, words) in [
        ("100000000", "num_hidden_layers is 100000000"),
        ("0", "is 0"),
    ] {
        with(
            "\"num_hidden_layers\": 4",
            &format!("\"num_hidden_layers\": {layers}"),
        );
        all_refuse(&dir, &["config.json", words, "no network"]);
    }
    with("\"mlp2x_gelu\"", "\"linear\"");
    all_refuse(&dir, &["config.json", "linear"]);
    fs::write(&path, "{\"model_type\": \"VideoGPT+\", ").unwrap();
    all_refuse(&dir, &["sparrow/config.json", "damaged"]);
}

#[test]
fn tokenizers_of_other_models() {
    let dir = checkpoint();
    let path = own(&dir).join("tokenizer_config.json");
    let text = fs::read_to_string(&path).unwrap();
    for token in ["[SEG]", "[BOX]"] {
        fs::write(&path, text.replace(token, "[XYZ]")).unwrap();
        let older = own(&dir).join("added_tokens.json");
        if older.exists() {
            fs::remove_file(older).unwrap();
        }
        all_refuse(&dir, &[token, "tokenizer"]);
    }
    fs::write(&path, "nonsense").unwrap();
    all_refuse(&dir, &["tokenizer_config.json", "damaged"]);
    fs::write(&path, &text).unwrap();
    let model = own(&dir).join("tokenizer.model");
    cut_short(&model, |n| n / 2);
    all_refuse(&dir, &["tokenizer.model"]);
    fs::remove_file(&model).unwrap();
    all_refuse(&dir, &["tokenizer.model"]);
}

/// Released, one of two loaders goes on without the file.
#[test]
fn oddity_43_a_tower_that_is_nowhere_is_named() {
    let dir = checkpoint();
    changed(&dir, |all| {
        all.retain(|i| !i.name.starts_with("model.vision_tower."));
    });
    let file = dir.path().join("files/InternVideo2-stage2_1b-224p-f4.pt");
    fs::remove_file(file).unwrap();
    all_refuse(&dir, &["InternVideo2", "not among the files"]);
}

#[test]
fn parts_that_are_absent_or_there_twice() {
    let dir = checkpoint();
    let files = dir.path().join("files");
    fs::create_dir(files.join("again")).unwrap();
    for name in ["config.json", "pytorch_model.bin"] {
        fs::copy(
            files.join("ddetr_sam2").join(name),
            files.join("again").join(name),
        )
        .unwrap();
    }
    all_refuse(&dir, &["again", "ddetr_sam2", "both"]);
    fs::remove_dir_all(files.join("again")).unwrap();
    fs::remove_dir_all(files.join("ddetr_sam2")).unwrap();
    all_refuse(&dir, &["the proposer", "not among the files"]);
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    refused(
        dir.path(),
        &["models", "verify", ID, "--from", "empty"],
        1,
        &["empty", "no part of a released"],
    );
    refused(
        dir.path(),
        &["models", "verify", ID, "--from", "nowhere"],
        1,
        &["nowhere"],
    );
}
