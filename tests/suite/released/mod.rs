//! The released model's files: a checkpoint in the authors' layout is checked, put together and grounded with; every way
//! in which it can be damaged is one clear sentence; and the list of the real one's tensors is what the networks ask for.

mod agree;
mod damaged;
mod hub;
mod layouts;
#[cfg(target_os = "linux")]
mod memory;
mod torch;
pub(super) mod write;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use sparrow::{
    infer::{checkpoint::report, model::ModelInfo},
    nn::sparrow::is_spare,
};

use self::torch::Data;
use self::write::{fixture, shard, small, small_files, small_info, write};
use super::cli::{place, refused, sparrow};

const ID: &str = "sparrow-videoglamm";

/// The released files' tensors, by file: name and shape.
fn released_tensors() -> BTreeMap<String, BTreeMap<String, Vec<usize>>> {
    let text = fs::read_to_string(fixture("released_tensors.txt")).unwrap();
    let mut all: BTreeMap<String, BTreeMap<String, Vec<usize>>> = BTreeMap::new();
    let mut announced = BTreeMap::new();
    let mut section = String::new();
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        if let Some((name, count)) = line.strip_prefix('[').and_then(|l| l.split_once("] ")) {
            section = name.to_owned();
            announced.insert(section.clone(), count.parse::<usize>().unwrap());
            continue;
        }
        let (pattern, dims) = line.split_once(' ').unwrap();
        let shape: Vec<usize> = match dims {
            "-" => vec![],
            dims => dims.split('x').map(|d| d.parse().unwrap()).collect(),
        };
        let names = match pattern.split_once('{') {
            None => vec![pattern.to_owned()],
            Some((head, rest)) => {
                let (range, tail) = rest.split_once('}').unwrap();
                let (a, b) = range.split_once('-').unwrap();
                let range = a.parse::<usize>().unwrap()..=b.parse().unwrap();
                range.map(|i| format!("{head}{i}{tail}")).collect()
            }
        };
        let file = all.entry(section.clone()).or_default();
        file.extend(names.into_iter().map(|n| (n, shape.clone())));
    }
    for (section, count) in announced {
        assert_eq!(all[&section].len(), count, "{section}");
    }
    all
}

/// The same under the names that the networks ask for.
fn as_asked() -> BTreeMap<String, Vec<usize>> {
    let mut out = BTreeMap::new();
    for (section, tensors) in released_tensors() {
        let prefix = match section.as_str() {
            "clip" => "model.image_vision_tower.vision_tower.",
            "internvideo2" => "model.vision_tower.",
            "proposer" | "alias" => "detector.",
            _ => "",
        };
        out.extend(
            tensors
                .into_iter()
                .map(|(n, s)| (format!("{prefix}{n}"), s)),
        );
    }
    out
}

#[test]
fn the_networks_ask_for_the_released_tensors_and_no_others() {
    let info = ModelInfo::by_id(ID).unwrap();
    let released = as_asked();
    let asked = report::asked(&info, released.keys().cloned()).unwrap();
    for (name, shape) in &asked {
        assert_eq!(released.get(name), Some(shape), "{name}");
    }
    let left: BTreeSet<_> = released
        .keys()
        .filter(|n| !asked.contains_key(*n))
        .collect();
    for name in &left {
        assert!(is_spare(&info.config, name), "{name} is left over");
    }
    // 24th layer of CLIP (16), its last norm (2); InternVideo2's last block (13) and heads; the proposer's second names.
    assert!(left.len() > 16 + 2 + 13 + 68, "{}", left.len());
    let numbers: usize = asked.values().map(|s| s.iter().product::<usize>()).sum();
    assert!(
        (5_550_000_000..5_660_000_000).contains(&numbers),
        "{numbers}"
    );
    // The proposer's heads may lie inside of its decoder alone.
    let inner: Vec<String> = released
        .keys()
        .filter(|n| {
            !(n.starts_with("detector.ddetr_transformer.bbox_embed.")
                || n.starts_with("detector.ddetr_transformer.class_embed_"))
        })
        .cloned()
        .collect();
    let asked = report::asked(&info, inner.iter().cloned()).unwrap();
    assert!(asked.keys().all(|name| inner.contains(name)));
}

/// `ground`'s JSON without what differs from run to run.
fn answer(dir: &Path, model: &str) -> serde_json::Value {
    let run = sparrow(
        dir,
        &[
            "ground",
            "clip",
            "--phrase",
            "the red horse",
            "--model",
            model,
            "--mode",
            "framewise",
            "--json",
            "-",
        ],
    );
    assert_eq!(run.code, 0, "{}", run.stderr);
    let mut json: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let all = json.as_object_mut().unwrap();
    all.remove("timing");
    all.remove("model");
    // Where it lies is said, and that may differ.
    all.remove("asked");
    json
}

#[test]
fn a_checkpoint_is_verified_converted_and_grounded_with() {
    let dir = place();
    let here = dir.path();
    small(&here.join("files"));
    let verify = sparrow(here, &["models", "verify", ID, "--from", "files"]);
    assert_eq!(verify.code, 0, "{}{}", verify.stdout, verify.stderr);
    assert!(verify.stdout.contains("whole"), "{}", verify.stdout);

    let from_files = answer(here, "files");
    let emission = &from_files["emissions"][0];
    assert_eq!(emission["text"], "[BOX] [SEG]");
    assert!(!emission["proposals"].as_array().unwrap().is_empty());
    assert_eq!(from_files["objects"].as_array().unwrap().len(), 1);

    for dtype in ["f32", "f16", "bf16", "q8", "q4"] {
        let name = format!("{dtype}.safetensors");
        let args = [
            "models", "convert", ID, "--from", "files", "--out", &name, "--dtype", dtype,
        ];
        let convert = sparrow(here, &args);
        assert_eq!(convert.code, 0, "{}", convert.stderr);
        let verify = sparrow(here, &["models", "verify", &name]);
        assert_eq!(verify.code, 0, "{}{}", verify.stdout, verify.stderr);
        assert!(verify.stdout.contains("sha256"), "{}", verify.stdout);
        let from_bundle = answer(here, &name);
        // Wider numbers lose nothing; narrower ones say the same words.
        if dtype == "f32" {
            assert_eq!(from_bundle, from_files);
        } else {
            assert_eq!(from_bundle["emissions"][0]["text"], emission["text"]);
        }
    }
    // Blocks become floats, and other blocks, again.
    for dtype in ["f32", "q8"] {
        let name = format!("again-{dtype}.safetensors");
        let args = [
            "models",
            "convert",
            "q4.safetensors",
            "--out",
            &name,
            "--dtype",
            dtype,
        ];
        let convert = sparrow(here, &args);
        assert_eq!(convert.code, 0, "{}", convert.stderr);
        let again = answer(here, &name);
        assert_eq!(again["emissions"][0]["text"], emission["text"]);
    }
    let bytes = |dtype: &str| {
        let path = here.join(format!("{dtype}.safetensors"));
        fs::metadata(path).unwrap().len() as f64
    };
    assert!((1.9..2.0).contains(&(bytes("f32") / bytes("f16"))));
    assert!(bytes("q4") < bytes("q8") && bytes("q8") < bytes("f16"));
    refused(
        here,
        &[
            "models",
            "convert",
            ID,
            "--from",
            "files",
            "--out",
            "f16.safetensors",
        ],
        1,
        &["exists already", "--force"],
    );
    let left: Vec<_> = fs::read_dir(here)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|n| n.starts_with(".sparrow"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn towers_come_from_their_own_files_and_layouts_may_differ() {
    let dir = place();
    let here = dir.path();
    small(&here.join("files"));
    let want = answer(here, "files");

    // The checkpoint's copy of the temporal tower holds other numbers; without its own file they are what there is.
    fs::remove_file(here.join("files/InternVideo2-stage2_1b-224p-f4.pt")).unwrap();
    let verify = sparrow(here, &["models", "verify", ID, "--from", "files"]);
    assert_eq!(verify.code, 0, "{}{}", verify.stdout, verify.stderr);

    // SAM2's own spelling of the layer scale, the proposer's heads under their inner names alone, one shard, all of it in
    // a folder further down.
    let info = small_info();
    let mut files = small_files(&info);
    let mut all: Vec<_> = files.shards.concat();
    let mut renamed = 0;
    for item in &mut all {
        let scale = item
            .name
            .strip_prefix("model.visual_model.memory_encoder.fuser.layers.");
        if scale.is_some_and(|rest| rest.len() == "0.weight".len()) {
            item.name = item.name.replace("weight", "gamma");
            renamed += 1;
        }
    }
    assert_eq!(renamed, 2);
    files.shards = vec![all];
    let outer: Vec<_> = files
        .proposer
        .iter()
        .filter(|i| {
            !i.name.contains("decoder.bbox_embed") && !i.name.contains("decoder.class_embed")
        })
        .map(|i| {
            let mut item = i.clone();
            for head in ["bbox_embed.", "class_embed_"] {
                let outside = format!("ddetr_transformer.{head}");
                item.name = item
                    .name
                    .replace(&outside, &format!("ddetr_transformer.decoder.{head}"));
            }
            item
        })
        .collect();
    assert!(outer.len() < files.proposer.len());
    files.proposer = outer;
    let root = here.join("other/deep/down");
    write(&root, &info, &files);
    write::write_tokenizer(&root);
    fs::copy(
        here.join("files/sparrow.json"),
        here.join("other/sparrow.json"),
    )
    .unwrap();
    let verify = sparrow(here, &["models", "verify", ID, "--from", "other"]);
    assert_eq!(verify.code, 0, "{}{}", verify.stdout, verify.stderr);
    assert_eq!(answer(here, "other"), want);

    // The inner names are the only ones there are, and a bundle keeps them.
    let bundle = "inner.safetensors";
    let args = [
        "models", "convert", ID, "--from", "other", "--out", bundle, "--dtype", "f32",
    ];
    let convert = sparrow(here, &args);
    assert_eq!(convert.code, 0, "{}", convert.stderr);
    let verify = sparrow(here, &["models", "verify", bundle]);
    assert_eq!(verify.code, 0, "{}{}", verify.stdout, verify.stderr);
    assert_eq!(answer(here, bundle), want);
}

/// A proposer whose encoder is SAM2's number by number has it once in a bundle, and answers the same; another's is its own.
#[test]
fn oddity_24_an_encoder_that_is_sam2s_is_held_once() {
    let dir = place();
    let here = dir.path();
    small(&here.join("files"));
    let info = small_info();
    let mut files = small_files(&info);
    let shards = files.shards.concat();
    let mut copied = 0;
    for item in &mut files.proposer {
        let Some(rest) = item.name.strip_prefix("vis_encoder.") else {
            continue;
        };
        let name = format!("model.visual_model.image_encoder.{rest}");
        let theirs = shards.iter().find(|i| i.name == name).unwrap();
        (item.kind, item.data) = (theirs.kind, theirs.data.clone());
        copied += 1;
    }
    assert!(copied > 20, "{copied}");
    let convert = |folder: &str| -> (serde_json::Value, bool) {
        write::write_tokenizer(&here.join(folder));
        let description = here.join("files/sparrow.json");
        fs::copy(description, here.join(folder).join("sparrow.json")).unwrap();
        let from_files = answer(here, folder);
        let bundle = format!("{folder}.safetensors");
        let args = [
            "models", "convert", ID, "--from", folder, "--out", &bundle, "--dtype", "f32",
        ];
        let run = sparrow(here, &args);
        assert_eq!(run.code, 0, "{}", run.stderr);
        let verify = sparrow(here, &["models", "verify", &bundle]);
        assert_eq!(verify.code, 0, "{}{}", verify.stdout, verify.stderr);
        assert_eq!(answer(here, &bundle), from_files);
        let inside = sparrow(here, &["models", "inspect", &bundle]);
        (from_files, inside.stdout.contains("detector.vis_encoder."))
    };
    write(&here.join("same"), &info, &files);
    let (same, twice) = convert("same");
    assert!(!twice);
    // One number apart: then there are two encoders, each used for its own.
    let bias = files
        .proposer
        .iter_mut()
        .find(|i| i.name == "vis_encoder.neck.convs.0.conv.bias")
        .unwrap();
    let Data::Values(values) = &mut bias.data else {
        panic!("a bias is stored as it is");
    };
    values[0] += 0.5;
    write(&here.join("apart"), &info, &files);
    let (apart, twice) = convert("apart");
    assert!(twice);
    let offered = |json: &serde_json::Value| json["emissions"][0]["proposals"].clone();
    assert_ne!(offered(&apart), offered(&same), "its own encoder is used");
}

/// A new file there would be taken for the model the next time, shards and all.
#[test]
fn a_bundle_is_not_written_among_the_files_that_it_is_made_of() {
    let dir = place();
    let here = dir.path();
    small(&here.join("files"));
    fs::create_dir(here.join("files/sparrow/below")).unwrap();
    let mut outputs = vec![
        "files/sparrow/model.safetensors",
        "./files/../files/sparrow/model.safetensors",
        "files/ddetr_sam2/new.safetensors",
        "files/sparrow/below/model.safetensors",
    ];
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(here.join("files/sparrow"), here.join("link")).unwrap();
        outputs.push("link/model.safetensors");
    }
    for out in outputs {
        let args = ["models", "convert", ID, "--from", "files", "--out", out];
        refused(here, &args, 1, &["among the files that are read", out]);
        assert!(!here.join(out).exists());
    }
    let args = [
        "models",
        "convert",
        ID,
        "--from",
        "files",
        "--out",
        "files.safetensors",
    ];
    assert_eq!(sparrow(here, &args).code, 0, "beside them there is room");
}

/// There is nothing to fetch for a model that the program carries.
#[test]
fn converting_the_bundled_model_asks_for_a_file() {
    let dir = place();
    let args = ["models", "convert", "nano", "--out", "n.safetensors"];
    refused(
        dir.path(),
        &args,
        1,
        &["nano is in the program", "nothing to convert"],
    );
}

#[test]
fn the_list_says_what_there_is_and_what_is_missing() {
    let dir = place();
    let list = sparrow(dir.path(), &["models", "list"]);
    assert_eq!(list.code, 0, "{}", list.stderr);
    for words in [
        ID,
        "RISys-Lab/sparrow-finetune",
        "InternVideo2",
        "not here",
        "nano",
    ] {
        assert!(list.stdout.contains(words), "{words}: {}", list.stdout);
    }
    refused(
        dir.path(),
        &["ground", "clip", "--phrase", "the horse", "--model", ID],
        1,
        &[ID, "models fetch"],
    );
}

/// Not a test of anything: writes a checkpoint of the released size with noise for weights, about 14 GB.
///
/// `SPARROW_SYNTHETIC=FOLDER cargo test --release --test suite -- --ignored a_checkpoint_of_full_size`
#[test]
#[ignore = "writes 14 GB where SPARROW_SYNTHETIC says"]
fn a_checkpoint_of_full_size() {
    let root = std::env::var_os("SPARROW_SYNTHETIC").expect("SPARROW_SYNTHETIC names a folder");
    let root = Path::new(&root);
    let info = ModelInfo::by_id(ID).unwrap();
    write(root, &info, &write::full_files(released_tensors()));
    let tokens = root.join("sparrow");
    write::write_full_tokenizer(&tokens, info.config.phi3.vocab_size);
    assert!(tokens.join(shard(0, 4)).is_file());
}
