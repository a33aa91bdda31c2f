//! A sorted map that is shared: a change copies the few nodes on the way to what it changes, and readers keep theirs.
//!
//! It is a B+ tree whose nodes take no more memory than what they hold, for maps of a million entries of a few bytes
//! each: a key and a pointer cost 24 bytes and little more, where a hash trie costs over a hundred. A node has at most
//! [`WIDTH`] entries, so a change of one entry in a million copies four of them.
//!
//! Touches nothing. Tests: below, which hold it against the standard library's map.

use std::{slice, sync::Arc};

/// The most entries of a node.
const WIDTH: usize = 64;
/// A node with fewer is joined with one beside it, when both fit into one.
const NARROW: usize = WIDTH / 4;

/// The map. A clone is the same map at this moment, and costs nothing.
pub(super) struct Tree<K, V> {
    root: Arc<Node<K, V>>,
    len: usize,
}

#[derive(Clone)]
enum Node<K, V> {
    /// Sorted, each key once.
    Leaf(Vec<(K, V)>),
    /// Each child with a key that is not above any of its own, and above all of the child before it.
    Branch(Vec<Child<K, V>>),
}

type Child<K, V> = (K, Arc<Node<K, V>>);

impl<K, V> Clone for Tree<K, V> {
    fn clone(&self) -> Self {
        Self { root: Arc::clone(&self.root), len: self.len }
    }
}

impl<K, V> Default for Tree<K, V> {
    fn default() -> Self {
        Self { root: Arc::new(Node::Leaf(Vec::new())), len: 0 }
    }
}

impl<K: Ord + Copy, V: Clone + PartialEq> PartialEq for Tree<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl<K: Ord + Copy, V: Clone> Tree<K, V> {
    /// How many entries there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The value under a key.
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        let mut node = &*self.root;
        loop {
            match node {
                Node::Leaf(entries) => {
                    let at = entries.binary_search_by(|(other, _)| other.cmp(key)).ok()?;
                    return entries.get(at).map(|(_, value)| value);
                }
                Node::Branch(children) => node = &children.get(towards(children, key))?.1,
            }
        }
    }

    /// The value under a key, to be changed in this map alone.
    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        // Nothing is copied for what is not there.
        self.get(key)?;
        let mut node = Arc::make_mut(&mut self.root);
        loop {
            match node {
                Node::Leaf(entries) => {
                    let at = entries.binary_search_by(|(other, _)| other.cmp(key)).ok()?;
                    return entries.get_mut(at).map(|(_, value)| value);
                }
                Node::Branch(children) => {
                    let at = towards(children, key);
                    node = Arc::make_mut(&mut children.get_mut(at)?.1);
                }
            }
        }
    }

    /// Puts a value under a key, over the one that is there.
    pub(super) fn insert(&mut self, key: K, value: V) {
        let (is_new, split) = insert(&mut self.root, key, value);
        self.len += usize::from(is_new);
        if let Some(right) = split {
            let left = Arc::clone(&self.root);
            let first = left.first().unwrap_or(right.0);
            self.root = Arc::new(Node::Branch(vec![(first, left), right]));
        }
    }

    /// Takes a key and its value out; gives the value.
    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        // Nothing is copied for what is not there.
        self.get(key)?;
        let removed = remove(&mut self.root, key);
        self.len -= usize::from(removed.is_some());
        while let Node::Branch(children) = &*self.root {
            let only = match children.as_slice() {
                [] => Arc::new(Node::Leaf(Vec::new())),
                [(_, only)] => Arc::clone(only),
                _ => break,
            };
            self.root = only;
        }
        removed
    }

    /// The map of these entries, in any order, in as few nodes as hold it: made one by one of as many, it would be of nodes
    /// that are half full, and the allocator would keep what the making left behind. Of two with one key the last counts.
    pub(super) fn of(mut entries: Vec<(K, V)>) -> Self {
        entries.sort_by_key(|(key, _)| *key);
        entries.reverse();
        entries.dedup_by_key(|(key, _)| *key);
        let len = entries.len();
        let mut level = Vec::with_capacity(len / WIDTH + 1);
        while let Some((first, _)) = entries.last() {
            let first = *first;
            let leaf = entries.split_off(len_of_rest(entries.len()));
            level.push((first, Arc::new(Node::Leaf(leaf.into_iter().rev().collect()))));
        }
        while level.len() > 1 {
            let branch = |children: &[Child<K, V>]| {
                let first = children.first().map(|(first, _)| *first)?;
                Some((first, Arc::new(Node::Branch(children.to_vec()))))
            };
            level = level.chunks(WIDTH).filter_map(branch).collect();
        }
        let root = level.pop().map_or_else(|| Arc::new(Node::Leaf(Vec::new())), |(_, root)| root);
        Self { root, len }
    }

    /// All entries, in the order of their keys.
    pub(super) fn iter(&self) -> Iter<'_, K, V> {
        let mut iter = Iter { branches: Vec::new(), leaf: [].iter() };
        iter.enter(&self.root);
        iter
    }

    /// All values, in the order of their keys.
    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }
}

impl<K: Copy, V> Node<K, V> {
    fn len(&self) -> usize {
        match self {
            Self::Leaf(entries) => entries.len(),
            Self::Branch(children) => children.len(),
        }
    }

    /// Its least key, or one that is not above it.
    fn first(&self) -> Option<K> {
        match self {
            Self::Leaf(entries) => entries.first().map(|(key, _)| *key),
            Self::Branch(children) => children.first().and_then(|(_, child)| child.first()),
        }
    }
}

/// The child that has the key, if any has.
fn towards<K: Ord, V>(children: &[Child<K, V>], key: &K) -> usize {
    children.partition_point(|(first, _)| first <= key).saturating_sub(1)
}

/// The right half of a node that had to be split, with a key not above its own.
type Right<K, V> = Option<Child<K, V>>;

/// Whether the key is new, and what was split off.
fn insert<K: Ord + Copy, V: Clone>(node: &mut Arc<Node<K, V>>, key: K, value: V) -> (bool, Right<K, V>) {
    match Arc::make_mut(node) {
        Node::Leaf(entries) => match entries.binary_search_by(|(other, _)| other.cmp(&key)) {
            Ok(at) => {
                if let Some(entry) = entries.get_mut(at) {
                    entry.1 = value;
                }
                (false, None)
            }
            Err(at) => {
                put(entries, at, (key, value));
                (true, split(entries).map(|(first, right)| (first, Arc::new(Node::Leaf(right)))))
            }
        },
        Node::Branch(children) => {
            let at = towards(children, &key);
            let Some((first, child)) = children.get_mut(at) else { return (false, None) };
            *first = (*first).min(key);
            let (is_new, right) = insert(child, key, value);
            if let Some(right) = right {
                put(children, at + 1, right);
            }
            (is_new, split(children).map(|(first, right)| (first, Arc::new(Node::Branch(right)))))
        }
    }
}

/// Takes the key out of a node; a child that is left nearly empty is joined with the one beside it.
fn remove<K: Ord + Copy, V: Clone>(node: &mut Arc<Node<K, V>>, key: &K) -> Option<V> {
    match Arc::make_mut(node) {
        Node::Leaf(entries) => {
            let at = entries.binary_search_by(|(other, _)| other.cmp(key)).ok()?;
            let (_, value) = entries.remove(at);
            entries.shrink_to_fit();
            Some(value)
        }
        Node::Branch(children) => {
            let at = towards(children, key);
            let (_, child) = children.get_mut(at)?;
            let removed = remove(child, key);
            match child.len() {
                0 => _ = children.remove(at),
                len if len < NARROW => join(children, if at > 0 { at - 1 } else { at }),
                _ => {}
            }
            children.shrink_to_fit();
            removed
        }
    }
}

/// Joins a child with the one after it, when there is one and both fit into one node.
fn join<K: Copy, V: Clone>(children: &mut Vec<Child<K, V>>, at: usize) {
    let (Some((_, left)), Some((_, right))) = (children.get(at), children.get(at + 1)) else { return };
    if left.len() + right.len() > WIDTH {
        return;
    }
    let joined = match (&**left, &**right) {
        (Node::Leaf(left), Node::Leaf(right)) => Node::Leaf([left.as_slice(), right.as_slice()].concat()),
        (Node::Branch(left), Node::Branch(right)) => Node::Branch([left.as_slice(), right.as_slice()].concat()),
        // All leaves are equally deep.
        (Node::Leaf(_), Node::Branch(_)) | (Node::Branch(_), Node::Leaf(_)) => return,
    };
    children.remove(at + 1);
    if let Some(child) = children.get_mut(at) {
        child.1 = Arc::new(joined);
    }
}

/// Inserts into a list that takes no more memory than what it holds.
fn put<T>(list: &mut Vec<T>, at: usize, item: T) {
    list.reserve_exact(1);
    list.insert(at, item);
}

/// What is left of a list when a node's worth was taken from its end.
fn len_of_rest(len: usize) -> usize {
    len.saturating_sub(WIDTH)
}

/// The right half of a list that is too long, with its first key.
fn split<K: Copy, T>(list: &mut Vec<(K, T)>) -> Option<(K, Vec<(K, T)>)> {
    if list.len() <= WIDTH {
        return None;
    }
    let right = list.split_off(list.len() / 2);
    list.shrink_to_fit();
    right.first().map(|(first, _)| *first).map(|first| (first, right))
}

/// The entries of a [`Tree`], in order.
pub(super) struct Iter<'a, K, V> {
    /// What is left of each branch on the way down.
    branches: Vec<slice::Iter<'a, Child<K, V>>>,
    leaf: slice::Iter<'a, (K, V)>,
}

impl<'a, K, V> Iter<'a, K, V> {
    /// Goes down to the first leaf of a node.
    fn enter(&mut self, node: &'a Node<K, V>) {
        let mut node = node;
        loop {
            match node {
                Node::Leaf(entries) => {
                    self.leaf = entries.iter();
                    return;
                }
                Node::Branch(children) => {
                    let mut children = children.iter();
                    let Some((_, first)) = children.next() else { return };
                    self.branches.push(children);
                    node = first;
                }
            }
        }
    }
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((key, value)) = self.leaf.next() {
                return Some((key, value));
            }
            let children = self.branches.last_mut()?;
            match children.next() {
                Some((_, child)) => self.enter(child),
                None => _ = self.branches.pop(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Whether every node is as the search expects it, and as small as it may be; gives the depth.
    fn check<K: Ord + Copy + std::fmt::Debug, V>(node: &Node<K, V>, is_root: bool) -> usize {
        let width = node.len();
        assert!(width <= WIDTH && (is_root || width > 0), "{width} entries");
        match node {
            Node::Leaf(entries) => {
                assert!(entries.windows(2).all(|pair| pair[0].0 < pair[1].0));
                0
            }
            Node::Branch(children) => {
                assert!(width > 1 || !is_root);
                for (at, (first, child)) in children.iter().enumerate() {
                    assert!(child.first().is_some_and(|least| *first <= least), "{first:?} of child {at}");
                    assert!(at == 0 || last(&children[at - 1].1) < *first);
                }
                let depths: Vec<usize> = children.iter().map(|(_, child)| check(child, false)).collect();
                assert!(depths.windows(2).all(|pair| pair[0] == pair[1]));
                depths[0] + 1
            }
        }
    }

    fn last<K: Copy, V>(node: &Node<K, V>) -> K {
        match node {
            Node::Leaf(entries) => entries.last().unwrap().0,
            Node::Branch(children) => last(&children.last().unwrap().1),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn it_is_the_map_that_the_changes_make(
            changes in prop::collection::vec((0u16..600, any::<bool>(), any::<bool>()), 0..2500),
            kept_at in 0usize..2500,
            shuffled in Just((0u16..600).chain(0..3).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let (mut tree, mut map) = (Tree::default(), BTreeMap::new());
            let mut kept = (tree.clone(), map.clone());
            for (at, (key, is_there, up)) in changes.into_iter().enumerate() {
                // Runs in one direction make nodes that are split, or emptied, at their ends.
                let key = if up { key } else { u16::try_from(at % 600).unwrap() };
                if is_there && at % 7 == 0 {
                    prop_assert_eq!(tree.get_mut(&key).map(|it| std::mem::replace(it, at)), map.get(&key).copied());
                    map.entry(key).and_modify(|it| *it = at);
                } else if is_there {
                    tree.insert(key, at);
                    map.insert(key, at);
                } else {
                    prop_assert_eq!(tree.remove(&key), map.remove(&key));
                }
                if at == kept_at {
                    kept = (tree.clone(), map.clone());
                }
            }
            check(&tree.root, true);
            for (tree, map) in [(&tree, &map), (&kept.0, &kept.1)] {
                prop_assert_eq!(tree.len(), map.len());
                prop_assert!(tree.iter().eq(map.iter()), "a map that was kept has changed, or the last is wrong");
                prop_assert!((0..600).all(|key| tree.get(&key) == map.get(&key)));
            }
            let mut packed = Tree::of(shuffled.into_iter().filter_map(|key| Some((key, *map.get(&key)?))).collect());
            check(&packed.root, true);
            prop_assert!(packed == tree);
            packed.insert(600, 0);
            packed.remove(&300);
            check(&packed.root, true);
            for key in map.keys() {
                tree.remove(key);
            }
            prop_assert!(tree == Tree::default() && tree.iter().next().is_none());
        }
    }

    #[test]
    fn a_change_copies_a_few_nodes_of_many() {
        fn nodes<'a, K, V>(node: &'a Arc<Node<K, V>>, to: &mut Vec<&'a Arc<Node<K, V>>>) {
            to.push(node);
            if let Node::Branch(children) = &**node {
                children.iter().for_each(|(_, child)| nodes(child, to));
            }
        }
        let mut tree = Tree::default();
        for key in 0u32..100_000 {
            tree.insert(key.wrapping_mul(2_654_435_761), ());
        }
        let before = tree.clone();
        tree.insert(7, ());
        assert!(tree.remove(&2_654_435_761).is_some());
        let (mut old, mut new) = (Vec::new(), Vec::new());
        nodes(&before.root, &mut old);
        nodes(&tree.root, &mut new);
        let old: std::collections::HashSet<_> = old.into_iter().map(Arc::as_ptr).collect();
        let copied = new.iter().filter(|node| !old.contains(&Arc::as_ptr(node))).count();
        assert!(new.len() > 1500 && copied <= 8, "{copied} of {} nodes", new.len());
        assert!(check(&tree.root, true) >= 2);
    }

    #[test]
    fn a_node_takes_no_more_than_what_it_holds() {
        fn spare<K, V>(node: &Node<K, V>) -> usize {
            match node {
                Node::Leaf(entries) => entries.capacity() - entries.len(),
                Node::Branch(children) => {
                    children.capacity() - children.len() + children.iter().map(|(_, child)| spare(child)).sum::<usize>()
                }
            }
        }
        let mut tree = Tree::default();
        for key in 0u64..20_000 {
            tree.insert(key.wrapping_mul(0x9E37_79B9_7F4A_7C15), key);
        }
        assert_eq!(spare(&tree.root), 0);
        let packed = Tree::of(tree.iter().map(|(key, value)| (*key, *value)).collect());
        assert_eq!((spare(&packed.root), packed.len()), (0, 20_000));
        for key in 0u64..15_000 {
            tree.remove(&key.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        }
        assert_eq!((spare(&tree.root), tree.len()), (0, 5000));
    }
}
