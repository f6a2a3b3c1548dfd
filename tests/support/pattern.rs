//! Bytes to recognise a block's contents by.

use std::sync::OnceLock;

/// Longest pattern, in bytes.
pub(crate) const LONGEST: usize = 12 << 20;

/// The pattern repeats after this many bytes: 8 times a prime, so that nothing is shifted by that by chance.
const PERIOD: usize = 8 * 65_521;

/// Patterns begin at offsets below this.
pub(crate) const SALTS: usize = 1 << 12;

/// Pseudo-random bytes, others for each salt: shifted or mixed up they are not the same.
pub(crate) fn pattern(salt: usize, len: usize) -> &'static [u8] {
    static PATTERN: OnceLock<Vec<u8>> = OnceLock::new();
    let bytes = PATTERN.get_or_init(|| {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut bytes = Vec::with_capacity(LONGEST + SALTS);
        while bytes.len() < PERIOD {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        while bytes.len() < LONGEST + SALTS {
            bytes.extend_from_within(..PERIOD.min(LONGEST + SALTS - bytes.len()));
        }
        bytes
    });
    &bytes[salt % SALTS..salt % SALTS + len]
}

/// Whether all bytes are zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    static ZEROS: [u8; 4096] = [0; 4096];
    bytes.chunks(ZEROS.len()).all(|chunk| *chunk == ZEROS[..chunk.len()])
}
