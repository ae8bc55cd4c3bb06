//! Sixteen lanes: the vector operations of AVX-512F.

use std::arch::x86_64::{
    __m512i, _mm512_add_epi32, _mm512_loadu_si512, _mm512_ror_epi32, _mm512_set1_epi32,
    _mm512_srli_epi32, _mm512_storeu_si512, _mm512_ternarylogic_epi32,
};

/// A promise that this processor has AVX-512F: made by [`Lanes::detect`] alone.
#[derive(Clone, Copy, Debug)]
pub(in crate::merkle) struct Lanes(());

impl Lanes {
    pub(super) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx512f").then_some(Self(()))
    }
}

impl super::schedule::Lanes<16> for Lanes {
    #[allow(unsafe_code)] // calling what is compiled for more than the least of processors
    fn compress(self, states: &mut [[u32; 16]; 8], blocks: &[[u32; 16]; 16]) {
        // SAFETY: `self` exists, so the processor has been found to have AVX-512F.
        unsafe { compress(states, blocks) }
    }
}

#[target_feature(enable = "avx512f")]
fn add(a: __m512i, b: __m512i) -> __m512i {
    _mm512_add_epi32(a, b)
}

// One instruction computes any function of three bits; the number is its truth table.

#[target_feature(enable = "avx512f")]
fn xor3(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0x96>(a, b, c)
}

#[target_feature(enable = "avx512f")]
fn choose(e: __m512i, f: __m512i, g: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0xca>(e, f, g)
}

#[target_feature(enable = "avx512f")]
fn majority(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0xe8>(a, b, c)
}

#[target_feature(enable = "avx512f")]
fn rotate<const RIGHT: i32, const LEFT: i32>(x: __m512i) -> __m512i {
    const { assert!(RIGHT + LEFT == 32) };
    _mm512_ror_epi32::<RIGHT>(x)
}

#[target_feature(enable = "avx512f")]
fn shift<const RIGHT: u32>(x: __m512i) -> __m512i {
    _mm512_srli_epi32::<RIGHT>(x)
}

#[target_feature(enable = "avx512f")]
fn splat(x: i32) -> __m512i {
    _mm512_set1_epi32(x)
}

#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)] // the instruction takes a pointer
fn load(words: &[u32; 16]) -> __m512i {
    // SAFETY: reads 64 bytes, which is what the array has; unaligned addresses are allowed.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)] // the instruction takes a pointer
fn store(words: &mut [u32; 16], x: __m512i) {
    // SAFETY: writes 64 bytes, which is what the array has; unaligned addresses are allowed.
    unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), x) }
}

super::rounds::compress!("avx512f", 16);
