//! Rate and concurrency keys as numbers: a million tasks of one key name it once.

use std::collections::BTreeMap;

use ledger_core::ids::Id;

use super::line::Key;

/// The names of keys. What number a key gets depends on which came first and is seen nowhere; keys
/// are never forgotten, as the tasks that named them are not.
#[derive(Debug, Clone, Default)]
pub(super) struct Keys {
    numbers: BTreeMap<Id, u32>,
    names: Vec<Id>,
}

impl Keys {
    /// The number of "no key".
    pub(super) const NONE: Key = Key(0);

    /// The number of a key, which is known from here on.
    pub(super) fn number(&mut self, name: Option<&Id>) -> Key {
        let Some(name) = name else {
            return Self::NONE;
        };
        if let Some(number) = self.numbers.get(name) {
            return Key(*number);
        }
        self.names.push(name.clone());
        let number = u32::try_from(self.names.len()).expect("fewer than 2^32 tasks are known");
        self.numbers.insert(name.clone(), number);
        Key(number)
    }

    /// The name of a key; nothing for "no key".
    pub(super) fn name(&self, key: Key) -> Option<&Id> {
        self.names.get((key.0 as usize).checked_sub(1)?)
    }
}
