//! Comparing two contents row by row, to say where a view and its rebuild differ first.

use std::cmp::Ordering;
use std::iter::Peekable;

use crossbeam_channel::{Receiver, Sender, bounded};
use serde::Serialize;

use super::view::View;

/// The first row, in key order, that two contents do not have in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FirstDifference {
    /// Its key.
    pub key: String,
    /// Its value in the live content; absent if the row is missing there.
    pub live: Option<String>,
    /// Its value in the rebuilt content; absent if the row is missing there.
    pub rebuilt: Option<String>,
}

/// Merges two contents in ascending key order and stops at the first row that differs.
pub fn first_difference(
    live: impl Iterator<Item = (String, String)>,
    rebuilt: impl Iterator<Item = (String, String)>,
) -> Option<FirstDifference> {
    let (mut live, mut rebuilt) = (live.peekable(), rebuilt.peekable());
    loop {
        let side = match (live.peek(), rebuilt.peek()) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((a, _)), Some((b, _))) => a.cmp(b),
        };
        let live = take_if(&mut live, side.is_le());
        let rebuilt = take_if(&mut rebuilt, side.is_ge());
        if live == rebuilt {
            continue;
        }
        let key = live.as_ref().or(rebuilt.as_ref()).map(|(key, _)| key);
        return Some(FirstDifference {
            key: key.cloned().unwrap_or_default(),
            live: live.map(|(_, value)| value),
            rebuilt: rebuilt.map(|(_, value)| value),
        });
    }
}

fn take_if<I: Iterator>(rows: &mut Peekable<I>, take: bool) -> Option<I::Item> {
    if take { rows.next() } else { None }
}

/// Compares two views' contents: by digest, and only if those differ row by row, with no more than
/// a few thousand rows of each in memory.
pub fn compare(live: &dyn View, rebuilt: &dyn View) -> Option<FirstDifference> {
    if live.digest() == rebuilt.digest() {
        return None;
    }
    std::thread::scope(|scope| {
        let [live, rebuilt] = [live, rebuilt].map(|view| {
            let (sender, receiver) = bounded(4);
            scope.spawn(move || send_rows(view, &sender));
            Pulled {
                receiver,
                chunk: Vec::new().into_iter(),
            }
        });
        first_difference(live, rebuilt)
    })
}

type Chunk = Vec<(String, String)>;

const CHUNK: usize = 256;

fn send_rows(view: &dyn View, sender: &Sender<Chunk>) {
    let mut chunk = Vec::with_capacity(CHUNK);
    view.rows(&mut |key, value| {
        chunk.push((key.to_owned(), value.to_owned()));
        if chunk.len() == CHUNK {
            // Nobody listens any more once a difference was found.
            let _ = sender.send(std::mem::take(&mut chunk));
        }
    });
    let _ = sender.send(chunk);
}

/// Rows that another thread emits.
struct Pulled {
    receiver: Receiver<Chunk>,
    chunk: std::vec::IntoIter<(String, String)>,
}

impl Iterator for Pulled {
    type Item = (String, String);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.chunk.next() {
                return Some(row);
            }
            self.chunk = self.receiver.recv().ok()?.into_iter();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn rows(map: &BTreeMap<String, String>) -> impl Iterator<Item = (String, String)> {
        map.clone().into_iter()
    }

    proptest! {
        #[test]
        fn the_first_difference_is_what_two_maps_say(
            a in prop::collection::btree_map("[a-d]{1,2}", "[01]", 0..8),
            b in prop::collection::btree_map("[a-d]{1,2}", "[01]", 0..8),
        ) {
            let keys: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
            let expected = keys.into_iter().find(|k| a.get(*k) != b.get(*k)).map(|key| {
                FirstDifference {
                    key: key.clone(),
                    live: a.get(key).cloned(),
                    rebuilt: b.get(key).cloned(),
                }
            });
            prop_assert_eq!(first_difference(rows(&a), rows(&b)), expected);
        }
    }
}
