//! Safetensors in one fixed form, with a checksum, and what fits into them.

use std::io::{Error, ErrorKind};

use sha2::{Digest, Sha256};

use crate::files::hex;

/// Bytes before the header: its length.
const LENGTH: usize = size_of::<u64>();
/// Key of the metadata for the checksum of all tensors.
const CHECKSUM: &str = "sha256";

/// The header, and the values of all tensors.
fn parts(bytes: &[u8]) -> std::io::Result<(serde_json::Value, &[u8])> {
    let cut = || Error::new(ErrorKind::UnexpectedEof, "the header is cut off");
    let (length, rest) = bytes.split_first_chunk::<LENGTH>().ok_or_else(cut)?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| cut())?;
    let (header, data) = rest.split_at_checked(length).ok_or_else(cut)?;
    Ok((serde_json::from_slice(header)?, data))
}

/// The same file with the keys of its header in order, and the checksum of its tensors in the metadata.
///
/// The `safetensors` crate keeps the metadata in a hash map and writes it in the order of that, which
/// is another in every process: equal models would make files of different checksums.
///
/// # Errors
/// When `bytes` are not a safetensors file.
pub(crate) fn sealed(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let (mut header, data) = parts(bytes)?;
    header["__metadata__"][CHECKSUM] = hex(&Sha256::digest(data)).into();
    header.sort_all_objects();
    let mut header = serde_json::to_vec(&header)?;
    // The format wants the data aligned, and fills the header up with spaces.
    header.resize(header.len().next_multiple_of(LENGTH), b' ');
    let length = (header.len() as u64).to_le_bytes();
    Ok([length.as_slice(), &header, data].concat())
}

/// Whether the tensors are those that were written, as far as the file says: one of an earlier program has no checksum.
///
/// # Errors
/// When `bytes` are not a safetensors file.
pub(crate) fn is_unbroken(bytes: &[u8]) -> std::io::Result<bool> {
    let (header, data) = parts(bytes)?;
    let expected = header["__metadata__"][CHECKSUM].as_str();
    Ok(expected.is_none_or(|expected| expected == hex(&Sha256::digest(data))))
}

/// Refuses so many bytes of a file for something that holds at least so many `f32`: what a damaged description asks
/// for must not take more memory than there is.
///
/// # Errors
/// In words, that the file is too short for `what`.
pub(crate) fn check_room(bytes: usize, numbers: usize, what: &str) -> Result<(), String> {
    match numbers <= bytes / size_of::<f32>() {
        true => Ok(()),
        false => Err(format!("it is too short for the {what} that it describes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::{Dtype, SafeTensors, TensorView};
    use std::collections::HashMap;

    #[test]
    fn the_order_of_the_metadata_is_fixed_and_nothing_else_changes() {
        let view = |name, values| (name, TensorView::new(Dtype::U8, vec![3], values).unwrap());
        let serialized = || {
            let metadata =
                (0..20).map(|index| (format!("key {index}"), format!("{index} \"\u{e4}")));
            let metadata: HashMap<String, String> = metadata.collect();
            let tensors = [view("b", &[1, 2, 3]), view("a", &[4, 5, 6])];
            safetensors::serialize(tensors, Some(metadata)).unwrap()
        };
        let first = serialized();
        let expected = sealed(&first).unwrap();
        for _ in 0..20 {
            assert_eq!(sealed(&serialized()).unwrap(), expected);
        }
        let metadata = |bytes| {
            let (_, header) = SafeTensors::read_metadata(bytes).unwrap();
            header.metadata().clone().unwrap()
        };
        let mut found = metadata(&expected);
        assert!(found.remove(CHECKSUM).is_some());
        assert_eq!(metadata(&first), found);
        let tensors = SafeTensors::deserialize(&expected).unwrap();
        assert_eq!(tensors.tensor("b").unwrap().data(), [1, 2, 3]);
        assert_eq!(tensors.tensor("a").unwrap().data(), [4, 5, 6]);
    }

    #[test]
    fn a_changed_value_breaks_the_seal() {
        let view = TensorView::new(Dtype::U8, vec![3], &[1, 2, 3]).unwrap();
        let plain = safetensors::serialize([("a", view)], None).unwrap();
        assert!(is_unbroken(&plain).unwrap());
        let mut file = sealed(&plain).unwrap();
        assert!(is_unbroken(&file).unwrap());
        *file.last_mut().unwrap() ^= 16;
        assert!(!is_unbroken(&file).unwrap());
    }

    #[test]
    fn what_is_cut_off_is_an_error() {
        for bytes in [
            &[][..],
            &[9; 4],
            &[9, 0, 0, 0, 0, 0, 0, 0, b'{'],
            &[255; 20],
        ] {
            assert!(sealed(bytes).is_err() && is_unbroken(bytes).is_err());
        }
    }
}
