//! CRC-32C (Castagnoli), which a header's checksum is.

const POLYNOMIAL: u32 = 0x82f6_3b78;
const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256_u32 {
        let mut remainder = byte;
        let mut bit = 0;
        while bit < 8 {
            remainder = (remainder >> 1) ^ (POLYNOMIAL * (remainder & 1));
            bit += 1;
        }
        table[byte as usize] = remainder;
        byte += 1;
    }
    table
}

/// The checksum of some pieces, one behind the other.
pub(super) fn of(pieces: &[&[u8]]) -> u32 {
    let bytes = pieces.iter().copied().flatten();
    !bytes.fold(u32::MAX, |sum, byte| {
        let index = (sum ^ u32::from(*byte)) & 0xff;
        TABLE[index as usize] ^ (sum >> 8)
    })
}

#[cfg(test)]
mod tests {
    /// RFC 3720, appendix B.4.
    #[test]
    fn known_sums() {
        assert_eq!(super::of(&[b"1234", b"56789"]), 0xe306_9283);
        assert_eq!(super::of(&[&[0; 32]]), 0x8a91_36aa);
        assert_eq!(super::of(&[&[0xff; 32]]), 0x62a8_ab43);
        assert_eq!(super::of(&[]), 0);
    }
}
