//! Protobuf's varints, written by hand where the generated code is too slow or must not be known.

/// Hands the bytes of `number` to `put`: seven bits in each, the lowest first
/// (protobuf.dev/programming-guides/encoding).
#[inline]
pub fn write(mut number: u64, mut put: impl FnMut(u8)) {
    while number >= 0x80 {
        put(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    put(number.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_what_prost_writes() {
        for number in [0, 1, 0x7f, 0x80, 300, 0x3fff, 0x4000, u64::MAX] {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            write(number, |byte| ours.push(byte));
            prost::encoding::encode_varint(number, &mut theirs);
            assert_eq!(ours, theirs, "{number}");
        }
    }
}
