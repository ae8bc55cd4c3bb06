//! SHA-256 of many messages at once, one in each lane of the processor's vector registers.
//!
//! Appending is bounded by this hash, and one message after the other uses a fraction of a
//! processor without SHA instructions: 16 lanes of AVX-512 do 5 to 10 times as much, 8 of AVX2
//! half of that. Where there are SHA instructions (or no vectors that we know), `sha2` is as good
//! and is used instead. Every engine that a machine has is tested against `sha2`.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod rounds;
#[cfg(target_arch = "x86_64")]
mod schedule;

#[cfg(target_arch = "x86_64")]
pub(super) use schedule::{leaves, parents};

/// What hashes many messages. The variants with lanes exist only where the processor has been
/// asked, since only [`best`] and [`all`] make their content.
#[derive(Clone, Copy, Debug)]
pub(super) enum Engine {
    /// One message after the other, by `sha2`.
    One,
    /// Eight at once.
    #[cfg(target_arch = "x86_64")]
    Eight(avx2::Lanes),
    /// Sixteen at once.
    #[cfg(target_arch = "x86_64")]
    Sixteen(avx512::Lanes),
}

/// The fastest engine of this machine.
pub(super) fn best() -> Engine {
    #[cfg(target_arch = "x86_64")]
    if !is_x86_feature_detected!("sha") {
        if let Some(lanes) = avx512::Lanes::detect() {
            return Engine::Sixteen(lanes);
        }
        if let Some(lanes) = avx2::Lanes::detect() {
            return Engine::Eight(lanes);
        }
    }
    Engine::One
}

/// Every engine of this machine.
#[cfg(test)]
pub(super) fn all() -> Vec<Engine> {
    #[cfg(target_arch = "x86_64")]
    let lanes = [
        avx2::Lanes::detect().map(Engine::Eight),
        avx512::Lanes::detect().map(Engine::Sixteen),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let lanes: [Option<Engine>; 0] = [];
    std::iter::once(Engine::One)
        .chain(lanes.into_iter().flatten())
        .collect()
}

#[cfg(test)]
mod tests;
