//! The official files: names, sizes, checksums and addresses.
//!
//! The MD5 sums are those that the publishers or torchvision give. The SHA-256 sums were taken
//! from files with these MD5 sums, save those of `cifar-10-binary.tar.gz` and `test_32x32.mat`,
//! on which several public loaders agree. Size and SHA-256 of SqueezeNet's checkpoint are those that
//! public projects pin; the file's name has the sum's first eight digits, and torchvision rounds the
//! size to 4.729 MiB.

use super::DatasetName;

/// A file that can be downloaded and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteFile {
    /// File name, without folder.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// Checksums, every one of which must agree.
    pub checksums: Vec<Checksum>,
    /// Addresses of the whole file, in the order in which they are tried.
    pub urls: Vec<String>,
}

/// A published checksum, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// MD5 (RFC 1321): guards against damage, not against malice.
    Md5(String),
    /// SHA-256 (FIPS 180-4).
    Sha256(String),
}

/// An IDX file: stem of the name; size, MD5 and SHA-256 gzipped; size and MD5 inflated.
type IdxRow = (
    &'static str,
    u64,
    &'static str,
    &'static str,
    u64,
    &'static str,
);

#[rustfmt::skip]
const MNIST: [IdxRow; 4] = [
    ("train-images-idx3-ubyte", 9_912_422, "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        47_040_016, "6bbc9ace898e44ae57da46a324031adb"),
    ("train-labels-idx1-ubyte", 28_881, "d53e105ee54ea40749a09fcbcd1e9432",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        60_008, "a25bea736e30d166cdddb491f175f624"),
    ("t10k-images-idx3-ubyte", 1_648_877, "9fb629c4189551a2d022fa330f9573f3",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        7_840_016, "2646ac647ad5339dbf082846283269ea"),
    ("t10k-labels-idx1-ubyte", 4_542, "ec29112dd5afa0611ce80d1b7f02629c",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        10_008, "27ae3e4e09519cfbb04c329615203637"),
];

#[rustfmt::skip]
const FASHION_MNIST: [IdxRow; 4] = [
    ("train-images-idx3-ubyte", 26_421_880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        47_040_016, "f4a8712d7a061bf5bd6d2ca38dc4d50a"),
    ("train-labels-idx1-ubyte", 29_515, "25c81989df183df01b3e8a0aad5dffbe",
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        60_008, "9018921c3c673c538a1fc5bad174d6f9"),
    ("t10k-images-idx3-ubyte", 4_422_102, "bef4ecab320f06d8554ea6380940ec79",
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        7_840_016, "8181f5470baa50b63fa0f6fddb340f0a"),
    ("t10k-labels-idx1-ubyte", 5_148, "bb300cfdad3c16e7a12a480ee83cd310",
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        10_008, "15d484375f8d13e6eb1aabb0c3f46965"),
];

/// A batch of CIFAR-10 is 10,000 records of 3,073 bytes.
const CIFAR10_BATCH_BYTES: u64 = 30_730_000;

#[rustfmt::skip]
const CIFAR10_BATCHES: [(&str, &str, &str); 6] = [
    ("data_batch_1.bin", "5dd7e06a14cb22eb9f671a540d1b7c25",
        "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5"),
    ("data_batch_2.bin", "5ea93a67294ea407fff1d09f752e9692",
        "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed"),
    ("data_batch_3.bin", "942cd6a4bcdd0dd3c604fbe906cb4421",
        "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67"),
    ("data_batch_4.bin", "ae636b3ba5c66a11e91e8cb52e771fcb",
        "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48"),
    ("data_batch_5.bin", "53f37980c15c3d472c316c40844f3f0d",
        "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add"),
    ("test_batch.bin", "803d5f7f4d78ea53de84dbe85f74fb6d",
        "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"),
];

/// torchvision's mirror and TensorFlow's; the publisher's own address refuses most downloads.
const MNIST_BASES: [&str; 3] = [
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "http://yann.lecun.com/exdb/mnist/",
];

const FASHION_MNIST_BASES: [&str; 2] = [
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
];

/// See [`DatasetName::files`].
pub(super) fn packed(name: DatasetName) -> Vec<RemoteFile> {
    match name {
        DatasetName::Digits | DatasetName::Folder => Vec::new(),
        DatasetName::Mnist => idx_packed(&MNIST, &MNIST_BASES),
        DatasetName::FashionMnist => idx_packed(&FASHION_MNIST, &FASHION_MNIST_BASES),
        DatasetName::Cifar10 => vec![file(
            "cifar-10-binary.tar.gz",
            170_052_171,
            "c32a1d4ab5d03f1284b67883e8d87530",
            Some("c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"),
            &["https://www.cs.toronto.edu/~kriz/"],
        )],
        DatasetName::Svhn => vec![file(
            "test_32x32.mat",
            64_275_384,
            "eb5a983be6a315427106f1b164d9cef3",
            Some("cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b"),
            &["http://ufldl.stanford.edu/housenumbers/"],
        )],
    }
}

/// See [`squeezenet_checkpoint`](super::squeezenet_checkpoint).
pub(super) fn squeezenet() -> RemoteFile {
    let name = "squeezenet1_1-b8a52dc0.pth";
    RemoteFile {
        name: name.to_owned(),
        bytes: 4_958_839,
        checksums: vec![Checksum::Sha256(
            "b8a52dc049b60e4b6ab68ad0df457362afab8b6304b2febdc1650a5dab4d7e7b".to_owned(),
        )],
        urls: vec![format!("https://download.pytorch.org/models/{name}")],
    }
}

/// See [`DatasetName::unpacked`].
pub(super) fn unpacked(name: DatasetName) -> Vec<RemoteFile> {
    match name {
        DatasetName::Digits | DatasetName::Svhn | DatasetName::Folder => Vec::new(),
        DatasetName::Mnist => idx_unpacked(&MNIST),
        DatasetName::FashionMnist => idx_unpacked(&FASHION_MNIST),
        DatasetName::Cifar10 => CIFAR10_BATCHES
            .iter()
            .map(|(name, md5, sha256)| file(name, CIFAR10_BATCH_BYTES, md5, Some(sha256), &[]))
            .collect(),
    }
}

fn idx_packed(rows: &[IdxRow], bases: &[&str]) -> Vec<RemoteFile> {
    rows.iter()
        .map(|(stem, bytes, md5, sha256, ..)| {
            file(&format!("{stem}.gz"), *bytes, md5, Some(sha256), bases)
        })
        .collect()
}

fn idx_unpacked(rows: &[IdxRow]) -> Vec<RemoteFile> {
    rows.iter()
        .map(|(stem, _, _, _, bytes, md5)| file(stem, *bytes, md5, None, &[]))
        .collect()
}

/// A file that lies under its own name at each of `bases` (which end in `/`).
fn file(name: &str, bytes: u64, md5: &str, sha256: Option<&str>, bases: &[&str]) -> RemoteFile {
    let mut checksums = vec![Checksum::Md5(md5.to_owned())];
    checksums.extend(sha256.map(|sum| Checksum::Sha256(sum.to_owned())));
    RemoteFile {
        name: name.to_owned(),
        bytes,
        checksums,
        urls: bases.iter().map(|base| format!("{base}{name}")).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_has_sums_of_the_right_length_and_an_address() {
        for name in DatasetName::ALL {
            for file in name.files() {
                assert!(!file.urls.is_empty(), "{}", file.name);
                for url in &file.urls {
                    assert!(url.ends_with(&format!("/{}", file.name)), "{url}");
                }
            }
            for file in name.files().into_iter().chain(name.unpacked()) {
                for checksum in &file.checksums {
                    let (sum, length) = match checksum {
                        Checksum::Md5(sum) => (sum, 32),
                        Checksum::Sha256(sum) => (sum, 64),
                    };
                    assert_eq!(sum.len(), length, "{}", file.name);
                    assert!(sum.bytes().all(|byte| byte.is_ascii_hexdigit()));
                }
            }
        }
    }

    #[test]
    fn every_idx_file_has_its_inflated_twin() {
        for name in [DatasetName::Mnist, DatasetName::FashionMnist] {
            let twins = name.files().into_iter().zip(name.unpacked());
            for (packed, unpacked) in twins {
                assert_eq!(packed.name, format!("{}.gz", unpacked.name));
            }
        }
    }
}
