//! What the frozen encoder makes of images: computed once per split, never per epoch.

use std::collections::HashMap;
use std::path::Path;

use burn::tensor::Device;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::data::{Images, Samples, Vectors, batches};
use crate::encoder::{AutoEncoder, Encoder};
use crate::files::{self, FileError};
use crate::flow::{Standardizer, Transform};
use crate::method::DetectorError;
use crate::safetensors_file;

/// Images, or latents, per forward pass. The scores do not depend on it.
pub(in crate::method) const BATCH: usize = 256;
/// Name of the fingerprint in the file's metadata.
const FINGERPRINT: &str = "fingerprint";

/// Latents of a set of images, and how well the decoder brings the images back.
#[derive(Clone, Debug, PartialEq)]
pub struct Representation {
    /// `[len, latent]`.
    pub latents: Vectors,
    /// Mean absolute reconstruction error per image; none for an encoder without a way back.
    pub reconstruction: Option<Vec<f32>>,
}

impl Representation {
    /// Encodes and decodes every image with frozen weights.
    pub fn of(encoder: &Encoder, latent: usize, images: &Images, device: &Device) -> Self {
        let mut latents = Vectors::new(latent);
        let mut reconstruction = encoder.decodes().then(Vec::new);
        for indices in batches(images.len(), BATCH) {
            let batch = images.batch(&indices, device);
            let z = encoder.encode(batch.clone());
            debug_assert_eq!(z.dims()[1], latent);
            if let (Some(errors), Some(back)) = (&mut reconstruction, encoder.decode(z.clone())) {
                let error = AutoEncoder::reconstruction_error(batch, back);
                errors.extend(error.into_data().iter::<f32>());
            }
            latents.extend(z.into_data().iter::<f32>());
        }
        Self {
            latents,
            reconstruction,
        }
    }

    /// Stores named representations as safetensors (`<name>.latents`, `<name>.reconstruction`),
    /// readable from Python, with a fingerprint of what they were made from.
    ///
    /// # Errors
    /// [`DetectorError`] when the file cannot be written.
    pub fn save(
        parts: &[(String, Self)],
        fingerprint: &str,
        path: &Path,
    ) -> Result<(), DetectorError> {
        let mut arrays: Vec<(String, Vec<usize>, &[u8])> = Vec::new();
        for (name, part) in parts {
            let shape = vec![part.latents.len(), part.latents.dim()];
            arrays.push((
                format!("{name}.latents"),
                shape,
                bytemuck::cast_slice(part.latents.values()),
            ));
            if let Some(errors) = &part.reconstruction {
                let shape = vec![errors.len()];
                let bytes = bytemuck::cast_slice(errors);
                arrays.push((format!("{name}.reconstruction"), shape, bytes));
            }
        }
        let metadata = HashMap::from([(FINGERPRINT.to_owned(), fingerprint.to_owned())]);
        let views: Result<Vec<_>, _> = arrays
            .iter()
            .map(|(name, shape, bytes)| {
                Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?))
            })
            .collect();
        let serialized = views
            .and_then(|views| safetensors::serialize(views, Some(metadata)))
            .map_err(|error: safetensors::SafeTensorError| DetectorError::latents(path, error))?;
        let sealed = safetensors_file::sealed(&serialized)
            .map_err(|error| DetectorError::latents(path, error))?;
        Ok(files::replace(path, |file| file.write_all(&sealed))?)
    }

    /// Reads what [`save`](Self::save) wrote, if it has this fingerprint.
    ///
    /// # Errors
    /// [`DetectorError`] when the file cannot be read or is not of that form.
    pub fn load(path: &Path, fingerprint: &str) -> Result<HashMap<String, Self>, DetectorError> {
        let bytes = std::fs::read(path).map_err(FileError::io("read", path))?;
        let found = SafeTensors::read_metadata(&bytes)
            .map_err(|error| DetectorError::latents(path, error))?;
        let found = found
            .1
            .metadata()
            .as_ref()
            .and_then(|map| map.get(FINGERPRINT));
        if found.map(String::as_str) != Some(fingerprint) {
            return Err(DetectorError::latents(path, "was made from something else"));
        }
        if !safetensors_file::is_unbroken(&bytes).unwrap_or(false) {
            return Err(DetectorError::latents(path, "is damaged"));
        }
        let file = SafeTensors::deserialize(&bytes)
            .map_err(|error| DetectorError::latents(path, error))?;
        let values = |name: &str| {
            let view = file
                .tensor(name)
                .map_err(|error| DetectorError::latents(path, error))?;
            if view.dtype() != Dtype::F32 {
                return Err(DetectorError::latents(
                    path,
                    format!("{name} is not float32"),
                ));
            }
            let values = bytemuck::pod_collect_to_vec(view.data());
            Ok((view.shape().to_vec(), values))
        };
        let mut parts = HashMap::new();
        for name in file.names() {
            let Some(part) = name.strip_suffix(".latents") else {
                continue;
            };
            let (shape, rows) = values(name)?;
            let errors = format!("{part}.reconstruction");
            let reconstruction = match file.names().contains(&errors.as_str()) {
                true => Some(values(&errors)?.1),
                false => None,
            };
            let &[len, dim] = shape.as_slice() else {
                return Err(DetectorError::latents(
                    path,
                    format!("{name} is not a matrix"),
                ));
            };
            if reconstruction
                .as_ref()
                .is_some_and(|errors| errors.len() != len)
                || dim == 0
            {
                return Err(DetectorError::latents(
                    path,
                    format!("{name} has a wrong size"),
                ));
            }
            let mut latents = Vectors::new(dim);
            latents.extend(rows);
            let representation = Self {
                latents,
                reconstruction,
            };
            parts.insert(part.to_owned(), representation);
        }
        Ok(parts)
    }
}

/// All latents, standardised.
pub(in crate::method) fn standardized(
    standardizer: &Standardizer,
    latents: &Vectors,
    device: &Device,
) -> Vectors {
    let all: Vec<usize> = (0..latents.len()).collect();
    let (rows, _) = standardizer.forward(latents.batch(&all, device), None);
    let mut vectors = Vectors::new(latents.dim());
    vectors.extend(rows.into_data().iter::<f32>());
    vectors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("latents.safetensors");
        let mut latents = Vectors::new(3);
        latents.extend([1.0, -2.0, 0.5, f32::MIN_POSITIVE, 5.0, 6.0]);
        let part = Representation {
            latents,
            reconstruction: Some(vec![0.25, 0.125]),
        };
        Representation::save(&[("train".to_owned(), part.clone())], "a", &path).unwrap();
        assert_eq!(Representation::load(&path, "a").unwrap()["train"], part);
        assert!(Representation::load(&path, "b").is_err());

        let first = std::fs::read(&path).unwrap();
        for _ in 0..20 {
            Representation::save(&[("train".to_owned(), part.clone())], "a", &path).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), first);
        }
    }

    #[test]
    fn a_cut_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("latents.safetensors");
        std::fs::write(&path, [9, 0, 0, 0, 0, 0, 0, 0, b'{']).unwrap();
        let error = Representation::load(&path, "a").unwrap_err().to_string();
        assert!(error.contains("latents.safetensors"), "{error}");
    }
}
