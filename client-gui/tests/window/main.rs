//! The whole window without a screen: by accessible names, with and without a mouse.

mod files;
mod history;
mod hostile;
mod kit;
mod live;
mod session;
mod slaves;
mod submit;
mod whole;
