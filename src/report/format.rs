//! Numbers as a reader wants them.

use indicatif::HumanCount;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What a link escapes: all but RFC 3986's unreserved characters and the separator.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'/');

/// "12,345" for captions and tables.
pub(super) fn count(number: usize) -> String {
    HumanCount(number as u64).to_string()
}

/// A score in about four digits, with a true minus sign.
pub(super) fn short(score: f32) -> String {
    let size = score.abs();
    let text = if size >= 1e5 || (size > 0.0 && size < 1e-3) {
        format!("{score:.2e}")
    } else if size >= 100.0 {
        format!("{score:.0}")
    } else if size >= 1.0 {
        format!("{score:.1}")
    } else {
        format!("{score:.4}")
    };
    text.replace('-', "\u{2212}")
}

/// "-0.12" with a true minus sign.
pub(super) fn decimals(value: f64, places: usize) -> String {
    format!("{value:.places$}").replace('-', "\u{2212}")
}

/// "0.42 s", "3 min 12 s", "2 h 05 min".
pub(super) fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "unknown".into();
    }
    let whole = seconds.round() as u64;
    match whole {
        0..=9 => format!("{seconds:.2} s"),
        10..=59 => format!("{seconds:.1} s"),
        60..=3599 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// "Figure 2", or "Figure 2b" for one of several panels.
pub(super) fn panel(figure: usize, index: usize, panels: usize) -> String {
    match u8::try_from(index) {
        Ok(index) if panels > 1 && index < 26 => {
            format!("Figure {figure}{}", char::from(b'a' + index))
        }
        _ if panels > 1 => format!("Figure {figure}.{}", index + 1),
        _ => format!("Figure {figure}"),
    }
}

/// `path` as a link beside the page: percent-encoded, so that it holds in HTML and Markdown alike.
/// None when it is empty or absolute: a page must stay whole when its folder is moved.
pub(super) fn relative_link(path: &str) -> Option<String> {
    if path.is_empty() || path.starts_with('/') {
        return None;
    }
    Some(utf8_percent_encode(path, ESCAPED).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped_by_three() {
        assert_eq!(count(7), "7");
        assert_eq!(count(26_032), "26,032");
        assert_eq!(count(1_000_000), "1,000,000");
    }

    #[test]
    fn links_stay_in_the_folder_of_the_page() {
        let link = |path| relative_link(path).unwrap_or_default();
        assert_eq!(
            link("mnist-3/seed-0/report.html"),
            "mnist-3/seed-0/report.html"
        );
        assert_eq!(link("a b/#1?(x).html"), "a%20b/%231%3F%28x%29.html");
        assert_eq!(link("javascript:alert(1)"), "javascript%3Aalert%281%29");
        assert_eq!(link("/etc/passwd"), "");
        assert_eq!(link("//host/x"), "");
        assert_eq!(link(""), "");
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(duration(0.4), "0.40 s");
        assert_eq!(duration(59.6), "1 min 00 s");
        assert_eq!(duration(7500.0), "2 h 05 min");
        assert_eq!(duration(f64::NAN), "unknown");
        assert_eq!(short(-1234.4), "\u{2212}1234");
        assert_eq!(short(0.12345), "0.1235");
        assert_eq!(panel(1, 1, 2), "Figure 1b");
    }
}
