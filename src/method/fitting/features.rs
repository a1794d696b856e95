//! What a pretrained network makes of images, once for all runs, and what that depends on.

use std::borrow::Cow;

use burn::tensor::{Device, Tensor};
use sha2::{Digest, Sha256};

use super::context::weights_hash;
use crate::data::{Images, Samples, Vectors};
use crate::encoder::{Backbone, OnnxNetwork, SqueezeNet};
use crate::files::hex;
use crate::method::Part;
use crate::train::Display;

/// Images per forward pass of the pretrained network, whose first maps are large.
const FEATURE_BATCH: usize = 64;

/// What the features of a network from an ONNX file depend on beside the images.
pub(in crate::method) fn onnx_identity(network: &OnnxNetwork) -> String {
    format!("{:?}", network.sizes())
}

/// What a pretrained network's features depend on: the images, its weights, the backend, and what the program makes of the first
/// images on this machine, for another version of it, or another processor, may make others of them.
pub(crate) fn features_fingerprint(
    network: &Backbone,
    (backend, device): (&str, &Device),
    images: &Images,
) -> String {
    let mut hash = match network {
        Backbone::SqueezeNet(network) => {
            let mut hash = weights_hash(network);
            if network.latent() != SqueezeNet::LATENT {
                hash.update(b"moments");
            }
            hash
        }
        Backbone::Onnx(network) => Sha256::new().chain_update(onnx_identity(network)),
    };
    hash.update(backend);
    let first: Vec<usize> = (0..images.len().min(FEATURE_BATCH)).collect();
    if !first.is_empty() {
        let features = network.encode(images.batch(&first, device)).into_data();
        features
            .iter::<f32>()
            .for_each(|value| hash.update(value.to_le_bytes()));
    }
    images.iter().for_each(|image| hash.update(image));
    hex(&hash.finalize())
}

/// A pretrained network's features of every image.
pub(crate) fn backbone_features(
    network: &Backbone,
    images: &Images,
    (device, display): (&Device, Display),
) -> Vectors {
    let encode = |images| network.encode(images);
    features_of(network.features(), images, (device, display), encode)
}

/// What a network makes of the images of a part, `dim` entries of each: known before, or computed now.
pub(in crate::method) fn part_features<'a>(
    part: &'a Part,
    dim: usize,
    at: (&Device, Display),
    encode: impl Fn(Tensor<4>) -> Tensor<2>,
) -> Cow<'a, Vectors> {
    match &part.features {
        Some(known) => Cow::Borrowed(known),
        None => Cow::Owned(features_of(dim, &part.images, at, encode)),
    }
}

/// Features of `dim` entries of every image.
fn features_of(
    dim: usize,
    images: &Images,
    (device, display): (&Device, Display),
    encode: impl Fn(Tensor<4>) -> Tensor<2>,
) -> Vectors {
    let bar = display.bar("describing", images.len());
    let features = Vectors::in_batches(dim, (images.len(), FEATURE_BATCH), |indices| {
        bar.inc(indices.len() as u64);
        encode(images.batch(indices, device))
    });
    bar.finish_and_clear();
    features
}
