//! Resident memory of the running process.

use std::fs;

/// Resident bytes, page by page as the kernel finds them.
///
/// # Panics
///
/// Where the system does not tell, which Linux does in `/proc/self/smaps_rollup`.
pub fn resident() -> usize {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").expect("Linux tells what is resident");
    parse(&rollup).expect("resident memory is in KiB")
}

fn parse(rollup: &str) -> Option<usize> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()? << 10)
}

/// How many bytes more are resident than there were before.
pub fn resident_since(before: usize) -> f64 {
    resident() as f64 - before as f64
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    #[test]
    fn reads_the_kernels_text() {
        let rollup =
            "55d0-7ffd ---p 00000000 00:00 0 [rollup]\nRss:                1972 kB\nPss:                 301 kB\n";
        assert_eq!(parse(rollup), Some(1972 << 10));
        assert_eq!(parse("Pss: 1 kB\n"), None);
    }

    #[test]
    fn what_is_written_is_resident() {
        let before = resident();
        let block = black_box(vec![1_u8; 64 << 20]);
        // Other tests of this process may have come and gone in between.
        assert!(resident_since(before) > 32e6);
        drop(block);
    }
}
