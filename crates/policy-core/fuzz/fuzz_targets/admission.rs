//! Arbitrary bytes as an admission review: read, judged and answered.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| policy_core::admission::fuzz(bytes));
