//! Safetensors in one fixed form, and what fits into them.

use std::io::{Error, ErrorKind};

/// Bytes before the header: its length.
const LENGTH: usize = size_of::<u64>();

/// The same file with the keys of its header in order.
///
/// The `safetensors` crate keeps the metadata in a hash map and writes it in the order of that, which
/// is another in every process: equal models would make files of different checksums.
///
/// # Errors
/// When `bytes` are not a safetensors file.
pub(crate) fn ordered(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let cut = || Error::new(ErrorKind::UnexpectedEof, "the header is cut off");
    let (length, rest) = bytes.split_first_chunk::<LENGTH>().ok_or_else(cut)?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| cut())?;
    let (header, data) = rest.split_at_checked(length).ok_or_else(cut)?;
    let mut header: serde_json::Value = serde_json::from_slice(header)?;
    header.sort_all_objects();
    let mut header = serde_json::to_vec(&header)?;
    // The format wants the data aligned, and fills the header up with spaces.
    header.resize(header.len().next_multiple_of(LENGTH), b' ');
    let length = (header.len() as u64).to_le_bytes();
    Ok([length.as_slice(), &header, data].concat())
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
        let expected = ordered(&first).unwrap();
        for _ in 0..20 {
            assert_eq!(ordered(&serialized()).unwrap(), expected);
        }
        let metadata = |bytes| {
            let (_, header) = SafeTensors::read_metadata(bytes).unwrap();
            header.metadata().clone()
        };
        assert_eq!(metadata(&first), metadata(&expected));
        let tensors = SafeTensors::deserialize(&expected).unwrap();
        assert_eq!(tensors.tensor("b").unwrap().data(), [1, 2, 3]);
        assert_eq!(tensors.tensor("a").unwrap().data(), [4, 5, 6]);
    }

    #[test]
    fn what_is_cut_off_is_an_error() {
        for bytes in [
            &[][..],
            &[9; 4],
            &[9, 0, 0, 0, 0, 0, 0, 0, b'{'],
            &[255; 20],
        ] {
            assert!(ordered(bytes).is_err());
        }
    }
}
