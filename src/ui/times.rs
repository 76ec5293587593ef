//! How long the window takes per frame, for its overlay. Measured by [`super::app`], drawn by the toasts.

use std::collections::VecDeque;

/// Frame times, for the debug overlay.
#[derive(Clone, Debug, Default)]
pub(crate) struct FrameTimes {
    /// Milliseconds of the window's own work, newest last.
    pub(crate) own_ms: VecDeque<f32>,
}

impl FrameTimes {
    /// Adds one; the last 240 are kept.
    pub(crate) fn push(&mut self, ms: f32) {
        self.own_ms.push_back(ms);
        while self.own_ms.len() > 240 {
            self.own_ms.pop_front();
        }
    }

    /// Mean, 99th percentile and maximum.
    pub(crate) fn summary(&self) -> (f32, f32, f32) {
        let mut sorted: Vec<f32> = self.own_ms.iter().copied().collect();
        sorted.sort_by(f32::total_cmp);
        let Some(&most) = sorted.last() else {
            return (0.0, 0.0, 0.0);
        };
        let mean = sorted.iter().sum::<f32>() / sorted.len() as f32;
        let p99 = sorted[(sorted.len() * 99 / 100).min(sorted.len() - 1)];
        (mean, p99, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_times_are_summed_up_over_a_window() {
        let mut times = FrameTimes::default();
        assert_eq!(times.summary(), (0.0, 0.0, 0.0));
        for i in 0..1000 {
            times.push(if i == 999 { 9.0 } else { 1.0 });
        }
        assert_eq!(times.own_ms.len(), 240);
        let (mean, _, most) = times.summary();
        assert!(mean > 1.0 && mean < 1.1 && most == 9.0);
    }
}
