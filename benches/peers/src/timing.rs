//! A clock that grows the work until it fills its time.

use std::time::{Duration, Instant};

/// Parts that the budget is split into.
///
/// A part is long enough for all that recurs in a heap to recur in it, and short enough that some parts pass without an
/// interruption on a machine that is not quite idle.
const PARTS: u32 = 10;

/// Nanoseconds that `work(units)` takes per unit in the fastest part of the budget.
///
/// Runs the work in doubling amounts first, which warms it up, then in the amount that fills a part, part by part.
pub fn nanoseconds_per_unit(budget: Duration, mut work: impl FnMut(u64)) -> f64 {
    let part = budget / PARTS;
    let mut time = |units: u64| {
        let start = Instant::now();
        work(units);
        start.elapsed()
    };
    let mut units = 1;
    let mut elapsed = time(units);
    loop {
        while elapsed < part {
            units *= 2;
            elapsed = time(units);
        }
        // An interruption fills a part as well.
        elapsed = elapsed.min(time(units)).min(time(units));
        if elapsed >= part {
            break;
        }
    }
    let units = (units as f64 * part.as_secs_f64() / elapsed.as_secs_f64()).max(1.0) as u64;
    let fastest = (0..PARTS).map(|_| time(units)).min().unwrap_or_default();
    fastest.as_secs_f64() * 1e9 / units as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interruption_does_not_stand_for_the_work() {
        let mut calls = 0;
        let mut amounts = Vec::new();
        nanoseconds_per_unit(Duration::from_millis(400), |units| {
            calls += 1;
            amounts.push(units);
            let interruption = if calls == 2 { Duration::from_millis(100) } else { Duration::ZERO };
            std::thread::sleep(interruption + Duration::from_millis(1) * units as u32);
        });
        assert!(amounts[amounts.len() - 1] > 2, "{amounts:?}");
    }

    #[test]
    fn measures_what_a_unit_takes_in_parts_that_fit() {
        let pause = Duration::from_micros(200);
        let mut amounts = Vec::new();
        let measured = nanoseconds_per_unit(Duration::from_millis(20), |units| {
            amounts.push(units);
            std::thread::sleep(pause * units as u32);
        });
        assert!(measured >= 200_000.0, "{measured} ns");
        assert!(amounts.ends_with(&[amounts[amounts.len() - 1]; PARTS as usize]));
        assert!(amounts[amounts.len() - 1] <= 10, "a part takes 2 ms");
    }
}
