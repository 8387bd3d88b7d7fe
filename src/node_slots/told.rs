//! Remembers what was logged.

use std::{collections::HashSet, mem};

/// What was logged, so that trouble that lasts is logged once and not in every round.
#[derive(Debug, Default)]
pub(super) struct Told {
    before: HashSet<String>,
    now: HashSet<String>,
}

impl Told {
    /// Returns whether the trouble at `path` is new.
    pub fn is_news(&mut self, path: &str) -> bool {
        self.now.insert(path.to_owned()) && !self.before.contains(path)
    }

    /// Forgets trouble that this round did not meet again.
    pub fn end_round(&mut self) {
        self.before = mem::take(&mut self.now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_news_until_it_was_met_and_again_after_it_was_gone() {
        let mut told = Told::default();
        assert!(told.is_news("a"));
        assert!(!told.is_news("a"));
        told.end_round();
        assert!(!told.is_news("a") && told.is_news("b"));
        told.end_round();
        told.end_round();
        assert!(told.is_news("a"));
    }
}
