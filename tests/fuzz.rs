//! Damaged and hostile bytes into every reader of files from outside: an answer of either kind, no
//! panic, and no more memory than the reader is meant to take.
//!
//! Valid files are changed a little, which leads further into a reader than bytes at random. The
//! seed is fixed: a failure here fails everywhere.

#[path = "fuzz/changes.rs"]
mod changes;
mod common;
#[path = "fuzz/memory.rs"]
mod memory;
#[path = "fuzz/sets.rs"]
mod sets;

use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::sync::LazyLock;

use changes::{changed, changes};
use encoder_flow::data::{DataError, DataStore, DatasetName, FetchOptions, Labelled, Picture};
use encoder_flow::method::schema;
use encoder_flow::study::Studies;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::webp::WebPEncoder;
use image::{DynamicImage, ImageBuffer, ImageEncoder, ImageFormat, LumaA, RgbImage, Rgba};
use memory::measured;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::RngSeed;
use sets::{cifar10, compressed, gzip, mat, svhn, tar};
use tempfile::TempDir;

const MIB: usize = 1 << 20;

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 128,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(0),
        ..ProptestConfig::default()
    }
}

/// Small valid files of every format and of several kinds.
static PICTURES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let bytes = |len: usize| (0..len).map(|i| (i * i * 7919 % 251) as u8);
    let deep = |len: usize| (0..len).map(|i| (i * i * 7919 % 65_521) as u16).collect();
    let rgb = RgbImage::from_raw(24, 18, bytes(24 * 18 * 3).collect()).unwrap();
    let rgb = DynamicImage::from(rgb);
    let rgba = ImageBuffer::<Rgba<u16>, Vec<u16>>::from_raw(7, 9, deep(7 * 9 * 4)).unwrap();
    let rgba = DynamicImage::from(rgba);
    let grey = ImageBuffer::<LumaA<u16>, Vec<u16>>::from_raw(7, 9, deep(7 * 9 * 2)).unwrap();
    let grey = DynamicImage::from(grey);
    // Orientation 6.
    let exif = [
        &b"II*\0\x08\0\0\0\x01\0"[..],
        b"\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0",
    ]
    .concat();

    let mut files = Vec::new();
    for (image, format) in [
        (&rgb, ImageFormat::Png),
        (&rgba, ImageFormat::Png),
        (&grey, ImageFormat::Png),
        (&rgb, ImageFormat::Jpeg),
        (&rgb, ImageFormat::Bmp),
        (&rgba, ImageFormat::Bmp),
        (&grey, ImageFormat::Bmp),
        (&rgb, ImageFormat::WebP),
        (&rgb, ImageFormat::Tiff),
        (&rgba, ImageFormat::Tiff),
    ] {
        let mut file = Cursor::new(Vec::new());
        image.write_to(&mut file, format).unwrap();
        files.push(file.into_inner());
    }
    let mut file = Vec::new();
    let mut encoder = WebPEncoder::new_lossless(&mut file);
    encoder.set_exif_metadata(exif.clone()).unwrap();
    rgba.write_with_encoder(encoder).unwrap();
    files.push(file);
    let mut file = Vec::new();
    let mut encoder = JpegEncoder::new(&mut file);
    encoder.set_exif_metadata(exif).unwrap();
    DynamicImage::from(rgb.to_luma8())
        .write_with_encoder(encoder)
        .unwrap();
    files.push(file);
    files
});

/// Sets the checksums of a PNG file right, so that a change gets past them.
fn repair(png: &mut [u8]) {
    let mut at = 8;
    while let Some(head) = png.get(at..at + 8) {
        let end = at + 8 + u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        if end + 4 > png.len() {
            break;
        }
        let mut crc = flate2::Crc::new();
        crc.update(&png[at + 4..end]);
        png[end..end + 4].copy_from_slice(&crc.sum().to_be_bytes());
        at = end + 4;
    }
}

/// Reads a picture, of which everything must fit together and into memory if there is one.
fn read_picture(bytes: &[u8]) {
    let (picture, peak) = measured(|| Picture::from_bytes(bytes, "fuzz"));
    assert!(peak < 2048 * MIB, "{} MiB", peak / MIB);
    if let Ok(picture) = picture {
        let size = picture.channels() * picture.height() * picture.width();
        assert!(size > 0 && picture.pixels().len() == size);
    }
}

#[test]
fn valid_and_truncated_pictures() {
    for file in PICTURES.iter() {
        Picture::from_bytes(file, "valid").unwrap();
        for length in 0..file.len() {
            read_picture(&file[..length]);
        }
        let half = Picture::from_bytes(&file[..file.len() / 2], "half");
        assert!(half.is_err());
    }
}

/// A data folder with one set in it.
fn data_folder(set: DatasetName) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join(set.folder())).unwrap();
    folder
}

/// Reads a set, and checks the memory that it took.
fn read_set(folder: &Path, set: DatasetName, limit: usize) -> Result<Labelled, DataError> {
    let options = FetchOptions {
        offline: true,
        quiet: true,
        ..FetchOptions::default()
    };
    let store = DataStore::with_roots(vec![folder.to_path_buf()], options).unwrap();
    let (labelled, peak) = measured(|| store.load(set));
    assert!(peak < limit, "{} MiB", peak / MIB);
    if let Ok(labelled) = &labelled {
        assert_eq!(labelled.images.len(), labelled.labels.len());
        assert!(labelled.labels.iter().all(|&label| label < 10));
    }
    labelled
}

/// Damage in front of the compression, behind it, or without any.
#[derive(Clone, Copy, Debug)]
enum Packing {
    None,
    Inside,
    Outside,
}

fn packing() -> impl Strategy<Value = Packing> {
    prop_oneof![
        Just(Packing::None),
        Just(Packing::Inside),
        Just(Packing::Outside)
    ]
}

const IDX: [&str; 4] = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
];

#[test]
fn an_idx_header_cannot_ask_for_memory() {
    let folder = data_folder(DatasetName::Mnist);
    let home = folder.path().join(DatasetName::Mnist.folder());
    common::write_idx(&home, 3, 2);
    read_set(folder.path(), DatasetName::Mnist, MIB).unwrap();
    for sides in [[u32::MAX, 28, 28], [u32::MAX, 1, 1], [1, 1 << 15, 1 << 15]] {
        let mut bytes = vec![0, 0, 8, 3];
        bytes.extend(sides.into_iter().flat_map(u32::to_be_bytes));
        bytes.extend([0; 10]);
        fs::write(home.join(IDX[0]), &bytes).unwrap();
        assert!(read_set(folder.path(), DatasetName::Mnist, MIB).is_err());
        fs::remove_file(home.join(IDX[0])).unwrap();
        let packed = home.join(format!("{}.gz", IDX[0]));
        fs::write(&packed, gzip(&bytes)).unwrap();
        assert!(read_set(folder.path(), DatasetName::Mnist, MIB).is_err());
        fs::remove_file(packed).unwrap();
    }
}

#[test]
fn the_unchanged_files_are_valid() {
    let folder = data_folder(DatasetName::Cifar10);
    let home = folder.path().join(DatasetName::Cifar10.folder());
    fs::write(home.join("cifar-10-binary.tar.gz"), gzip(&tar(&cifar10()))).unwrap();
    read_set(folder.path(), DatasetName::Cifar10, 64 * MIB).unwrap();

    let folder = data_folder(DatasetName::Svhn);
    let home = folder.path().join(DatasetName::Svhn.folder());
    for file in [mat(&svhn()), mat(&svhn().map(|array| compressed(&array)))] {
        fs::write(home.join("test_32x32.mat"), file).unwrap();
        read_set(folder.path(), DatasetName::Svhn, 64 * MIB).unwrap();
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn changed_pictures(which in any::<Index>(), changes in changes()) {
        let mut bytes = changed(which.get::<Vec<u8>>(PICTURES.as_slice()), &changes);
        read_picture(&bytes);
        if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
            repair(&mut bytes);
            read_picture(&bytes);
        }
    }

    #[test]
    fn the_beginning_of_a_picture_and_any_bytes(
        which in any::<Index>(),
        kept in 0_usize..64,
        rest in prop::collection::vec(any::<u8>(), 0..256),
    ) {
        let start = &which.get(PICTURES.as_slice())[..kept];
        read_picture(&[start, &rest[..]].concat());
        read_picture(&rest);
    }

    #[test]
    fn changed_idx_files(which in 0_usize..4, packing in packing(), changes in changes()) {
        let folder = data_folder(DatasetName::Mnist);
        let home = folder.path().join(DatasetName::Mnist.folder());
        common::write_idx(&home, 3, 2);
        let path = home.join(IDX[which]);
        let bytes = fs::read(&path).unwrap();
        let packed = home.join(format!("{}.gz", IDX[which]));
        let (path, bytes) = match packing {
            Packing::None => (path, changed(&bytes, &changes)),
            Packing::Inside => (packed, gzip(&changed(&bytes, &changes))),
            Packing::Outside => (packed, changed(&gzip(&bytes), &changes)),
        };
        fs::write(path, bytes).unwrap();
        drop(read_set(folder.path(), DatasetName::Mnist, 8 * MIB));
    }

    #[test]
    fn changed_cifar10_files(which in 0_usize..6, packing in packing(), changes in changes()) {
        let folder = data_folder(DatasetName::Cifar10);
        let home = folder.path().join(DatasetName::Cifar10.folder());
        let mut members = cifar10();
        let archive = home.join("cifar-10-binary.tar.gz");
        match packing {
            Packing::None => {
                members[which].1 = changed(&members[which].1, &changes);
                for (name, bytes) in &members {
                    fs::write(home.join(name), bytes).unwrap();
                }
            }
            Packing::Inside => fs::write(archive, gzip(&changed(&tar(&members), &changes))).unwrap(),
            Packing::Outside => fs::write(archive, changed(&gzip(&tar(&members)), &changes)).unwrap(),
        }
        drop(read_set(folder.path(), DatasetName::Cifar10, 64 * MIB));
    }

    #[test]
    fn changed_svhn_files(which in 0_usize..2, packing in packing(), changes in changes()) {
        let folder = data_folder(DatasetName::Svhn);
        let mut arrays = svhn();
        let file = match packing {
            Packing::None => {
                arrays[which] = changed(&arrays[which], &changes);
                mat(&arrays)
            }
            Packing::Inside => {
                arrays[which] = changed(&arrays[which], &changes);
                mat(&arrays.map(|array| compressed(&array)))
            }
            Packing::Outside => {
                let mut file = mat(&arrays.map(|array| compressed(&array)));
                // The text in front of the arrays means nothing.
                let rest = changed(&file.split_off(124), &changes);
                [file, rest].concat()
            }
        };
        let home = folder.path().join(DatasetName::Svhn.folder());
        fs::write(home.join("test_32x32.mat"), file).unwrap();
        drop(read_set(folder.path(), DatasetName::Svhn, 64 * MIB));
    }

    #[test]
    fn changed_studies(changes in changes()) {
        let folder = tempfile::tempdir().unwrap();
        let study = changed(include_bytes!("../experiments/digits.toml"), &changes);
        fs::write(folder.path().join("digits.toml"), study).unwrap();
        if let Ok(studies) = Studies::open(Some(folder.path()), &schema()) {
            for study in studies.iter() {
                let _ = (study.description(), study.shared(&[]));
            }
            for name in ["digits-3", "digits-zero", "other"] {
                drop(studies.find(name, "encoder-flow", &[]));
            }
        }
    }

    #[test]
    fn any_override(
        key in prop::sample::select(vec!["", "data", "data.size", "flow.hidden", "x.y.z", "."]),
        value in prop::collection::vec(any::<u8>(), 0..24),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let studies = Studies::open(Some(folder.path()), &schema()).unwrap();
        let value = String::from_utf8_lossy(&value);
        for text in [format!("{key}={value}"), value.into_owned()] {
            drop(studies.find("digits-3", "encoder-flow", &[text]));
        }
    }
}
