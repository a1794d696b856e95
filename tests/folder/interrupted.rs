//! Fits that ended before they were done, and go on to the same model.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use walkdir::WalkDir;

use super::*;

/// A running program that does not outlive its test.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Epochs that the flow of an unfinished fit can go on from.
fn epochs(model: &Path) -> usize {
    let unfinished = WalkDir::new(model.with_extension("safetensors.training"));
    let files = unfinished.into_iter().filter_map(Result::ok);
    let of_flow = files.filter(|file| file.path().ancestors().any(|part| part.ends_with("flow")));
    let epochs = of_flow.filter_map(|file| {
        let name = file.file_name().to_str()?;
        let epoch = name.strip_prefix("scheduler-")?.strip_suffix(".bpk")?;
        epoch.parse().ok()
    });
    epochs.max().unwrap_or(0)
}

/// Kills a fit in the middle of its flow.
fn kill_in_its_flow(mut command: Command, model: &Path) {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let _started = Started(command.spawn().unwrap());
    let patience = Instant::now() + Duration::from_secs(300);
    while epochs(model) < 2 {
        assert!(Instant::now() < patience, "no second epoch");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_killed_fit_goes_on_to_the_same_model() {
    let Fitted { set, .. } = &*FITTED;
    let by_position = ["flow.training.epochs=10", "flow.training.patience=0"];
    let by_position = [&TINY[..], &by_position].concat();
    let of_whole_images = [
        "data.size=32",
        "encoder.kind=autoencoder",
        "encoder.positions=false",
        "encoder.width=4",
        "encoder.latent=8",
        "encoder.training.epochs=2",
        "flow.couplings=2",
        "flow.hidden=8",
        "flow.training.epochs=150",
        "flow.training.patience=0",
    ];
    for settings in [by_position, of_whole_images.to_vec()] {
        let place = tempfile::tempdir().unwrap();
        let whole = place.path().join("whole.safetensors");
        succeeds(fit(set, &whole, &settings));

        let model = place.path().join("m.safetensors");
        kill_in_its_flow(fit(set, &model, &settings), &model);
        assert!(!model.exists());
        // What is unfinished is no other seed's, and not thrown away for it.
        let mut other = fit(set, &model, &settings);
        other.args(["--seed", "7"]);
        let refused = fails(other);
        assert!(
            refused.contains("seed") && refused.contains("--force"),
            "{refused}"
        );
        let output = succeeds(fit(set, &model, &settings));
        assert!(output.contains("flow  continues with epoch"), "{output}");
        // What was finished before is not trained again.
        assert!(!output.contains("1/2 encoder"), "{output}");
        let [found, expected] = [&model, &whole].map(|path| std::fs::read(path).unwrap());
        assert!(found == expected, "{settings:?}");
        assert!(!model.with_extension("safetensors.training").exists());
    }
}
