//! Weights, inputs and outputs for the check that PyTorch computes the same thing.
//!
//! For each network `<name>.safetensors` has the weights in PyTorch's names and layouts, and
//! `<name>.arrays.safetensors` the input, the outputs in evaluation mode, and the monitors (the
//! loss first) of three training steps from these weights.

use std::path::Path;

use burn::module::Module;
use burn::store::{BurnToPyTorchAdapter, ModuleSnapshot, SafetensorsStore};
use burn::tensor::{Device, Tensor};
use burn::train::TrainStep;
use encoder_flow::data::Vectors;
use encoder_flow::encoder::{AutoEncoder, Projection};
use encoder_flow::flow::image::ImageFlow;
use encoder_flow::flow::{FullMixture, RealNvp, RealNvpConfig};
use encoder_flow::method::Scorer;
use encoder_flow::method::ganomaly::Ganomaly;
use encoder_flow::method::knn::Knn;
use encoder_flow::train::StepOutput;
use safetensors::tensor::{Dtype, TensorView};

use super::cases::{
    CONVOLUTIONAL, FLOW, GLOW, LIKELIHOOD, MIXTURE, PIXEL_LIKELIHOOD, PIXEL_REAL_NVP,
    POSITION_FLOW, Training, autoencoder, clustered, correlated, image_batch, large_images,
    latents, pixel_batch, position_rows, position_weights, positions, rng, squeezenet, vectors,
    whole,
};

/// Steps before the weights are written: a new flow is the identity, and a new normalisation's
/// running mean and variance are 0 and 1. Any formula would pass.
const EARLIER_STEPS: usize = 10;
/// Steps whose monitors are compared: the second depends on the first one's gradients and update.
const COMPARED_STEPS: usize = 3;

/// A named array of numbers.
struct Array {
    name: &'static str,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Array {
    fn new(name: &'static str, shape: &[usize], values: impl IntoIterator<Item = f32>) -> Self {
        Self {
            name,
            shape: shape.to_vec(),
            bytes: values.into_iter().flat_map(f32::to_le_bytes).collect(),
        }
    }

    fn tensor<const D: usize>(name: &'static str, tensor: Tensor<D>) -> Self {
        let shape = tensor.dims();
        Self::new(name, &shape, tensor.into_data().iter::<f32>())
    }

    fn vectors(name: &'static str, vectors: &Vectors) -> Self {
        let shape = [vectors.len(), vectors.dim()];
        Self::new(name, &shape, vectors.values().iter().copied())
    }
}

/// Writes every case into `folder`.
pub fn export(folder: &Path, device: &Device) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    export_autoencoder(folder, "autoencoder-grey", 1, device)?;
    export_autoencoder(folder, "autoencoder-colour", 3, device)?;
    export_flow(folder, "flow", FLOW, &latents(1024), device)?;
    let rows = position_rows(1024);
    export_flow(folder, "position-flow", POSITION_FLOW, &rows, device)?;
    export_ganomaly(folder, device)?;
    let training = device.clone().autodiff();
    let model = PIXEL_REAL_NVP.init(&mut rng(), &training);
    export_pixel_flow(folder, "realnvp-colour", model, device)?;
    let model = GLOW.init(&mut rng(), &training);
    export_pixel_flow(folder, "glow-colour", model, device)?;
    for input in [128, 256] {
        export_squeezenet(folder, input, device)?;
    }
    export_positions(folder, device)?;
    export_fits(folder, device)?;
    export_knn(folder, device)
}

fn export_autoencoder(
    folder: &Path,
    name: &str,
    channels: usize,
    device: &Device,
) -> anyhow::Result<()> {
    let training = device.clone().autodiff();
    let model = autoencoder(channels).init(&mut rng(), &training);
    let batch = image_batch(channels, 64, &training);
    let input = image_batch(channels, 64, device);
    let outputs = |model: &AutoEncoder| {
        let latents = model.encode(input.clone());
        vec![
            Array::tensor("input", input.clone()),
            Array::tensor("latents", latents.clone()),
            Array::tensor("reconstructions", model.decode(latents)),
        ]
    };
    export_network(
        folder,
        name,
        Training::new(model, CONVOLUTIONAL),
        batch,
        outputs,
    )
}

/// A flow of these sizes on rows, in which a vector's context follows it.
fn export_flow(
    folder: &Path,
    name: &str,
    sizes: RealNvpConfig,
    rows: &Vectors,
    device: &Device,
) -> anyhow::Result<()> {
    let training = device.clone().autodiff();
    let model = sizes.init(&mut rng(), &training);
    let outputs = |model: &RealNvp| {
        let input = whole(rows, device);
        let (latents, context) = model.split_context(input.clone());
        vec![
            Array::tensor("input", input),
            Array::tensor("log_prob", model.log_prob(latents, context.as_ref())),
        ]
    };
    let batch = whole(rows, &training);
    export_network(
        folder,
        name,
        Training::new(model, LIKELIHOOD),
        batch,
        outputs,
    )
}

fn export_ganomaly(folder: &Path, device: &Device) -> anyhow::Result<()> {
    let training = device.clone().autodiff();
    let model = Ganomaly::new(&autoencoder(1), &mut rng(), &training);
    let batch = image_batch(1, 64, &training);
    let input = image_batch(1, 64, device);
    let outputs = |model: &Ganomaly| {
        let (reconstructions, scores) = model.score(input.clone());
        vec![
            Array::tensor("input", input.clone()),
            Array::tensor("reconstructions", reconstructions),
            Array::tensor("scores", scores),
        ]
    };
    export_network(
        folder,
        "ganomaly",
        Training::new(model, CONVOLUTIONAL),
        batch,
        outputs,
    )
}

fn export_pixel_flow(
    folder: &Path,
    name: &str,
    model: ImageFlow,
    device: &Device,
) -> anyhow::Result<()> {
    let batch = pixel_batch(32, &device.clone().autodiff());
    let outputs = |model: &ImageFlow| {
        let (log_prob, norm) = model.log_prob_and_norm(pixel_batch(32, device));
        vec![
            Array::tensor("input", image_batch(3, 32, device)),
            Array::tensor("bits_per_dim", model.bits_per_dim(log_prob)),
            Array::tensor("noise_norm", norm),
        ]
    };
    let training = Training::new(model, PIXEL_LIKELIHOOD);
    export_network(folder, name, training, batch, outputs)
}

/// Without training: its weights are frozen.
fn export_squeezenet(folder: &Path, input: usize, device: &Device) -> anyhow::Result<()> {
    let (name, network) = (format!("squeezenet-{input}"), squeezenet(input, device));
    write_weights(&folder.join(format!("{name}.safetensors")), &network)?;
    let images = image_batch(3, 8, device);
    let arrays = [
        Array::tensor("input", images.clone()),
        Array::tensor("features", network.encode(images)),
    ];
    write_arrays(&folder.join(format!("{name}.arrays.safetensors")), &arrays)
}

fn export_positions(folder: &Path, device: &Device) -> anyhow::Result<()> {
    let weights = folder.join("positions-256.safetensors");
    write_weights(&weights, &position_weights(device))?;
    let images = large_images(3);
    let scores = positions(device).score(&images)?;
    let deciding = scores.columns()[0].iter().copied();
    let arrays = [
        Array::tensor("input", whole(&images, device)),
        Array::new("scores", &[images.len()], deciding),
    ];
    write_arrays(&folder.join("positions-256.arrays.safetensors"), &arrays)
}

/// What fits are fitted to, and what they come to on fewer vectors: the variances of components, and
/// the mean log-likelihood of a mixture, which a fit from another start comes near to.
fn export_fits(folder: &Path, device: &Device) -> anyhow::Result<()> {
    let rows = clustered(10_000);
    let nll = FullMixture::fit(&rows, MIXTURE, &mut rng(), device).nll(&rows);
    let mean = nll.iter().sum::<f32>() / nll.len() as f32;
    let arrays = [
        Array::vectors("rows", &rows),
        Array::new("nll", &[1], [mean]),
    ];
    write_arrays(&folder.join("gmm.arrays.safetensors"), &arrays)?;
    let rows = correlated(4_000);
    let projection = Projection::fit(&rows, 64, &mut rng(), device);
    // Every direction is divided by its standard deviation.
    let dim = rows.dim();
    let matrix = projection.forward(Tensor::eye(dim, device))
        - projection.forward(Tensor::zeros([1, dim], device));
    let variances = matrix.square().sum_dim(0).squeeze_dim::<1>(0).recip();
    let arrays = [
        Array::vectors("rows", &rows),
        Array::tensor("variances", variances),
    ];
    write_arrays(&folder.join("components.arrays.safetensors"), &arrays)
}

/// Fewer vectors than are measured: the formula is the same.
fn export_knn(folder: &Path, device: &Device) -> anyhow::Result<()> {
    let (bank, queries) = (vectors(64, 5_000, 4), vectors(64, 1_000, 5));
    let distances = Knn::fit(&bank, 5, device).distances(&queries);
    let arrays = [
        Array::vectors("bank", &bank),
        Array::vectors("queries", &queries),
        Array::new("distances", &[distances.len()], distances),
    ];
    write_arrays(&folder.join("knn.arrays.safetensors"), &arrays)
}

fn export_network<M>(
    folder: &Path,
    name: &str,
    mut training: Training<M>,
    batch: M::Input,
    outputs: impl FnOnce(&M) -> Vec<Array>,
) -> anyhow::Result<()>
where
    M: Module + TrainStep<Output = StepOutput>,
    M::Input: Clone,
{
    for _ in 0..EARLIER_STEPS {
        training.step(batch.clone());
    }
    let model = training.evaluated();
    write_weights(&folder.join(format!("{name}.safetensors")), &model)?;
    let mut arrays = outputs(&model);
    let mut training = training.restarted();
    let monitors: Vec<f64> = (0..COMPARED_STEPS)
        .flat_map(|_| training.step(batch.clone()))
        .collect();
    let shape = [COMPARED_STEPS, monitors.len() / COMPARED_STEPS];
    let monitors = monitors.into_iter().map(|value| value as f32);
    arrays.push(Array::new("monitors", &shape, monitors));
    write_arrays(&folder.join(format!("{name}.arrays.safetensors")), &arrays)
}

fn write_weights<M: Module>(path: &Path, model: &M) -> anyhow::Result<()> {
    let mut store = SafetensorsStore::from_file(path)
        .overwrite(true)
        .skip_enum_variants(true)
        .with_to_adapter(BurnToPyTorchAdapter);
    Ok(model.save_into(&mut store)?)
}

fn write_arrays(path: &Path, arrays: &[Array]) -> anyhow::Result<()> {
    let views = arrays
        .iter()
        .map(|array| {
            TensorView::new(Dtype::F32, array.shape.clone(), &array.bytes)
                .map(|view| (array.name, view))
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(std::fs::write(path, safetensors::serialize(views, None)?)?)
}
