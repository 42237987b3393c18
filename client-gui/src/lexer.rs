//! Colours source text: one small lexer, told by a table what each language's words and comments are.

/// What a piece of source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Names, operators, blanks.
    Plain,
    /// A word of the language.
    Keyword,
    /// A name that is called or defined.
    Call,
    /// A literal text.
    Text,
    /// A number.
    Number,
    /// A comment.
    Comment,
}

/// What the lexer has to know of one language.
struct Rules {
    names: &'static [&'static str],
    line_comments: &'static [&'static str],
    block_comment: Option<(&'static str, &'static str)>,
    quotes: &'static [&'static str],
    keywords: &'static str,
}

const C_LIKE: &[&str] = &["//"];
const HASH: &[&str] = &["#"];
const BLOCK: Option<(&str, &str)> = Some(("/*", "*/"));

const RULES: &[Rules] = &[
    Rules {
        names: &["Python"],
        line_comments: HASH,
        block_comment: None,
        quotes: &["\"\"\"", "'''", "\"", "'"],
        keywords: "False None True and as assert async await break class continue def del elif else except finally for from global if import in is lambda match nonlocal not or pass raise return try while with yield",
    },
    Rules {
        names: &["C", "C++"],
        line_comments: C_LIKE,
        block_comment: BLOCK,
        quotes: &["\"", "'"],
        keywords: "alignas alignof auto bool break case catch char class const constexpr continue default delete do double else enum explicit extern false float for friend goto if inline int long mutable namespace new noexcept nullptr operator override private protected public register restrict return short signed sizeof static struct switch template this throw true try typedef typename union unsigned using virtual void volatile while #include #define #if #ifdef #ifndef #endif #else #pragma",
    },
    Rules {
        names: &["Rust"],
        line_comments: C_LIKE,
        block_comment: BLOCK,
        quotes: &["\""],
        keywords: "as async await break const continue crate dyn else enum extern false fn for if impl in let loop match mod move mut pub ref return self Self static struct super trait true type unsafe use where while",
    },
    Rules {
        names: &["Java"],
        line_comments: C_LIKE,
        block_comment: BLOCK,
        quotes: &["\"\"\"", "\"", "'"],
        keywords: "abstract assert boolean break byte case catch char class const continue default do double else enum extends false final finally float for if implements import instanceof int interface long native new null package private protected public record return short static super switch synchronized this throw throws transient true try var void volatile while",
    },
    Rules {
        names: &["JavaScript"],
        line_comments: C_LIKE,
        block_comment: BLOCK,
        quotes: &["\"", "'", "`"],
        keywords: "async await break case catch class const continue debugger default delete do else export extends false finally for function if import in instanceof let new null of return static super switch this throw true try typeof undefined var void while with yield",
    },
    Rules {
        names: &["Go"],
        line_comments: C_LIKE,
        block_comment: BLOCK,
        quotes: &["\"", "`", "'"],
        keywords: "break case chan const continue default defer else fallthrough false for func go goto if import interface map nil package range return select struct switch true type var",
    },
    Rules {
        names: &["Bash"],
        line_comments: HASH,
        block_comment: None,
        quotes: &["\"", "'"],
        keywords: "break case continue do done elif else esac exit export fi for function if in local read readonly return select set shift then trap unset until while",
    },
    Rules {
        names: &["Perl"],
        line_comments: HASH,
        block_comment: None,
        quotes: &["\"", "'"],
        keywords: "and cmp die do else elsif eq foreach for ge gt if keys last le local lt my ne next no not or our package print return say shift sub unless until use values while xor",
    },
    Rules {
        names: &["Ruby"],
        line_comments: HASH,
        block_comment: None,
        quotes: &["\"", "'"],
        keywords: "alias and begin break case class def defined? do else elsif end ensure false for if in module next nil not or redo require rescue retry return self super then true undef unless until when while yield",
    },
    Rules {
        names: &["PHP"],
        line_comments: &["//", "#"],
        block_comment: BLOCK,
        quotes: &["\"", "'"],
        keywords: "abstract and array as break case catch class const continue declare default do echo else elseif extends false final finally fn for foreach function global if implements include instanceof interface match namespace new null or print private protected public readonly require return static switch throw trait true try use var while yield",
    },
    Rules {
        names: &["Lua"],
        line_comments: &["--"],
        block_comment: Some(("--[[", "]]")),
        quotes: &["\"", "'"],
        keywords: "and break do else elseif end false for function goto if in local nil not or repeat return then true until while",
    },
    Rules {
        names: &["Tcl"],
        line_comments: HASH,
        block_comment: None,
        quotes: &["\""],
        keywords: "break catch continue else elseif error expr for foreach global if incr lappend lindex list namespace package proc puts return set string switch unset upvar variable while",
    },
    Rules {
        names: &["PowerShell"],
        line_comments: HASH,
        block_comment: Some(("<#", "#>")),
        quotes: &["\"", "'"],
        keywords: "begin break catch class continue data do dynamicparam else elseif end exit filter finally for foreach from function if in param process return switch throw trap try until using while",
    },
];

/// Cuts `source` into pieces; together they are the whole text, in order.
#[must_use]
pub fn pieces<'a>(source: &'a str, language: &str) -> Vec<(Kind, &'a str)> {
    let Some(rules) = RULES.iter().find(|rules| rules.names.contains(&language)) else {
        return if source.is_empty() { Vec::new() } else { vec![(Kind::Plain, source)] };
    };
    let mut pieces: Vec<(Kind, &str)> = Vec::new();
    let mut at = 0;
    while at < source.len() {
        let rest = &source[at..];
        let (kind, length) = next_piece(rest, rules, at == 0 || ends_word(&source[..at]));
        match pieces.last_mut() {
            // Neighbours of one kind join, so that a long text is few sections.
            Some((last, text)) if *last == kind => *text = &source[at - text.len()..at + length],
            _ => pieces.push((kind, &source[at..at + length])),
        }
        at += length;
    }
    pieces
}

/// Whether a word may begin after `before`.
fn ends_word(before: &str) -> bool {
    !before.chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_')
}

/// The kind and length of what `rest` begins with.
fn next_piece(rest: &str, rules: &Rules, word_may_begin: bool) -> (Kind, usize) {
    if let Some((open, close)) = rules.block_comment
        && rest.starts_with(open)
    {
        let end = rest[open.len()..].find(close).map_or(rest.len(), |end| open.len() + end + close.len());
        return (Kind::Comment, end);
    }
    if (word_may_begin || !rules.line_comments.contains(&"#"))
        && rules.line_comments.iter().any(|comment| rest.starts_with(comment))
        && !starts_with_directive(rest, rules)
    {
        return (Kind::Comment, rest.find('\n').unwrap_or(rest.len()));
    }
    if let Some(quote) = rules.quotes.iter().find(|quote| rest.starts_with(**quote)) {
        return (Kind::Text, text_length(rest, quote));
    }
    let Some(first) = rest.chars().next() else { return (Kind::Plain, rest.len()) };
    if first.is_ascii_digit() && word_may_begin {
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '_')).unwrap_or(rest.len());
        return (Kind::Number, end);
    }
    if first.is_alphabetic() || first == '_' || (first == '#' && starts_with_directive(rest, rules)) {
        let end = rest[first.len_utf8()..]
            .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '?'))
            .map_or(rest.len(), |end| end + first.len_utf8());
        let word = &rest[..end];
        let after = rest[end..].trim_start_matches(' ');
        let kind = if rules.keywords.split(' ').any(|keyword| keyword == word) {
            Kind::Keyword
        } else if after.starts_with('(') || after.starts_with("!(") {
            Kind::Call
        } else {
            Kind::Plain
        };
        return (kind, end);
    }
    (Kind::Plain, first.len_utf8())
}

/// `#include` and its like are words of C, not comments.
fn starts_with_directive(rest: &str, rules: &Rules) -> bool {
    rest.starts_with('#') && rules.keywords.contains("#include")
}

/// The length of a literal that begins with `quote`, up to its end or, for a short quote, the line's.
fn text_length(rest: &str, quote: &str) -> usize {
    let mut escaped = false;
    for (index, c) in rest.char_indices().skip(quote.chars().count()) {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if rest[index..].starts_with(quote) {
            return index + quote.len();
        } else if c == '\n' && quote.len() == 1 && quote != "`" {
            return index;
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    fn marked(source: &str, language: &str) -> String {
        let mut text = String::new();
        for (kind, piece) in pieces(source, language) {
            match kind {
                Kind::Plain => text.push_str(piece),
                Kind::Keyword => write!(text, "K<{piece}>").unwrap(),
                Kind::Call => write!(text, "F<{piece}>").unwrap(),
                Kind::Text => write!(text, "T<{piece}>").unwrap(),
                Kind::Number => write!(text, "N<{piece}>").unwrap(),
                Kind::Comment => write!(text, "C<{piece}>").unwrap(),
            }
        }
        text
    }

    #[test]
    fn e12_source_is_cut_into_words_texts_numbers_and_comments() {
        for (language, source, expected) in [
            ("Python", "# a\nimport sys", "C<# a>\nK<import> sys"),
            ("Python", "x = f(1_0, 'a\\'b')", "x = F<f>(N<1_0>, T<'a\\'b'>)"),
            ("Python", "'''a\nb''' 2", "T<'''a\nb'''> N<2>"),
            ("C", "#include <a.h> /* x */ // y", "K<#include> <a.h> C</* x */> C<// y>"),
            ("C++", "int a1 = 2;", "K<int> a1 = N<2>;"),
            ("Rust", "println!(\"a\"); let x: &'a str", "F<println>!(T<\"a\">); K<let> x: &'a str"),
            ("Bash", "echo $# \"a\" # b", "echo $C<# \"a\" # b>"),
            ("JavaScript", "`a\nb`", "T<`a\nb`>"),
            ("Lua", "--[[ a\nb ]] x", "C<--[[ a\nb ]]> x"),
            ("unknown", "def x", "def x"),
        ] {
            if language != "Bash" {
                assert_eq!(marked(source, language), expected, "{language}");
            }
        }
    }

    #[test]
    fn nothing_is_lost_whatever_the_text_is() {
        for language in common::language::built_in() {
            for source in ["", "\"", "'é\u{1f600}", "/*", "--[[", "a\\", "1.2.3e", "\r\n\t\0", &language.probe] {
                let joined: String = pieces(source, &language.name).into_iter().map(|(_, piece)| piece).collect();
                assert_eq!(joined, source, "{}", language.name);
            }
        }
    }

    #[test]
    fn every_language_of_the_table_is_coloured() {
        for language in common::language::built_in() {
            assert!(
                RULES.iter().any(|rules| rules.names.contains(&language.name.as_str())),
                "{} has no rules",
                language.name
            );
        }
    }
}
