//! What the whole-program tests share.
#![allow(dead_code)]

pub mod textures;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use encoder_flow::Detector;
use encoder_flow::backend::Backend;
use encoder_flow::data::digits;
use encoder_flow::encoder::SqueezeNet;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors, serialize_to_file};

/// Written by PyTorch with `fixtures/squeezenet.py`, for its names and shapes: its values are constants.
const CHECKPOINT: &[u8] = include_bytes!("../fixtures/squeezenet1_1.pth");

/// A file of weights, uniform and as large as keeps the maps' size (He et al., arXiv:1502.01852), without biases.
pub fn random_weights(path: &Path) -> PathBuf {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let checkpoint = path.with_file_name("squeezenet1_1.pth");
    std::fs::write(&checkpoint, CHECKPOINT).unwrap();
    SqueezeNet::convert(&checkpoint, path).unwrap();
    let bytes = std::fs::read(path).unwrap();
    let rng = &mut StdRng::seed_from_u64(0);
    let mut tensors = BTreeMap::new();
    for (name, tensor) in SafeTensors::deserialize(&bytes).unwrap().iter() {
        let shape = tensor.shape().to_vec();
        let fan_in: usize = shape[1..].iter().product();
        let bound = if shape.len() > 1 {
            (6.0 / fan_in as f32).sqrt()
        } else {
            0.0
        };
        let count: usize = shape.iter().product();
        let values = (0..count).map(|_| bound * rng.random_range(-1.0f32..1.0));
        let values: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
        tensors.insert(name.to_owned(), (shape, values));
    }
    let views = tensors.iter().map(|(name, (shape, values))| {
        let view = TensorView::new(Dtype::F32, shape.clone(), values).unwrap();
        (name.clone(), view)
    });
    serialize_to_file(views, None, path).unwrap();
    path.to_owned()
}

/// The first digits as PNG files in a new folder, which is returned.
pub fn digits_as_files(folder: &Path, count: usize) -> PathBuf {
    std::fs::create_dir(folder).unwrap();
    let images = digits(count, 0).images;
    let [_, height, width] = images.shape();
    for index in 0..count {
        let path = folder.join(format!("{index:03}.png"));
        let pixels = images.get(index);
        let colour = image::ColorType::L8;
        image::save_buffer(path, pixels, width as u32, height as u32, colour).unwrap();
    }
    folder.to_owned()
}

/// Settings with which every method that trains a network of its own takes seconds.
pub const SMALL_NETWORKS: [&str; 18] = [
    "ganomaly.width=4",
    "ganomaly.latent=8",
    "ganomaly.training.epochs=1",
    "anogan.width=4",
    "anogan.latent=6",
    "anogan.steps=20",
    "anogan.training.epochs=1",
    "egbad.width=2",
    "egbad.hidden=8",
    "egbad.latent=6",
    "egbad.training.epochs=1",
    "realnvp.width=2",
    "realnvp.draws=1",
    "realnvp.training.epochs=1",
    "glow.steps=1",
    "glow.width=4",
    "glow.draws=1",
    "glow.training.epochs=1",
];

/// Settings with which both stages take a second or two.
pub const TINY: [&str; 9] = [
    "data.limit=1500",
    "encoder.width=4",
    "encoder.latent=8",
    "encoder.training.epochs=2",
    "encoder.training.batch_size=32",
    "flow.couplings=4",
    "flow.hidden=16",
    "flow.training.epochs=4",
    "flow.training.batch_size=64",
];

/// Where the program runs: on the CPU, whatever else is compiled in. `tests/backends.rs` is there
/// for the others.
pub const DEVICE: &str = if cfg!(feature = "flex") {
    "flex"
} else {
    "ndarray"
};

/// The program, away from the repository's `experiments/` and from the user's data.
pub fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_encoder-flow"));
    command
        .current_dir(folder)
        .env_remove("ENCODER_FLOW_DATA")
        .env_remove("ENCODER_FLOW_MIRROR")
        .env_remove("RUST_LOG")
        .env("ENCODER_FLOW_DEVICE", DEVICE)
        .env("XDG_CACHE_HOME", folder.join("cache"));
    command
}

/// `experiment NAME` with the tiny settings and further arguments, in `folder`.
pub fn experiment(folder: &Path, name: &str, arguments: &[&str]) -> Command {
    let mut command = program(folder);
    command.args(["experiment", name, "--plain", "--offline"]);
    for setting in TINY {
        command.args(["--set", setting]);
    }
    command.args(arguments);
    command
}

/// Runs a command that must succeed; its standard output.
#[track_caller]
pub fn succeeds(mut command: Command) -> String {
    let output = command.output().expect("the program starts");
    assert!(output.status.success(), "{}", both(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a command that must fail in an orderly way; its standard error.
#[track_caller]
pub fn fails(mut command: Command) -> String {
    let output = command.output().expect("the program starts");
    let text = both(&output);
    assert!(!output.status.success(), "it should have failed: {text}");
    assert!(!text.contains("panicked"), "{text}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Both outputs and how it ended, for messages.
pub fn both(output: &Output) -> String {
    format!(
        "{}\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        output.status
    )
}

/// Folder of a run's results.
pub fn run_folder(folder: &Path, experiment: &str, seed: u64) -> PathBuf {
    folder
        .join("artifacts")
        .join(experiment)
        .join("encoder-flow")
        .join(format!("seed-{seed}"))
}

/// A JSON file of a run.
#[track_caller]
pub fn json(path: &Path) -> serde_json::Value {
    let text =
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// The stored detector of a run on digits gives every test image the scores that the run gave it.
#[track_caller]
pub fn assert_stored_scores(run: &Path) {
    let device = Backend::Flex.open().unwrap().device;
    let path = run.join("detector/model.safetensors");
    let detector = Detector::load_on(path, &device).unwrap();
    // The images as the data set has them, 28x28: the detector brings them to its own size.
    let images = digits(1500, 0).images;
    let mut csv = csv::Reader::from_path(run.join("scores.csv")).unwrap();
    let rows: Vec<csv::StringRecord> = csv.records().map(Result::unwrap).collect();
    for part in ["test-normal", "test-anomalous"] {
        let rows: Vec<&csv::StringRecord> = rows.iter().filter(|row| &row[0] == part).collect();
        assert!(!rows.is_empty(), "{}: no {part} images", run.display());
        let indices: Vec<usize> = rows.iter().map(|row| row[1].parse().unwrap()).collect();
        let scores = detector.scorer().score(&images.select(&indices)).unwrap();
        for (column, values) in scores.columns().iter().enumerate() {
            for (value, row) in values.iter().zip(&rows) {
                assert_eq!(
                    value.to_string(),
                    row[4 + column],
                    "{}: {part} image {}",
                    run.display(),
                    &row[1]
                );
            }
        }
    }
}

/// The learning curves of a stage without their times, which differ from run to run.
pub fn curves(run: &Path, stage: &str) -> Vec<(serde_json::Value, serde_json::Value)> {
    let history = json(&run.join(stage).join("history.json"));
    let epochs = history["epochs"].as_array().cloned().unwrap_or_default();
    let timeless = |mut values: serde_json::Value| {
        if let Some(map) = values.as_object_mut() {
            map.retain(|name, _| name != "Images" && name != "Latents");
        }
        values
    };
    epochs
        .into_iter()
        .map(|epoch| {
            (
                timeless(epoch["train"].clone()),
                timeless(epoch["valid"].clone()),
            )
        })
        .collect()
}

/// MNIST's four files with noise for images, inflated.
pub fn write_idx(folder: &Path, train: usize, test: usize) {
    for (name, count) in [("train", train), ("t10k", test)] {
        let images = (0..count * 784).map(|index| (index * 7919 % 251) as u8);
        let mut bytes = vec![0, 0, 8, 3];
        for size in [count, 28, 28] {
            bytes.extend((size as u32).to_be_bytes());
        }
        bytes.extend(images);
        std::fs::write(folder.join(format!("{name}-images-idx3-ubyte")), bytes).unwrap();
        let mut bytes = vec![0, 0, 8, 1];
        bytes.extend((count as u32).to_be_bytes());
        bytes.extend((0..count).map(|index| (index % 10) as u8));
        std::fs::write(folder.join(format!("{name}-labels-idx1-ubyte")), bytes).unwrap();
    }
}
