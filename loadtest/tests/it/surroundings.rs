//! Where the programs meet what surrounds them: readers of their logs, descriptors, disks.

mod descriptors;
mod reports;
mod sending;
