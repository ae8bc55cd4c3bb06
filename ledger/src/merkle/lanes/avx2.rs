//! Eight lanes: the vector operations of AVX2.

use std::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_and_si256, _mm256_loadu_si256, _mm256_or_si256,
    _mm256_set1_epi32, _mm256_slli_epi32, _mm256_srli_epi32, _mm256_storeu_si256, _mm256_xor_si256,
};

/// A promise that this processor has AVX2: made by [`Lanes::detect`] alone.
#[derive(Clone, Copy, Debug)]
pub(in crate::merkle) struct Lanes(());

impl Lanes {
    pub(super) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }
}

impl super::schedule::Lanes<8> for Lanes {
    #[allow(unsafe_code)] // calling what is compiled for more than the least of processors
    fn compress(self, states: &mut [[u32; 8]; 8], blocks: &[[u32; 8]; 16]) {
        // SAFETY: `self` exists, so the processor has been found to have AVX2.
        unsafe { compress(states, blocks) }
    }
}

#[target_feature(enable = "avx2")]
fn add(a: __m256i, b: __m256i) -> __m256i {
    _mm256_add_epi32(a, b)
}

#[target_feature(enable = "avx2")]
fn xor3(a: __m256i, b: __m256i, c: __m256i) -> __m256i {
    _mm256_xor_si256(a, _mm256_xor_si256(b, c))
}

#[target_feature(enable = "avx2")]
fn choose(e: __m256i, f: __m256i, g: __m256i) -> __m256i {
    _mm256_xor_si256(g, _mm256_and_si256(e, _mm256_xor_si256(f, g)))
}

#[target_feature(enable = "avx2")]
fn majority(a: __m256i, b: __m256i, c: __m256i) -> __m256i {
    _mm256_or_si256(
        _mm256_and_si256(a, b),
        _mm256_and_si256(c, _mm256_or_si256(a, b)),
    )
}

/// There is no rotation: two shifts, by counts that add up to 32.
#[target_feature(enable = "avx2")]
fn rotate<const RIGHT: i32, const LEFT: i32>(x: __m256i) -> __m256i {
    const { assert!(RIGHT + LEFT == 32) };
    _mm256_or_si256(_mm256_srli_epi32::<RIGHT>(x), _mm256_slli_epi32::<LEFT>(x))
}

#[target_feature(enable = "avx2")]
fn shift<const RIGHT: i32>(x: __m256i) -> __m256i {
    _mm256_srli_epi32::<RIGHT>(x)
}

#[target_feature(enable = "avx2")]
fn splat(x: i32) -> __m256i {
    _mm256_set1_epi32(x)
}

#[target_feature(enable = "avx2")]
#[allow(unsafe_code)] // the instruction takes a pointer
fn load(words: &[u32; 8]) -> __m256i {
    // SAFETY: reads 32 bytes, which is what the array has; unaligned addresses are allowed.
    unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
#[allow(unsafe_code)] // the instruction takes a pointer
fn store(words: &mut [u32; 8], x: __m256i) {
    // SAFETY: writes 32 bytes, which is what the array has; unaligned addresses are allowed.
    unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), x) }
}

super::rounds::compress!("avx2", 8);
