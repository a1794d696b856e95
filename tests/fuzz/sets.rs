//! Small valid files of the public data sets' formats.

use std::io::Write;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Six small files of CIFAR-10's binary version: name and one record each.
pub fn cifar10() -> Vec<(String, Vec<u8>)> {
    let names = (1..=5).map(|batch| format!("data_batch_{batch}.bin"));
    names
        .chain(["test_batch.bin".to_owned()])
        .enumerate()
        .map(|(index, name)| (name, vec![index as u8; 3073]))
        .collect()
}

pub fn tar(members: &[(String, Vec<u8>)]) -> Vec<u8> {
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
pub fn compressed(element: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(element).unwrap();
    let stream = encoder.finish().unwrap();
    let mut bytes = 15_u32.to_le_bytes().to_vec();
    bytes.extend((stream.len() as u32).to_le_bytes());
    bytes.extend(stream);
    bytes
}

pub fn mat(elements: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = vec![b' '; 124];
    bytes.extend([0, 1, b'I', b'M']);
    bytes.extend(elements.concat());
    bytes
}

/// The arrays `X` and `y` of two images.
pub fn svhn() -> [Vec<u8>; 2] {
    let pixels: Vec<u8> = (0..2 * 3072).map(|i: usize| (i % 251) as u8).collect();
    [
        matrix(b'X', &[32, 32, 3, 2], &pixels),
        matrix(b'y', &[2, 1], &[10, 3]),
    ]
}
