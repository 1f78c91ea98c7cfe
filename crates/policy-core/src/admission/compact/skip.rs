//! Where a value ends.

use wide::u8x16;

const LANES: usize = 16;
/// Bytes that are looked at together: a bit for each of them fits into a number.
const BLOCK: usize = 64;

/// The length of what is between the quotes of a string, from behind the first one; `None` where
/// any of it is escaped, or may not be in a string.
pub(super) fn plain_string(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(lanes) = text[at..].first_chunk::<LANES>() {
        let lanes = u8x16::new(*lanes);
        let is_control = lanes.min(u8x16::splat(0x1F)).simd_eq(lanes);
        let ends = lanes.simd_eq(u8x16::splat(b'"')) | lanes.simd_eq(u8x16::splat(b'\\'));
        let found = (ends | is_control).to_bitmask();
        if found != 0 {
            let end = at + found.trailing_zeros() as usize;
            return (text[end] == b'"').then_some(end);
        }
        at += LANES;
    }
    let end = text[at..].iter().position(|byte| matches!(byte, b'"' | b'\\' | ..=0x1F))?;
    (text[at + end] == b'"').then_some(at + end)
}

/// The length of the string that the text begins with, its quotes included.
pub(super) fn string(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at + 1);
        }
        // Whatever is escaped, it is not the end.
        at += 2;
    }
}

/// The length of the number or the like that the text begins with.
pub(super) fn scalar(text: &[u8]) -> Option<usize> {
    let end = text.iter().position(|byte| matches!(byte, b',' | b'}' | b']'));
    end.filter(|&length| length > 0)
}

/// The length of the object or list that the text begins with, its brackets included. Both kinds
/// of brackets are the same here.
pub(super) fn nested(text: &[u8]) -> Option<usize> {
    let mut place = Place { depth: 1, in_string: 0, is_escaped: 0 };
    let (blocks, rest) = text.get(1..)?.as_chunks::<BLOCK>();
    for (number, block) in blocks.iter().enumerate() {
        if let Some(end) = place.after(block) {
            return Some(1 + number * BLOCK + end);
        }
    }
    let mut last = [b' '; BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    place.after(&last).map(|end| 1 + blocks.len() * BLOCK + end)
}

/// Where one is between two blocks.
struct Place {
    /// Brackets that are open, at least one.
    depth: u32,
    /// All bits within a string, none outside.
    in_string: u64,
    /// The lowest bit where the next byte is escaped.
    is_escaped: u64,
}

impl Place {
    /// Goes over a block; gives how much of it there is up to the last bracket's end, where that
    /// is in it.
    fn after(&mut self, block: &[u8; BLOCK]) -> Option<usize> {
        let [quotes, backslashes, opening, closing] = positions(block);
        let quotes = quotes & !self.escaped(backslashes);
        let outside = !self.strings(quotes);
        let (opening, closing) = (opening & outside, closing & outside);
        // Most are `{}`, and never the last one: something is open around them.
        let empty = opening & (closing >> 1);
        let (opening, closing) = (opening & !empty, closing & !(empty << 1));
        if closing.count_ones() < self.depth {
            self.depth = self.depth + opening.count_ones() - closing.count_ones();
            return None;
        }
        let mut rest = opening | closing;
        while rest != 0 {
            let lowest = rest & rest.wrapping_neg();
            if opening & lowest != 0 {
                self.depth += 1;
            } else {
                self.depth -= 1;
                if self.depth == 0 {
                    return Some(lowest.trailing_zeros() as usize + 1);
                }
            }
            rest ^= lowest;
        }
        None
    }

    /// The bytes with a backslash before them that is not escaped itself.
    fn escaped(&mut self, backslashes: u64) -> u64 {
        let mut escaped = std::mem::take(&mut self.is_escaped);
        let mut rest = backslashes & !escaped;
        while rest != 0 {
            let lowest = rest & rest.wrapping_neg();
            self.is_escaped = lowest >> 63;
            escaped |= lowest << 1;
            rest &= !(lowest | lowest << 1);
        }
        escaped
    }

    /// The bytes of strings, each with its first quote.
    fn strings(&mut self, quotes: u64) -> u64 {
        // A quote turns round what all bytes after it are.
        let mut strings = quotes;
        for shift in [1, 2, 4, 8, 16, 32] {
            strings ^= strings << shift;
        }
        strings ^= self.in_string;
        self.in_string = 0_u64.wrapping_sub(strings >> 63);
        strings
    }
}

/// Quotes, backslashes, opening and closing brackets: a bit for each byte, the first one lowest.
fn positions(block: &[u8; BLOCK]) -> [u64; 4] {
    let mut positions = [0; 4];
    let (parts, _) = block.as_chunks::<LANES>();
    for (part, lanes) in parts.iter().enumerate() {
        let lanes = u8x16::new(*lanes);
        // The two brackets of a side differ in this bit alone.
        let brackets = lanes | u8x16::splat(0x20);
        let found = [(lanes, b'"'), (lanes, b'\\'), (brackets, b'{'), (brackets, b'}')];
        for (all, (lanes, byte)) in positions.iter_mut().zip(found) {
            let found = lanes.simd_eq(u8x16::splat(byte)).to_bitmask();
            *all |= u64::from(found) << (part * LANES);
        }
    }
    positions
}
