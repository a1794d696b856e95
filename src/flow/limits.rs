//! What sizes of a flow can be: one list for settings and for the sizes in a model file.

use std::ops::RangeInclusive;

/// The name of a size, its value, and what it can be.
pub(crate) type Limit = (&'static str, usize, RangeInclusive<usize>);

/// What keeps a flow of these sizes from being built, if anything does: a damaged file must not ask for more
/// memory than there is.
///
/// # Errors
/// The first size outside its limits.
pub(super) fn within(limits: impl IntoIterator<Item = Limit>) -> Result<(), String> {
    for (name, value, allowed) in limits {
        if !allowed.contains(&value) {
            return Err(format!("the flow's {name} is {value}, outside {allowed:?}"));
        }
    }
    Ok(())
}
