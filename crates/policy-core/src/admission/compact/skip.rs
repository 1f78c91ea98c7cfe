//! Finds the end of a value.
#![expect(clippy::inline_always, reason = "only inlined code uses the instructions of `dispatch!`")]

use fearless_simd::prelude::*;
use fearless_simd::{Level, dispatch, u8x16, u8x64};

const LANES: usize = 16;
/// Bytes per step: one bit for each fits into a `u64`.
const BLOCK: usize = 64;

/// The length of a string without its quotes; `text` starts after the opening one. `None` where it
/// has an escape or a control character.
pub(super) fn plain_string(text: &[u8]) -> Option<usize> {
    // Most strings are short: detecting better instructions costs more than they save.
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

/// The length of the string at the start of the text, with its quotes.
pub(super) fn string(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at + 1);
        }
        // The escaped byte is not the end.
        at += 2;
    }
}

/// The length of the number, boolean or null at the start of the text.
pub(super) fn scalar(text: &[u8]) -> Option<usize> {
    let end = text.iter().position(|byte| matches!(byte, b',' | b'}' | b']'));
    end.filter(|&length| length > 0)
}

/// The length of the object or list at the start of the text, with its brackets. Both kinds of
/// brackets count as the same.
pub(super) fn nested(text: &[u8]) -> Option<usize> {
    nested_at(Level::new(), text)
}

/// The same with the instructions of a SIMD level.
pub(super) fn nested_at(level: Level, text: &[u8]) -> Option<usize> {
    dispatch!(level, simd => nested_by(simd, text))
}

#[inline(always)]
fn nested_by<S: Simd>(simd: S, text: &[u8]) -> Option<usize> {
    let mut scanner = Scanner { depth: 1, in_string: 0, is_escaped: 0 };
    let (blocks, rest) = text.get(1..)?.as_chunks::<BLOCK>();
    for (number, block) in blocks.iter().enumerate() {
        if let Some(end) = scanner.scan(simd, block) {
            return Some(1 + number * BLOCK + end);
        }
    }
    let mut last = [b' '; BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    scanner.scan(simd, &last).map(|end| 1 + blocks.len() * BLOCK + end)
}

/// The state between two blocks.
struct Scanner {
    /// The number of open brackets, at least one.
    depth: u32,
    /// All bits set inside a string, none outside.
    in_string: u64,
    /// The lowest bit set where the next byte is escaped.
    is_escaped: u64,
}

impl Scanner {
    /// Scans a block. Returns the length up to and including the last closing bracket, where the
    /// block has it.
    #[inline(always)]
    fn scan<S: Simd>(&mut self, simd: S, block: &[u8; BLOCK]) -> Option<usize> {
        let [quotes, backslashes, opening, closing] = positions(simd, block);
        let quotes = quotes & !self.escaped(backslashes);
        let outside = !self.strings(quotes);
        let (opening, closing) = (opening & outside, closing & outside);
        // Most brackets are an empty `{}`, which never closes the value: it is nested in it.
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

    /// The bytes after a backslash that is not escaped itself.
    #[inline(always)]
    fn escaped(&mut self, backslashes: u64) -> u64 {
        const ODD: u64 = 0xAAAA_AAAA_AAAA_AAAA;
        let first = std::mem::take(&mut self.is_escaped);
        if backslashes == 0 {
            return first;
        }
        // In a run of backslashes every second one is escaped, and the byte after a run of odd
        // length. A subtraction carries through a whole run at once: section 3.1.1 of
        // <https://arxiv.org/abs/1902.08318>.
        let begin = backslashes & !first;
        let turns = ((begin << 1) | ODD).wrapping_sub(begin) ^ ODD;
        self.is_escaped = (turns & backslashes) >> 63;
        turns ^ (backslashes | first)
    }

    /// The bytes of strings, each with its opening quote.
    #[inline(always)]
    fn strings(&mut self, quotes: u64) -> u64 {
        // Prefix XOR: each quote inverts all bits after it.
        let mut strings = quotes;
        for shift in [1, 2, 4, 8, 16, 32] {
            strings ^= strings << shift;
        }
        strings ^= self.in_string;
        self.in_string = 0_u64.wrapping_sub(strings >> 63);
        strings
    }
}

/// Bit masks of quotes, backslashes, opening and closing brackets; the first byte is the lowest bit.
#[inline(always)]
fn positions<S: Simd>(simd: S, block: &[u8; BLOCK]) -> [u64; 4] {
    let lanes = u8x64::simd_from(simd, *block);
    // `{` and `[`, as well as `}` and `]`, differ in this bit only.
    let brackets = lanes | 0x20;
    // Without `map`: its closure would not be inlined, and use the baseline instructions.
    [
        lanes.simd_eq(b'"').to_bitmask(),
        lanes.simd_eq(b'\\').to_bitmask(),
        brackets.simd_eq(b'{').to_bitmask(),
        brackets.simd_eq(b'}').to_bitmask(),
    ]
}
