//! What the report of a flow on pixels shows: what its couplings predict, and what lies between two
//! images.

use burn::tensor::{Device, Tensor};

use super::detector::pictures::to_bytes;
use crate::data::{Dequantised, Images, Samples};
use crate::flow::image::ImageFlow;
use crate::report::ImageRows;

/// Images whose predictions are shown, of each set.
const SHOWN: usize = 6;
/// Images on the way from one to another, both included.
const STEPS: usize = 12;
/// Ways from one image to another.
const WAYS: usize = 4;

/// The pictures for these sets of images, the normal one first.
pub(super) fn pictures(
    flow: &ImageFlow,
    sets: &[(String, Images)],
    device: &Device,
) -> Vec<ImageRows> {
    let ways = sets
        .first()
        .and_then(|(_, images)| ways(flow, images, device));
    let predictions = sets
        .iter()
        .filter_map(|(name, images)| predictions(flow, name, images, device));
    ways.into_iter().chain(predictions).collect()
}

fn ways(flow: &ImageFlow, images: &Images, device: &Device) -> Option<ImageRows> {
    let shape = images.shape();
    let samples = Dequantised::fixed(images.clone().into(), 0);
    let pairs = (0..WAYS).filter(|way| 2 * way + 1 < images.len());
    let rows: Option<Vec<Images>> = pairs
        .map(|way| {
            let [from, to] = [2 * way, 2 * way + 1].map(|index| samples.batch(&[index], device));
            pictured(shape, flow.interpolated(from, to, STEPS) * 2.0 - 1.0)
        })
        .collect();
    let rows = rows.filter(|rows| !rows.is_empty())?;
    Some(ImageRows {
        title: "From one image to another".to_owned(),
        caption: "Two normal test images at the ends of each row, and between them what the flow makes of the noise between theirs.".to_owned(),
        rows,
    })
}

fn predictions(
    flow: &ImageFlow,
    name: &str,
    images: &Images,
    device: &Device,
) -> Option<ImageRows> {
    let first: Vec<usize> = (0..images.len().min(SHOWN)).collect();
    if first.is_empty() {
        return None;
    }
    let shown = images.select(&first);
    let batch = Dequantised::fixed(shown.clone().into(), 0).batch(&first, device);
    let shape = images.shape();
    let mut rows = vec![shown];
    for maps in flow.predictions(batch).into_iter().flatten() {
        rows.push(pictured(shape, in_range(maps))?);
    }
    Some(ImageRows {
        title: format!("What the couplings predict: {name}"),
        caption: "On top the images; below, for each coupling of the first scale, the log-scale and the shift of every pixel, grey where they are zero, each row in a range of its own. Where they look like the image, the coupling tells pixels from their neighbours, whatever the image shows (Kirichenko et al. 2020).".to_owned(),
        rows,
    })
}

/// Divided by the largest absolute value.
fn in_range(maps: Tensor<4>) -> Tensor<4> {
    let largest = maps.clone().abs().max().into_scalar::<f32>();
    maps / largest.max(f32::MIN_POSITIVE)
}

/// Tensors in `[-1, 1]` as images.
fn pictured(shape: [usize; 3], maps: Tensor<4>) -> Option<Images> {
    Images::new(shape, to_bytes(maps).collect()).ok()
}
