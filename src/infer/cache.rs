//! Things that were costly to make, kept while they fit into a budget of bytes; what was not used for longest goes first.

use std::{collections::HashMap, hash::Hash};

/// A cache of values by key.
#[derive(Debug)]
pub(super) struct ByteCache<K, V> {
    entries: HashMap<K, Entry<V>>,
    budget: usize,
    bytes: usize,
    clock: u64,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    bytes: usize,
    used: u64,
}

impl<K: Eq + Hash + Clone, V: Clone> ByteCache<K, V> {
    /// At most `budget` bytes, but always the newest entry.
    pub(super) fn new(budget: usize) -> Self {
        Self {
            entries: HashMap::new(),
            budget,
            bytes: 0,
            clock: 0,
        }
    }

    /// Bytes that there is room for.
    pub(super) fn budget(&self) -> usize {
        self.budget
    }

    /// The value of a key, now the most recently used.
    pub(super) fn get(&mut self, key: &K) -> Option<V> {
        self.clock += 1;
        let entry = self.entries.get_mut(key)?;
        entry.used = self.clock;
        Some(entry.value.clone())
    }

    /// Keeps a value of so many bytes.
    pub(super) fn put(&mut self, key: K, value: V, bytes: usize) {
        self.clock += 1;
        let entry = Entry {
            value,
            bytes,
            used: self.clock,
        };
        self.bytes += bytes;
        if let Some(old) = self.entries.insert(key, entry) {
            self.bytes -= old.bytes;
        }
        self.forget_down_to(self.budget, 1);
    }

    /// Makes room for a value of so many bytes that is yet to be made, so that what it replaces is not held beside it.
    pub(super) fn make_room(&mut self, bytes: usize) {
        self.forget_down_to(self.budget.saturating_sub(bytes), 0);
    }

    /// Forgets what was not used for longest until no more than so many bytes, or so many entries, are left.
    fn forget_down_to(&mut self, bytes: usize, entries: usize) {
        while self.bytes > bytes && self.entries.len() > entries {
            let oldest = self.entries.iter().min_by_key(|(_, e)| e.used);
            let Some(key) = oldest.map(|(k, _)| k.clone()) else {
                break;
            };
            if let Some(gone) = self.entries.remove(&key) {
                self.bytes -= gone.bytes;
            }
        }
    }

    /// Halves the budget, and forgets at once what no longer fits.
    pub(super) fn halve(&mut self) {
        self.budget /= 2;
        self.forget_down_to(self.budget, 0);
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut cache = ByteCache::new(30);
        for k in 0..3 {
            cache.put(k, k * 10, 10);
        }
        assert_eq!(cache.get(&0), Some(0));
        cache.put(3, 30, 10);
        assert_eq!(cache.get(&1), None);
        assert_eq!(
            (cache.get(&0), cache.get(&2), cache.get(&3)),
            (Some(0), Some(20), Some(30))
        );
        cache.put(4, 40, 1000);
        assert_eq!((cache.get(&4), cache.get(&0)), (Some(40), None));
        cache.put(4, 41, 5);
        cache.put(5, 50, 5);
        assert_eq!((cache.get(&4), cache.get(&5)), (Some(41), Some(50)));
        cache.clear();
        assert_eq!(cache.get(&5), None);
        cache.halve();
        cache.put(6, 60, 10);
        cache.put(7, 70, 10);
        assert_eq!((cache.get(&6), cache.get(&7)), (None, Some(70)));
        cache.make_room(5);
        assert_eq!(cache.get(&7), Some(70), "five of fifteen are free");
        cache.make_room(1000);
        assert_eq!(cache.get(&7), None);
    }

    #[test]
    fn half_a_budget_lets_go_of_what_no_longer_fits_at_once() {
        let held = Arc::new(());
        let mut cache = ByteCache::new(40);
        for k in 0..4 {
            cache.put(k, Arc::clone(&held), 10);
        }
        cache.halve();
        assert_eq!(Arc::strong_count(&held), 1 + 2);
        assert!(cache.get(&0).is_none() && cache.get(&3).is_some());
        // Not even the newest stays if it is too large.
        cache.put(4, Arc::clone(&held), 30);
        cache.halve();
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
