//! Damage to files.

use proptest::prelude::*;

/// Damage to a file at one place.
#[derive(Clone, Debug)]
pub enum Change {
    Byte(u8),
    Flip(u8),
    /// Of all lengths in a header, the absurd ones.
    Number([u8; 4]),
    Cut,
    Insert(Vec<u8>),
    Remove(usize),
}

/// A few changes, every other one in the first bytes: that is where the headers are.
pub fn changes() -> impl Strategy<Value = Vec<(usize, Change)>> {
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

pub fn changed(bytes: &[u8], changes: &[(usize, Change)]) -> Vec<u8> {
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
