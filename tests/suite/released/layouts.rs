//! The same numbers in the other layouts that authors publish: SAM2 in its own file, shards of safetensors, files that wrap
//! their tensors. Each must answer as the usual layout does. What is damaged is [`super::damaged`]'s.

use std::{fs, path::Path};

use super::{
    ID, answer, place, refused, sparrow,
    torch::{Data, Item, save},
    write::{
        listens, small, small_files, small_info, write_safetensors, write_safetensors_shards,
        write_whole,
    },
};

const VIDEO: &str = "InternVideo2-stage2_1b-224p-f4";
const SAM2: &str = "sam2_hiera_large.pt";
/// Where a checkpoint holds its copies of the towers.
const TEMPORAL: &str = "model.vision_tower.";
const SPATIAL: &str = "model.image_vision_tower.vision_tower.";

fn verified(here: &Path, folder: &str) {
    let verify = sparrow(here, &["models", "verify", ID, "--from", folder]);
    assert_eq!(verify.code, 0, "{}{}", verify.stdout, verify.stderr);
}

/// SAM2's part of a checkpoint as its own authors name it; the rest stays.
fn split_off(items: &mut Vec<Item>) -> Vec<Item> {
    let (mut sam2, mut rest) = (Vec::new(), Vec::new());
    for mut item in items.drain(..) {
        let Some(name) = item.name.strip_prefix("model.visual_model.") else {
            rest.push(item);
            continue;
        };
        let scale = name.strip_prefix("memory_encoder.fuser.layers.");
        item.name = match scale.and_then(|rest| rest.strip_suffix(".weight")) {
            Some(layer) if layer.len() == 1 => {
                format!("memory_encoder.fuser.layers.{layer}.gamma")
            }
            _ => name.to_owned(),
        };
        sam2.push(item);
    }
    *items = rest;
    assert!(sam2.iter().filter(|i| i.name.ends_with(".gamma")).count() == 2);
    sam2
}

#[test]
fn sam2_may_lie_in_its_own_file_and_the_checkpoints_copy_comes_first() {
    let dir = place();
    let here = dir.path();
    small(&here.join("files"));
    let want = answer(here, "files");

    let info = small_info();
    let mut files = small_files(&info);
    let mut own = files.shards.concat();
    let mut sam2 = split_off(&mut own);
    files.shards = vec![own];
    let apart = here.join("apart");
    write_whole(&apart, &info, &files);
    // Without it there is no SAM2, so what is read below is read from it.
    let verify = ["models", "verify", ID, "--from", "apart"];
    refused(here, &verify, 1, &["model.visual_model.", "missing"]);
    save(&apart.join(SAM2), Some("model"), &sam2).unwrap();
    verified(here, "apart");
    assert_eq!(answer(here, "apart"), want);

    // Other numbers beside a whole checkpoint: one trained with SPARROW is meant, not the one that it began with.
    for item in &mut sam2 {
        item.data = Data::Values(vec![0.25; item.shape.iter().product()]);
    }
    save(&here.join("files").join(SAM2), Some("model"), &sam2).unwrap();
    verified(here, "files");
    assert_eq!(answer(here, "files"), want);
}

/// One exporter keeps the temporal tower in the checkpoint and drops the spatial one, another may do either; the released
/// program loads both again from their own files. A copy counts only where there is no such file.
#[test]
fn oddity_17_a_tower_comes_from_its_own_file_whatever_the_checkpoint_holds() {
    let dir = place();
    let here = dir.path();
    let info = small_info();
    let mut files = small_files(&info);
    listens(&mut files, false);
    let (copied, own): (Vec<Item>, Vec<Item>) =
        (files.shards.concat().into_iter()).partition(|i| i.name.starts_with(TEMPORAL));
    assert!(!copied.is_empty());
    let with = |folder: &str, copies: Vec<Item>| {
        let mut files = files.clone();
        files.shards = vec![[own.clone(), copies].concat()];
        write_whole(&here.join(folder), &info, &files);
    };
    let copies = |items: &[Item], prefix: &str| -> Vec<Item> {
        let copy = |item: &Item| Item {
            name: format!("{prefix}{}", item.name),
            ..item.clone()
        };
        items.iter().map(copy).collect()
    };
    with("dropped", vec![]);
    let want = answer(here, "dropped");
    with("kept", copied);
    assert_eq!(answer(here, "kept"), want);
    // What a tower saw is heard, so that another tower says something else.
    fs::remove_file(here.join(format!("kept/{VIDEO}.pt"))).unwrap();
    assert_ne!(answer(here, "kept"), want);

    let of_tower = |i: &&Item| i.name.starts_with("vision_encoder.");
    let temporal: Vec<Item> = files
        .internvideo2
        .iter()
        .filter(of_tower)
        .cloned()
        .collect();
    with("same", copies(&temporal, TEMPORAL));
    fs::remove_file(here.join(format!("same/{VIDEO}.pt"))).unwrap();
    assert_eq!(answer(here, "same"), want);

    let of_tower = |i: &&Item| i.name.starts_with("vision_model.");
    let mut spatial: Vec<Item> = files.clip.iter().filter(of_tower).cloned().collect();
    for item in &mut spatial {
        item.data = Data::Values(vec![0.25; item.shape.iter().product()]);
    }
    with("other", copies(&spatial, SPATIAL));
    assert_eq!(answer(here, "other"), want);
    fs::remove_dir_all(here.join("other/clip-vit-large-patch14-336")).unwrap();
    assert_ne!(answer(here, "other"), want);
}

#[test]
fn shards_of_safetensors_and_wrapped_tensors_answer_the_same() {
    let dir = place();
    let here = dir.path();
    small(&here.join("files"));
    let want = answer(here, "files");
    let files = small_files(&small_info());

    let root = here.join("files");
    for wrapper in ["model", "state_dict"] {
        let path = root.join(format!("{VIDEO}.pt"));
        save(&path, Some(wrapper), &files.internvideo2).unwrap();
        assert_eq!(answer(here, "files"), want, "{wrapper}");
    }

    for folder in ["sparrow", "clip-vit-large-patch14-336", "ddetr_sam2"] {
        let mut removed = 0;
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if name.starts_with("pytorch_model") {
                fs::remove_file(path).unwrap();
                removed += 1;
            }
        }
        assert!(removed > 0, "{folder}");
    }
    fs::remove_file(root.join(format!("{VIDEO}.pt"))).unwrap();
    write_safetensors_shards(&root.join("sparrow"), &files.shards.concat());
    write_safetensors_shards(&root.join("ddetr_sam2"), &files.proposer);
    let clip = root.join("clip-vit-large-patch14-336/model.safetensors");
    write_safetensors(&clip, &files.clip);
    write_safetensors(
        &root.join(format!("{VIDEO}.safetensors")),
        &files.internvideo2,
    );
    verified(here, "files");
    assert_eq!(answer(here, "files"), want);
}
