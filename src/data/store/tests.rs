//! Where a store looks, what it says, and what it takes for an official file.

use std::fs;

use super::*;

fn store(roots: &[&Path]) -> DataStore {
    let options = FetchOptions {
        offline: true,
        quiet: true,
        ..FetchOptions::default()
    };
    DataStore::with_roots(
        roots.iter().map(|root| root.to_path_buf()).collect(),
        options,
    )
    .unwrap()
}

/// An inflated IDX pair of `count` images of 2x2 pixels.
fn write_idx(dir: &Path, stem: &str, count: u8) {
    fs::create_dir_all(dir).unwrap();
    let header = |magic: u32, sizes: &[u32]| -> Vec<u8> {
        let numbers = std::iter::once(&magic).chain(sizes);
        numbers.flat_map(|number| number.to_be_bytes()).collect()
    };
    let number = u32::from(count);
    let mut images = header(2051, &[number, 2, 2]);
    images.extend((0..count).flat_map(|index| [index; 4]));
    let mut labels = header(2049, &[number]);
    labels.extend((0..count).map(|index| index % 10));
    fs::write(dir.join(format!("{stem}-images-idx3-ubyte")), images).unwrap();
    fs::write(dir.join(format!("{stem}-labels-idx1-ubyte")), labels).unwrap();
}

#[test]
fn digits_need_no_files() {
    let empty = tempfile::tempdir().unwrap();
    let store = store(&[empty.path()]);
    assert_eq!(
        store.load(DatasetName::Digits).unwrap().images.len(),
        DIGITS_IMAGES
    );
    assert!(store.state(DatasetName::Digits).is_empty());
    assert!(store.fetch_all(DatasetName::Digits).unwrap().is_empty());
}

#[test]
fn the_pool_is_training_then_test_and_roots_are_searched_in_order() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write_idx(&first.path().join("mnist"), "t10k", 2);
    write_idx(&second.path().join("mnist"), "t10k", 5);
    write_idx(&second.path().join("mnist"), "train", 3);
    let set = store(&[first.path(), second.path()])
        .load(DatasetName::Mnist)
        .unwrap();
    assert_eq!(set.labels, [0, 1, 2, 0, 1]);
    assert_eq!(set.images.len(), 5);
    assert_eq!(
        set.source,
        "mnist/train-images-idx3-ubyte (3 images; not the complete official file), \
         mnist/t10k-images-idx3-ubyte (2 images; not the complete official file)"
    );
}

#[test]
fn the_data_folder_may_be_the_folder_of_one_set() {
    let parent = tempfile::tempdir().unwrap();
    let root = parent.path().join("fashion-mnist");
    write_idx(&root, "train", 3);
    write_idx(&root, "t10k", 1);
    let set = store(&[&root]).load(DatasetName::FashionMnist).unwrap();
    assert_eq!(set.images.len(), 4);
    assert_eq!(set.class_names[9], "Ankle boot");
}

#[test]
fn a_stray_file_of_the_other_set_is_not_taken() {
    let root = tempfile::tempdir().unwrap();
    write_idx(root.path(), "train", 3);
    let error = store(&[root.path()])
        .load(DatasetName::Mnist)
        .unwrap_err()
        .to_string();
    for part in [
        "mnist: 4 of 4 files are missing",
        "http://yann.lecun.com/exdb/mnist/train-images-idx3-ubyte.gz",
        "is not the official file of mnist",
    ] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn an_incomplete_folder_of_batches_is_named() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("cifar-10-batches-bin");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("test_batch.bin"), [0; 3073]).unwrap();
    let store = store(&[root.path()]);
    let error = store.load(DatasetName::Cifar10).unwrap_err().to_string();
    assert!(
        error.contains("lacks data_batch_1.bin, data_batch_2.bin"),
        "{error}"
    );
    for number in 1..=5 {
        fs::write(dir.join(format!("data_batch_{number}.bin")), [number; 3073]).unwrap();
    }
    let set = store.load(DatasetName::Cifar10).unwrap();
    assert_eq!(set.labels, [1, 2, 3, 4, 5, 0]);
    assert!(
        set.source
            .starts_with("cifar-10-batches-bin (6 images; not the complete official file)")
    );
    let checks = store.verify(DatasetName::Cifar10);
    assert_eq!(checks.len(), 6);
    assert!(checks.iter().all(|check| check.outcome.is_err()));
}

#[test]
fn a_subset_of_svhn_serves_until_the_complete_file_is_there() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("svhn");
    fs::create_dir(&dir).unwrap();
    let found = || {
        store(&[root.path()])
            .state(DatasetName::Svhn)
            .remove(0)
            .path
    };
    assert_eq!(found(), None);
    fs::write(dir.join("test_32x32_first10.mat"), "x").unwrap();
    assert_eq!(found(), Some(dir.join("test_32x32_first10.mat")));
    // `load` takes the subset, `fetch_all` does not.
    let error = store(&[root.path()])
        .fetch_all(DatasetName::Svhn)
        .unwrap_err()
        .to_string();
    assert!(error.contains("svhn: 1 of 1 files are missing"), "{error}");
    // In a place that is looked into later as well.
    let later = tempfile::tempdir().unwrap();
    fs::create_dir(later.path().join("svhn")).unwrap();
    let elsewhere = later.path().join("svhn/test_32x32.mat");
    fs::write(&elsewhere, "x").unwrap();
    let both = store(&[root.path(), later.path()]);
    assert_eq!(
        both.state(DatasetName::Svhn).remove(0).path,
        Some(elsewhere)
    );
    fs::write(dir.join("test_32x32.mat"), "x").unwrap();
    assert_eq!(found(), Some(dir.join("test_32x32.mat")));
}

#[test]
fn a_file_is_no_data_folder() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let roots = vec![file.path().to_path_buf()];
    let error = DataStore::with_roots(roots, FetchOptions::default()).unwrap_err();
    assert!(error.to_string().contains("is a file"), "{error}");
    let error = DataStore::with_roots(Vec::new(), FetchOptions::default()).unwrap_err();
    assert!(error.to_string().contains("--data-dir"), "{error}");
}
