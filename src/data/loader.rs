//! From samples in memory to the batches that the learner asks for.

use std::sync::Arc;

use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::data::dataset::DatasetError;
use burn::tensor::{Device, Tensor, TensorData};

use super::{EpochOrder, Images};

/// Samples that can be put on a device as one tensor.
pub trait Samples: Send + Sync + 'static {
    /// A batch of them.
    type Batch: Send + 'static;

    /// Number of samples.
    fn count(&self) -> usize;

    /// The samples at `indices` as one batch on `device`.
    fn batch(&self, indices: &[usize], device: &Device) -> Self::Batch;

    /// The same in an epoch, numbered from 1; in number 0 where all are alike. Samples that are
    /// changed at random are changed in another way in each.
    fn batch_in_epoch(&self, _epoch: usize, indices: &[usize], device: &Device) -> Self::Batch {
        self.batch(indices, device)
    }
}

impl Samples for Images {
    /// `[batch, channels, height, width]` in `[-1, 1]`, the range of the decoder's tanh.
    type Batch = Tensor<4>;

    fn count(&self) -> usize {
        self.len()
    }

    fn batch(&self, indices: &[usize], device: &Device) -> Tensor<4> {
        let [channels, height, width] = self.shape();
        let mut values = Vec::with_capacity(indices.len() * channels * height * width);
        for &index in indices {
            values.extend(
                self.get(index)
                    .iter()
                    .map(|&byte| f32::from(byte) / 127.5 - 1.0),
            );
        }
        let shape = [indices.len(), channels, height, width];
        Tensor::from_data(TensorData::new(values, shape), device)
    }
}

/// Hands out samples in the order of an [`EpochOrder`].
///
/// A batch is a few hundred kilobytes copied from memory, so there is nothing for worker threads to
/// do; without them the order, and so the result, is the same in every run.
pub struct SampleLoader<S> {
    samples: Arc<S>,
    order: EpochOrder,
    device: Device,
}

impl<S: Samples> SampleLoader<S> {
    /// Batches of `samples` on `device`, as the learner takes them.
    pub fn shared(
        samples: Arc<S>,
        order: EpochOrder,
        device: &Device,
    ) -> Arc<dyn DataLoader<S::Batch>> {
        Arc::new(Self {
            samples,
            order,
            device: device.clone(),
        })
    }
}

impl<S: Samples> DataLoader<S::Batch> for SampleLoader<S> {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<S::Batch> + 'a> {
        let (epoch, indices) = self.order.next_epoch();
        Box::new(Batches {
            loader: self,
            epoch,
            indices,
            position: 0,
        })
    }

    fn num_items(&self) -> usize {
        self.order.len()
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<S::Batch>> {
        Self::shared(self.samples.clone(), self.order.clone(), device)
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<S::Batch>> {
        Self::shared(
            self.samples.clone(),
            self.order.slice(start, end),
            &self.device,
        )
    }
}

/// One epoch.
struct Batches<'a, S> {
    loader: &'a SampleLoader<S>,
    epoch: usize,
    indices: Vec<usize>,
    position: usize,
}

impl<S: Samples> Iterator for Batches<'_, S> {
    type Item = Result<S::Batch, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = &self.indices[self.position..];
        let indices = &rest[..rest.len().min(self.loader.order.batch_size())];
        if indices.is_empty() {
            return None;
        }
        self.position += indices.len();
        let SampleLoader {
            samples, device, ..
        } = self.loader;
        Some(Ok(samples.batch_in_epoch(self.epoch, indices, device)))
    }
}

impl<S: Samples> DataLoaderIterator<S::Batch> for Batches<'_, S> {
    fn progress(&self) -> Progress {
        Progress::new(self.position, self.indices.len(), Some("items".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_device;

    #[test]
    fn bytes_become_the_range_of_tanh() {
        let images = Images::new([1, 1, 3], vec![0, 51, 255]).unwrap();
        let batch = images.batch(&[0], &test_device());
        assert_eq!(batch.dims(), [1, 1, 1, 3]);
        assert_eq!(
            batch.into_data().try_to_vec::<f32>().unwrap(),
            [-1.0, -0.6, 1.0]
        );
    }

    #[test]
    fn an_epoch_hands_out_every_sample_once() {
        let images = Arc::new(Images::new([1, 1, 1], (0..7).collect()).unwrap());
        let loader = SampleLoader::shared(images, EpochOrder::sequential(7, 3), &test_device());
        let sizes: Vec<usize> = loader
            .iter()
            .map(|batch| batch.unwrap().dims()[0])
            .collect();
        assert_eq!(sizes, [3, 3, 1]);
    }
}
