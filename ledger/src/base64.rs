//! Standard base64 (RFC 4648, section 4): one text for some bytes, padding and all.

use base64ct::{Base64, Encoding};

/// The text of some bytes.
pub(crate) fn encode(bytes: &[u8]) -> String {
    Base64::encode_string(bytes)
}

/// The bytes of a text, if it is what [`encode`] makes of them.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    Base64::decode_vec(text).ok()
}

/// As [`decode`], for a known number of bytes.
pub(crate) fn decode_array<const N: usize>(text: &str) -> Option<[u8; N]> {
    decode(text)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_stands_for_other_bytes() {
        assert_eq!(encode(b"\xfb\xff\xfe"), "+//+");
        assert_eq!(decode("AA=="), Some(vec![0]));
        assert_eq!(decode_array::<1>("AA=="), Some([0]));
        assert_eq!(decode_array::<2>("AA=="), None);
        // Bits behind the last byte, padding left out or doubled, other alphabets, white space.
        for bad in [
            "AB==", "AA=", "AA", "AA====", "-//-", "+//+\n", " AA==", "AA==AA==", "=", "A",
        ] {
            assert_eq!(decode(bad), None, "{bad:?}");
        }
    }
}
