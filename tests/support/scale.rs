//! How often long loops of tests run: the one place that reads `MALLOCSTATE_TEST_SCALE`.

use std::sync::OnceLock;

/// The environment variable that shrinks long loops, for emulators and sanitizers.
const SCALE: &str = "MALLOCSTATE_TEST_SCALE";

/// How often a loop that runs `full` times by default runs here.
///
/// `MALLOCSTATE_TEST_SCALE` is a positive factor: `0.1` runs a tenth of every long loop, `3` three times as much; unset
/// means `1`. The result is at least 1 unless `full` is 0.
///
/// # Panics
///
/// When the variable holds anything but a positive, finite number.
pub(crate) fn scale(full: usize) -> usize {
    static FACTOR: OnceLock<f64> = OnceLock::new();
    let factor = *FACTOR.get_or_init(|| match std::env::var(SCALE) {
        Err(std::env::VarError::NotPresent) => 1.0,
        Err(error) => panic!("{SCALE}: {error}"),
        Ok(text) => match text.trim().parse::<f64>() {
            Ok(factor) if factor.is_finite() && factor > 0.0 => factor,
            _ => panic!("{SCALE} is a positive factor such as 0.1, not {text:?}"),
        },
    });
    if full == 0 { 0 } else { ((full as f64 * factor) as usize).max(1) }
}

/// How far a loop steps that tries every one of many cases by default: 1, or about the reciprocal of the factor.
///
/// It is prime to 2 and 3, of which lists of cases are made: no value of any list is left out throughout.
pub(crate) fn stride() -> usize {
    let reciprocal = 1_000_000 / scale(1_000_000).min(1_000_000);
    reciprocal / 6 * 6 + 1
}
