//! The file of the pretrained weights.

use std::io::ErrorKind;
use std::path::Path;

use burn::module::Param;
use burn::nn::conv::Conv2d;
use burn::tensor::{Tensor, TensorData};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::encoder::BackboneError;
use crate::files::FileError;

/// The contents of a weights file.
///
/// # Errors
/// [`BackboneError::Missing`] or [`BackboneError::Files`].
pub(super) fn read(path: &Path) -> Result<Vec<u8>, BackboneError> {
    std::fs::read(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => BackboneError::Missing {
            path: path.to_owned(),
        },
        _ => FileError::io("read", path)(error).into(),
    })
}

/// The tensors of a weights file.
pub(super) struct Weights<'a> {
    path: &'a Path,
    tensors: SafeTensors<'a>,
}

impl<'a> Weights<'a> {
    /// Finds the tensors in what [`read`] gave.
    ///
    /// # Errors
    /// [`BackboneError::Damaged`].
    pub fn new(path: &'a Path, bytes: &'a [u8]) -> Result<Self, BackboneError> {
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| BackboneError::Damaged {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        Ok(Self { path, tensors })
    }

    /// Replaces the weight and the bias of a convolution.
    ///
    /// # Errors
    /// [`BackboneError`] when a tensor is missing or has another type or shape.
    pub fn fill(&self, conv: &mut Conv2d, name: &str) -> Result<(), BackboneError> {
        conv.weight = self.param(&conv.weight, format!("{name}.weight"))?;
        let bias = conv.bias.as_ref();
        let bias = bias.map(|bias| self.param(bias, format!("{name}.bias")));
        conv.bias = bias.transpose()?;
        Ok(())
    }

    /// The tensor of this name, which must be of this shape.
    ///
    /// # Errors
    /// [`BackboneError::NoTensor`] or [`BackboneError::Mismatch`].
    pub fn tensor(&self, name: String, shape: &[usize]) -> Result<TensorView<'a>, BackboneError> {
        let Ok(view) = self.tensors.tensor(&name) else {
            return Err(BackboneError::NoTensor {
                path: self.path.to_owned(),
                name,
            });
        };
        if view.dtype() != Dtype::F32 || view.shape() != shape {
            return Err(BackboneError::Mismatch {
                path: self.path.to_owned(),
                name,
                found: format!("{} {:?}", view.dtype(), view.shape()),
                expected: format!("{} {shape:?}", Dtype::F32),
            });
        }
        Ok(view)
    }

    /// The tensor of this name, of the shape and on the device of `param`.
    fn param<const D: usize>(
        &self,
        param: &Param<Tensor<D>>,
        name: String,
    ) -> Result<Param<Tensor<D>>, BackboneError> {
        let shape = param.lazy_shape().to_vec();
        let view = self.tensor(name, &shape)?;
        let values: Vec<f32> = bytemuck::pod_collect_to_vec(view.data());
        let data = TensorData::new(values, shape);
        let tensor = Tensor::<D>::from_data(data, &param.lazy_device());
        Ok(param.clone().transform_for_load(tensor, param.id))
    }
}

#[cfg(test)]
mod tests {
    use super::super::SqueezeNet;
    use super::*;
    use crate::backend::test_device;

    /// Why the file at `path` is refused.
    fn refusal(path: &Path) -> String {
        SqueezeNet::load(path, &test_device())
            .unwrap_err()
            .to_string()
    }

    /// Writes a file with the first convolution's weight alone, of this shape.
    fn write_stem(path: &Path, shape: &[usize]) {
        let bytes = vec![0u8; 4 * shape.iter().product::<usize>()];
        let view = TensorView::new(Dtype::F32, shape.to_vec(), &bytes).unwrap();
        let file = safetensors::serialize([("features.0.weight", view)], None).unwrap();
        std::fs::write(path, file).unwrap();
    }

    #[test]
    fn unusable_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(SqueezeNet::FILE);
        let error = refusal(&path);
        assert!(
            error.contains("missing") && error.contains("`encoder-flow data fetch squeezenet`")
        );
        std::fs::write(&path, b"not a tensor").unwrap();
        assert!(refusal(&path).contains("damaged"));
        write_stem(&path, &[64, 3, 7, 7]);
        let error = refusal(&path);
        assert!(
            error.contains("features.0.weight is F32 [64, 3, 7, 7], expected F32 [64, 3, 3, 3]")
        );
        write_stem(&path, &[64, 3, 3, 3]);
        assert!(refusal(&path).contains("no tensor features.0.bias"));
    }
}
