//! SVHN cropped digits ("format 2"): a MATLAB 5 file with the arrays `X` and `y`.
//!
//! Y. Netzer et al., "Reading Digits in Natural Images with Unsupervised Feature Learning", 2011,
//! <http://ufldl.stanford.edu/housenumbers/>. Container: MathWorks, "MAT-File Format", Level 5.
//!
//! `matfile` decodes the arrays. It trusts what it is given (it inflates without limit, follows
//! nested streams, multiplies dimensions unchecked and returns no array for a truncated file), so
//! this module walks the elements first and hands over only the two that are wanted, inflated and
//! with every length checked.

use std::io::Read;
use std::path::Path;

use flate2::bufread::ZlibDecoder;
use matfile::{Array, MatFile, NumericData};

use super::{DataError, Images};

const HEADER: usize = 128;
const COMPRESSED: u32 = 15;
const MATRIX: u32 = 14;
const SIDE: usize = 32;
const SHAPE: [usize; 3] = [3, SIDE, SIDE];
const IMAGE: usize = 3 * SIDE * SIDE;
/// Most bytes one array may take. The largest official file, "extra", has 531,131 images.
const MAX_INFLATED: u64 = 2 << 30;
/// What deflate can reach at most, so that memory stays tied to the size of the file.
const MAX_RATIO: u64 = 1032;

/// Reads an SVHN `.mat` file; the number of images is taken from the file.
///
/// # Returns
/// Images `[count, 3, 32, 32]` and the digit 0..=9 of each (the file writes 10 for the digit 0).
///
/// # Errors
/// [`DataError::Io`] when the file cannot be opened, [`DataError::Format`] when it is not a
/// little-endian MATLAB 5 file, when it is truncated or damaged, when `X` is not
/// `[32, 32, 3, count]` bytes, or `y` not `[count, 1]` whole numbers 1..=10.
pub(super) fn read(path: &Path) -> Result<(Images, Vec<u8>), DataError> {
    let bytes = std::fs::read(path).map_err(DataError::io(path))?;
    let wrong = |reason: String| DataError::format(path, reason);
    let [x, y] = find_arrays(&bytes).map_err(wrong)?;
    let labels = labels(&y).map_err(wrong)?;
    let pixels = pixels(&x, labels.len()).map_err(wrong)?;
    Ok((Images::new(SHAPE, pixels)?, labels))
}

/// The labels in `y` as digits 0..=9.
fn labels(y: &Array) -> Result<Vec<u8>, String> {
    let count = match y.size()[..] {
        [count, 1] | [1, count] if count > 0 => count,
        _ => {
            return Err(format!(
                "y has the size {:?}, expected [count, 1]",
                y.size()
            ));
        }
    };
    let digits: Vec<u8> = whole_numbers(y.data())
        .into_iter()
        .enumerate()
        .map(|(index, label)| match label {
            Some(10) => Ok(0),
            Some(digit @ 1..=9) => Ok(digit),
            _ => Err(format!(
                "label {index} in y is not a whole number 1..=10: download the file again"
            )),
        })
        .collect::<Result<_, _>>()?;
    if digits.len() != count {
        return Err(format!("y has {} values for {count} labels", digits.len()));
    }
    Ok(digits)
}

/// Each value as a byte, whatever its class; none when it has no byte of the same value.
fn whole_numbers(data: &NumericData) -> Vec<Option<u8>> {
    fn integers<T: Copy + TryInto<u8>>(values: &[T]) -> Vec<Option<u8>> {
        values.iter().map(|&value| value.try_into().ok()).collect()
    }
    fn float(value: f64) -> Option<u8> {
        (value.fract() == 0.0 && (0.0..=255.0).contains(&value)).then_some(value as u8)
    }
    match data {
        NumericData::Int8 { real, .. } => integers(real),
        NumericData::UInt8 { real, .. } => integers(real),
        NumericData::Int16 { real, .. } => integers(real),
        NumericData::UInt16 { real, .. } => integers(real),
        NumericData::Int32 { real, .. } => integers(real),
        NumericData::UInt32 { real, .. } => integers(real),
        NumericData::Int64 { real, .. } => integers(real),
        NumericData::UInt64 { real, .. } => integers(real),
        NumericData::Single { real, .. } => real.iter().map(|&v| float(v.into())).collect(),
        NumericData::Double { real, .. } => real.iter().map(|&v| float(v)).collect(),
    }
}

/// The pixels of `X` from MATLAB's column-major order to `[count, channels, height, width]`.
fn pixels(x: &Array, count: usize) -> Result<Vec<u8>, String> {
    // MATLAB drops a last dimension of one.
    let size_is_right = match x.size()[..] {
        [SIDE, SIDE, 3, found] => found == count,
        [SIDE, SIDE, 3] => count == 1,
        _ => false,
    };
    let NumericData::UInt8 { real, .. } = x.data() else {
        return Err("X is not of class uint8: this is not an SVHN format 2 file".into());
    };
    if !size_is_right || real.len() != count * IMAGE {
        return Err(format!(
            "X has the size {:?}, expected [32, 32, 3, {count}] for the {count} labels in y",
            x.size()
        ));
    }
    let mut pixels = Vec::with_capacity(real.len());
    for plane in real.chunks_exact(SIDE * SIDE) {
        for row in 0..SIDE {
            pixels.extend((0..SIDE).map(|column| plane[row + SIDE * column]));
        }
    }
    Ok(pixels)
}

/// The arrays `X` and `y`, or what is wrong with the file.
fn find_arrays(bytes: &[u8]) -> Result<[Array; 2], String> {
    let header = bytes.get(..HEADER).unwrap_or_default();
    if !header.ends_with(&[0x00, 0x01, b'I', b'M']) {
        return Err(
            "not a little-endian MATLAB 5 file: expected an official SVHN *_32x32.mat".into(),
        );
    }
    let [mut x, mut y] = [None, None];
    let mut rest = &bytes[HEADER..];
    while !rest.is_empty() {
        let element = Element::split(rest).ok_or_else(|| {
            let at = bytes.len() - rest.len();
            format!("truncated or damaged at byte {at}: download the file again")
        })?;
        rest = element.rest;
        let inflated;
        let matrix = match element.kind {
            MATRIX => element.whole,
            COMPRESSED => {
                // Compressed elements are not padded to eight bytes.
                rest = element.unpadded_rest;
                inflated = inflate(element.data)?;
                inflated.as_slice()
            }
            _ => continue,
        };
        let slot = match matrix_name(matrix)? {
            b"X" => &mut x,
            b"y" => &mut y,
            _ => continue,
        };
        if slot.replace(decode(header, matrix)?).is_some() {
            return Err("holds an array twice: this is not an official SVHN file".into());
        }
    }
    match (x, y) {
        (Some(x), Some(y)) => Ok([x, y]),
        (None, _) => Err("has no array X: expected an official SVHN *_32x32.mat".into()),
        (_, None) => Err("has no array y: expected an official SVHN *_32x32.mat".into()),
    }
}

/// One checked numeric array through `matfile`.
fn decode(header: &[u8], matrix: &[u8]) -> Result<Array, String> {
    let file = MatFile::parse(header.chain(matrix))
        .map_err(|error| format!("an array cannot be decoded ({error}): download it again"))?;
    let array = file.arrays().first().cloned();
    array.ok_or_else(|| "X or y is not a full numeric array: download the file again".into())
}

/// The one matrix element in a zlib stream.
fn inflate(stream: &[u8]) -> Result<Vec<u8>, String> {
    let limit = MAX_INFLATED.min(stream.len() as u64 * MAX_RATIO);
    let mut inflated = Vec::new();
    ZlibDecoder::new(stream)
        .take(limit + 1)
        .read_to_end(&mut inflated)
        .map_err(|error| format!("damaged zlib stream ({error}): download the file again"))?;
    if inflated.len() as u64 > limit {
        return Err(format!("an array inflates to more than {limit} bytes"));
    }
    Ok(inflated)
}

/// Name of a matrix element, after checking all that `matfile` takes on trust: nothing is nested
/// in its place, every part ends inside it, and the dimensions multiply without overflow.
fn matrix_name(matrix: &[u8]) -> Result<&[u8], String> {
    let damaged = || "truncated or damaged array: download the file again".to_string();
    let outer = Element::split(matrix).ok_or_else(damaged)?;
    if outer.kind != MATRIX || !outer.rest.is_empty() {
        return Err(damaged());
    }
    // Flags, dimensions and name come first; the parts after them only have to end in time.
    let mut first = Vec::with_capacity(3);
    let mut rest = outer.data;
    while !rest.is_empty() {
        let part = Element::split(rest).ok_or_else(damaged)?;
        rest = part.rest;
        if first.len() < 3 {
            first.push(part.data);
        }
    }
    let [_flags, dimensions, name] = first[..] else {
        return Err(damaged());
    };
    dimensions
        .chunks_exact(4)
        .map(|side| i32::from_le_bytes([side[0], side[1], side[2], side[3]]))
        .try_fold(1i32, |size, side| {
            size.checked_mul(side).filter(|_| side >= 0)
        })
        .ok_or_else(|| "an array has absurd dimensions: download the file again".to_string())?;
    Ok(name)
}

/// A tagged run of bytes, the building block of the format.
struct Element<'a> {
    kind: u32,
    /// Tag, data and padding.
    whole: &'a [u8],
    data: &'a [u8],
    /// What follows the padding to a multiple of eight bytes.
    rest: &'a [u8],
    /// What follows the data.
    unpadded_rest: &'a [u8],
}

impl<'a> Element<'a> {
    /// The element at the start of `bytes`; none when it does not end inside them.
    fn split(bytes: &'a [u8]) -> Option<Self> {
        let word = |at: usize| {
            let word = bytes.get(at..at + 4)?;
            Some(u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
        };
        let first = word(0)?;
        // A small element packs length and type into one word, and its data into the next.
        let (kind, start, length, padded) = match first >> 16 {
            0 => {
                let length = word(4)? as usize;
                (first, 8, length, length.next_multiple_of(8))
            }
            length @ 1..=4 => (first & 0xffff, 4, length as usize, 4),
            _ => return None,
        };
        let data = bytes.get(start..start + length)?;
        // The last element of a stream may lack its padding.
        let end = (start + padded).min(bytes.len());
        Some(Self {
            kind,
            whole: &bytes[..end],
            data,
            rest: &bytes[end..],
            unpadded_rest: &bytes[start + length..],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::ZlibEncoder};
    use std::io::Write;

    const UINT8: (u32, u32) = (9, 2);
    const DOUBLE: (u32, u32) = (6, 9);

    fn element(kind: u32, data: &[u8]) -> Vec<u8> {
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend((data.len() as u32).to_le_bytes());
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    fn array((class, kind): (u32, u32), name: u8, sides: &[i32], data: &[u8]) -> Vec<u8> {
        let sides: Vec<u8> = sides.iter().flat_map(|side| side.to_le_bytes()).collect();
        let flags = [class.to_le_bytes(), [0; 4]].concat();
        let mut parts = [element(6, &flags), element(5, &sides)].concat();
        parts.extend([1, 0, 1, 0, name, 0, 0, 0]); // a small element
        parts.extend(element(kind, data));
        element(MATRIX, &parts)
    }

    fn compress(matrix: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(matrix).unwrap();
        let stream = encoder.finish().unwrap();
        let mut bytes = COMPRESSED.to_le_bytes().to_vec();
        bytes.extend((stream.len() as u32).to_le_bytes());
        bytes.extend(stream);
        bytes
    }

    fn mat(elements: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = vec![b' '; 124];
        bytes.extend([0x00, 0x01, b'I', b'M']);
        bytes.extend(elements.concat());
        bytes
    }

    /// Two images in file order, every byte telling its place.
    fn x() -> Vec<u8> {
        let data: Vec<u8> = (0..2 * IMAGE).map(|i| (i % 251) as u8).collect();
        array(UINT8, b'X', &[32, 32, 3, 2], &data)
    }

    fn y(labels: &[u8]) -> Vec<u8> {
        array(UINT8, b'y', &[labels.len() as i32, 1], labels)
    }

    fn read_bytes(bytes: &[u8]) -> Result<(Images, Vec<u8>), DataError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        read(file.path())
    }

    fn error(elements: &[Vec<u8>]) -> String {
        read_bytes(&mat(elements)).unwrap_err().to_string()
    }

    #[test]
    fn reads_compressed_and_plain_arrays_transposed() {
        let other = array(DOUBLE, b'z', &[1, 1], &1f64.to_le_bytes());
        let compressed = mat(&[compress(&other), compress(&x()), compress(&y(&[10, 3]))]);
        let (images, labels) = read_bytes(&compressed).unwrap();
        assert_eq!(labels, [0, 3]);
        assert_eq!(images.shape(), SHAPE);
        for (row, column, channel, n) in [(0, 2, 0, 0), (2, 0, 1, 0), (31, 5, 2, 1)] {
            let in_file = row + 32 * column + 1024 * channel + 3072 * n;
            let found = images.get(n)[1024 * channel + 32 * row + column];
            assert_eq!(found, (in_file % 251) as u8);
        }
        let plain = mat(&[y(&[10, 3]), x()]);
        assert_eq!(read_bytes(&plain).unwrap(), (images, labels));
    }

    #[test]
    fn labels_may_be_doubles() {
        let doubles = |values: [f64; 2]| {
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            compress(&array(DOUBLE, b'y', &[2, 1], &bytes))
        };
        let (_, labels) = read_bytes(&mat(&[x(), doubles([10.0, 1.0])])).unwrap();
        assert_eq!(labels, [0, 1]);
        for bad in [
            [1.5, 1.0],
            [0.0, 1.0],
            [f64::NAN, 1.0],
            [-3.0, 1.0],
            [266.0, 1.0],
        ] {
            assert!(error(&[x(), doubles(bad)]).contains("label 0 in y"));
        }
    }

    #[test]
    fn refuses_arrays_that_are_missing_or_do_not_fit() {
        assert!(error(&[]).contains("no array X"));
        assert!(error(&[x()]).contains("no array y"));
        assert!(error(&[y(&[1])]).contains("no array X"));
        assert!(error(&[x(), y(&[1, 11])]).contains("label 1 in y"));
        assert!(error(&[x(), y(&[1, 2, 3])]).contains("[32, 32, 3, 3]"));
        assert!(error(&[x(), x(), y(&[1, 2])]).contains("twice"));
        let flat = array(UINT8, b'X', &[2, IMAGE as i32], &[0; 2 * IMAGE]);
        assert!(error(&[flat, y(&[1, 2])]).contains("X has the size"));
        let floats = array(DOUBLE, b'X', &[1, 1], &1f64.to_le_bytes());
        assert!(error(&[floats, y(&[1])]).contains("class uint8"));
        let too_few = array(UINT8, b'X', &[32, 32, 3, 2], &[0; IMAGE]);
        assert!(error(&[too_few, y(&[1, 2])]).contains("cannot be decoded"));
    }

    #[test]
    fn refuses_hostile_lengths() {
        let absurd = array(UINT8, b'X', &[i32::MAX, i32::MAX, 3, 2], &[0; 8]);
        assert!(error(&[absurd]).contains("absurd"));
        let negative = array(UINT8, b'X', &[-1, -1], &[0; 1]);
        assert!(error(&[negative]).contains("absurd"));
        let mut long = x();
        long[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(error(&[long.clone()]).contains("truncated or damaged at byte 128"));
        assert!(error(&[compress(&long)]).contains("damaged"));
        let nested = compress(&compress(&x()));
        assert!(error(&[nested]).contains("damaged"));
        let mut part = x();
        part[60..64].copy_from_slice(&(u32::MAX - 3).to_le_bytes());
        assert!(error(&[compress(&part)]).contains("damaged"));
        assert!(error(&[compress(&[])]).contains("damaged"));
    }

    #[test]
    fn refuses_every_truncation_and_survives_every_flipped_byte() {
        let good = mat(&[compress(&x()), compress(&y(&[1, 2]))]);
        for length in (0..good.len()).step_by(7).chain(good.len() - 9..good.len()) {
            assert!(read_bytes(&good[..length]).is_err(), "{length} bytes");
        }
        assert!(read_bytes(&[&good[..], &[0; 3]].concat()).is_err());
        let plain = mat(&[x(), y(&[1, 2])]);
        let tags = (HEADER..HEADER + 80).chain(plain.len() - 72..plain.len());
        for at in tags {
            for value in [0, 1, 0x7f, 0xff] {
                let mut changed = plain.clone();
                changed[at] = value;
                let _ = read_bytes(&changed); // an answer of either kind, no panic
            }
        }
    }
}
