//! The stage as a whole, at toy sizes.

use candle_core::{Device, Tensor};

use super::{
    MEMORY, PROPOSER, REGIONS,
    batch::{BatchSpec, make},
    initialise,
    model::{Nets, Scope},
};
use crate::{
    infer::model::ModelInfo,
    nn::ops::Roi,
    train::{AdamConfig, AdamW, Group, Params, synth::SynthOptions},
};

fn toy(frames: usize) -> BatchSpec {
    BatchSpec {
        clips: 2,
        frames,
        px: 64,
        objects: 3,
        squeezed: false,
        synth: SynthOptions {
            radius: (30.0, 100.0),
            objects: [0.0, 1.0, 0.0, 0.0, 0.0, 0.0],
            ..SynthOptions::default()
        },
    }
}

fn nets() -> (Params, Nets) {
    let info = ModelInfo::by_id("nano").unwrap();
    let params = Params::new(3, &Device::Cpu);
    let nets = Nets::new(&info.config, &params).unwrap();
    initialise(&params, &info).unwrap();
    (params, nets)
}

#[test]
fn every_tensor_that_should_learn_gets_a_gradient() {
    let (params, nets) = nets();
    let (loss, terms) = nets
        .loss(&make(5, &toy(3)).unwrap(), Scope::Everything, &Device::Cpu)
        .unwrap();
    assert!(terms.iter().any(|t| t.0 == "mask") && terms.iter().any(|t| t.0 == "qattr"));
    let grads = loss.backward().unwrap();
    // Masks 1 to 3 of the decoder, the mask prompt and the loss of presence have no part in this recipe.
    let idle = [
        "mask_downscaling",
        "mask_downsample",
        "output_hypernetworks_mlps.1",
        "output_hypernetworks_mlps.2",
        "output_hypernetworks_mlps.3",
        "no_mem_pos_enc",
        "no_obj_ptr",
        "gaussian_matrix",
    ];
    let without: Vec<_> = params
        .all()
        .into_iter()
        .filter(|(name, var)| {
            grads.get(var.as_tensor()).is_none() && !idle.iter().any(|i| name.contains(i))
        })
        .map(|(name, _)| name)
        .collect();
    assert!(without.is_empty(), "{without:#?}");
}

#[test]
fn a_few_steps_on_one_batch_lower_its_loss() {
    let (params, nets) = nets();
    let group = Group {
        vars: params.all(),
        lr_scale: 1.0,
    };
    let mut adam = AdamW::new(vec![group], AdamConfig::default()).unwrap();
    let batch = make(9, &toy(1)).unwrap();
    let mut values = Vec::new();
    for _ in 0..8 {
        let (loss, _) = nets.loss(&batch, Scope::Everything, &Device::Cpu).unwrap();
        values.push(loss.to_scalar::<f32>().unwrap());
        adam.step(&loss.backward().unwrap(), 1e-3).unwrap();
    }
    assert!(values[7] < 0.9 * values[0], "{values:?}");
}

#[test]
fn colours_without_a_name_teach_nothing() {
    let (params, nets) = nets();
    let spec = BatchSpec {
        synth: SynthOptions {
            wild: 1.0,
            ..toy(1).synth
        },
        ..toy(1)
    };
    let batch = make(5, &spec).unwrap();
    assert!(!batch.objects.is_empty());
    let (loss, terms) = nets.loss(&batch, Scope::Everything, &Device::Cpu).unwrap();
    let term = |name: &str| terms.iter().find(|t| t.0 == name).unwrap().1;
    assert!(term("mask") > 0.0 && term("prop") > 0.0);
    assert_eq!((term("attr"), term("qattr")), (0.0, 0.0));
    let grads = loss.backward().unwrap();
    let head = params.get("aux.query_colour.weight").unwrap();
    let moved = grads.get(head.as_tensor()).unwrap().abs().unwrap();
    assert_eq!(moved.sum_all().unwrap().to_scalar::<f32>().unwrap(), 0.0);
}

#[test]
fn region_codes_learn_alone() {
    let (params, nets) = nets();
    let batch = make(5, &toy(1)).unwrap();
    let look = nets.look_alone(&batch, Scope::Regions, &Device::Cpu);
    let (loss, terms) = nets.look_loss(&look.unwrap().unwrap(), false).unwrap();
    let names: Vec<_> = terms.iter().map(|t| t.0).collect();
    assert_eq!(names, ["region", "outline"]);
    assert!(nets.loss(&batch, Scope::Regions, &Device::Cpu).is_err());
    let grads = loss.backward().unwrap();
    let mut learnt = 0;
    for (name, var) in params.all() {
        let reached = grads.get(var.as_tensor()).is_some();
        assert!(!reached || REGIONS.learns(&name), "{name}");
        if name.contains("region_code") {
            assert!(reached, "{name}");
            learnt += 1;
        }
    }
    assert!(learnt > 0, "the model has region codes");
}

#[test]
fn the_proposer_learns_alone() {
    let (params, nets) = nets();
    let batch = make(5, &toy(1)).unwrap();
    let look = nets.look_alone(&batch, Scope::Proposer, &Device::Cpu);
    let (loss, terms) = nets.look_loss(&look.unwrap().unwrap(), false).unwrap();
    let names: Vec<_> = terms.iter().map(|t| t.0).collect();
    assert_eq!(names, ["prop", "qattr"]);
    let grads = loss.backward().unwrap();
    for (name, var) in params.all() {
        let reached = grads.get(var.as_tensor()).is_some();
        assert!(!reached || PROPOSER.learns(&name), "{name}");
        assert!(reached || !name.starts_with("detector."), "{name}");
    }
}

#[test]
fn a_region_is_painted_on_its_own_image() {
    let (_, nets) = nets();
    let batch = make(5, &toy(1)).unwrap();
    let images = Tensor::from_slice(&batch.images, (2, 3, 64, 64), &Device::Cpu).unwrap();
    let features = nets.sam.encode_image(&images).unwrap();
    let region = |image: usize, x: f32| Roi {
        image,
        bounds: [x, 8.0, x + 30.0, 50.0],
    };
    let painted = |regions: &[Roi]| -> Vec<Vec<f32>> {
        let masks = nets.painted(&features, regions, 64).unwrap().unwrap();
        assert_eq!(masks.dims(), [regions.len(), 1, 16, 16]);
        masks.flatten_from(1).unwrap().to_vec2().unwrap()
    };
    let together = painted(&[region(0, 4.0), region(0, 20.0), region(1, 20.0)]);
    let apart = |a: &[f32], b: &[f32]| -> f32 {
        let pairs = a.iter().zip(b);
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    for (i, alone) in [region(0, 4.0), region(0, 20.0), region(1, 20.0)]
        .into_iter()
        .enumerate()
    {
        let alone = &painted(&[alone])[0];
        assert!(apart(&together[i], alone) < 1e-4, "{i}");
    }
    assert!(apart(&together[0], &together[1]) > 1e-3, "the box counts");
    assert!(apart(&together[1], &together[2]) > 1e-3, "the image counts");
}

#[test]
fn memory_learns_alone() {
    let (params, nets) = nets();
    let batch = make(5, &toy(3)).unwrap();
    let (loss, _) = nets.loss(&batch, Scope::Memory, &Device::Cpu).unwrap();
    let grads = loss.backward().unwrap();
    for (name, var) in params.all() {
        let reached = grads.get(var.as_tensor()).is_some();
        if name.contains("image_encoder") || name.starts_with("detector") {
            assert!(!reached && !MEMORY.learns(&name), "{name}");
        }
        if name.contains("memory_attention") {
            assert!(reached && MEMORY.learns(&name), "{name}");
        }
        // What the prompted frame alone goes through teaches memory nothing.
        assert!(!reached || !name.contains("no_mem_embed"), "{name}");
    }
}
