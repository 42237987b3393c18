//! What the documents tell people to type is what the programs understand.

use std::fs;

const DOCUMENTS: [&str; 8] = [
    "README.md",
    "docs/guide.md",
    "docs/interface.md",
    "docs/configuration.md",
    "docs/languages.md",
    "certs/README.md",
    "examples/README.md",
    "packaging/install.sh",
];

fn read(path: &str) -> String {
    fs::read_to_string(tests::binaries::workspace().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn program(name: &str) -> Option<clap::Command> {
    Some(match name {
        "ruche-master" => master::command(),
        "ruche-slave" => slave::command(),
        "ruche" => client_cli::command(),
        "ruche-gui" => client_gui::command(),
        _ => return None,
    })
}

/// The words of a line as a shell would cut them, one list a command; `$(…)` is a command of its own and a word.
fn commands(line: &str) -> Vec<Vec<String>> {
    let (mut all, mut words, mut word) = (Vec::new(), Vec::new(), None::<String>);
    let mut chars = line.chars().peekable();
    let mut quote = None;
    while let Some(character) = chars.next() {
        match (character, quote) {
            (end, Some(open)) if end == open => quote = None,
            ('$', None | Some('"')) if chars.peek() == Some(&'(') => {
                let inner: String = chars.by_ref().skip(1).take_while(|&inner| inner != ')').collect();
                all.extend(commands(&inner));
                word.get_or_insert_default().push('X');
            }
            (any, Some(_)) => word.get_or_insert_default().push(any),
            ('\'' | '"', None) => {
                word.get_or_insert_default();
                quote = Some(character);
            }
            ('#', None) if word.is_none() => break,
            (';' | '|' | '&' | '<' | '>', None) => {
                words.extend(word.take());
                all.push(std::mem::take(&mut words));
            }
            (space, None) if space.is_whitespace() => words.extend(word.take()),
            (any, None) => word.get_or_insert_default().push(any),
        }
    }
    words.extend(word);
    all.push(words);
    all
}

/// The words from the program's name on, without `sudo`, `exec` and variables before it.
fn of_ours(words: &[String]) -> Option<(clap::Command, Vec<String>)> {
    let place = words.iter().position(|word| program(word).is_some())?;
    let before = words[..place].iter();
    let harmless = before
        .clone()
        .all(|word| word.contains('=') || ["sudo", "-u", "ruche", "exec", "(", "$"].contains(&word.as_str()));
    // `sudo -u ruche ruche-master`: the user has the name of a program.
    let place = if words.get(place.wrapping_sub(1)).is_some_and(|word| word == "-u") { place + 1 } else { place };
    let command = program(words.get(place)?)?;
    harmless.then(|| (command, words[place..].to_vec()))
}

fn check(place: &str, command: clap::Command, words: &[String], whole: bool) -> Result<(), String> {
    use clap::error::ErrorKind;
    match command.try_get_matches_from(words) {
        Ok(_) => Ok(()),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => Ok(()),
        // Running text may leave out what does not matter there.
        Err(error) if !whole && error.kind() == ErrorKind::MissingRequiredArgument => Ok(()),
        Err(error) => Err(format!("{place}: `{}`\n{error}", words.join(" "))),
    }
}

/// Stands for a value: what the documents write in capitals or leave open.
fn filled(word: &str) -> String {
    match word {
        "ROLE" => "viewer",
        "NAME" | "STRING" | "DIR" | "ID" | "TEXT" | "FILE" | "PIN" => word,
        "N" => "3",
        "T" => "10s",
        "SIZE" => "1M",
        "STATE" => "done",
        "SHELL" => "bash",
        "TTL" => "1h",
        other => other,
    }
    .to_owned()
}

#[test]
fn every_command_line_of_the_documents_is_understood() {
    let (mut checked, mut wrong) = (0, Vec::new());
    for path in DOCUMENTS {
        let text = read(path);
        let mut in_block = path.ends_with(".sh");
        for (number, line) in text.lines().enumerate() {
            if line.starts_with("```") {
                in_block = line.starts_with("```sh");
                continue;
            }
            // In running text only what is marked as code; a table of the interface has forms in place of lines.
            let pieces: Vec<&str> = if in_block { vec![line] } else { line.split('`').skip(1).step_by(2).collect() };
            for words in pieces.into_iter().flat_map(commands) {
                let Some((command, words)) = of_ours(&words) else { continue };
                // A form such as `user list [--json]`, or the bare name of a program or a command.
                let form = words.iter().any(|word| word.contains(['[', '…', '*', '{']));
                if !in_block && (form || words.len() < 3) {
                    continue;
                }
                let words: Vec<String> = words.iter().map(|word| filled(word)).collect();
                checked += 1;
                wrong.extend(check(&format!("{path}:{}", number + 1), command, &words, in_block).err());
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {checked}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(checked >= 25, "only {checked} lines were found: does the test still read the documents?");
}

/// The names of the long options of a program's command, or of the program itself.
fn long_options(command: &clap::Command) -> Vec<String> {
    command
        .get_arguments()
        .filter(|argument| !argument.is_hide_set())
        .filter_map(|argument| argument.get_long().map(|name| format!("--{name}")))
        .filter(|name| !["--help", "--version"].contains(&name.as_str()))
        .collect()
}

fn options_in(text: &str) -> Vec<String> {
    text.split(|character: char| !(character.is_ascii_lowercase() || character == '-'))
        .filter(|word| word.len() > 3 && word.starts_with("--"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_interface_names_exactly_the_options_that_exist() {
    let text = read("docs/interface.md");
    for name in ["ruche-master", "ruche-slave", "ruche", "ruche-gui"] {
        let start = format!("\n## {name}\n");
        let begun = text.split_once(&start).unwrap_or_else(|| panic!("no section {name}")).1;
        let section = begun.split("\n## ").next().unwrap();
        let told = options_in(section);
        let command = program(name).unwrap();
        let mut real = long_options(&command);
        let mut left: Vec<&clap::Command> = command.get_subcommands().filter(|sub| !sub.is_hide_set()).collect();
        while let Some(sub) = left.pop() {
            real.extend(long_options(sub));
            left.extend(sub.get_subcommands());
        }
        for option in &real {
            assert!(told.contains(option), "docs/interface.md does not tell `{option}` of {name}");
        }
        for option in told.iter().filter(|option| !["--help", "--version"].contains(&option.as_str())) {
            assert!(real.contains(option), "docs/interface.md tells `{option}`, which {name} does not have");
        }
    }
}

#[test]
fn s12_the_manual_pages_are_those_of_these_programs() {
    for name in ["ruche-master", "ruche-slave", "ruche", "ruche-gui"] {
        let kept = read(&format!("packaging/man/{name}.1"));
        let made = xtask::man::page(&tests::binaries::path(name), name).unwrap();
        assert_eq!(kept, made, "packaging/man/{name}.1 is old: run `cargo xtask man`");
    }
}

#[test]
fn a_line_is_cut_as_a_shell_does() {
    let cut = commands("A=\"$(ruche-master pin --data 'D E')\" ruche run x 'a b' -- y # why | no");
    assert_eq!(cut[0], ["ruche-master", "pin", "--data", "D E"]);
    assert_eq!(cut[1], ["A=X", "ruche", "run", "x", "a b", "--", "y"]);
    assert_eq!(cut.len(), 2);
}
