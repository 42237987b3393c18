//! Panels draw a view model and put what a person asks for into `Commands`; they change nothing but their own state.

pub(crate) mod bars;
pub(crate) mod clients;
pub(crate) mod connect;
pub(crate) mod detail;
pub(crate) mod dialogs;
pub(crate) mod history;
pub mod output_view;
pub(crate) mod palette;
pub(crate) mod slaves;
pub(crate) mod submit;
mod submit_settings;
pub(crate) mod table;
