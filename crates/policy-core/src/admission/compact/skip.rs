//! Where a value ends.
#![expect(clippy::inline_always, reason = "what is called from `dispatch!` gets its instructions")]

use fearless_simd::prelude::*;
use fearless_simd::{Level, dispatch, u8x16, u8x64};

const LANES: usize = 16;
/// Bytes that are looked at together: a bit for each of them fits into a number.
const BLOCK: usize = 64;

/// The length of what is between the quotes of a string, from behind the first one; `None` where
/// any of it is escaped, or may not be in a string.
pub(super) fn plain_string(text: &[u8]) -> Option<usize> {
    // Most are as short as a name: choosing better instructions would take longer than they save.
    dispatch!(Level::baseline(), simd => plain_string_by(simd, text))
}

#[inline(always)]
fn plain_string_by<S: Simd>(simd: S, text: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(lanes) = text[at..].first_chunk::<LANES>() {
        let lanes = u8x16::simd_from(simd, *lanes);
        let ends = lanes.simd_eq(b'"') | lanes.simd_eq(b'\\') | lanes.simd_lt(b' ');
        let found = ends.to_bitmask();
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
    nested_at(Level::new(), text)
}

/// The same by the instructions of that level, which every machine has that has the level.
pub(super) fn nested_at(level: Level, text: &[u8]) -> Option<usize> {
    dispatch!(level, simd => nested_by(simd, text))
}

#[inline(always)]
fn nested_by<S: Simd>(simd: S, text: &[u8]) -> Option<usize> {
    let mut place = Place { depth: 1, in_string: 0, is_escaped: 0 };
    let (blocks, rest) = text.get(1..)?.as_chunks::<BLOCK>();
    for (number, block) in blocks.iter().enumerate() {
        if let Some(end) = place.after(simd, block) {
            return Some(1 + number * BLOCK + end);
        }
    }
    let mut last = [b' '; BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    place.after(simd, &last).map(|end| 1 + blocks.len() * BLOCK + end)
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
    #[inline(always)]
    fn after<S: Simd>(&mut self, simd: S, block: &[u8; BLOCK]) -> Option<usize> {
        let [quotes, backslashes, opening, closing] = positions(simd, block);
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
    #[inline(always)]
    fn escaped(&mut self, backslashes: u64) -> u64 {
        const ODD: u64 = 0xAAAA_AAAA_AAAA_AAAA;
        let first = std::mem::take(&mut self.is_escaped);
        if backslashes == 0 {
            return first;
        }
        // Of a run of backslashes each second one is escaped, and what is behind it where their
        // number is odd. A subtraction borrows its way through a whole run at once, as in 3.1.1 of
        // <https://arxiv.org/abs/1902.08318>.
        let begin = backslashes & !first;
        let turns = ((begin << 1) | ODD).wrapping_sub(begin) ^ ODD;
        self.is_escaped = (turns & backslashes) >> 63;
        turns ^ (backslashes | first)
    }

    /// The bytes of strings, each with its first quote.
    #[inline(always)]
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
#[inline(always)]
fn positions<S: Simd>(simd: S, block: &[u8; BLOCK]) -> [u64; 4] {
    let lanes = u8x64::simd_from(simd, *block);
    // The two brackets of a side differ in this bit alone.
    let brackets = lanes | 0x20;
    // One by one: `map` is no part of this function, and has not its instructions.
    [
        lanes.simd_eq(b'"').to_bitmask(),
        lanes.simd_eq(b'\\').to_bitmask(),
        brackets.simd_eq(b'{').to_bitmask(),
        brackets.simd_eq(b'}').to_bitmask(),
    ]
}
