//! The nearest valid name for a misspelt one.

/// The candidate that is most like `name`, if any is like it at all.
pub(crate) fn nearest<'a>(
    name: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    candidates
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        // Below this, a suggestion is a guess that confuses more than it helps.
        .filter(|(likeness, _)| *likeness > 0.65)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, candidate)| candidate)
}

/// `; did you mean X?` with the nearest name in backquotes, or a full stop.
pub(crate) fn did_you_mean<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> String {
    match nearest(name, candidates) {
        Some(known) => format!("; did you mean `{known}`?"),
        None => ".".to_owned(),
    }
}
