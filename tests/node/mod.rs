//! `weir node`: the real binary as leader and follower, with its store on disk.

mod durability;
mod follower;
mod full_disk;
mod leader;
mod limits;
mod peers;
pub mod process;
mod reads;
mod secrets;
mod web;
