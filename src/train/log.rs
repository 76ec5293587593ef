//! The log of a run: one JSON object a line, so that a curve is one `jq` away. Leaves pictures to [`super::pictures`].

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use super::{TrainError, TrainResult};

/// An open log, `STAGE.log.jsonl` in the run's folder.
pub struct Log {
    stage: String,
    path: PathBuf,
    file: File,
}

impl Log {
    /// Opens the log of `stage`; appends when `resume`, otherwise starts anew.
    ///
    /// # Errors
    /// If the folder or file cannot be made.
    pub fn open(dir: &Path, stage: &str, resume: bool) -> TrainResult<Self> {
        std::fs::create_dir_all(dir).map_err(|e| TrainError::file("cannot make folder", dir, e))?;
        let path = dir.join(format!("{stage}.log.jsonl"));
        let file = OpenOptions::new()
            .create(true)
            .write(true)
            .append(resume)
            .truncate(!resume)
            .open(&path)
            .map_err(|e| TrainError::file("cannot open log", &path, e))?;
        Ok(Self {
            stage: stage.to_owned(),
            path,
            file,
        })
    }

    /// Appends one line of `kind` ("train", "val", "note") and tells the tracing subscriber.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn line(
        &mut self,
        kind: &str,
        step: u64,
        secs: f64,
        fields: &[(&str, f64)],
    ) -> TrainResult<()> {
        let mut map = Map::new();
        map.insert("kind".into(), kind.into());
        map.insert("step".into(), step.into());
        map.insert("secs".into(), ((secs * 10.0).round() / 10.0).into());
        let mut text = String::new();
        for (name, value) in fields {
            // JSON has no NaN: such a value becomes null, which is what it is.
            map.insert((*name).into(), significant(*value).into());
            text.push_str(&format!(" {name} {value:.4}"));
        }
        tracing::info!(target: "train", "{} {kind} {step} @{secs:.0}s{text}", self.stage);
        self.write(Value::Object(map))
    }

    /// Appends a sentence.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn note(&mut self, step: u64, text: &str) -> TrainResult<()> {
        tracing::info!(target: "train", "{} {step}: {text}", self.stage);
        self.write(serde_json::json!({"kind": "note", "step": step, "text": text}))
    }

    fn write(&mut self, value: Value) -> TrainResult<()> {
        writeln!(self.file, "{value}")
            .and_then(|()| self.file.flush())
            .map_err(|e| TrainError::file("cannot write log", &self.path, e))
    }
}

/// Five significant digits are more than a loss has.
fn significant(v: f64) -> f64 {
    if v == 0.0 || !v.is_finite() {
        return v;
    }
    let scale = 10_f64.powi(4 - v.abs().log10().floor() as i32);
    (v * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_json_and_survive_resumption() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(dir.path(), "toy", false).unwrap();
        log.line(
            "train",
            3,
            1.23,
            &[("loss", 0.123_456_78), ("bad", f64::NAN)],
        )
        .unwrap();
        drop(log);
        let mut log = Log::open(dir.path(), "toy", true).unwrap();
        log.note(4, "resumed").unwrap();
        let text = std::fs::read_to_string(dir.path().join("toy.log.jsonl")).unwrap();
        let lines: Vec<Value> = text
            .lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["loss"], 0.12346);
        assert!(lines[0]["bad"].is_null());
        assert_eq!(lines[1]["text"], "resumed");
    }
}
