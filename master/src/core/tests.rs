//! Placeholder for the build; see below.
