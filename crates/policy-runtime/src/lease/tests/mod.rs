//! Elections against a server that a test can break, and in a simulated world.

mod driver;
mod server;
mod simulation;
mod tracker;
mod world;
