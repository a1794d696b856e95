//! IDX: the file format of MNIST and Fashion-MNIST, gzipped or inflated.
//!
//! Y. LeCun, C. Cortes, C. J. C. Burges, <http://yann.lecun.com/exdb/mnist/>: a big-endian `u32`
//! magic number, one big-endian `u32` per dimension, then unsigned bytes.

use std::io::Read;
use std::path::Path;

use flate2::bufread::GzDecoder;

use super::{DataError, Images};

const IMAGES_MAGIC: u32 = 0x0803;
const LABELS_MAGIC: u32 = 0x0801;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const CLASSES: u8 = 10;
/// Most data bytes a file may declare. The largest set published as IDX, EMNIST, has 0.64e9.
const MAX_BYTES: u64 = 1 << 30;

/// Reads an image file and the label file that belongs to it.
///
/// # Returns
/// Images `[count, 1, rows, columns]` and one label 0..=9 each.
///
/// # Errors
/// [`DataError::Io`] when a file cannot be opened, [`DataError::Format`] when one is not valid IDX,
/// when a label is above 9, or when the two counts differ.
pub(super) fn read(images: &Path, labels: &Path) -> Result<(Images, Vec<u8>), DataError> {
    let pixels = read_images(images)?;
    let classes = read_labels(labels)?;
    if pixels.len() != classes.len() {
        let (found, wanted) = (classes.len(), pixels.len());
        return Err(DataError::format(
            labels,
            format!(
                "{found} labels for the {wanted} images of {}: the two files belong to different sets, take both from one",
                images.display()
            ),
        ));
    }
    if let Some(index) = classes.iter().position(|&label| label >= CLASSES) {
        return Err(DataError::format(
            labels,
            format!(
                "label {} of item {index} is not 0..=9: download the file again",
                classes[index]
            ),
        ));
    }
    Ok((pixels, classes))
}

/// Reads an IDX file of grey images, `[count, 1, rows, columns]`.
///
/// # Errors
/// [`DataError::Io`] when the file cannot be opened, [`DataError::Format`] when it is not exactly
/// one IDX array of at least one image.
pub(super) fn read_images(path: &Path) -> Result<Images, DataError> {
    let ([_, rows, columns], pixels) = read_array(path, IMAGES_MAGIC, "images")?;
    Images::new([1, rows as usize, columns as usize], pixels)
}

/// Reads an IDX file of labels, one byte each, of any value.
///
/// # Errors
/// [`DataError::Io`] when the file cannot be opened, [`DataError::Format`] when it is not exactly
/// one IDX array of at least one label.
pub(super) fn read_labels(path: &Path) -> Result<Vec<u8>, DataError> {
    let ([_], labels) = read_array(path, LABELS_MAGIC, "labels")?;
    Ok(labels)
}

/// Dimensions and data of the one array in the file; the content says whether it is gzipped.
fn read_array<const D: usize>(
    path: &Path,
    magic: u32,
    what: &str,
) -> Result<([u32; D], Vec<u8>), DataError> {
    let bytes = std::fs::read(path).map_err(DataError::io(path))?;
    if !bytes.starts_with(&GZIP_MAGIC) {
        let mut rest = bytes.as_slice();
        return parse(path, &mut rest, magic, what);
    }
    let mut decoder = GzDecoder::new(bytes.as_slice());
    let array = parse(path, &mut decoder, magic, what)?;
    match decoder.into_inner().len() {
        0 => Ok(array),
        extra => Err(DataError::format(
            path,
            format!("{extra} bytes after the gzip stream: download the file again"),
        )),
    }
}

fn parse<const D: usize>(
    path: &Path,
    reader: &mut impl Read,
    magic: u32,
    what: &str,
) -> Result<([u32; D], Vec<u8>), DataError> {
    let wrong = |reason: String| DataError::format(path, reason);
    let broken = |error: std::io::Error| {
        wrong(format!(
            "truncated or damaged IDX file ({error}): download it again"
        ))
    };
    let found = read_u32(reader).map_err(broken)?;
    if found != magic {
        return Err(wrong(format!(
            "not an IDX file of {what}: it starts with {found:#010x}, expected {magic:#010x}"
        )));
    }
    let mut dimensions = [0; D];
    for dimension in &mut dimensions {
        *dimension = read_u32(reader).map_err(broken)?;
    }
    let size = dimensions
        .iter()
        .try_fold(1u64, |size, &side| size.checked_mul(u64::from(side)))
        .filter(|&size| size <= MAX_BYTES)
        .ok_or_else(|| {
            wrong(format!(
                "its header declares {dimensions:?} {what}, above {MAX_BYTES} bytes: download the file again"
            ))
        })?;
    if size == 0 {
        return Err(wrong(format!(
            "holds no {what}: its header says {dimensions:?}"
        )));
    }
    // The buffer grows with what is really there, and one byte more shows that something follows.
    let mut data = Vec::new();
    let read = reader
        .take(size + 1)
        .read_to_end(&mut data)
        .map_err(broken)? as u64;
    if read > size {
        return Err(wrong(format!(
            "more bytes than the {size} of the {dimensions:?} {what} in its header: download it again"
        )));
    }
    if read < size {
        return Err(wrong(format!(
            "{read} bytes of data where its header declares {dimensions:?} {what}, {size} bytes: truncated, download it again"
        )));
    }
    Ok((dimensions, data))
}

fn read_u32(reader: &mut impl Read) -> std::io::Result<u32> {
    let mut bytes = [0; 4];
    reader.read_exact(&mut bytes)?;
    Ok(u32::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;
    use std::path::PathBuf;

    fn idx(magic: u32, dimensions: &[u32], data: &[u8]) -> Vec<u8> {
        let mut bytes = magic.to_be_bytes().to_vec();
        for side in dimensions {
            bytes.extend(side.to_be_bytes());
        }
        bytes.extend(data);
        bytes
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn file(dir: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn images_error(bytes: &[u8]) -> String {
        let dir = tempfile::tempdir().unwrap();
        read_images(&file(&dir, "images", bytes))
            .unwrap_err()
            .to_string()
    }

    const PIXELS: [u8; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 255];

    #[test]
    fn reads_inflated_and_gzipped() {
        let dir = tempfile::tempdir().unwrap();
        let images = idx(IMAGES_MAGIC, &[2, 2, 3], &PIXELS);
        let labels = idx(LABELS_MAGIC, &[2], &[9, 0]);
        let plain = read(&file(&dir, "i", &images), &file(&dir, "l", &labels)).unwrap();
        let zipped = read(
            &file(&dir, "i.gz", &gzip(&images)),
            &file(&dir, "l.gz", &gzip(&labels)),
        )
        .unwrap();
        assert_eq!(plain, zipped);
        assert_eq!(plain.0.shape(), [1, 2, 3]);
        assert_eq!(plain.0.get(1), &PIXELS[6..]);
        assert_eq!(plain.1, [9, 0]);
    }

    #[test]
    fn refuses_a_bad_file_and_says_why() {
        let good = idx(IMAGES_MAGIC, &[2, 2, 3], &PIXELS);
        assert!(images_error(&[]).contains("truncated"));
        assert!(images_error(&good[..9]).contains("truncated"));
        assert!(images_error(&good[..20]).contains("4 bytes of data where"));
        assert!(images_error(&[&good[..], &[0]].concat()).contains("more bytes than"));
        assert!(images_error(&idx(LABELS_MAGIC, &[2], &[0, 1])).contains("not an IDX file"));
        assert!(images_error(&idx(IMAGES_MAGIC, &[0, 2, 3], &[])).contains("holds no"));
        let absurd = idx(IMAGES_MAGIC, &[u32::MAX; 3], &PIXELS);
        assert!(images_error(&absurd).contains("above"));
        let too_many = idx(IMAGES_MAGIC, &[1 << 20, 28, 28], &PIXELS);
        assert!(images_error(&gzip(&too_many)).contains("truncated"));
    }

    #[test]
    fn refuses_broken_gzip() {
        let good = gzip(&idx(IMAGES_MAGIC, &[2, 2, 3], &PIXELS));
        let mut damaged = good.clone();
        let checksum = damaged.len() - 6;
        damaged[checksum] ^= 0xff;
        assert!(images_error(&damaged).contains("damaged"));
        for length in 2..good.len() {
            assert!(images_error(&good[..length]).contains("truncated"));
        }
        assert!(images_error(&[&good[..], b"tail"].concat()).contains("4 bytes after"));
    }

    #[test]
    fn refuses_labels_that_do_not_belong() {
        let dir = tempfile::tempdir().unwrap();
        let images = file(&dir, "i", &idx(IMAGES_MAGIC, &[2, 2, 3], &PIXELS));
        let three = file(&dir, "three", &idx(LABELS_MAGIC, &[3], &[1, 2, 3]));
        let ten = file(&dir, "ten", &idx(LABELS_MAGIC, &[2], &[1, 10]));
        let error = read(&images, &three).unwrap_err().to_string();
        assert!(error.contains("3 labels for the 2 images"));
        let error = read(&images, &ten).unwrap_err().to_string();
        assert!(error.contains("label 10 of item 1"));
        let missing = read(&images, &dir.path().join("none")).unwrap_err();
        assert!(matches!(missing, DataError::Io { .. }));
    }
}
