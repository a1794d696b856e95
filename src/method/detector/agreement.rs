//! Whether a device computes what the CPU does.
//!
//! A graphics driver can be wrong without an error: the same model then has other scores, and verdicts
//! that look like any others.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::backend::{Backend, OpenDevice};
use crate::data::{DataError, Images};
use crate::method::{Detector, DetectorError, Scores};

/// Largest difference of two scores, in units of one more than the CPU's: a hundred times what rounding
/// makes of it.
const TOLERANCE: f32 = 1e-2;
/// Images that are scored on both.
const PROBES: usize = 2;

impl Detector {
    /// Refuses a device on which this detector has other scores than on the CPU: a few images are scored
    /// on both. Of the CPU, and of a program that was built without it, nothing is asked.
    ///
    /// # Errors
    /// [`DetectorError::Device`] with the score that differs most; any other when the detector cannot be
    /// copied to the CPU.
    pub fn check_device(&self, open: &OpenDevice) -> Result<(), DetectorError> {
        let cpu = match Backend::compiled().contains(&Backend::Flex) {
            true if open.backend != Backend::Flex => Backend::Flex.open()?,
            _ => return Ok(()),
        };
        let there = self.on(&cpu.device)?;
        let images = probes(self.conversion().shape())?;
        let [here, there] = [self, &there].map(|detector| detector.scorer().score(&images));
        match difference(&here?, &there?) {
            None => Ok(()),
            Some((score, [here, cpu])) => Err(DetectorError::Device {
                backend: open.backend.name(),
                device: open.description(),
                score,
                here,
                cpu,
            }),
        }
    }
}

/// The score that differs most, by name, and its two values, where one differs by more than is allowed.
fn difference(here: &Scores, cpu: &Scores) -> Option<(&'static str, [f32; 2])> {
    let names = here.names().iter().zip(here.columns()).zip(cpu.columns());
    let pairs = names.flat_map(|((&name, here), cpu)| {
        let pairs = here.iter().zip(cpu);
        pairs.map(move |(&here, &cpu)| (name, [here, cpu]))
    });
    let apart = |[here, cpu]: [f32; 2]| {
        if here == cpu || (here.is_nan() && cpu.is_nan()) {
            return 0.0;
        }
        let relative = (here - cpu).abs() / (1.0 + cpu.abs());
        // One alone that is not finite is infinitely far.
        if relative.is_nan() {
            f32::INFINITY
        } else {
            relative
        }
    };
    pairs
        .max_by(|(_, a), (_, b)| apart(*a).total_cmp(&apart(*b)))
        .filter(|(_, pair)| apart(*pair) > TOLERANCE)
}

/// Gradients with some noise, in other directions.
fn probes([channels, height, width]: [usize; 3]) -> Result<Images, DataError> {
    let rng = &mut StdRng::seed_from_u64(0);
    let mut pixels = Vec::with_capacity(PROBES * channels * height * width);
    for (probe, channel) in (0..PROBES).flat_map(|probe| (0..channels).map(move |one| (probe, one)))
    {
        for (row, column) in (0..height).flat_map(|row| (0..width).map(move |one| (row, one))) {
            let [down, across] = [(row, height), (column, width)].map(|(at, of)| 100 * at / of);
            let level = [down, across][(probe + channel) % 2] + 40 * channel;
            pixels.push(20 + level as u8 + rng.random_range(0..25));
        }
    }
    Images::new([channels, height, width], pixels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Conversion;
    use crate::method::detector::tests::detector;
    use crate::method::{Calibration, Scorer, Stored};
    use burn::store::{SafetensorsStore, SafetensorsStoreError};

    fn scores(first: [f32; 2], second: [f32; 2]) -> Scores {
        Scores::new(&["nll", "norm"], vec![first.to_vec(), second.to_vec()])
    }

    #[test]
    fn what_differs_most_is_named() {
        let cpu = scores([10.0, -200.0], [1.0, 0.0]);
        assert_eq!(difference(&cpu, &cpu), None);
        let rounded = scores([10.001, -200.01], [1.0, 1e-4]);
        assert_eq!(difference(&rounded, &cpu), None);
        let wrong = scores([10.2, -200.0], [1.0, 0.5]);
        assert_eq!(difference(&wrong, &cpu), Some(("norm", [0.5, 0.0])));
        let [inf, nan] = [f32::INFINITY, f32::NAN];
        let damaged = scores([inf, -200.0], [1.0, nan]);
        assert_eq!(difference(&damaged, &damaged), None);
        for value in [inf, nan] {
            let found = difference(&scores([value, -200.0], [1.0, 0.0]), &cpu);
            assert_eq!(found.map(|(name, _)| name), Some("nll"));
            let found = difference(&cpu, &scores([value, -200.0], [1.0, 0.0]));
            assert_eq!(found.map(|(name, _)| name), Some("nll"));
        }
    }

    /// A scorer as a device has it that computes otherwise: one more than the scores that are right.
    struct Off(Box<dyn Scorer>);

    impl Scorer for Off {
        fn score_names(&self) -> &'static [&'static str] {
            self.0.score_names()
        }

        fn conversion(&self) -> Conversion {
            self.0.conversion()
        }

        fn stored(&self) -> Stored {
            self.0.stored()
        }

        fn save_into(&self, store: &mut SafetensorsStore) -> Result<(), SafetensorsStoreError> {
            self.0.save_into(store)
        }

        fn score_converted(&self, images: &Images) -> Result<Scores, DetectorError> {
            let right = self.0.score_converted(images)?;
            let columns = right.columns().iter();
            let wrong = columns.map(|column| column.iter().map(|score| score + 1.0).collect());
            Ok(Scores::new(right.names(), wrong.collect()))
        }
    }

    #[test]
    fn a_device_that_computes_otherwise_is_refused() {
        let cpu = Backend::Flex.open().unwrap();
        let other = OpenDevice {
            backend: Backend::NdArray,
            ..cpu
        };
        let right = detector();
        right.check_device(&other).unwrap();
        let images = probes(right.conversion().shape()).unwrap();
        let scores = right.scorer().score(&images).unwrap();
        let names = scores.names();
        let calibration = Calibration::fit(&names[..1], &scores, &scores).unwrap();
        let model = crate::method::on_positions::detectors().remove(0);
        let wrong = Detector::new(Box::new(Off(Box::new(model))), calibration, "a test");
        let error = wrong.check_device(&other).unwrap_err().to_string();
        assert!(error.contains("ndarray"), "{error}");
    }

    #[test]
    fn the_cpu_agrees_with_itself() {
        let cpu = Backend::Flex.open().unwrap();
        let detector = detector();
        detector.check_device(&cpu).unwrap();
        let copy = detector.on(&cpu.device).unwrap();
        let images = probes(detector.conversion().shape()).unwrap();
        let [one, other] = [&detector, &copy].map(|of| of.scorer().score(&images).unwrap());
        assert_eq!(one, other);
    }
}
