//! CIFAR-10, "binary version (suitable for C programs)": a folder or the official archive.
//!
//! A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009,
//! <https://www.cs.toronto.edu/~kriz/cifar.html>. A file is a row of 3,073-byte records without a
//! header: one label, then the red, green and blue planes of 32x32 bytes, row-major.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use flate2::bufread::GzDecoder;

use super::{DataError, Images};

/// Official class names, in label order (`batches.meta.txt`).
pub const CLASS_NAMES: [&str; 10] = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
];

const SHAPE: [usize; 3] = [3, 32, 32];
const RECORD: usize = 1 + 3 * 32 * 32;
/// Records in each official file; a file may hold fewer, never more.
const RECORDS: usize = 10_000;
/// The official files in the official order, training before test.
const FILES: [&str; 6] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
    "test_batch.bin",
];
/// Most bytes the archive may inflate to: the six files and a generous margin for the small ones.
const MAX_INFLATED: u64 = (FILES.len() * RECORDS * RECORD + (16 << 20)) as u64;

/// Reads the six `.bin` files in `dir`.
///
/// # Returns
/// Images `[count, 3, 32, 32]` and one label 0..=9 each, `data_batch_1` to `5`, then `test_batch`.
///
/// # Errors
/// [`DataError::Io`] when a file cannot be opened, [`DataError::Format`] when one is not 1 to
/// 10,000 whole records with labels 0..=9.
pub(super) fn read_folder(dir: &Path) -> Result<(Images, Vec<u8>), DataError> {
    let mut records = Records::default();
    for name in FILES {
        let path = dir.join(name);
        let file = File::open(&path).map_err(DataError::io(&path))?;
        let bytes = read_capped(file).map_err(DataError::io(&path))?;
        records
            .append(&bytes)
            .map_err(|reason| DataError::format(&path, reason))?;
    }
    records.finish()
}

/// Reads `cifar-10-binary.tar.gz` without unpacking it, whatever the order of its members.
///
/// # Returns
/// As [`read_folder`].
///
/// # Errors
/// [`DataError::Io`] when the file cannot be opened, [`DataError::Format`] when the archive is
/// damaged, inflates to far more than the official one, lacks one of the six files, has one twice,
/// or when a file is not 1 to 10,000 whole records with labels 0..=9.
pub(super) fn read_archive(path: &Path) -> Result<(Images, Vec<u8>), DataError> {
    let file = File::open(path).map_err(DataError::io(path))?;
    let wrong = |reason: String| DataError::format(path, reason);
    let damaged = |error: std::io::Error| {
        wrong(format!(
            "not a whole .tar.gz archive ({error}): download it again"
        ))
    };

    let inflated = GzDecoder::new(BufReader::new(file)).take(MAX_INFLATED);
    let mut archive = tar::Archive::new(inflated);
    let mut members: [Option<Vec<u8>>; 6] = Default::default();
    for entry in archive.entries().map_err(damaged)? {
        let entry = entry.map_err(damaged)?;
        let member = entry.path().map_err(damaged)?.into_owned();
        let slot = FILES
            .iter()
            .position(|name| member.file_name().is_some_and(|found| found == *name));
        let Some(slot) = slot.filter(|_| entry.header().entry_type().is_file()) else {
            continue;
        };
        let bytes = read_capped(entry).map_err(damaged)?;
        if members[slot].replace(bytes).is_some() {
            return Err(wrong(format!(
                "holds {} twice: this is not the official archive, download it again",
                FILES[slot]
            )));
        }
    }
    // The tar ends before the gzip stream does: only at its end is the checksum compared.
    let mut rest = archive.into_inner();
    std::io::copy(&mut rest, &mut std::io::sink()).map_err(damaged)?;
    if rest.limit() == 0 {
        return Err(wrong(format!(
            "inflates to {MAX_INFLATED} bytes or more: this is not the official archive"
        )));
    }

    let mut records = Records::default();
    for (name, member) in FILES.iter().zip(members) {
        let bytes = member.ok_or_else(|| {
            wrong(format!(
                "no member {name}: expected the official cifar-10-binary.tar.gz"
            ))
        })?;
        records
            .append(&bytes)
            .map_err(|reason| wrong(format!("member {name}: {reason}")))?;
    }
    records.finish()
}

/// All of `reader`, but at most one byte more than an official file has.
fn read_capped(reader: impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader
        .take((RECORDS * RECORD + 1) as u64)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[derive(Default)]
struct Records {
    pixels: Vec<u8>,
    labels: Vec<u8>,
}

impl Records {
    /// Adds the records of one file, or says what is wrong with it.
    fn append(&mut self, bytes: &[u8]) -> Result<(), String> {
        if bytes.len() > RECORDS * RECORD {
            return Err(format!(
                "more than the {} bytes of an official file: expected the CIFAR-10 binary version, download it again",
                RECORDS * RECORD
            ));
        }
        if bytes.is_empty() || !bytes.len().is_multiple_of(RECORD) {
            return Err(format!(
                "{} bytes are not a whole number of {RECORD}-byte records (the official file has {RECORDS}): truncated, or not the CIFAR-10 binary version; download it again",
                bytes.len()
            ));
        }
        for (index, record) in bytes.chunks_exact(RECORD).enumerate() {
            if usize::from(record[0]) >= CLASS_NAMES.len() {
                return Err(format!(
                    "label {} of record {index} is not 0..=9: download the file again",
                    record[0]
                ));
            }
            self.labels.push(record[0]);
            self.pixels.extend_from_slice(&record[1..]);
        }
        Ok(())
    }

    fn finish(self) -> Result<(Images, Vec<u8>), DataError> {
        Ok((Images::new(SHAPE, self.pixels)?, self.labels))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    /// One record per file, label and pixels telling the files apart.
    fn content(index: usize) -> Vec<u8> {
        let mut bytes = vec![index as u8 + 1; RECORD];
        bytes[1] = 100 + index as u8;
        bytes
    }

    fn archive(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let encoder = GzEncoder::new(Vec::new(), Compression::fast());
        let mut builder = tar::Builder::new(encoder);
        for (name, bytes) in members {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            let path = format!("cifar-10-batches-bin/{name}");
            builder.append_data(&mut header, path, &bytes[..]).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap()
    }

    fn six() -> Vec<(&'static str, Vec<u8>)> {
        let files = FILES.iter().enumerate();
        files.map(|(i, name)| (*name, content(i))).collect()
    }

    fn read_bytes(bytes: &[u8]) -> Result<(Images, Vec<u8>), DataError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        read_archive(file.path())
    }

    fn archive_error(bytes: &[u8]) -> String {
        read_bytes(bytes).unwrap_err().to_string()
    }

    #[test]
    fn archive_in_any_order_equals_folder() {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in six() {
            std::fs::write(dir.path().join(name), bytes).unwrap();
        }
        let (images, labels) = read_folder(dir.path()).unwrap();
        assert_eq!(images.shape(), SHAPE);
        assert_eq!(labels, [1, 2, 3, 4, 5, 6]);
        assert_eq!(images.get(5)[..2], [105, 6]);

        let mut members = six();
        members.reverse();
        members.insert(2, ("batches.meta.txt", b"airplane\n".to_vec()));
        assert_eq!(read_bytes(&archive(&members)).unwrap(), (images, labels));
    }

    #[test]
    fn refuses_a_bad_folder() {
        let dir = tempfile::tempdir().unwrap();
        let error = read_folder(dir.path()).unwrap_err();
        assert!(matches!(error, DataError::Io { .. }));
        for (bytes, reason) in [
            (vec![0; RECORD - 1], "3072 bytes are not a whole number"),
            (vec![0; RECORD + 1], "3074 bytes are not a whole number"),
            (Vec::new(), "0 bytes are not a whole number"),
            (vec![10; RECORD], "label 10 of record 0"),
            (vec![0; (RECORDS + 1) * RECORD], "more than the 30730000"),
        ] {
            std::fs::write(dir.path().join(FILES[0]), bytes).unwrap();
            let error = read_folder(dir.path()).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
            assert!(error.contains(FILES[0]), "{error}");
        }
    }

    #[test]
    fn refuses_a_bad_archive() {
        let good = archive(&six());
        for length in [0, 1, 20, good.len() / 2, good.len() - 9, good.len() - 1] {
            assert!(archive_error(&good[..length]).contains("not a whole .tar.gz"));
        }
        let mut damaged = good.clone();
        let checksum = damaged.len() - 6;
        damaged[checksum] ^= 0xff;
        assert!(archive_error(&damaged).contains("not a whole .tar.gz"));
        assert!(archive_error(&archive(&six()[..5])).contains("no member test_batch.bin"));

        let mut twice = six();
        twice.push((FILES[0], content(0)));
        assert!(archive_error(&archive(&twice)).contains("data_batch_1.bin twice"));
        let mut short = six();
        short[2].1.pop();
        assert!(archive_error(&archive(&short)).contains("member data_batch_3.bin: 3072 bytes"));
        let mut label = six();
        label[4].1[0] = 200;
        assert!(archive_error(&archive(&label)).contains("label 200"));
    }

    #[test]
    fn refuses_a_bomb() {
        // Zeros compress a thousandfold: the reader stops at the limit instead of swallowing them.
        let mut members = six();
        members.insert(0, ("padding", vec![0; MAX_INFLATED as usize]));
        let error = archive_error(&archive(&members));
        assert!(error.contains("archive"), "{error}");
    }
}
