//! From tensors back to pictures, for the report and for heat maps.

use burn::tensor::{Device, Tensor};

use crate::data::{Images, Samples, batches};
use crate::method::Heatmap;
use crate::method::fitting::representation::BATCH;

/// Every image as `model` brings it back, if it does.
pub(in crate::method) fn reconstruct(
    images: &Images,
    device: &Device,
    model: impl Fn(Tensor<4>) -> Option<Tensor<4>>,
) -> Option<Images> {
    let mut pixels = Vec::with_capacity(images.len() * images.shape().iter().product::<usize>());
    for indices in batches(images.len(), BATCH) {
        if let Some(back) = model(images.batch(&indices, device)) {
            pixels.extend(to_bytes(back));
        }
    }
    let back = Images::new(images.shape(), pixels).ok()?;
    (back.len() == images.len()).then_some(back)
}

/// `|image - reconstruction|` of every image, mean over the channels, if `model` brings images back.
pub(in crate::method) fn residuals(
    images: &Images,
    device: &Device,
    model: impl Fn(Tensor<4>) -> Option<Tensor<4>>,
) -> Option<Vec<Heatmap>> {
    let [_, height, width] = images.shape();
    let mut values = Vec::with_capacity(images.len() * height * width);
    for indices in batches(images.len(), BATCH) {
        let batch = images.batch(&indices, device);
        if let Some(back) = model(batch.clone()) {
            let residual = (batch - back).abs().mean_dim(1);
            values.extend(residual.into_data().iter::<f32>());
        }
    }
    heatmaps([height, width], &values).filter(|maps| maps.len() == images.len())
}

/// `|d score / d pixel|`, summed over the channels, of every image, `batch` at a time: which pixels its
/// `score`, from `[batch, channels, height, width]` to `[batch]`, hangs on.
pub(in crate::method) fn pixel_gradients(
    images: &impl Samples<Batch = Tensor<4>>,
    batch: usize,
    device: &Device,
    score: impl Fn(Tensor<4>) -> Tensor<1>,
) -> Option<Vec<Heatmap>> {
    let device = device.clone().autodiff();
    let mut maps = Vec::with_capacity(images.count());
    for indices in batches(images.count(), batch) {
        let pixels = images.batch(&indices, &device).require_grad();
        let [_, _, height, width] = pixels.dims();
        // The images do not see each other, so the sum's gradient is each image's own.
        let gradients = score(pixels.clone()).sum().backward();
        let strength = pixels.grad(&gradients)?.abs().sum_dim(1).into_data();
        let strength: Vec<f32> = strength.iter::<f32>().collect();
        maps.extend(heatmaps([height, width], &strength)?);
    }
    Some(maps)
}

/// One heat map after the other from the values of all.
pub(in crate::method) fn heatmaps(
    [height, width]: [usize; 2],
    values: &[f32],
) -> Option<Vec<Heatmap>> {
    let maps = values.chunks_exact(height * width);
    maps.map(|map| Heatmap::new(height, width, map.to_vec()))
        .collect()
}

/// Images from `[-1, 1]` to bytes, `[batch, channels, height, width]`.
pub(in crate::method) fn to_bytes(images: Tensor<4>) -> impl Iterator<Item = u8> {
    let values: Vec<f32> = images.into_data().iter::<f32>().collect();
    // A cast saturates: values beyond the range end at 0 and 255.
    values
        .into_iter()
        .map(|value| ((value + 1.0) * 127.5).round() as u8)
}
