//! Whitening by the Cholesky factor of a covariance.

use nalgebra::DMatrix;

/// The inverse of the lower Cholesky factor of a covariance, and half the log-determinant of its
/// inverse: `|W (x - m)|^2` is the squared Mahalanobis distance.
///
/// A covariance that is not positive definite gets more and more added to its diagonal until it is.
pub(crate) fn whitening(covariance: &DMatrix<f64>) -> (DMatrix<f64>, f64) {
    let dim = covariance.nrows();
    // No ridge helps there; the scores come out as not finite, which is reported.
    if covariance.iter().any(|value| !value.is_finite()) {
        return (DMatrix::identity(dim, dim) * f64::NAN, f64::NAN);
    }
    let scale = (covariance.trace() / dim as f64).max(f64::MIN_POSITIVE);
    let mut ridge = 0.0;
    loop {
        let ridged = covariance + DMatrix::identity(dim, dim) * ridge;
        if let Some(cholesky) = ridged.cholesky() {
            let factor = cholesky.l();
            let half_log_det: f64 = factor.diagonal().iter().map(|value| value.ln()).sum();
            let identity = DMatrix::identity(dim, dim);
            if let Some(inverse) = factor.solve_lower_triangular(&identity) {
                return (inverse, -half_log_det);
            }
        }
        ridge = if ridge == 0.0 {
            1e-9 * scale
        } else {
            10.0 * ridge
        };
    }
}
