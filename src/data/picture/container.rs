//! What the decoders do not say about a file: whether it is whole, how many pictures it holds, and which way up WebP is.

use std::io::Cursor;

use image::ImageFormat;
use image::codecs::png::PngDecoder;
use image::metadata::Orientation;
use tiff::decoder::Decoder;
use tiff::tags::Tag;

/// Pages of a TIFF file that are looked at.
const PAGES: usize = 64;

/// Whether a file holds more pictures than the one that is decoded: frames of an animation, or pages that are no thumbnails.
pub(super) fn holds_several(bytes: &[u8], format: ImageFormat) -> bool {
    match format {
        ImageFormat::Png => {
            PngDecoder::new(Cursor::new(bytes)).is_ok_and(|file| file.is_apng().unwrap_or(false))
        }
        ImageFormat::WebP => {
            webp_chunks(bytes).is_some_and(|chunks| chunks.iter().any(|(name, _)| *name == b"ANIM"))
        }
        ImageFormat::Tiff => has_pages(bytes),
        _ => false,
    }
}

/// Whether there is another page in full resolution behind the first. What is damaged behind it is none.
fn has_pages(bytes: &[u8]) -> bool {
    /// Bits of the tag `NewSubfileType`: of another page in less detail, or the transparency of one.
    const NO_PICTURE: u32 = 0b101;
    let Ok(mut file) = Decoder::new(Cursor::new(bytes)) else {
        return false;
    };
    for _ in 1..PAGES {
        if !file.more_images() || file.next_image().is_err() {
            return false;
        }
        let kind = file.find_tag_unsigned::<u32>(Tag::NewSubfileType);
        if kind.ok().flatten().unwrap_or(0) & NO_PICTURE == 0 {
            return true;
        }
    }
    false
}

/// Whether the end marker follows the first scan of a JPEG file.
///
/// Thumbnails have end markers of their own, so that the segments before the scan are passed over;
/// in a scan, the two bytes of the marker mean nothing else.
pub(super) fn jpeg_ends(bytes: &[u8]) -> bool {
    const START_OF_SCAN: u8 = 0xda;
    const END_OF_IMAGE: u8 = 0xd9;
    let mut at = 2;
    while let Some(&[0xff, marker, high, low]) = bytes.get(at..at + 4)
        && marker != START_OF_SCAN
    {
        // Any number of 0xff may stand before a marker.
        at += match marker {
            0xff => 1,
            _ => 2 + usize::from(u16::from_be_bytes([high, low])),
        };
    }
    let rest = bytes.get(at..).unwrap_or_default();
    // From the back, where it usually is.
    rest.windows(2)
        .rev()
        .any(|pair| pair == [0xff, END_OF_IMAGE])
}

/// Name and data of every chunk of a WebP file; none when the file ends before they do.
pub(super) fn webp_chunks(bytes: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let length = |at: usize| {
        let length = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_le_bytes(length) as usize)
    };
    let end = 8 + length(4)?;
    // The padding of the last chunk to an even length may be missing.
    if end > bytes.len() + 1 {
        return None;
    }
    let mut chunks = Vec::new();
    let mut at = 12;
    while at + 8 <= end {
        let data = bytes.get(at + 8..at + 8 + length(at + 4)?)?;
        chunks.push((&bytes[at..at + 4], data));
        at += 8 + data.len().next_multiple_of(2);
    }
    Some(chunks)
}

/// The orientation in the EXIF chunk, where there is one.
pub(super) fn webp_orientation(chunks: &[(&[u8], &[u8])]) -> Option<Orientation> {
    let &(_, exif) = chunks.iter().find(|(name, _)| *name == b"EXIF")?;
    // Some programs write the prefix that belongs in JPEG files.
    Orientation::from_exif_chunk(exif.strip_prefix(b"Exif\0\0").unwrap_or(exif))
}

#[cfg(test)]
mod tests {
    use super::super::test_files::{TURNED, encode, error, halves, noise, picture, turned_tiff};
    use crate::data::Picture;
    use image::codecs::png::PngEncoder;
    use image::codecs::webp::WebPEncoder;
    use image::{ImageEncoder, ImageFormat};

    #[test]
    fn exif_turns_the_picture() {
        let mut jpeg = encode(&halves(), ImageFormat::Jpeg);
        let segment = [&[0xff, 0xe1, 0, 34][..], b"Exif\0\0", &TURNED].concat();
        jpeg.splice(2..2, segment);

        let mut webp = Vec::new();
        let mut encoder = WebPEncoder::new_lossless(&mut webp);
        encoder.set_exif_metadata(TURNED.to_vec()).unwrap();
        halves().write_with_encoder(encoder).unwrap();

        let mut png = Vec::new();
        let mut encoder = PngEncoder::new(&mut png);
        encoder.set_exif_metadata(TURNED.to_vec()).unwrap();
        halves().write_with_encoder(encoder).unwrap();

        for (bytes, channels) in [(jpeg, 1), (webp, 3), (png, 1), (turned_tiff(), 1)] {
            let turned = picture(&bytes);
            assert_eq!(turned.to_images().shape(), [channels, 16, 8]);
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), &bytes).unwrap();
            assert_eq!(Picture::sides(file.path()).unwrap(), [16, 8]);
            // The left half is above now.
            let (above, below) = turned.pixels()[..128].split_at(64);
            assert!(above.iter().all(|&pixel| pixel < 10));
            assert!(below.iter().all(|&pixel| pixel > 245));
        }
    }

    /// A grey TIFF file with a page of each of these kinds.
    fn pages(kinds: &[u32]) -> Vec<u8> {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let mut file = tiff::encoder::TiffEncoder::new(&mut bytes).unwrap();
        for &kind in kinds {
            let mut page = file
                .new_image::<tiff::encoder::colortype::Gray8>(4, 4)
                .unwrap();
            let tag = tiff::tags::Tag::NewSubfileType;
            page.encoder().write_tag(tag, kind).unwrap();
            page.write_data(&[90; 16]).unwrap();
        }
        bytes.into_inner()
    }

    #[test]
    fn a_file_with_several_pictures_is_refused_and_one_with_a_thumbnail_is_not() {
        let refused = error(&pages(&[0, 0])).to_string();
        assert!(refused.contains("several pictures"), "{refused}");
        picture(&pages(&[0]));
        // A smaller copy, and a mask of what is transparent.
        picture(&pages(&[0, 1, 4]));
        assert!(error(&pages(&[0, 1, 0])).to_string().contains("several"));

        let mut frames = encode(&noise(), ImageFormat::WebP);
        let at = 12;
        let animation = [&b"ANIM"[..], &6u32.to_le_bytes(), &[0; 6]].concat();
        frames.splice(at..at, animation);
        let length = (frames.len() - 8) as u32;
        frames[4..8].copy_from_slice(&length.to_le_bytes());
        assert!(super::holds_several(&frames, ImageFormat::WebP));
        assert!(!super::holds_several(
            &encode(&noise(), ImageFormat::WebP),
            ImageFormat::WebP
        ));

        // After the header (8 and 25 bytes): two frames, played for ever.
        let mut frames = encode(&noise(), ImageFormat::Png);
        let control = [&b"acTL"[..], &2u32.to_be_bytes(), &0u32.to_be_bytes()].concat();
        let sum = crc32(&control).to_be_bytes();
        frames.splice(33..33, [&8u32.to_be_bytes()[..], &control, &sum].concat());
        assert!(error(&frames).to_string().contains("several"));
    }

    /// As in PNG's specification, annex D.
    fn crc32(bytes: &[u8]) -> u32 {
        let rest = bytes.iter().fold(u32::MAX, |rest, &byte| {
            (0..8).fold(rest ^ u32::from(byte), |rest, _| match rest & 1 {
                1 => 0xedb8_8320 ^ (rest >> 1),
                _ => rest >> 1,
            })
        });
        !rest
    }

    #[test]
    fn a_camera_s_raw_file_is_refused_by_its_name() {
        let bytes = encode(&noise(), ImageFormat::Tiff);
        for name in ["a.DNG", "b.nef"] {
            let error = Picture::from_bytes(&bytes, name).unwrap_err().to_string();
            assert!(error.contains("raw file"), "{error}");
        }
        assert!(Picture::from_bytes(&bytes, "c.tif").is_ok());
    }

    #[test]
    fn half_a_file_is_an_error() {
        for format in [
            ImageFormat::Png,
            ImageFormat::Jpeg,
            ImageFormat::Tiff,
            ImageFormat::Bmp,
            ImageFormat::WebP,
        ] {
            let bytes = encode(&noise(), format);
            for length in [20, bytes.len() / 2, bytes.len() * 3 / 4] {
                let error = error(&bytes[..length]).to_string();
                assert!(
                    error.contains("truncated or damaged"),
                    "{format:?}: {error}"
                );
            }
        }
        // The end marker of a thumbnail does not count.
        let mut jpeg = encode(&noise(), ImageFormat::Jpeg);
        jpeg.splice(2..2, [0xff, 0xe5, 0, 6, 0xff, 0xda, 0xff, 0xd9]);
        picture(&jpeg);
        let last = jpeg.len() - 2;
        assert!(error(&jpeg[..last]).to_string().contains("ends before"));
    }

    #[test]
    fn a_webp_file_cannot_ask_for_memory() {
        let mut webp = Vec::new();
        let mut encoder = WebPEncoder::new_lossless(&mut webp);
        encoder.set_exif_metadata(TURNED.to_vec()).unwrap();
        noise().write_with_encoder(encoder).unwrap();
        let exif = webp.windows(4).rposition(|name| name == b"EXIF").unwrap();
        webp[exif + 4..exif + 8].copy_from_slice(&[0xff, 0xff, 0xff, 0xf0]);
        assert!(error(&webp).to_string().contains("ends before"));
    }
}
