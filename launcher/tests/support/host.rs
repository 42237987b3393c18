//! What a slave is to its launcher: the program that becomes one. Only the launcher's own tests use it, and what they
//! run: a program that takes what it is told to take.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "it talks to a test, and fails by panic")]

use std::{fs::File, io::Write, process::ExitCode, time::Duration};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |place: usize| words[place].parse::<usize>().unwrap();
    match words[0].as_str() {
        launcher::SUBCOMMAND => return launcher::serve(),
        // Tells the level, and each guard that is not there.
        "probe" => {
            let own_users = nix::unistd::geteuid().is_root();
            let system = launcher::isolation::usual_system_folders();
            let wish = launcher::isolation::Wish { own_users, system, ..Default::default() };
            let facts = launcher::isolation::probe(&wish, &launcher::cgroup::Base::none("not asked for"));
            println!("{:?}", facts.level);
            for guard in facts.told.iter().filter(|guard| !guard.on) {
                println!("{}: {}", guard.name, guard.detail);
            }
        }
        // Touches so many MiB and keeps them.
        "eat" => {
            let eaten = vec![1_u8; number(1) << 20];
            std::thread::sleep(Duration::from_secs(1_000));
            assert!(!eaten.is_empty());
        }
        // Writes so many bytes into a pipe that it makes large enough.
        "write" => {
            let output = std::io::stdout();
            nix::fcntl::fcntl(&output, nix::fcntl::FcntlArg::F_SETPIPE_SZ(1 << 20)).unwrap();
            output.lock().write_all(&vec![b'x'; number(1)]).unwrap();
        }
        // Opens files until it is refused one, and ends with a code a while after.
        "open" => {
            let files: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
            println!("{}", files.len());
            std::thread::sleep(Duration::from_millis(500));
            return ExitCode::from(u8::try_from(number(1)).unwrap());
        }
        // Moves a file about between folders, and ends with code 3.
        "move" => {
            let folders: Vec<String> = (0..9).map(|number| format!("{number}/a/b/c")).collect();
            folders.iter().for_each(|folder| std::fs::create_dir_all(folder).unwrap());
            std::fs::write("0/x", vec![0; 10_000_000]).unwrap();
            for turn in 0..number(1) {
                std::fs::rename(format!("{}/x", turn % 9), format!("{}/x", (turn + 1) % 9)).unwrap();
            }
            return ExitCode::from(3);
        }
        // Fills so many MiB of a file that has no name, is not open, and is mapped.
        "map" => map_without_a_name(number(1) << 20),
        other => panic!("what is `{other}`?"),
    }
    ExitCode::SUCCESS
}

#[expect(unsafe_code, reason = "nothing safe maps a file that may change")]
fn map_without_a_name(bytes: usize) {
    use std::os::fd::AsRawFd;
    let file = File::options().create(true).truncate(true).read(true).write(true).open("x").unwrap();
    file.set_len(bytes as u64).unwrap();
    let (rights, at) = (libc::PROT_READ | libc::PROT_WRITE, std::ptr::null_mut());
    // SAFETY: a new mapping, wherever the kernel puts it.
    let start = unsafe { libc::mmap(at, bytes, rights, libc::MAP_SHARED, file.as_raw_fd(), 0) };
    assert_ne!(start, libc::MAP_FAILED);
    drop(file);
    std::fs::remove_file("x").unwrap();
    for offset in (0..bytes).step_by(4_096) {
        // SAFETY: within the mapping, which nobody else knows of.
        unsafe { start.cast::<u8>().add(offset).write_volatile(1) };
    }
    println!("full");
    std::thread::sleep(Duration::from_secs(1_000));
}
