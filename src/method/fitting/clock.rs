//! How long the steps of a run take.

use std::time::Instant;

use crate::report::Timing;
use crate::train::StageSummary;

/// Measures one step after the other.
pub struct Clock {
    last: Instant,
    /// The steps so far.
    pub steps: Vec<Timing>,
}

impl Clock {
    /// Starts now.
    pub fn start() -> Self {
        Self {
            last: Instant::now(),
            steps: Vec::new(),
        }
    }

    /// The time since the last step; with its rate when it worked on `images` images.
    pub fn step(&mut self, name: &str, images: Option<usize>) {
        let seconds = self.last.elapsed().as_secs_f64();
        self.push(name, seconds, images);
    }

    /// A stage measures itself, over all resumptions.
    pub fn stage(&mut self, summary: &StageSummary) {
        let name = format!("{} stage", summary.name);
        self.push(&name, summary.seconds, Some(summary.samples));
    }

    fn push(&mut self, name: &str, seconds: f64, images: Option<usize>) {
        self.steps.push(Timing {
            stage: name.to_owned(),
            seconds,
            images_per_second: images.map(|images| images as f64 / seconds.max(1e-9)),
        });
        self.last = Instant::now();
    }
}
