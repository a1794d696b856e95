//! Whether a file on disk is the official one: its size and every checksum, in one read.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use indicatif::HumanCount;
use md5::Md5;
use sha2::{Digest, Sha256};

use crate::data::{Checksum, RemoteFile};
use crate::files::hex;

/// Compares the file at `path` with what is known of `file`.
///
/// # Errors
/// What is wrong, as the rest of a sentence about the file: the size, the first checksum that
/// does not agree, or why it cannot be read.
pub(in crate::data) fn verify(path: &Path, file: &RemoteFile) -> Result<(), String> {
    let unreadable = |error: std::io::Error| format!("cannot be read ({error})");
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err("is not a file".to_owned());
    }
    if metadata.len() != file.bytes {
        return Err(format!(
            "has {} bytes, the official file has {}",
            HumanCount(metadata.len()),
            HumanCount(file.bytes)
        ));
    }
    let mut md5 = Md5::new();
    let mut sha256 = Sha256::new();
    let wanted = |kind: fn(&Checksum) -> bool| file.checksums.iter().any(kind);
    let wants_md5 = wanted(|sum| matches!(sum, Checksum::Md5(_)));
    let wants_sha256 = wanted(|sum| matches!(sum, Checksum::Sha256(_)));
    let mut input = File::open(path).map_err(unreadable)?;
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let bytes = match input.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => &buffer[..count],
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(unreadable(error)),
        };
        if wants_md5 {
            md5.update(bytes);
        }
        if wants_sha256 {
            sha256.update(bytes);
        }
    }
    let (md5, sha256) = (hex(&md5.finalize()), hex(&sha256.finalize()));
    for checksum in &file.checksums {
        let (kind, official, found) = match checksum {
            Checksum::Md5(sum) => ("MD5", sum, &md5),
            Checksum::Sha256(sum) => ("SHA-256", sum, &sha256),
        };
        if !official.eq_ignore_ascii_case(found) {
            return Err(format!(
                "has the {kind} {found}, the official file has {official}"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// MD5 and SHA-256 of `abc`, from RFC 1321 and FIPS 180-4.
    const MD5_ABC: &str = "900150983cd24fb0d6963f7d28e17f72";
    const SHA256_ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn check(content: &[u8], checksums: Vec<Checksum>) -> Result<(), String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("abc");
        std::fs::write(&path, content).unwrap();
        let file = RemoteFile {
            name: "abc".to_owned(),
            bytes: 3,
            checksums,
            urls: Vec::new(),
        };
        verify(&path, &file)
    }

    #[test]
    fn published_sums_agree() {
        let sums = vec![
            Checksum::Md5(MD5_ABC.to_uppercase()),
            Checksum::Sha256(SHA256_ABC.to_owned()),
        ];
        assert_eq!(check(b"abc", sums), Ok(()));
        assert_eq!(check(b"abc", Vec::new()), Ok(()));
    }

    #[test]
    fn one_wrong_sum_is_enough() {
        let sums = vec![
            Checksum::Md5(MD5_ABC.to_owned()),
            Checksum::Sha256("00".repeat(32)),
        ];
        let reason = check(b"abc", sums).unwrap_err();
        assert!(
            reason.contains("SHA-256") && reason.contains(SHA256_ABC),
            "{reason}"
        );
        let reason = check(b"abd", vec![Checksum::Md5(MD5_ABC.to_owned())]).unwrap_err();
        assert!(reason.starts_with("has the MD5 "), "{reason}");
    }

    #[test]
    fn the_size_is_compared_first() {
        let reason = check(b"abcd", vec![Checksum::Md5(MD5_ABC.to_owned())]).unwrap_err();
        assert_eq!(reason, "has 4 bytes, the official file has 3");
    }
}
