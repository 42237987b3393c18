//! The class that a Java source file is named after.

/// The name, with its package, of the class to run: the public one, else the one with `main`, else the
/// first. `Main` when there is none, so that the compiler gets to say what is wrong.
#[must_use]
pub fn main_class(source: &[u8]) -> String {
    let text = without_comments_and_strings(&String::from_utf8_lossy(source));
    let words: Vec<&str> = split_words(&text).collect();
    let mut depth = 0_usize;
    let mut package = String::new();
    let mut classes: Vec<Class> = Vec::new();
    let mut is_public = false;
    for (index, word) in words.iter().enumerate() {
        let next = words.get(index + 1).copied().unwrap_or_default();
        match *word {
            "{" => depth += 1,
            "}" => depth = depth.saturating_sub(1),
            ";" if depth == 0 => is_public = false,
            "package" if depth == 0 && classes.is_empty() => {
                package = words[index + 1..].iter().take_while(|word| **word != ";").copied().collect();
            }
            "public" if depth == 0 => is_public = true,
            "class" | "interface" | "enum" | "record" if depth == 0 && is_name(next) => {
                classes.push(Class { name: next.to_owned(), is_public, has_main: false });
                is_public = false;
            }
            "main" if depth == 1 && next == "(" => {
                if let Some(class) = classes.last_mut() {
                    class.has_main = true;
                }
            }
            _ => {}
        }
    }
    let found = classes
        .iter()
        .find(|class| class.is_public)
        .or_else(|| classes.iter().find(|class| class.has_main))
        .or_else(|| classes.first());
    let name = found.map_or("Main", |class| class.name.as_str());
    if package.is_empty() { name.to_owned() } else { format!("{package}.{name}") }
}

struct Class {
    name: String,
    is_public: bool,
    has_main: bool,
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '$') && word.len() <= 100
}

/// Names as they are, every other character that is not blank by itself.
fn split_words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        let first = rest.chars().next()?;
        let in_name = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
        let end = if in_name(first) { rest.find(|c| !in_name(c)).unwrap_or(rest.len()) } else { first.len_utf8() };
        let (word, after) = rest.split_at(end);
        rest = after;
        Some(word)
    })
}

fn without_comments_and_strings(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let after = if let Some(comment) = rest.strip_prefix("//") {
            comment.find('\n').map_or("", |end| &comment[end..])
        } else if let Some(comment) = rest.strip_prefix("/*") {
            comment.find("*/").map_or("", |end| &comment[end + 2..])
        } else if let Some(block) = rest.strip_prefix("\"\"\"") {
            block.find("\"\"\"").map_or("", |end| &block[end + 3..])
        } else if c == '"' || c == '\'' {
            after_quoted(&rest[1..], c)
        } else {
            kept.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        kept.push(' ');
        rest = after;
    }
    kept
}

fn after_quoted(text: &str, quote: char) -> &str {
    let mut escaped = false;
    for (index, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\n' => return &text[index..],
            _ if c == quote => return &text[index + 1..],
            _ => {}
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e12_the_class_to_run_is_found() {
        for (source, class) in [
            ("public class Hello { public static void main(String[] a) {} }", "Hello"),
            ("class Helper {} public final class Tool { }", "Tool"),
            ("class A { void f() {} } class B { static void main(String[] a) {} }", "B"),
            ("// public class Not\n/* public class No */ class Yes { String s = \"public class X {\"; }", "Yes"),
            ("package a.b;\nimport java.util.*;\npublic class C {}", "a.b.C"),
            ("class Outer { public class Inner {} static void main(String[] a) {} }", "Outer"),
            ("class A { char c = '\"'; } public class Q {}", "Q"),
            ("public record Point(int x) { }", "Point"),
            ("", "Main"),
            ("/* never closed", "Main"),
            ("public class", "Main"),
        ] {
            assert_eq!(main_class(source.as_bytes()), class, "{source}");
        }
    }
}
