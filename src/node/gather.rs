//! Gathering: a short wait for clients that were just answered, so that their next requests share
//! the next batch.
//!
//! While one batch is being written, the next is built from whoever is not waiting for the first.
//! Clients that ask, wait and ask again then fall into two halves that take turns, each paying for
//! a sync of its own. So after an answer the next batch is held for a moment: at most half of what
//! a sync takes, no longer than it takes until as many requests have come as were answered, and not
//! at all for a while after it has brought nothing. (The idea of `commit_delay` in PostgreSQL,
//! bounded by measurement instead of a setting.)

use std::time::Duration;

use crossbeam_channel::Receiver;
use ledger_core::time::Micros;

use super::ports::Stopwatch;

/// Longest wait.
const PATIENCE: Micros = Micros(250);
/// Rounds that are not waited in after one that brought less than half of what was hoped for.
const REST: u32 = 16;

/// Decides how long to wait, and does.
#[derive(Debug)]
pub struct Gather {
    written: Stopwatch,
    last_write: Micros,
    rest: u32,
}

impl Default for Gather {
    fn default() -> Self {
        Self {
            written: Stopwatch::start(),
            last_write: Micros(0),
            rest: 0,
        }
    }
}

impl Gather {
    /// A batch was handed to the disk.
    pub fn batch_sent(&mut self) {
        self.written = Stopwatch::start();
    }

    /// The batch is durable. Whether the next one should be held for those who are answered now.
    pub fn batch_durable(&mut self) -> bool {
        self.last_write = self.written.elapsed();
        self.rest = self.rest.saturating_sub(1);
        self.rest == 0
    }

    /// Waits for as many messages as were `answered`, for a moment, and hands them to `take` as
    /// they come: turning them into events is work that fits into the wait. Ends early, with
    /// nothing, if `take` does.
    pub fn wait<T>(
        &mut self,
        inbox: &Receiver<T>,
        answered: usize,
        mut take: impl FnMut(Vec<T>) -> Option<()>,
    ) -> Option<()> {
        let begun = Stopwatch::start();
        let patience = PATIENCE.min(Micros(self.last_write.0 / 2));
        let mut taken = 0;
        while taken < answered {
            let mut mail: Vec<T> = inbox.try_iter().take(answered - taken).collect();
            if mail.is_empty() {
                let left = patience.0.saturating_sub(begun.elapsed().0);
                match inbox.recv_timeout(Duration::from_micros(left)) {
                    Ok(one) => mail.push(one),
                    Err(_) => break,
                }
            }
            taken += mail.len();
            take(mail)?;
        }
        if taken * 2 < answered {
            self.rest = REST;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::unbounded;

    #[test]
    fn it_takes_no_more_than_were_answered_and_rests_after_waiting_in_vain() {
        let (sender, inbox) = unbounded();
        let mut gather = Gather::default();
        for n in 0..10 {
            sender.send(n).unwrap();
        }
        gather.batch_sent();
        assert!(gather.batch_durable());
        let wait = |gather: &mut Gather, answered| {
            let mut taken = Vec::new();
            let end = gather.wait(&inbox, answered, |mail| {
                taken.extend(mail);
                Some(())
            });
            assert_eq!(end, Some(()));
            taken
        };
        assert_eq!(wait(&mut gather, 4), [0, 1, 2, 3]);
        assert!(gather.batch_durable());
        assert_eq!(
            wait(&mut gather, 100).len(),
            6,
            "what is there is taken, in vain or not"
        );
        let rested = (0..REST).take_while(|_| !gather.batch_durable()).count();
        assert_eq!(rested, usize::try_from(REST).unwrap() - 1);
    }

    #[test]
    fn it_ends_when_the_taker_does() {
        let (sender, inbox) = unbounded();
        sender.send(1).unwrap();
        let mut gather = Gather::default();
        gather.batch_sent();
        assert!(gather.batch_durable());
        assert_eq!(gather.wait(&inbox, 2, |_| None), None);
    }
}
