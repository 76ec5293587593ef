//! Our metrics on the stored case of the released evaluation code. Leaves reports and command lines to others: what
//! comes out is a list of named errors.

use std::{collections::BTreeMap, fs, path::Path};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::Value;

use super::{
    gcg::{MatchThresholds, Matrix, iou_matrix, matches, mean_iou},
    grounding::{MIN_PART, Span, box_iou, cleaned, mask_box, tube_score},
    measure::{Tolerance, boundary, boundary_map, region},
    sequence::{Labels, PerFrame, global, quarters, statistics, unsupervised, with_quarters},
};
use crate::project::{Bitmap, Size};

/// One comparison of the case.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricStage {
    /// `group/detail`.
    pub name: String,
    /// `max |ours − stored| / max(1, max |stored|)`, or for exact things the number that differ; infinite if there is
    /// not the same number of values.
    pub error: f64,
    /// Largest error that passes.
    pub tolerance: f64,
}

/// Floats agree to this.
const TOLERANCE: f64 = 1e-6;

/// Why the case could not be run; a wrong number is a stage's error instead.
#[derive(Debug, thiserror::Error)]
#[error("the case of metrics cannot be read: {0}")]
pub struct CaseError(String);

type Outcome<T> = Result<T, CaseError>;

struct Stored<'a> {
    tensors: SafeTensors<'a>,
    config: Value,
    stages: Vec<MetricStage>,
}

/// Runs every comparison of the case file at `path`; its JSON is the file's metadata under `config`, else the file of
/// the same name beside it.
///
/// # Errors
/// [`CaseError`] if the file cannot be read or lacks a tensor that a comparison needs.
pub fn metrics(path: &Path) -> Result<Vec<MetricStage>, CaseError> {
    let fail = |e: &dyn std::fmt::Display| CaseError(format!("{e}: {}", path.display()));
    let bytes = fs::read(path).map_err(|e| fail(&e))?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| fail(&e))?;
    let inside = header.metadata().as_ref().and_then(|m| m.get("config"));
    let text = match inside {
        Some(text) => text.clone(),
        None => fs::read_to_string(path.with_extension("json")).map_err(|e| fail(&e))?,
    };
    let mut case = Stored {
        tensors: SafeTensors::deserialize(&bytes).map_err(|e| fail(&e))?,
        config: serde_json::from_str(&text).map_err(|e| fail(&e))?,
        stages: Vec::new(),
    };
    case.blobs()?;
    case.davis()?;
    case.stats()?;
    case.sequences()?;
    case.gcg()?;
    case.grounding()?;
    Ok(case.stages)
}

fn numbers(view: &TensorView<'_>) -> Vec<f64> {
    let bytes = view.data();
    match view.dtype() {
        Dtype::U8 | Dtype::BOOL => bytes.iter().map(|&b| f64::from(b)).collect(),
        Dtype::F32 => bytes
            .chunks_exact(4)
            .map(|b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]])))
            .collect(),
        Dtype::I32 => bytes
            .chunks_exact(4)
            .map(|b| f64::from(i32::from_le_bytes([b[0], b[1], b[2], b[3]])))
            .collect(),
        Dtype::I64 => bytes
            .chunks_exact(8)
            .map(|b| i64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f64)
            .collect(),
        Dtype::F64 => bytes
            .chunks_exact(8)
            .map(|b| f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]))
            .collect(),
        // Nothing else is in these files; an empty list fails every comparison.
        _ => Vec::new(),
    }
}

impl Stored<'_> {
    fn view(&self, name: &str) -> Outcome<TensorView<'_>> {
        self.tensors
            .tensor(name)
            .map_err(|e| CaseError(format!("{name}: {e}")))
    }

    fn values(&self, name: &str) -> Outcome<Vec<f64>> {
        Ok(numbers(&self.view(name)?))
    }

    /// The last two axes as frames of bytes.
    fn planes(&self, name: &str) -> Outcome<(Size, Vec<Vec<u8>>)> {
        let view = self.view(name)?;
        let [.., h, w] = *view.shape() else {
            return Err(CaseError(format!("{name} is no stack of planes")));
        };
        let bytes: Vec<u8> = numbers(&view).iter().map(|&v| v as u8).collect();
        let planes = bytes.chunks((h * w).max(1)).map(<[u8]>::to_vec).collect();
        Ok((Size::new(w as u32, h as u32), planes))
    }

    fn masks(&self, name: &str) -> Outcome<Vec<Bitmap>> {
        let (size, planes) = self.planes(name)?;
        Ok(planes
            .into_iter()
            .map(|data| Bitmap { size, data })
            .collect())
    }

    fn close(&mut self, name: &str, stored: &str, ours: &[f64]) -> Outcome<()> {
        let want = self.values(stored)?;
        let scale = want.iter().map(|v| v.abs()).fold(1.0, f64::max);
        let error = if want.len() == ours.len() {
            ours.iter()
                .zip(&want)
                .map(|(a, b)| {
                    let d = (a - b).abs() / scale;
                    if d.is_nan() { f64::INFINITY } else { d }
                })
                .fold(0.0, f64::max)
        } else {
            f64::INFINITY
        };
        self.stages.push(MetricStage {
            name: name.to_owned(),
            error,
            tolerance: TOLERANCE,
        });
        Ok(())
    }

    fn same(&mut self, name: &str, stored: &str, ours: &[f64]) -> Outcome<()> {
        let want = self.values(stored)?;
        let error = if want.len() == ours.len() {
            ours.iter().zip(&want).filter(|(a, b)| a != b).count() as f64
        } else {
            f64::INFINITY
        };
        self.stages.push(MetricStage {
            name: name.to_owned(),
            error,
            tolerance: 0.0,
        });
        Ok(())
    }

    fn blobs(&mut self) -> Outcome<()> {
        let truth = self.masks("input.blobs.gt")?;
        let prediction = self.masks("input.blobs.pred")?;
        let void = self.masks("input.blobs.void")?;
        let each = |f: &dyn Fn(usize) -> f64| (0..truth.len()).map(f).collect::<Vec<f64>>();
        if truth.len() != prediction.len() || truth.len() != void.len() {
            return Err(CaseError("input.blobs.* differ in length".to_owned()));
        }
        let th = self.config["blobs"]["bound_th"].as_f64().unwrap_or(0.008);
        let f = |k: usize, v: Option<&Bitmap>, t| boundary(&truth[k], &prediction[k], v, t);
        let usual = Tolerance::Diagonal(th);
        let rows: [(&str, Vec<f64>); 4] = [
            ("J", each(&|k| region(&truth[k], &prediction[k], None))),
            ("F", each(&|k| f(k, None, usual))),
            (
                "void_J",
                each(&|k| region(&truth[k], &prediction[k], Some(&void[k]))),
            ),
            ("void_F", each(&|k| f(k, Some(&void[k]), usual))),
        ];
        for (name, ours) in rows {
            self.close(
                &format!("blobs/{name}"),
                &format!("output.blobs.{name}"),
                &ours,
            )?;
        }
        // The case names its other tolerances: pixels from 1 up, parts of the diagonal below.
        let stored = self.tensors.names().into_iter().map(str::to_owned);
        let stored: Vec<String> = stored
            .filter(|n| n.starts_with("output.blobs.F_boundth_"))
            .collect();
        for stored in stored {
            let number = stored.rsplit('_').next().unwrap_or_default();
            let bound: f64 = number
                .parse()
                .map_err(|e| CaseError(format!("{stored}: {e}")))?;
            let tolerance = if bound >= 1.0 {
                Tolerance::Pixels(bound.floor() as u32)
            } else {
                Tolerance::Diagonal(bound)
            };
            let ours = each(&|k| f(k, None, tolerance));
            self.close(&format!("blobs/F {bound}"), &stored, &ours)?;
        }
        let maps = truth.iter().flat_map(|t| boundary_map(t).data);
        let maps: Vec<f64> = maps.map(f64::from).collect();
        self.same("blobs/boundary", "mid.blobs.boundary_gt", &maps)
    }

    fn davis(&mut self) -> Outcome<()> {
        let frames = self.config["davis"].as_array().cloned().unwrap_or_default();
        let (mut j, mut f) = (Vec::new(), Vec::new());
        for frame in &frames {
            let number = |v: &Value| v.as_i64().unwrap_or(0);
            let index = number(&frame["frame"]);
            let (h, w) = (number(&frame["hw"][0]), number(&frame["hw"][1]));
            let shift = &frame["shift_dy_dx"];
            let (dy, dx) = (number(&shift[0]), number(&shift[1]));
            let size = Size::new(w as u32, h as u32);
            let mut truth = Bitmap::new(size);
            let runs = self.values(&format!("input.davis.frame{index}.runs"))?;
            for run in runs.chunks_exact(2) {
                let end = (run[1] as usize).min(truth.data.len());
                if let Some(run) = truth.data.get_mut(run[0] as usize..end) {
                    run.fill(1);
                }
            }
            let mut moved = Bitmap::new(size);
            for (y, x) in (0..h).flat_map(|y| (0..w).map(move |x| (y, x))) {
                let (sy, sx) = (y - dy, x - dx);
                if (0..h).contains(&sy) && (0..w).contains(&sx) {
                    moved.data[(y * w + x) as usize] = truth.data[(sy * w + sx) as usize];
                }
            }
            j.push(region(&truth, &moved, None));
            f.push(boundary(&truth, &moved, None, Tolerance::default()));
        }
        self.close("davis/J", "output.davis.J", &j)?;
        self.close("davis/F", "output.davis.F", &f)
    }

    fn names(&self, prefix: &str) -> Vec<String> {
        let names = self.tensors.names().into_iter().filter_map(|n| {
            let rest = n.strip_prefix(prefix)?;
            Some(rest.split('.').next().unwrap_or(rest).to_owned())
        });
        names
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect()
    }

    fn stats(&mut self) -> Outcome<()> {
        for name in self.names("input.stats.") {
            // -1 stands for a value that is not a number.
            let values = self.values(&format!("input.stats.{name}"))?;
            let values: Vec<f64> = values
                .into_iter()
                .map(|v| if v == -1.0 { f64::NAN } else { v })
                .collect();
            let Some(mut s) = statistics(&values) else {
                continue;
            };
            // The released code keeps the quarters' indices in a byte, so they wrap in long sequences. Ours do not; here
            // its numbers are wanted. -9 stands for a decay that is no number for that reason.
            if values.len() > 256 {
                s = with_quarters(&values, quarters(values.len()).map(|q| q % 256));
                if s.decay.is_nan() {
                    s.decay = -9.0;
                }
            }
            let ours = [s.mean, s.recall, s.decay];
            self.close(
                &format!("stats/{name}"),
                &format!("output.stats.{name}"),
                &ours,
            )?;
        }
        Ok(())
    }

    fn sequences(&mut self) -> Outcome<()> {
        let listed = self.config["seq"]["sequences"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let mut objects: Vec<PerFrame> = Vec::new();
        for entry in &listed {
            let name = entry["name"].as_str().unwrap_or_default();
            let (size, truth) = self.planes(&format!("input.seq.{name}.gt_labels"))?;
            let (_, guess) = self.planes(&format!("input.seq.{name}.pred_labels"))?;
            let truth: Vec<&[u8]> = truth.iter().map(Vec::as_slice).collect();
            let guess: Vec<&[u8]> = guess.iter().map(Vec::as_slice).collect();
            let labels = |frames| Labels { size, frames };
            let scores = unsupervised(labels(&truth), labels(&guess));
            objects.extend(scores.unwrap_or_default());
        }
        let mean = |v: &[f64]| statistics(v).map_or(f64::NAN, |s| s.mean);
        let j: Vec<f64> = objects.iter().map(|o| mean(&o.j)).collect();
        let f: Vec<f64> = objects.iter().map(|o| mean(&o.f)).collect();
        self.close("seq/J", "output.seq.J_per_object", &j)?;
        self.close("seq/F", "output.seq.F_per_object", &f)?;
        let ours = global(&objects).map_or(Vec::new(), |g| {
            vec![g.jf, g.j, g.j_recall, g.j_decay, g.f, g.f_recall, g.f_decay]
        });
        self.close("seq/global", "output.seq.global", &ours)
    }

    /// Masks `(n, t, h, w)` as `n` sequences.
    fn tubes(&self, name: &str) -> Outcome<Vec<Vec<Bitmap>>> {
        let frames = self.view(name)?.shape().get(1).copied().unwrap_or(1);
        let masks = self.masks(name)?;
        Ok(masks
            .chunks(frames.max(1))
            .map(<[Bitmap]>::to_vec)
            .collect())
    }

    fn gcg(&mut self) -> Outcome<()> {
        let config = &self.config["gcg"];
        let thresholds = MatchThresholds {
            iou: config["iou_threshold"].as_f64().unwrap_or(0.5),
            text: config["text_threshold"].as_f64().unwrap_or(0.5),
        };
        let mut ordered: BTreeMap<u64, String> = BTreeMap::new();
        for name in self.names("input.gcg.") {
            ordered.insert(name.parse().unwrap_or(u64::MAX), name);
        }
        let mut means = Vec::new();
        for name in ordered.values() {
            let input = format!("input.gcg.{name}");
            let predictions = self.tubes(&format!("{input}.pred"))?;
            let truths = self.tubes(&format!("{input}.gt"))?;
            let ious = iou_matrix(&predictions, &truths);
            let stored = format!("mid.gcg.{name}.iou_pred_by_gt");
            self.close(&format!("gcg/{name}/iou"), &stored, &ious.values)?;
            means.push(mean_iou(&ious));
            let similarity = Matrix {
                rows: truths.len(),
                columns: predictions.len(),
                values: self.values(&format!("{input}.text_similarity_gt_by_pred"))?,
            };
            let pairs: Vec<f64> = matches(&ious.transposed(), &similarity, thresholds)
                .into_iter()
                .flat_map(|(t, p)| [t as f64, p as f64])
                .collect();
            let stored = format!("output.gcg.{name}.matches_gt_pred");
            self.same(&format!("gcg/{name}/matches"), &stored, &pairs)?;
        }
        self.close("gcg/miou", "output.gcg.miou", &means)
    }

    fn grounding(&mut self) -> Outcome<()> {
        let masks = self.masks("input.grounding.pred_masks")?;
        let truth = self.values("input.grounding.gt_boxes")?;
        let least = self.config["grounding"]["min_blob"].as_u64();
        let least = least.unwrap_or(MIN_PART);
        let clean: Vec<Bitmap> = masks.iter().map(|m| cleaned(m, least)).collect();
        let pixels = clean.iter().flat_map(|m| m.data.iter());
        let pixels: Vec<f64> = pixels.map(|&v| f64::from(v)).collect();
        self.same("grounding/cleaned", "mid.grounding.cleaned_masks", &pixels)?;
        let boxes: Vec<[f64; 4]> = clean.iter().map(mask_box).collect();
        self.same(
            "grounding/boxes",
            "mid.grounding.pred_boxes",
            &boxes.concat(),
        )?;
        let ious: Vec<f64> = boxes
            .iter()
            .zip(truth.chunks_exact(4))
            .map(|(&b, t)| box_iou(b, [t[0], t[1], t[2], t[3]]))
            .collect();
        self.close("grounding/iou", "mid.grounding.box_iou", &ious)?;
        // The first four columns of the table are the spans.
        let table = self.values("output.grounding.table")?;
        let mut ours = Vec::new();
        for row in table.chunks_exact(11) {
            let span = |start: f64, end: f64| Span {
                start: start as usize,
                end: end as usize,
            };
            let s = tube_score(span(row[0], row[1]), span(row[2], row[3]), &ious);
            ours.extend_from_slice(&row[..4]);
            ours.extend([s.t_iou, s.v_iou, s.gt_v_iou]);
            ours.extend(s.above().map(f64::from));
        }
        self.close("grounding/table", "output.grounding.table", &ours)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_metrics_are_those_of_the_released_evaluation() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/metrics.safetensors"
        );
        let stages = metrics(Path::new(path)).unwrap();
        assert!(stages.len() > 20);
        for stage in &stages {
            assert!(stage.error <= stage.tolerance, "{stage:?}");
        }
    }

    #[test]
    fn a_file_that_is_no_case_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.safetensors");
        assert!(metrics(&path).is_err());
        fs::write(&path, [1, 2, 3]).unwrap();
        assert!(metrics(&path).is_err());
    }
}
