//! A set that knows how many of its members come before a given one: what "position in the queue"
//! is answered from, in logarithmic time however long the queue is.
//!
//! A treap (a search tree that is a heap by weights) in one array: inserting, removing and counting
//! walk one path. Weights come from the members themselves, so that equal sets of the same history
//! are equal trees on every machine.

use super::line::Place;

const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Node {
    place: Place,
    left: u32,
    right: u32,
    /// Members of this subtree.
    size: u32,
    weight: u32,
}

/// Places in order, counted.
#[derive(Debug, Clone)]
pub(super) struct Counted {
    nodes: Vec<Node>,
    /// Nodes that are not in use.
    free: Vec<u32>,
    root: u32,
}

impl Default for Counted {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            free: Vec::new(),
            root: NONE,
        }
    }
}

/// SplitMix64's finalizer: neighbors get weights that have nothing to do with each other.
fn weight(place: Place) -> u32 {
    let mut z = place.since.0.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (z >> 32) as u32
}

impl Counted {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.size(self.root) as usize
    }

    /// How many come before `place`, whether that is a member or not.
    pub(super) fn before(&self, place: Place) -> usize {
        let (mut at, mut count) = (self.root, 0);
        while let Some(node) = self.node(at) {
            if node.place < place {
                count += self.size(node.left) as usize + 1;
                at = node.right;
            } else {
                at = node.left;
            }
        }
        count
    }

    /// Adds a place that is not a member.
    pub(super) fn insert(&mut self, place: Place) {
        let node = Node {
            place,
            left: NONE,
            right: NONE,
            size: 1,
            weight: weight(place),
        };
        let new = match self.free.pop() {
            Some(free) => {
                self.nodes[free as usize] = node;
                free
            }
            None => {
                self.nodes.push(node);
                u32::try_from(self.nodes.len() - 1).expect("a queue holds fewer than 2^32 tasks")
            }
        };
        let (before, after) = self.split(self.root, place);
        let before = self.merge(before, new);
        self.root = self.merge(before, after);
    }

    /// Removes a member.
    pub(super) fn remove(&mut self, place: Place) {
        let (mut at, mut path) = (self.root, Vec::new());
        while let Some(node) = self.node(at).filter(|node| node.place != place) {
            path.push(at);
            at = if node.place < place {
                node.right
            } else {
                node.left
            };
        }
        let Some(&Node { left, right, .. }) = self.node(at) else {
            return;
        };
        let rest = self.merge(left, right);
        match path.last() {
            None => self.root = rest,
            Some(&parent) => {
                let parent = &mut self.nodes[parent as usize];
                if parent.left == at {
                    parent.left = rest;
                } else {
                    parent.right = rest;
                }
            }
        }
        for node in path {
            self.nodes[node as usize].size -= 1;
        }
        self.free.push(at);
        if self.root == NONE {
            (self.nodes, self.free) = (Vec::new(), Vec::new());
        }
    }

    fn node(&self, at: u32) -> Option<&Node> {
        self.nodes.get(at as usize)
    }

    fn size(&self, at: u32) -> u32 {
        self.node(at).map_or(0, |node| node.size)
    }

    fn resize(&mut self, at: u32) {
        let Node { left, right, .. } = self.nodes[at as usize];
        self.nodes[at as usize].size = 1 + self.size(left) + self.size(right);
    }

    /// A tree as two: what comes before `place`, and the rest.
    fn split(&mut self, at: u32, place: Place) -> (u32, u32) {
        let Some(&node) = self.node(at) else {
            return (NONE, NONE);
        };
        let halves = if node.place < place {
            let (before, after) = self.split(node.right, place);
            self.nodes[at as usize].right = before;
            (at, after)
        } else {
            let (before, after) = self.split(node.left, place);
            self.nodes[at as usize].left = after;
            (before, at)
        };
        self.resize(at);
        halves
    }

    /// Two trees as one; all of the first come before all of the second.
    fn merge(&mut self, before: u32, after: u32) -> u32 {
        let (Some(&first), Some(&second)) = (self.node(before), self.node(after)) else {
            return if before == NONE { after } else { before };
        };
        let top = if first.weight >= second.weight {
            self.nodes[before as usize].right = self.merge(first.right, after);
            before
        } else {
            self.nodes[after as usize].left = self.merge(before, second.left);
            after
        };
        self.resize(top);
        top
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use ledger_core::ids::Seq;
    use ledger_core::time::Timestamp;
    use proptest::prelude::*;

    use super::*;

    fn place(at: u64, since: u64) -> Place {
        Place {
            ready_at: Timestamp(at),
            since: Seq(since),
        }
    }

    proptest! {
        #[test]
        fn it_counts_as_a_sorted_set_does(steps in prop::collection::vec((0u64..20, 0u64..40, any::<bool>()), 0..300)) {
            let (mut counted, mut set) = (Counted::default(), BTreeSet::new());
            for (at, since, add) in steps {
                let place = place(at, since);
                if add && set.insert(place) {
                    counted.insert(place);
                } else if !add && set.remove(&place) {
                    counted.remove(place);
                }
                prop_assert_eq!(counted.len(), set.len());
                prop_assert_eq!(counted.before(place), set.range(..place).count());
            }
        }
    }

    #[test]
    fn it_stays_shallow_however_it_grows() {
        let mut counted = Counted::default();
        (0..100_000).for_each(|n| counted.insert(place(n, n)));
        let mut depth = 0;
        let mut level = vec![counted.root];
        while !level.is_empty() {
            depth += 1;
            let nodes = level.iter().filter_map(|&at| counted.node(at));
            level = nodes
                .flat_map(|n| [n.left, n.right])
                .filter(|&at| at != NONE)
                .collect();
        }
        assert!(depth < 60, "{depth}");
        assert_eq!(counted.before(place(77_000, 0)), 77_000);
    }
}
