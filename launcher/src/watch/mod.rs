//! What no control group keeps and the keeper looks at from time to time: the disk that a program takes, and how many
//! files its processes have open.

mod disk;
mod hidden;
mod open_files;
mod walk;

pub(crate) use disk::{Disk, Finding, Free};
pub(crate) use open_files::most_open_files;
