//! From tensors back to pictures, for the report.

use burn::tensor::{Device, Tensor};

use super::representation::for_each_batch;
use crate::data::{Images, Samples};

/// Every image as `model` brings it back, if it does.
pub(super) fn reconstruct(
    images: &Images,
    device: &Device,
    model: impl Fn(Tensor<4>) -> Option<Tensor<4>>,
) -> Option<Images> {
    let mut pixels = Vec::with_capacity(images.as_bytes().len());
    for_each_batch(images.len(), |indices| {
        if let Some(back) = model(images.batch(indices, device)) {
            pixels.extend(to_bytes(back));
        }
    });
    let back = Images::new(images.shape(), pixels).ok()?;
    (back.len() == images.len()).then_some(back)
}

/// Images from `[-1, 1]` to bytes, `[batch, channels, height, width]`.
pub(super) fn to_bytes(images: Tensor<4>) -> impl Iterator<Item = u8> {
    let values: Vec<f32> = images.into_data().iter::<f32>().collect();
    // A cast saturates: values beyond the range end at 0 and 255.
    values
        .into_iter()
        .map(|value| ((value + 1.0) * 127.5).round() as u8)
}
