//! The two terms of a flow's likelihood.

/// A flow's negative log-likelihood of some images as the sum that it is: `-ln p(z) - ln |det dz/dx|` (Dinh
/// et al., arXiv:1605.08803, equation 2), where `z` is what the flow makes of `x`.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// Name of the score that it is, or, where scores are standardised, of the one that it becomes.
    pub score: &'static str,
    /// Unit of both terms.
    pub unit: &'static str,
    /// `-ln p(z)` of every image: how far from the mode of the base distribution it lands.
    pub base: Vec<f32>,
    /// `-ln |det dz/dx|` of every image: how strongly the flow shrinks what is around it.
    pub log_det: Vec<f32>,
}

impl Terms {
    /// Unit of the likelihood of an image's values, `-log2 p` for each of them.
    pub const BITS: &'static str = "bits/dim";
}
