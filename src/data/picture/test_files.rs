//! Files and images for the tests.

use std::io::{Cursor, Write};

use flate2::{Compression, Crc, write::ZlibEncoder};
use image::{DynamicImage, GrayImage, ImageFormat, Luma, RgbImage};

use super::Picture;
use crate::data::DataError;

/// EXIF, little-endian, with one entry: orientation 6, turn by 90 degrees clockwise.
pub(super) const TURNED: [u8; 26] = [
    b'I', b'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 0x01, 3, 0, 1, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0,
];

pub(super) fn encode(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// An RGB image without any regularity, 24 wide and 18 high.
pub(super) fn noise() -> DynamicImage {
    let bytes = (0..24 * 18 * 3).map(|i: usize| (i * i * 7919 % 251) as u8);
    RgbImage::from_raw(24, 18, bytes.collect()).unwrap().into()
}

/// 16 wide and 8 high, the left half black, the right half white.
pub(super) fn halves() -> DynamicImage {
    GrayImage::from_fn(16, 8, |x, _| Luma([if x < 8 { 0 } else { 255 }])).into()
}

/// [`halves`] as a TIFF file, little-endian and not compressed, to be turned by 90 degrees clockwise.
pub(super) fn turned_tiff() -> Vec<u8> {
    let pixels = halves().into_bytes();
    // Tag, type (3: 16 bits, 4: 32 bits) and the one value of each entry.
    let entries: [(u16, u16, u32); 9] = [
        (256, 4, 16), // width
        (257, 4, 8),  // height
        (258, 3, 8),  // bits of a sample
        (259, 3, 1),  // not compressed
        (262, 3, 1),  // zero is black
        (273, 4, 8),  // where the pixels start
        (274, 3, 6),  // the turn
        (278, 4, 8),  // rows in the only strip
        (279, 4, pixels.len() as u32),
    ];
    let mut bytes = b"II*\0".to_vec();
    bytes.extend((8 + pixels.len() as u32).to_le_bytes());
    bytes.extend(pixels);
    bytes.extend((entries.len() as u16).to_le_bytes());
    for (tag, kind, value) in entries {
        bytes.extend([tag, kind].map(u16::to_le_bytes).concat());
        bytes.extend([1, value].map(u32::to_le_bytes).concat());
    }
    bytes.extend([0; 4]);
    bytes
}

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut crc = Crc::new();
    crc.update(kind);
    crc.update(data);
    let length = (data.len() as u32).to_be_bytes();
    [&length[..], kind, data, &crc.sum().to_be_bytes()].concat()
}

/// An 8-bit PNG with the given claims and rows, which need not fit each other.
pub(super) fn png(sides: [u32; 2], colour: u8, palette: &[u8], rows: &[u8]) -> Vec<u8> {
    let [width, height] = sides.map(u32::to_be_bytes);
    let header = [&width[..], &height, &[8, colour, 0, 0, 0]].concat();
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(rows).unwrap();
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    bytes.extend(chunk(b"IHDR", &header));
    if !palette.is_empty() {
        bytes.extend(chunk(b"PLTE", palette));
    }
    bytes.extend(chunk(b"IDAT", &encoder.finish().unwrap()));
    bytes.extend(chunk(b"IEND", &[]));
    bytes
}

pub(super) fn picture(bytes: &[u8]) -> Picture {
    Picture::from_bytes(bytes, "a file").unwrap()
}

pub(super) fn error(bytes: &[u8]) -> DataError {
    Picture::from_bytes(bytes, "a file").unwrap_err()
}
