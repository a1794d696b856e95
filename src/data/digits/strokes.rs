//! The shapes of the ten digits: which strokes a hand makes, in several styles each.
//!
//! A stroke is a list of points a smooth curve passes through, in a unit box with `x` to the right
//! and `y` down. A point given twice in a row is a corner.

use super::Hand;

/// `[x, y]`.
pub(super) type Point = [f32; 2];
/// Points a smooth curve passes through; one given twice is a corner.
pub(super) type Stroke = Vec<Point>;

/// The strokes of `digit` (0..=9) in a random style, with every point a little off its place.
pub(super) fn write(digit: u8, hand: &mut Hand) -> Vec<Stroke> {
    let mut strokes = match digit {
        0 => zero(hand),
        1 => one(hand),
        2 => two(hand),
        3 => three(hand),
        4 => four(hand),
        5 => five(hand),
        6 => six(hand),
        7 => seven(hand),
        8 => eight(hand),
        _ => nine(hand),
    };
    // Some hands are steady and some are not.
    let tremor = hand.between(0.01, 0.055);
    for stroke in &mut strokes {
        let mut written: Vec<Point> = Vec::with_capacity(stroke.len());
        for (at, &[x, y]) in stroke.iter().enumerate() {
            let corner = at > 0 && stroke[at - 1] == [x, y];
            let point = match written.last() {
                Some(&last) if corner => last,
                _ => [x + hand.normal(tremor), y + hand.normal(tremor)],
            };
            written.push(point);
        }
        *stroke = written;
    }
    strokes
}

/// Points on an ellipse from angle `start` over `sweep` radians; zero is right, a quarter down.
fn arc(centre: Point, radius: Point, start: f32, sweep: f32, points: usize) -> Stroke {
    (0..points)
        .map(|i| {
            let angle = start + sweep * i as f32 / (points - 1) as f32;
            [
                centre[0] + radius[0] * angle.cos(),
                centre[1] + radius[1] * angle.sin(),
            ]
        })
        .collect()
}

const TURN: f32 = std::f32::consts::TAU;

fn zero(hand: &mut Hand) -> Vec<Stroke> {
    let width = hand.between(0.3, 0.55);
    let start = hand.between(-0.42, -0.12) * TURN;
    // Below one turn the ring stays open, above it the ends overlap.
    let sweep = -hand.between(0.88, 1.12) * TURN;
    let mut strokes = vec![arc([0.5, 0.5], [width, 0.5], start, sweep, 10)];
    if hand.chance(0.06) {
        strokes.push(vec![[0.75, 0.1], [0.25, 0.9]]);
    }
    strokes
}

fn one(hand: &mut Hand) -> Vec<Stroke> {
    let bow = hand.normal(0.04);
    let mut stem = vec![[0.5, 0.0], [0.5 + bow, 0.5], [0.5, 1.0]];
    if hand.chance(0.45) {
        let reach = hand.between(0.08, 0.28);
        let drop = hand.between(0.08, 0.3);
        stem.splice(0..0, [[0.5 - reach, drop], [0.5, 0.0]]);
    }
    let mut strokes = vec![stem];
    if hand.chance(0.22) {
        let reach = hand.between(0.12, 0.35);
        strokes.push(vec![[0.5 - reach, 1.0], [0.5 + reach, 1.0]]);
    }
    strokes
}

fn two(hand: &mut Hand) -> Vec<Stroke> {
    let start = [hand.between(0.05, 0.25), hand.between(0.12, 0.34)];
    let belly = [hand.between(0.72, 0.92), hand.between(0.2, 0.36)];
    let end = [hand.between(0.85, 1.05), hand.between(0.8, 1.0)];
    let mut stroke = vec![start, [0.45, 0.0], belly, [0.58, 0.6]];
    if hand.chance(0.4) {
        let size = hand.between(0.05, 0.16);
        stroke.extend([
            [0.22, 0.93],
            [0.05, 0.96 - size],
            [0.22, 0.84 - size / 2.0],
            [0.5, 0.92],
        ]);
    } else {
        let corner = [hand.between(0.02, 0.15), 0.97];
        stroke.extend([corner, corner, [0.5, hand.between(0.9, 0.99)]]);
    }
    stroke.push(end);
    vec![stroke]
}

fn three(hand: &mut Hand) -> Vec<Stroke> {
    let waist = [hand.between(0.3, 0.55), hand.between(0.4, 0.52)];
    let lower = hand.between(0.75, 0.95);
    let end = [hand.between(0.0, 0.15), hand.between(0.75, 0.95)];
    let mut stroke = if hand.chance(0.22) {
        let corner = [0.78, 0.03];
        vec![[0.12, 0.05], corner, corner, waist, waist]
    } else {
        let upper = [hand.between(0.68, 0.85), 0.2];
        let start = [hand.between(0.08, 0.22), hand.between(0.06, 0.24)];
        let mut top = vec![start, [0.45, 0.0], upper, waist];
        match hand.between(0.0, 1.0) {
            ..0.55 => top.push(waist),
            ..0.8 => top.extend([
                [waist[0] - 0.12, waist[1] + 0.04],
                [waist[0], waist[1] + 0.07],
            ]),
            _ => {}
        }
        top
    };
    stroke.extend([[lower, 0.7], [0.45, 1.0], end]);
    vec![stroke]
}

fn four(hand: &mut Hand) -> Vec<Stroke> {
    let bar = hand.between(0.45, 0.68);
    let reach = [hand.between(0.85, 1.05), bar + hand.normal(0.04)];
    let foot = [hand.between(0.55, 0.75), 1.0];
    match hand.between(0.0, 1.0) {
        // Closed or nearly so: a diagonal down, a bar, a stem from the same place.
        ..0.35 => {
            let tip = [hand.between(0.55, 0.75), 0.0];
            let gap = hand.between(0.0, 0.15);
            let corner = [0.03, bar];
            vec![
                vec![[tip[0] - gap, 0.0], corner, corner, reach],
                vec![tip, foot],
            ]
        }
        // Open, with a corner.
        ..0.7 => {
            let corner = [hand.between(0.02, 0.12), bar];
            let top = [hand.between(0.05, 0.3), 0.0];
            let stem = [hand.between(0.65, 0.85), hand.between(-0.05, 0.25)];
            vec![vec![top, corner, corner, reach], vec![stem, foot]]
        }
        // Open and round, in one go; closing its top would make a 9.
        _ => {
            let right = [hand.between(0.72, 0.88), hand.between(-0.02, 0.12)];
            let left = hand.between(0.08, 0.45);
            vec![vec![
                [left, 0.02],
                [left.min(0.2) - 0.08, bar - 0.15],
                [0.35, bar],
                [0.68, bar - 0.12],
                right,
                right,
                [right[0] - 0.06, 0.55],
                foot,
            ]]
        }
    }
}

fn five(hand: &mut Hand) -> Vec<Stroke> {
    let neck = [hand.between(0.12, 0.3), hand.between(0.34, 0.5)];
    let belly = [hand.between(0.75, 0.95), hand.between(0.58, 0.75)];
    let end = [hand.between(0.0, 0.15), hand.between(0.8, 0.96)];
    let bar_start = [hand.between(0.7, 1.0), hand.between(-0.06, 0.08)];
    let bar_end = [hand.between(0.2, 0.36), 0.04];
    let bowl = [[0.52, neck[1] - 0.04], belly, [0.48, 1.0], end];
    match hand.between(0.0, 1.0) {
        // In one go from the bar, with corners.
        ..0.45 => {
            let mut stroke = vec![bar_start, bar_end, bar_end, neck, neck];
            stroke.extend(bowl);
            vec![stroke]
        }
        // The bar is added last and may miss the stem.
        ..0.8 => {
            let lift = hand.between(-0.08, 0.06);
            let mut stroke = vec![[bar_end[0], 0.06], neck, neck];
            stroke.extend(bowl);
            let bar = vec![
                [bar_end[0], 0.05 + lift],
                [bar_start[0], bar_start[1] + lift],
            ];
            vec![stroke, bar]
        }
        // Round like an S.
        _ => {
            let mut stroke = vec![bar_start, [0.4, 0.03], neck];
            stroke.extend(&bowl[1..]);
            vec![stroke]
        }
    }
}

fn six(hand: &mut Hand) -> Vec<Stroke> {
    let top = [hand.between(0.4, 0.85), 0.0];
    let size = hand.between(0.16, 0.28);
    let width = hand.between(0.28, 0.45);
    let middle = [0.5, 1.0 - size];
    let close = hand.between(0.8, 1.12);
    let mut stroke = vec![top, [0.5 - width * 0.75 + hand.normal(0.06), 0.36]];
    stroke.extend(arc(middle, [width, size], 0.5 * TURN, -close * TURN, 8));
    vec![stroke]
}

fn seven(hand: &mut Hand) -> Vec<Stroke> {
    let corner = [hand.between(0.78, 0.98), hand.between(0.0, 0.1)];
    let foot = [hand.between(0.2, 0.6), 1.0];
    let knee = [
        (corner[0] + foot[0]) / 2.0 + hand.normal(0.08),
        hand.between(0.42, 0.56),
    ];
    let mut stroke = vec![[hand.between(0.0, 0.3), hand.between(0.0, 0.14)]];
    if hand.chance(0.2) {
        stroke.insert(0, [stroke[0][0], stroke[0][1] + hand.between(0.08, 0.2)]);
        stroke.insert(1, stroke[1]);
    }
    stroke.push(corner);
    if hand.chance(0.7) {
        stroke.push(corner);
    }
    stroke.extend([knee, foot]);
    let mut strokes = vec![stroke];
    if hand.chance(0.25) {
        let reach = hand.between(0.15, 0.3);
        let tilt = hand.normal(0.05);
        strokes.push(vec![
            [knee[0] - reach, knee[1] + tilt],
            [knee[0] + reach, knee[1] - tilt],
        ]);
    }
    strokes
}

fn eight(hand: &mut Hand) -> Vec<Stroke> {
    let waist = hand.between(0.4, 0.54);
    let upper = hand.between(0.2, 0.4);
    let lower = hand.between(0.26, 0.46);
    if hand.chance(0.25) {
        let start = hand.between(0.0, 1.0) * TURN;
        let [top, bottom] = [waist / 2.0, (1.0 - waist) / 2.0];
        return vec![
            arc([0.5, top], [upper, top], start, 1.03 * TURN, 8),
            arc(
                [0.5, 1.0 - bottom],
                [lower, bottom],
                -0.25 * TURN,
                1.03 * TURN,
                9,
            ),
        ];
    }
    let start = [0.5 + upper, hand.between(0.08, 0.22)];
    // The last stroke climbs back to the start, or stops short of it, or passes it.
    let end = [
        start[0] + hand.normal(0.07),
        start[1] + hand.between(-0.06, 0.16),
    ];
    let half = (1.0 + waist) / 2.0;
    vec![vec![
        start,
        [0.5, 0.0],
        [0.5 - upper, waist / 2.0],
        [0.5, waist],
        [0.5 + lower, half],
        [0.5, 1.0],
        [0.5 - lower, half],
        [0.48, waist + 0.03],
        end,
    ]]
}

fn nine(hand: &mut Hand) -> Vec<Stroke> {
    let height = hand.between(0.16, 0.3);
    let width = hand.between(0.24, 0.42);
    let start = hand.between(-0.16, 0.0) * TURN;
    let close = hand.between(0.8, 1.08);
    let mut stroke = arc([0.5, height], [width, height], start, -close * TURN, 8);
    let right = 0.5 + width;
    match hand.between(0.0, 1.0) {
        ..0.5 => {
            // Straight down from a corner.
            let top = [right, hand.between(0.02, 0.2)];
            stroke.extend([top, top, [right - 0.05, 0.55]]);
            stroke.push([hand.between(0.5, 0.9), 1.0]);
        }
        ..0.75 => {
            // A tail that swings to the left.
            stroke.extend([[right, height], [right - 0.02, 0.65]]);
            stroke.extend([[0.5, 1.0], [hand.between(0.05, 0.25), 0.88]]);
        }
        _ => {
            // Round into a leaning stem.
            stroke.push([right - 0.02, height + 0.04]);
            stroke.extend([[right - 0.12, 0.62], [hand.between(0.2, 0.5), 1.0]]);
        }
    }
    vec![stroke]
}
