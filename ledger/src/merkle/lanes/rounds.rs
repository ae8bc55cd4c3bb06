//! SHA-256's compression of one block in each lane, written once for all widths.
//!
//! FIPS 180-4, 6.2.2. A module that has the vector type and its handful of operations under these
//! names (`add`, `xor3`, `choose`, `majority`, `rotate`, `shift`, `splat`, `load`, `store`) calls
//! the macro to get its `compress`.

/// The fractional parts of the cube roots of the first 64 primes.
#[rustfmt::skip]
pub(super) const K: [u32; 64] = [
    0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
    0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
    0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
    0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
    0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
    0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
    0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
    0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
];

/// Defines `compress` for the vector operations that are in scope.
macro_rules! compress {
    ($feature:literal, $lanes:literal) => {
        #[target_feature(enable = $feature)]
        fn compress(states: &mut [[u32; $lanes]; 8], blocks: &[[u32; $lanes]; 16]) {
            let mut w = [splat(0); 16];
            for (word, block) in w.iter_mut().zip(blocks) {
                *word = load(block);
            }
            let mut before = [splat(0); 8];
            for (word, state) in before.iter_mut().zip(states.iter()) {
                *word = load(state);
            }
            let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = before;
            // Two loops, so that the inner one is unrolled and `w` stays in registers.
            for turn in 0..4 {
                for i in 0..16 {
                    if turn > 0 {
                        // The message schedule, of which only the last 16 words are kept.
                        let (w1, w14) = (w[(i + 1) % 16], w[(i + 14) % 16]);
                        let s0 = xor3(rotate::<7, 25>(w1), rotate::<18, 14>(w1), shift::<3>(w1));
                        let s1 = xor3(
                            rotate::<17, 15>(w14),
                            rotate::<19, 13>(w14),
                            shift::<10>(w14),
                        );
                        w[i] = add(add(w[i], s0), add(w[(i + 9) % 16], s1));
                    }
                    let s1 = xor3(rotate::<6, 26>(e), rotate::<11, 21>(e), rotate::<25, 7>(e));
                    let k = splat($crate::merkle::lanes::rounds::K[16 * turn + i].cast_signed());
                    let t1 = add(add(add(h, s1), add(choose(e, f, g), k)), w[i]);
                    let s0 = xor3(rotate::<2, 30>(a), rotate::<13, 19>(a), rotate::<22, 10>(a));
                    let t2 = add(s0, majority(a, b, c));
                    (h, g, f, e) = (g, f, e, add(d, t1));
                    (d, c, b, a) = (c, b, a, add(t1, t2));
                }
            }
            let after = [a, b, c, d, e, f, g, h];
            for (state, (before, after)) in states.iter_mut().zip(before.into_iter().zip(after)) {
                store(state, add(before, after));
            }
        }
    };
}
pub(super) use compress;
