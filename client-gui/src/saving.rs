//! Writes a whole stream of a program to a file, however long it is: asked piece by piece.

use crate::{
    backend::{Asked, Backend},
    widgets::shown,
};
use common::{
    ByteSize, ErrorCode, UserError,
    limits::OUTPUT_CHUNK_BYTES_MAX,
    message::{Reply, Request, data::Stream},
    view::ProgramView,
};
use std::{fs::File, io::Write, path::Path, rc::Rc};

/// Writes what `row` has printed so far on `stream` to `path`; gives how much it was and where it is.
///
/// The interface's thread writes one piece of at most 64 KiB at a time, which the system buffers.
pub(crate) fn save(backend: &Rc<dyn Backend>, row: &ProgramView, stream: Stream, path: &Path) -> Asked<String> {
    let name = shown(&path.to_string_lossy());
    let mut file = match File::create(path) {
        Ok(file) => file,
        Err(error) => {
            let mut failed = Some(Err(unwritable(&name, &error)));
            return Asked::new(move || failed.take());
        }
    };
    let (backend, id) = (Rc::clone(backend), row.id);
    let mut offset = 0_u64;
    let ask = move |offset| {
        backend.request(Request::ReadOutput {
            id,
            stream,
            offset,
            bytes_max: OUTPUT_CHUNK_BYTES_MAX as u32,
            follow: false,
        })
    };
    let mut asked = Some(ask(0));
    Asked::new(move || {
        let answer = asked.as_mut()?.poll()?;
        asked = None;
        match answer {
            Ok(Reply::Output { bytes, end, .. }) => {
                if let Err(error) = file.write_all(&bytes) {
                    return Some(Err(unwritable(&name, &error)));
                }
                offset += bytes.len() as u64;
                if end || bytes.is_empty() {
                    return Some(Ok(format!("{} in {name}", ByteSize(offset))));
                }
                asked = Some(ask(offset));
                None
            }
            Ok(_) => Some(Err(UserError::new(ErrorCode::ProtocolError, "the master gave another answer than output"))),
            Err(error) => Some(Err(error)),
        }
    })
}

fn unwritable(name: &str, error: &std::io::Error) -> UserError {
    UserError::new(ErrorCode::FileUnreadable, format!("`{name}` cannot be written: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::Demo;

    #[test]
    fn e7_an_output_is_saved_whole() {
        let demo: Rc<dyn Backend> = Rc::new(Demo::new());
        let mirror = demo.mirror();
        let row = mirror.history.known().find(|row| row.name == "matmul_bench.c").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.txt");
        let mut saved = save(&demo, row, Stream::Stdout, &path);
        let answer = (0..100).find_map(|_| saved.poll()).expect("the script answers at once");
        assert!(answer.unwrap().contains("out.txt"));
        assert_eq!(std::fs::metadata(&path).unwrap().len(), row.output_bytes);
        let mut refused = save(&demo, row, Stream::Stdout, &folder.path().join("none/out.txt"));
        assert!(refused.poll().unwrap().unwrap_err().sentence.contains("cannot be written"));
    }
}
