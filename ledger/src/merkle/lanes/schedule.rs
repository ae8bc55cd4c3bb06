//! Which message is in which lane: blocks of events and of pairs of nodes, padded as SHA-256 wants
//! them.
//!
//! A lane that has finished its message takes the next one, so that messages of different lengths
//! keep all lanes busy until the last few.

use crate::merkle::TreeHash;
use crate::merkle::hash::{LEAF, NODE};

/// The same 32-bit word of `N` messages.
type Word<const N: usize> = [u32; N];

/// `N` SHA-256 states side by side.
pub(in crate::merkle) trait Lanes<const N: usize>: Copy {
    /// Adds one block of each message to its state.
    fn compress(self, states: &mut [Word<N>; 8], blocks: &[Word<N>; 16]);
}

/// The fractional parts of the square roots of the first eight primes.
const INITIAL: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// Bytes of a SHA-256 block.
const BLOCK: usize = 64;

/// An event that a lane is working on.
struct Job<'a> {
    event: &'a [u8],
    /// The next block.
    block: usize,
    /// How many there are.
    blocks: usize,
    /// Where its hash belongs.
    slot: usize,
}

impl<'a> Job<'a> {
    fn new(event: &'a [u8], slot: usize) -> Self {
        Self {
            event,
            block: 0,
            // The prefix, the event, a bit that ends them and the length.
            blocks: (1 + event.len() + 1 + 8).div_ceil(BLOCK),
            slot,
        }
    }

    /// The next block of prefix, event and padding.
    fn next(&mut self) -> [u8; BLOCK] {
        let mut bytes = [0; BLOCK];
        let begin = self.block * BLOCK;
        self.block += 1;
        let end = 1 + self.event.len();
        // The prefix moves the event by one byte.
        let (to, from) = match begin.checked_sub(1) {
            Some(from) => (0, from),
            None => {
                bytes[0] = LEAF;
                (1, 0)
            }
        };
        if let Some(rest) = self.event.get(from..) {
            let len = rest.len().min(BLOCK - to);
            bytes[to..to + len].copy_from_slice(&rest[..len]);
        }
        if (begin..begin + BLOCK).contains(&end) {
            bytes[end - begin] = 0x80;
        }
        if self.block == self.blocks {
            bytes[BLOCK - 8..].copy_from_slice(&bits(end));
        }
        bytes
    }
}

/// A message's length as SHA-256 ends it with.
fn bits(bytes: usize) -> [u8; 8] {
    (bytes as u64 * 8).to_be_bytes()
}

/// Appends the leaves of all events to `out`.
pub(in crate::merkle) fn leaves<'a, const N: usize>(
    lanes: impl Lanes<N>,
    mut events: impl Iterator<Item = &'a [u8]>,
    out: &mut Vec<TreeHash>,
) {
    let mut jobs: [Option<Job<'_>>; N] = [const { None }; N];
    let mut states = [[0; N]; 8];
    let mut blocks = [[0; N]; 16];
    loop {
        for (lane, free) in jobs.iter_mut().enumerate().filter(|(_, job)| job.is_none()) {
            let Some(event) = events.next() else { break };
            *free = Some(Job::new(event, out.len()));
            out.push(TreeHash([0; 32]));
            begin(&mut states, lane);
        }
        let mut busy = false;
        for (lane, job) in jobs.iter_mut().enumerate() {
            if let Some(job) = job {
                load(&mut blocks, lane, &job.next());
                busy = true;
            }
        }
        if !busy {
            return;
        }
        lanes.compress(&mut states, &blocks);
        for (lane, place) in jobs.iter_mut().enumerate() {
            if let Some(job) = place.take_if(|job| job.block == job.blocks) {
                out[job.slot] = digest(&states, lane);
            }
        }
    }
}

/// Replaces each pair of neighbors by the node above, in the first half of `nodes`.
pub(in crate::merkle) fn parents<const N: usize>(lanes: impl Lanes<N>, nodes: &mut [TreeHash]) {
    const LEN: usize = 65;
    let pairs = nodes.len() / 2;
    let mut blocks = [[[0; N]; 16]; 2];
    for first in (0..pairs).step_by(N) {
        let count = N.min(pairs - first);
        let mut states = [[0; N]; 8];
        for lane in 0..count {
            let mut message = [[0; BLOCK]; 2];
            let bytes = message.as_flattened_mut();
            bytes[0] = NODE;
            bytes[1..33].copy_from_slice(&nodes[2 * (first + lane)].0);
            bytes[33..LEN].copy_from_slice(&nodes[2 * (first + lane) + 1].0);
            bytes[LEN] = 0x80;
            bytes[2 * BLOCK - 8..].copy_from_slice(&bits(LEN));
            for (blocks, block) in blocks.iter_mut().zip(&message) {
                load(blocks, lane, block);
            }
            begin(&mut states, lane);
        }
        for blocks in &blocks {
            lanes.compress(&mut states, blocks);
        }
        // Behind what was read: two nodes were taken for each that is written.
        for lane in 0..count {
            nodes[first + lane] = digest(&states, lane);
        }
    }
}

fn begin<const N: usize>(states: &mut [Word<N>; 8], lane: usize) {
    for (word, initial) in states.iter_mut().zip(INITIAL) {
        word[lane] = initial;
    }
}

fn load<const N: usize>(blocks: &mut [Word<N>; 16], lane: usize, block: &[u8; BLOCK]) {
    let (words, _) = block.as_chunks::<4>();
    for (word, bytes) in blocks.iter_mut().zip(words) {
        word[lane] = u32::from_be_bytes(*bytes);
    }
}

fn digest<const N: usize>(states: &[Word<N>; 8], lane: usize) -> TreeHash {
    let mut out = [0; 32];
    let (parts, _) = out.as_chunks_mut::<4>();
    for (bytes, word) in parts.iter_mut().zip(states) {
        *bytes = word[lane].to_be_bytes();
    }
    TreeHash(out)
}
