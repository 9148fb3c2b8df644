//! Text for people: pure functions from documents to styled strings. Nothing here knows where the text goes; the edge
//! strips the colours when nobody would see them, so every line must also read without.

pub(crate) mod amounts;
pub(crate) mod explain;
pub(crate) mod fleet;
pub(crate) mod listing;
pub(crate) mod plan;
pub(crate) mod progress;
pub(crate) mod shortage;
pub(crate) mod status;
pub(crate) mod style;
pub(crate) mod table;
pub(crate) mod text_diff;
pub(crate) mod what_if;
