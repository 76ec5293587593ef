//! What a case gave: every comparison with its error, its tolerance and the first place where it fails.

use candle_core::{DType, Device, Tensor};

use super::{Case, ParityError};

/// A value of at least this size stands for an infinity, which the files never store.
const INFINITE: f64 = 1e29;

/// One comparison.
#[derive(Clone, Debug)]
pub struct Stage {
    /// `group` or `group/detail`; a line shows the worst of each group.
    pub name: String,
    /// Error in the measure of the comparison; infinite if shapes differ or a value is not a number.
    pub error: f64,
    /// Largest error that passes.
    pub tolerance: f64,
    /// What is wrong, if something is: shapes, or the first differing value.
    pub note: Option<String>,
}

impl Stage {
    /// Whether the error is within the tolerance.
    pub fn passed(&self) -> bool {
        self.error <= self.tolerance
    }

    /// Name up to the first slash.
    pub fn group(&self) -> &str {
        self.name.split('/').next().unwrap_or(&self.name)
    }
}

/// All comparisons of one case.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// File name without its extension.
    pub case: String,
    /// In the order made.
    pub stages: Vec<Stage>,
    /// Parts of the case that nothing compares, in words.
    pub uncovered: Vec<String>,
    /// Why the case stopped, if it did.
    pub stopped: Option<String>,
}

impl Report {
    /// An empty report.
    pub fn new(case: impl Into<String>) -> Self {
        Self {
            case: case.into(),
            ..Self::default()
        }
    }

    /// Whether at least one value was compared, all are within tolerance and nothing stopped the case.
    pub fn passed(&self) -> bool {
        self.stopped.is_none() && !self.stages.is_empty() && self.stages.iter().all(Stage::passed)
    }

    /// Relative comparison: `max |got − want| / max(1, max |want|) ≤ tol`. Where `want` is ±1e30, `got` must be that
    /// infinity (or as large).
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn compare(
        &mut self,
        stage: &str,
        got: &Tensor,
        want: &Tensor,
        tol: f64,
    ) -> Result<(), ParityError> {
        self.floats(stage, got, want, tol, |largest| largest.max(1.0))
    }

    /// Relative to the reference's own maximum, however small: `max |got − want| / max |want| ≤ tol`. For gradients.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn compare_to_max(
        &mut self,
        stage: &str,
        got: &Tensor,
        want: &Tensor,
        tol: f64,
    ) -> Result<(), ParityError> {
        self.floats(stage, got, want, tol, |largest| largest.max(1e-12))
    }

    /// Absolute comparison: `max |got − want| ≤ tol`.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn compare_abs(
        &mut self,
        stage: &str,
        got: &Tensor,
        want: &Tensor,
        tol: f64,
    ) -> Result<(), ParityError> {
        self.floats(stage, got, want, tol, |_| 1.0)
    }

    /// Integers (ids, indices, bytes, booleans): every one equal, shapes too. The error is the count of differences.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn compare_exact(
        &mut self,
        stage: &str,
        got: &Tensor,
        want: &Tensor,
    ) -> Result<(), ParityError> {
        if self.shapes_differ(stage, got.dims(), want.dims()) {
            return Ok(());
        }
        let ints = |t: &Tensor| -> Result<Vec<i64>, ParityError> {
            let on_host = t.flatten_all()?.to_device(&Device::Cpu)?;
            Ok(on_host.to_dtype(DType::I64)?.to_vec1()?)
        };
        self.compare_ints(stage, &ints(got)?, &ints(want)?);
        Ok(())
    }

    /// [`Report::compare_exact`] for lists.
    pub fn compare_ints(&mut self, stage: &str, got: &[i64], want: &[i64]) {
        if self.shapes_differ(stage, &[got.len()], &[want.len()]) {
            return;
        }
        let mut differing = got
            .iter()
            .zip(want)
            .enumerate()
            .filter(|(_, (g, w))| g != w);
        let first = differing.next();
        let count = differing.count() + usize::from(first.is_some());
        let note = first.map(|(i, (g, w))| format!("first at {i}: {g}, not {w}"));
        self.push(stage, count as f64, 0.0, note);
    }

    /// A condition that holds or does not; `note` says what was seen.
    pub fn check(&mut self, stage: &str, holds: bool, note: impl Into<String>) {
        let error = if holds { 0.0 } else { f64::INFINITY };
        self.push(stage, error, 0.0, (!holds).then(|| note.into()));
    }

    /// An error measured elsewhere.
    pub fn push(&mut self, stage: &str, error: f64, tolerance: f64, note: Option<String>) {
        self.stages.push(Stage {
            name: stage.into(),
            error: if error.is_nan() { f64::INFINITY } else { error },
            tolerance,
            note,
        });
    }

    /// Lists the stored values that no comparison asked for as not covered.
    pub fn note_unasked(&mut self, case: &Case) {
        let names = case.unasked();
        let Some(first) = names.first() else { return };
        let rest = match names.len() {
            1 => String::new(),
            n => format!(" and {} more", n - 1),
        };
        self.uncovered.push(format!("{first}{rest}"));
    }

    /// The line of a case, and below it one line per failed comparison.
    pub fn lines(&self) -> String {
        let verdict = match (
            self.passed(),
            self.stages.is_empty() && self.stopped.is_none(),
        ) {
            (true, _) => "ok  ",
            (_, true) => "none",
            _ => "FAIL",
        };
        let mut line = format!("{verdict} {}:", self.case);
        let mut groups: Vec<(&str, f64)> = Vec::new();
        for stage in &self.stages {
            match groups.iter_mut().find(|(name, _)| *name == stage.group()) {
                Some((_, error)) => *error = error.max(stage.error),
                None => groups.push((stage.group(), stage.error)),
            }
        }
        for (name, error) in groups {
            let number = if error == 0.0 {
                "0".into()
            } else {
                format!("{error:.1e}")
            };
            line.push_str(&format!(" {name} {number}"));
        }
        for stage in self.stages.iter().filter(|s| !s.passed()) {
            line.push_str(&format!(
                "\n       {}: {:.2e}, tolerance {:.0e}{}",
                stage.name,
                stage.error,
                stage.tolerance,
                stage
                    .note
                    .as_ref()
                    .map(|n| format!("; {n}"))
                    .unwrap_or_default()
            ));
        }
        if !self.uncovered.is_empty() {
            line.push_str(&format!(
                "\n       not covered: {}",
                self.uncovered.join(", ")
            ));
        }
        if let Some(why) = &self.stopped {
            line.push_str(&format!("\n       stopped: {why}"));
        }
        line
    }

    fn shapes_differ(&mut self, stage: &str, got: &[usize], want: &[usize]) -> bool {
        let differ = got != want;
        if differ {
            self.push(
                stage,
                f64::INFINITY,
                0.0,
                Some(format!("shape {got:?}, not {want:?}")),
            );
        }
        differ
    }

    fn floats(
        &mut self,
        stage: &str,
        got: &Tensor,
        want: &Tensor,
        tol: f64,
        scale: impl Fn(f64) -> f64,
    ) -> Result<(), ParityError> {
        if self.shapes_differ(stage, got.dims(), want.dims()) {
            return Ok(());
        }
        let floats = |t: &Tensor| -> Result<Vec<f64>, ParityError> {
            // Not every device has numbers this wide.
            let on_host = t.flatten_all()?.to_device(&Device::Cpu)?;
            Ok(on_host.to_dtype(DType::F64)?.to_vec1()?)
        };
        let (got, want) = (floats(got)?, floats(want)?);
        let finite = want.iter().map(|w| w.abs()).filter(|w| *w < INFINITE);
        let scale = scale(finite.fold(0.0, f64::max));
        let distance = |g: f64, w: f64| {
            if w.abs() < INFINITE {
                let d = (g - w).abs();
                if d.is_nan() { f64::INFINITY } else { d / scale }
            } else if g * w.signum() >= INFINITE {
                0.0
            } else {
                f64::INFINITY
            }
        };
        let mut worst = 0.0_f64;
        let mut first = None;
        for (i, (&g, &w)) in got.iter().zip(&want).enumerate() {
            let d = distance(g, w);
            worst = worst.max(d);
            if d > tol && first.is_none() {
                first = Some(format!("first at {i}: {g}, not {w}"));
            }
        }
        self.push(stage, worst, tol, first);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &[f32]) -> Tensor {
        Tensor::new(values, &Device::Cpu).expect("a literal is a tensor")
    }

    #[test]
    fn a_difference_is_relative_to_the_largest_reference() {
        let mut report = Report::new("case");
        report
            .compare("a/x", &row(&[1.0, 101.0]), &row(&[1.0, 100.0]), 0.02)
            .expect("comparable");
        assert!(report.passed());
        report
            .compare("a/y", &row(&[0.1, 0.0]), &row(&[0.0, 0.0]), 0.02)
            .expect("comparable");
        assert!(!report.passed());
        let lines = report.lines();
        assert!(lines.starts_with("FAIL case: a 1.0e-1"), "{lines}");
        assert!(lines.contains("first at 0"), "{lines}");
    }

    #[test]
    fn infinities_stand_as_1e30_and_nan_always_fails() {
        let mut report = Report::new("case");
        let want = row(&[1e30, -1e30, 2.0]);
        let got = row(&[f32::INFINITY, f32::NEG_INFINITY, 2.0]);
        report
            .compare("inf", &got, &want, 1e-6)
            .expect("comparable");
        assert!(report.passed());
        for wrong in [
            [f32::INFINITY, f32::INFINITY, 2.0],
            [f32::INFINITY, f32::NEG_INFINITY, f32::NAN],
        ] {
            let mut report = Report::new("case");
            report
                .compare("inf", &row(&wrong), &want, 1e9)
                .expect("comparable");
            assert!(!report.passed(), "{wrong:?}");
        }
    }

    #[test]
    fn an_empty_report_and_a_wrong_shape_do_not_pass() {
        assert!(!Report::new("case").passed());
        let mut report = Report::new("case");
        report
            .compare("x", &row(&[1.0]), &row(&[1.0, 2.0]), 1.0)
            .expect("comparable");
        assert!(!report.passed());
        let mut report = Report::new("case");
        report.compare_ints("ids", &[1, 2, 3], &[1, 5, 6]);
        assert_eq!(report.stages[0].error, 2.0);
    }
}
