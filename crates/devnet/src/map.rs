//! A persistent hash map: cloning it costs one reference count.
//!
//! Everything the chain remembers lives in such maps. A block's state, a snapshot, the view an `eth_call` runs on and the
//! branch point of a reorganisation are therefore plain clones, and no reader ever holds a lock while it works. While a
//! map is not shared, insertion changes it in place.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

const BITS_PER_LEVEL: u32 = 4;
const WIDTH: usize = 1 << BITS_PER_LEVEL;

/// A map without removal: nothing here needs it, and a removed account is a default one.
#[derive(Debug)]
pub(crate) struct Map<K, V> {
    root: Option<Arc<Node<K, V>>>,
}

#[derive(Debug, Clone)]
enum Node<K, V> {
    /// All entries of one 64-bit hash; more than one only if hashes collide.
    Leaf(u64, Vec<(K, V)>),
    Branch([Option<Arc<Node<K, V>>>; WIDTH]),
}

impl<K, V> Clone for Map<K, V> {
    fn clone(&self) -> Self {
        Self { root: self.root.clone() }
    }
}

impl<K, V> Default for Map<K, V> {
    fn default() -> Self {
        Self { root: None }
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Map<K, V> {
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        let hash = hash_of(key);
        let mut node = self.root.as_deref()?;
        let mut shift = 0;
        loop {
            match node {
                Node::Leaf(leaf_hash, entries) => {
                    let entry = entries.iter().find(|(candidate, _)| *leaf_hash == hash && candidate == key);
                    return entry.map(|(_, value)| value);
                }
                Node::Branch(children) => {
                    node = children.get(slot(hash, shift))?.as_deref()?;
                    shift += BITS_PER_LEVEL;
                }
            }
        }
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        let hash = hash_of(&key);
        let mut place = &mut self.root;
        let mut shift = 0;
        loop {
            let Some(shared) = place else {
                *place = Some(Arc::new(Node::Leaf(hash, vec![(key, value)])));
                return;
            };
            if let Node::Leaf(other, _) = shared.as_ref()
                && *other != hash
            {
                let lower = Arc::clone(shared);
                let mut children: [Option<Arc<Node<K, V>>>; WIDTH] = std::array::from_fn(|_| None);
                if let Some(child) = children.get_mut(slot(*other, shift)) {
                    *child = Some(lower);
                }
                *shared = Arc::new(Node::Branch(children));
            }
            match Arc::make_mut(shared) {
                Node::Leaf(_, entries) => {
                    if let Some(entry) = entries.iter_mut().find(|(candidate, _)| *candidate == key) {
                        entry.1 = value;
                    } else {
                        entries.push((key, value));
                    }
                    return;
                }
                Node::Branch(children) => {
                    // `slot` is below WIDTH for every input, so the place is always there.
                    let Some(child) = children.get_mut(slot(hash, shift)) else { return };
                    place = child;
                    shift += BITS_PER_LEVEL;
                }
            }
        }
    }
}

fn hash_of<K: Hash>(key: &K) -> u64 {
    // Fixed keys: a development chain has no adversary, and a map must find what an older clone of it stored.
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

fn slot(hash: u64, shift: u32) -> usize {
    let [low, ..] = (hash >> shift).to_le_bytes();
    usize::from(low) % WIDTH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_keeps_what_it_had() {
        let mut map = Map::default();
        for key in 0..5000_u32 {
            map.insert(key, key);
        }
        let before = map.clone();
        for key in 0..6000_u32 {
            map.insert(key, key + 1);
        }
        for key in 0..6000_u32 {
            assert_eq!(before.get(&key).copied(), (key < 5000).then_some(key));
            assert_eq!(map.get(&key).copied(), Some(key + 1));
        }
    }

    #[test]
    fn colliding_keys_are_kept_apart() {
        #[derive(Clone, PartialEq, Eq, Debug)]
        struct Same(u8);
        impl Hash for Same {
            fn hash<H: Hasher>(&self, state: &mut H) {
                state.write_u8(0);
            }
        }
        let mut map = Map::default();
        map.insert(Same(1), 1);
        map.insert(Same(2), 2);
        map.insert(Same(1), 3);
        assert_eq!(map.get(&Same(1)), Some(&3));
        assert_eq!(map.get(&Same(2)), Some(&2));
        assert_eq!(map.get(&Same(3)), None);
    }
}
