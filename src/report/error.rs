//! Why a report cannot be written.

/// An error of rendering a report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A figure that could not be drawn.
    #[error("figure \"{title}\" could not be drawn: {reason}")]
    Figure {
        /// Title of the figure.
        title: String,
        /// What the plotting library said.
        reason: String,
    },
    /// Two lists that belong together and differ in length or image shape.
    #[error(
        "\"{title}\": {left} and {right} do not belong together: fill both from the same images"
    )]
    Mismatch {
        /// Title of the part of the report.
        title: String,
        /// The one list, in words.
        left: String,
        /// The other list, in words.
        right: String,
    },
    /// A picture that could not be encoded.
    #[error("a picture could not be encoded as PNG")]
    Picture(#[from] image::ImageError),
    /// The page template failed.
    #[error("the report page could not be written")]
    Page(#[from] askama::Error),
}
