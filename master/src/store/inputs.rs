//! Which input files the programs need that have not ended, as the history says, and whether they are there.

use super::body;
use crate::inputs::{for_each, is_sound, name_of};
use common::{escape::RawText, id::Digest};
use rusqlite::Connection;
use std::{collections::BTreeMap, io, path::Path};

/// Content, size and one name of each.
///
/// # Errors
/// When the database cannot be read.
pub(crate) fn needed(connection: &Connection) -> Result<BTreeMap<Digest, (u64, RawText)>, rusqlite::Error> {
    let sql = "SELECT b.key, b.body, b.form FROM program p JOIN spec b ON b.key = p.spec
               WHERE p.ended_at IS NULL
               UNION SELECT b.key, b.body, b.form FROM array a JOIN spec b ON b.key = a.spec";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut needed = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let (text, form): (Vec<u8>, i64) = (row.get(1)?, row.get(2)?);
        // A body that cannot be read is told of by the test of bodies.
        let Ok(spec) = body::decode(form, &text) else { continue };
        needed.extend(spec.inputs.into_iter().map(|input| (input.digest, (input.size.0, input.name))));
    }
    Ok(needed)
}

/// What is wrong with the folder of input files.
///
/// # Errors
/// When the database cannot be read.
pub(super) fn problems(
    connection: &Connection,
    folder: &Path,
    mut found: impl FnMut(String),
) -> Result<(), rusqlite::Error> {
    for (digest, (size, name)) in needed(connection)? {
        let path = folder.join(name_of(digest));
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.len() == size => {}
            Ok(metadata) => {
                found(format!("the input file `{}` ({name}) has {} of {size} bytes", path.display(), metadata.len()));
            }
            Err(error) => found(format!("the input file `{}` ({name}) cannot be read: {error}", path.display())),
        }
    }
    let mut damaged = Vec::new();
    let read = for_each(folder, |digest, path| {
        match is_sound(path, digest) {
            Ok(true) => {}
            Ok(false) => damaged.push(format!("the input file `{}` was changed", path.display())),
            // A running master may have made room for another.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => damaged.push(format!("the input file `{}` cannot be read: {error}", path.display())),
        }
        Ok(())
    });
    if let Err(error) = read {
        found(format!("the input files cannot be listed: {error}"));
    }
    damaged.into_iter().for_each(found);
    Ok(())
}
