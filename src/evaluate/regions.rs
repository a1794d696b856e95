//! The connected parts of a mask: every one is a defect of its own.

/// Which defect each pixel of a mask belongs to. Pixels that touch at a side or at a corner are of one
/// defect (8-connected), as in MVTec AD's evaluation.
pub(super) struct Regions {
    /// 0 where there is no defect, otherwise a number from 1 on; one for each pixel.
    labels: Vec<u32>,
    /// Pixels of each defect, at least 1; that of number 1 first.
    sizes: Vec<usize>,
}

impl Regions {
    /// Finds the defects of `mask`, row-major and `width` wide; a width of zero counts as one row.
    pub fn of(mask: &[bool], width: usize) -> Self {
        let width = if width == 0 { mask.len() } else { width };
        let mut labels = vec![0; mask.len()];
        let mut sizes = Vec::new();
        let mut open = Vec::new();
        for start in 0..mask.len() {
            if !mask[start] || labels[start] != 0 {
                continue;
            }
            let label = sizes.len() as u32 + 1;
            let mut size = 0;
            labels[start] = label;
            open.push(start);
            while let Some(at) = open.pop() {
                size += 1;
                for next in neighbours(at, width, mask.len()) {
                    if mask[next] && labels[next] == 0 {
                        labels[next] = label;
                        open.push(next);
                    }
                }
            }
            sizes.push(size);
        }
        Self { labels, sizes }
    }

    /// Number of defects.
    pub fn len(&self) -> usize {
        self.sizes.len()
    }

    /// Pixels of the defect that pixel `at` belongs to, if it belongs to one.
    pub fn size_at(&self, at: usize) -> Option<usize> {
        let label = self.labels[at] as usize;
        self.sizes.get(label.checked_sub(1)?).copied()
    }
}

/// The up to eight pixels around pixel `at` of an image of `area` pixels, and the pixel itself.
fn neighbours(at: usize, width: usize, area: usize) -> impl Iterator<Item = usize> {
    let (row, column) = (at / width, at % width);
    let columns = column.saturating_sub(1)..(column + 2).min(width);
    (row.saturating_sub(1)..row + 2)
        .flat_map(move |row| columns.clone().map(move |column| row * width + column))
        .filter(move |&next| next < area)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_that_touch_at_a_corner_are_one_defect() {
        let rows = ["#..#.", ".#..#", "....#", "#....", "....#"];
        let mask: Vec<bool> = rows.concat().bytes().map(|pixel| pixel == b'#').collect();
        let regions = Regions::of(&mask, 5);
        assert_eq!(regions.len(), 4);
        let size = |row: usize, column: usize| regions.size_at(row * 5 + column);
        assert_eq!((size(0, 0), size(1, 1)), (Some(2), Some(2)));
        assert_eq!((size(0, 3), size(2, 4)), (Some(3), Some(3)));
        // The end of a row does not touch the beginning of the next.
        assert_eq!((size(3, 0), size(4, 4)), (Some(1), Some(1)));
        assert_eq!(size(0, 1), None);
    }

    #[test]
    fn a_mask_without_defects_or_pixels_has_none() {
        assert_eq!(Regions::of(&[false; 6], 3).len(), 0);
        assert_eq!(Regions::of(&[], 0).len(), 0);
        assert_eq!(Regions::of(&[true; 6], 6).len(), 1);
        assert_eq!(Regions::of(&[true, false, true], 0).len(), 2);
    }
}
