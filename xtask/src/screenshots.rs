//! The pictures of the README: the real window on an invisible display.

/// Writes `docs/images/*.png`.
///
/// # Errors
/// When a display tool is missing or the window does not show.
pub fn run() -> anyhow::Result<()> {
    anyhow::bail!("there are no screenshots in this release")
}
