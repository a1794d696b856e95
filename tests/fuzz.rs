//! Damaged and hostile bytes into every reader of files from outside: an answer of either kind, no
//! panic, and no more memory than the reader is meant to take.
//!
//! Valid files are changed a little, which leads further into a reader than bytes at random. The
//! seed is fixed: a failure here fails everywhere.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;
use std::sync::LazyLock;

use encoder_flow::data::{DataError, DataStore, DatasetName, FetchOptions, Labelled, Picture};
use encoder_flow::method::schema;
use encoder_flow::study::Studies;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use image::codecs::jpeg::JpegEncoder;
use image::codecs::webp::WebPEncoder;
use image::{DynamicImage, ImageBuffer, ImageEncoder, ImageFormat, LumaA, RgbImage, Rgba};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::RngSeed;
use tempfile::TempDir;

const MIB: usize = 1 << 20;

/// The system's allocator, counting what each thread has taken.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn count(change: isize) {
    let live = LIVE.get() + change;
    LIVE.set(live);
    PEAK.set(PEAK.get().max(live));
}

/// What `work` returns, and the most bytes that it had in this thread at one time.
fn measured<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE.get();
    PEAK.set(before);
    let result = work();
    (result, (PEAK.get() - before) as usize)
}

/// Damage to a file at one place.
#[derive(Clone, Debug)]
enum Change {
    Byte(u8),
    Flip(u8),
    /// Of all lengths in a header, the absurd ones.
    Number([u8; 4]),
    Cut,
    Insert(Vec<u8>),
    Remove(usize),
}

/// A few changes, every other one in the first bytes: that is where the headers are.
fn changes() -> impl Strategy<Value = Vec<(usize, Change)>> {
    let place = prop_oneof![0usize..64, any::<usize>()];
    let number = prop_oneof![
        Just([0xff_u8; 4]),
        Just([0x7f_u8, 0xff, 0xff, 0xff]),
        Just([0xff_u8, 0xff, 0xff, 0x7f]),
        Just([0_u8; 4]),
        any::<[u8; 4]>(),
    ];
    let change = prop_oneof![
        any::<u8>().prop_map(Change::Byte),
        (0_u8..8).prop_map(Change::Flip),
        number.prop_map(Change::Number),
        Just(Change::Cut),
        prop::collection::vec(any::<u8>(), 1..9).prop_map(Change::Insert),
        (1_usize..9).prop_map(Change::Remove),
    ];
    prop::collection::vec((place, change), 1..6)
}

fn changed(bytes: &[u8], changes: &[(usize, Change)]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (place, change) in changes {
        if bytes.is_empty() {
            break;
        }
        let at = place % bytes.len();
        match change {
            Change::Byte(value) => bytes[at] = *value,
            Change::Flip(bit) => bytes[at] ^= 1 << bit,
            Change::Number(number) => {
                for (byte, value) in bytes[at..].iter_mut().zip(number) {
                    *byte = *value;
                }
            }
            Change::Cut => bytes.truncate(at),
            Change::Insert(more) => {
                let rest = bytes.split_off(at);
                bytes.extend(more);
                bytes.extend(rest);
            }
            Change::Remove(number) => {
                let rest = bytes.split_off(at);
                bytes.extend(rest.iter().skip(*number));
            }
        }
    }
    bytes
}

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

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
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

/// Six small files of CIFAR-10's binary version: name and one record each.
fn cifar10() -> Vec<(String, Vec<u8>)> {
    let names = (1..=5).map(|batch| format!("data_batch_{batch}.bin"));
    names
        .chain(["test_batch.bin".to_owned()])
        .enumerate()
        .map(|(index, name)| (name, vec![index as u8; 3073]))
        .collect()
}

fn tar(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        let path = format!("cifar-10-batches-bin/{name}");
        builder.append_data(&mut header, path, &bytes[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

/// An element of a MATLAB 5 file.
fn element(kind: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = kind.to_le_bytes().to_vec();
    bytes.extend((data.len() as u32).to_le_bytes());
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

/// An array of bytes in a MATLAB 5 file.
fn matrix(name: u8, sides: &[u32], data: &[u8]) -> Vec<u8> {
    let sides: Vec<u8> = sides.iter().flat_map(|side| side.to_le_bytes()).collect();
    let parts = [
        element(6, &[9, 0, 0, 0, 0, 0, 0, 0]),
        element(5, &sides),
        vec![1, 0, 1, 0, name, 0, 0, 0],
        element(2, data),
    ];
    element(14, &parts.concat())
}

/// The same element, compressed.
fn compressed(element: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(element).unwrap();
    let stream = encoder.finish().unwrap();
    let mut bytes = 15_u32.to_le_bytes().to_vec();
    bytes.extend((stream.len() as u32).to_le_bytes());
    bytes.extend(stream);
    bytes
}

fn mat(elements: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = vec![b' '; 124];
    bytes.extend([0, 1, b'I', b'M']);
    bytes.extend(elements.concat());
    bytes
}

/// The arrays `X` and `y` of two images.
fn svhn() -> [Vec<u8>; 2] {
    let pixels: Vec<u8> = (0..2 * 3072).map(|i: usize| (i % 251) as u8).collect();
    [
        matrix(b'X', &[32, 32, 3, 2], &pixels),
        matrix(b'y', &[2, 1], &[10, 3]),
    ]
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
