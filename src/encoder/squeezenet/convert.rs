//! From torchvision's PyTorch checkpoint to the weights file, and the check of such a file.

use std::fs::File;
use std::path::Path;

use pytorch_reader::{DType, PytorchReader};
use safetensors::tensor::{Dtype, TensorView};

use super::weights::{Weights, read};
use super::{FIRES, STEM, SqueezeNet};
use crate::encoder::BackboneError;
use crate::files::{FileError, create_folder, replace};

impl SqueezeNet {
    /// Writes the trunk's weights from `checkpoint`, a state dict that PyTorch has saved, into the
    /// safetensors file `out`, which [`load`](Self::load) reads. Its folder is created, and it
    /// appears as a whole or not at all.
    ///
    /// # Errors
    /// [`BackboneError::Checkpoint`] when the checkpoint is damaged or something else;
    /// [`BackboneError::NoTensor`] and [`BackboneError::Mismatch`] when it is of another network;
    /// [`BackboneError::Files`] when a file cannot be read or written.
    pub fn convert(checkpoint: &Path, out: &Path) -> Result<(), BackboneError> {
        let refused = |reason: String| BackboneError::Checkpoint {
            path: checkpoint.to_owned(),
            reason,
        };
        File::open(checkpoint).map_err(FileError::io("read", checkpoint))?;
        let source = PytorchReader::new(checkpoint).map_err(|error| refused(error.to_string()))?;
        let mut contents = Vec::new();
        for (name, shape) in parameters() {
            let Some(tensor) = source.get(&name) else {
                return Err(BackboneError::NoTensor {
                    path: checkpoint.to_owned(),
                    name,
                });
            };
            if tensor.dtype() != DType::F32 || tensor.shape() != shape {
                return Err(BackboneError::Mismatch {
                    path: checkpoint.to_owned(),
                    name,
                    found: format!("{:?} {:?}", tensor.dtype(), tensor.shape()),
                    expected: format!("{:?} {shape:?}", DType::F32),
                });
            }
            let bytes = tensor.read().map_err(|error| refused(error.to_string()))?;
            contents.push((name, shape, little_endian(bytes)));
        }
        let views = contents.iter().map(|(name, shape, bytes)| {
            TensorView::new(Dtype::F32, shape.clone(), bytes).map(|view| (name, view))
        });
        let file = views
            .collect::<Result<Vec<_>, _>>()
            .and_then(|views| safetensors::serialize(views, None))
            .map_err(|error| refused(error.to_string()))?;
        if let Some(folder) = out.parent() {
            create_folder(folder)?;
        }
        Ok(replace(out, |target| target.write_all(&file))?)
    }

    /// Checks that a weights file has all the trunk's tensors, in their type and shape.
    ///
    /// # Errors
    /// Those of [`load`](Self::load).
    pub fn check(path: &Path) -> Result<(), BackboneError> {
        let bytes = read(path)?;
        let weights = Weights::new(path, &bytes)?;
        for (name, shape) in parameters() {
            weights.tensor(name, &shape)?;
        }
        Ok(())
    }
}

/// Names and shapes of the trunk's weights and biases.
fn parameters() -> Vec<(String, Vec<usize>)> {
    let mut convolutions = vec![("features.0".to_owned(), [STEM, 3, 3, 3])];
    for (layer, [from, squeezed, expanded]) in FIRES {
        let part = |part: &str| format!("features.{layer}.{part}");
        convolutions.push((part("squeeze"), [squeezed, from, 1, 1]));
        convolutions.push((part("expand1x1"), [expanded, squeezed, 1, 1]));
        convolutions.push((part("expand3x3"), [expanded, squeezed, 3, 3]));
    }
    let parameters = convolutions.into_iter().flat_map(|(name, shape)| {
        [
            (format!("{name}.weight"), shape.to_vec()),
            (format!("{name}.bias"), shape[..1].to_vec()),
        ]
    });
    parameters.collect()
}

/// Numbers as a safetensors file has them, from this machine's byte order.
fn little_endian(mut bytes: Vec<u8>) -> Vec<u8> {
    if cfg!(target_endian = "big") {
        for number in bytes.chunks_exact_mut(4) {
            number.reverse();
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_device;
    use burn::module::Param;
    use burn::tensor::Tensor;
    use std::path::PathBuf;

    /// A file that PyTorch 2.15.0 has written with `tests/fixtures/squeezenet.py`.
    fn fixture(name: &str) -> PathBuf {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        folder.join(name)
    }

    fn values<const D: usize>(param: &Param<Tensor<D>>) -> Vec<f32> {
        param.val().into_data().iter::<f32>().collect()
    }

    #[test]
    fn a_checkpoint_of_pytorch_is_converted() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("not/there/yet").join(SqueezeNet::FILE);
        SqueezeNet::convert(&fixture("squeezenet1_1.pth"), &out).unwrap();
        SqueezeNet::check(&out).unwrap();
        let network = SqueezeNet::load(&out, &test_device()).unwrap();
        // The script writes 0, 1, 2, ... as [3, 3, 3, 64] and turns the axes around.
        let expected = (0..64 * 27).map(|at| {
            let (channel, colour, row, column) = (at / 27, at / 9 % 3, at / 3 % 3, at % 3);
            (((column * 3 + row) * 3 + colour) * 64 + channel) as f32
        });
        assert_eq!(values(&network.stem.weight), expected.collect::<Vec<_>>());
        // Every other tensor is its place in the file and a quarter.
        let fires = network.first.iter();
        let fires = fires.chain(&network.second).chain(&network.third);
        let convolutions = fires.flat_map(|fire| [&fire.squeeze, &fire.expand1x1, &fire.expand3x3]);
        let mut place = 1;
        let mut biases = vec![&network.stem.bias];
        for convolution in convolutions {
            place += 1;
            let weight = values(&convolution.weight);
            assert!(weight.iter().all(|value| *value == place as f32 + 0.25));
            biases.push(&convolution.bias);
            place += 1;
        }
        for (number, bias) in biases.into_iter().enumerate() {
            let bias = values(bias.as_ref().unwrap());
            let expected = (2 * number + 1) as f32 + 0.25;
            assert!(bias.iter().all(|value| *value == expected));
        }
        let files = std::fs::read_dir(out.parent().unwrap()).unwrap();
        assert_eq!(files.count(), 1);
    }

    #[test]
    fn unusable_checkpoints_leave_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (path, out) = (folder.path().join("a.pth"), folder.path().join("b"));
        let refusal = || {
            let error = SqueezeNet::convert(&path, &out).unwrap_err().to_string();
            assert!(!out.exists());
            assert!(error.contains("a.pth"), "{error}");
            error
        };
        assert!(refusal().contains("cannot read"));
        let whole = std::fs::read(fixture("squeezenet1_1.pth")).unwrap();
        for wrong in [&b""[..], b"not a checkpoint", &whole[..whole.len() / 2]] {
            std::fs::write(&path, wrong).unwrap();
            let error = refusal();
            assert!(error.contains("not a PyTorch checkpoint"), "{error}");
        }
        let mut damaged = whole.clone();
        // The stem's numbers lie in the middle of the file: their checksum no longer agrees.
        damaged[whole.len() / 2] ^= 1;
        std::fs::write(&path, damaged).unwrap();
        let error = refusal();
        assert!(error.contains("not a PyTorch checkpoint"), "{error}");
        std::fs::copy(fixture("squeezenet1_0.pth"), &path).unwrap();
        let error = refusal();
        assert!(
            error.contains("features.0.weight is F32 [96, 3, 7, 7], expected F32 [64, 3, 3, 3]"),
            "{error}"
        );
    }

    #[test]
    fn the_parameters_are_those_of_the_network() {
        let count: usize = parameters()
            .iter()
            .map(|(_, shape)| shape.iter().product::<usize>())
            .sum();
        assert_eq!(parameters().len(), 50);
        assert_eq!(count, 722_496);
    }
}
