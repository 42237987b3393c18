//! Secrets that are planted and must be found nowhere: not in the log, not in the data folder.

#![expect(clippy::unwrap_used, reason = "a helper that fails, fails the test")]

mod support;

use common::{
    message::{Command, Request, command::Secret},
    session::Role,
};
use master::admin::{self, AdminRequest};
use std::{
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};
use support::*;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => found.extend(files(&entry.path())),
            kind if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a18_passwords_tokens_and_join_secrets_are_in_no_log_and_no_file() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .init();
    let mut master = Master::start().await;
    let planted = ["planted-right-1f7a", "planted-wrong-77c2", "planted-later-0b11", "planted-guess-5a5a"];
    let [right, wrong, later, guess] = planted;
    let hash = admin::password_hash(right).unwrap();
    master
        .admin(AdminRequest::UserAdd { name: "mallory".into(), role: Role::Operator.word().into(), hash })
        .await
        .unwrap();
    assert!(master.try_login("mallory", wrong).await.is_err());
    // A password that was typed into the wrong place.
    assert!(master.try_login(wrong, "x").await.is_err());
    let mut client = master.try_login("mallory", right).await.unwrap();
    let mut secrets: Vec<String> = planted.iter().map(|&secret| secret.to_owned()).collect();
    secrets.push(client.token.clone());
    let copy = master.try_enter(Command::Resume { token: Secret(client.token.clone()) }).await.unwrap();
    assert!(master.try_enter(Command::Resume { token: Secret(guess.into()) }).await.is_err());
    let secret = master.invite(1).await;
    assert!(master.enrol(guess, "s1").await.is_err());
    let slave = master.enrol(&secret, "s1").await.unwrap();
    secrets.push(secret);
    client.submit(command("p")).await;
    client.ask(Request::Logout).await.unwrap();
    drop((copy, slave));
    let hash = admin::password_hash(later).unwrap();
    master.admin(AdminRequest::UserPasswd { name: "mallory".into(), hash }).await.unwrap();
    master.try_login("mallory", later).await.unwrap();
    master.stop().await;
    let log = log.0.lock().unwrap().clone();
    assert!(log.windows(7).any(|part| part == b"mallory"), "the log is there");
    for secret in &secrets {
        let holds = |bytes: &[u8]| bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
        assert!(!holds(&log), "{secret} in the log");
        for file in files(master.data()) {
            assert!(!holds(&std::fs::read(&file).unwrap()), "{secret} in {}", file.display());
        }
    }
}
