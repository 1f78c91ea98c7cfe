//! Enforce mode: what may be changed, when, and how.

mod windows;

pub use windows::Windows;
pub(crate) use windows::problems as window_problems;
