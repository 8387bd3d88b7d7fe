//! The geometry of the overview's drawings: stacked bars, and the strip of durations.

use super::sections::DecisionStatus;

/// The size of the strip, in units of its view box: it has room for all decisions that are kept.
const STRIP_WIDTH: f64 = 1000.0;
const STRIP_HEIGHT: f64 = 64.0;
const STRIP_STEP: f64 = STRIP_WIDTH / 200.0;
/// The shortest and the longest duration on the strip's logarithmic scale, in microseconds.
const STRIP_RANGE: (f64, f64) = (10.0, 1_000_000.0);

/// A decision on the strip.
pub(super) struct Tick {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) height: f64,
    pub(super) strategy: &'static str,
}

/// A share of a total, as a section of a bar that is 100 units wide.
pub(super) struct Share {
    pub(super) name: &'static str,
    pub(super) count: usize,
    pub(super) x: f64,
    pub(super) width: f64,
}

/// Places the shares that are not zero side by side.
pub(super) fn bar(counts: impl IntoIterator<Item = (&'static str, usize)>) -> Vec<Share> {
    let counts: Vec<_> = counts.into_iter().filter(|(_, count)| *count > 0).collect();
    let total: usize = counts.iter().map(|(_, count)| count).sum();
    let mut x = 0.0;
    let share = |(name, count): (&'static str, usize)| {
        let width = 100.0 * float(count) / float(total);
        let share = Share {
            name,
            count,
            x,
            width,
        };
        x += width;
        share
    };
    counts.into_iter().map(share).collect()
}

/// Places decisions, newest first, from right to left.
pub(super) fn strip(decisions: &[DecisionStatus]) -> Vec<Tick> {
    let ticks = decisions.iter().enumerate();
    ticks
        .map(|(i, decision)| {
            let height = height(float(decision.duration_microseconds));
            Tick {
                x: STRIP_WIDTH - STRIP_STEP * float(i + 1),
                y: STRIP_HEIGHT - height,
                height,
                strategy: decision.strategy,
            }
        })
        .collect()
}

/// Returns where the strip's lines are: 100 µs, 1 ms, 10 ms and 100 ms.
pub(super) fn grid() -> [f64; 4] {
    [100.0, 1e3, 1e4, 1e5].map(|microseconds| STRIP_HEIGHT - height(microseconds))
}

/// Returns the height of a duration, in microseconds, on the strip.
fn height(duration: f64) -> f64 {
    let (shortest, longest) = STRIP_RANGE;
    let part =
        (duration.clamp(shortest, longest) / shortest).log10() / (longest / shortest).log10();
    (STRIP_HEIGHT * part).max(1.0).round()
}

/// Converts a number for drawing; numbers beyond `u32` are off any drawing.
fn float(number: impl TryInto<u32>) -> f64 {
    number.try_into().map_or(f64::from(u32::MAX), f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_of_a_bar_fill_it() {
        let bar = bar([("dind", 3), ("none", 0), ("containerd", 1)]);
        let ends: Vec<f64> = bar.iter().map(|share| share.x + share.width).collect();
        assert_eq!(ends, [75.0, 100.0]);
        assert!(super::bar([("dind", 0)]).is_empty());
    }

    #[test]
    fn ticks_grow_with_the_logarithm_and_stay_within_the_strip() {
        assert!(height(0.0) >= 1.0);
        assert!(height(100.0) < height(1_000.0));
        assert!(height(1e12) <= STRIP_HEIGHT);
    }
}
