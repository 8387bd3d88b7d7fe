//! How large all of it is.

/// What is pulled, installed and computed.
#[derive(Clone, Copy)]
pub struct Size {
    /// The files of the base image, before compression.
    pub base_bytes: usize,
    /// The files that a step installs.
    pub installed_files: usize,
    /// How often the step that compiles dependencies does its work: about a third of a CPU second each.
    pub compile_rounds: usize,
}

impl Size {
    /// A base image of about 120 MB, compressed, and a build of about ten CPU seconds.
    pub const FULL: Self = Self {
        base_bytes: 200_000_000,
        installed_files: 4_000,
        compile_rounds: 20,
    };
    /// Enough to see that all of it works.
    pub const QUICK: Self = Self {
        base_bytes: 8_000_000,
        installed_files: 100,
        compile_rounds: 1,
    };
}
