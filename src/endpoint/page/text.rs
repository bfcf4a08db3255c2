//! Texts that others have chosen, as a page may show them.

use crate::clock::UnixTime;

/// Cuts a text to so many characters, and leaves out what would change the text around it: control characters, marks that turn
/// the direction of writing, and combining marks beyond the second on one letter.
#[must_use]
pub fn shown(text: &str, characters_max: usize) -> String {
    let mut shown = String::new();
    let mut marks = 0;
    let mut characters = 0;
    for character in text.chars().filter(|character| !is_left_out(*character)) {
        marks = if is_combining(character) { marks + 1 } else { 0 };
        if marks > MARKS_MAX {
            continue;
        }
        if characters == characters_max {
            shown.push('…');
            break;
        }
        shown.push(if character.is_whitespace() { ' ' } else { character });
        characters += 1;
    }
    shown
}

/// Combining marks on one letter that writing needs.
const MARKS_MAX: u32 = 2;

fn is_left_out(character: char) -> bool {
    let turns =
        matches!(character, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let is_invisible =
        matches!(character, '\u{200b}' | '\u{2060}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    (character.is_control() && !character.is_whitespace()) || turns || is_invisible
}

fn is_combining(character: char) -> bool {
    matches!(
        character,
        '\u{0300}'..='\u{036f}'
            | '\u{0483}'..='\u{0489}'
            | '\u{1ab0}'..='\u{1aff}'
            | '\u{1dc0}'..='\u{1dff}'
            | '\u{20d0}'..='\u{20ff}'
            | '\u{fe20}'..='\u{fe2f}'
    )
}

/// How long ago something was, in words.
#[must_use]
pub fn ago(then: UnixTime, now: UnixTime) -> String {
    let seconds = now.as_seconds().saturating_sub(then.as_seconds());
    let (count, unit) = match seconds {
        0..MINUTE => return "just now".to_owned(),
        MINUTE..HOUR => (seconds / MINUTE, "minute"),
        HOUR..DAY => (seconds / HOUR, "hour"),
        _ => (seconds / DAY, "day"),
    };
    format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
}

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// What a browser calls itself, in the words that people call it by. It may say what it likes.
#[must_use]
pub fn browser(user_agent: &str) -> String {
    let first = |known: &[(&str, &'static str)]| {
        known.iter().find(|(word, _)| user_agent.contains(word)).map(|(_, name)| *name)
    };
    match (first(&BROWSERS), first(&SYSTEMS)) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(browser), None) => browser.to_owned(),
        _ => shown(user_agent, USER_AGENT_CHARACTERS_MAX),
    }
}

const USER_AGENT_CHARACTERS_MAX: usize = 60;

/// In this order, for each names those after it too.
const BROWSERS: [(&str, &str); 6] = [
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
];

const SYSTEMS: [(&str, &str); 6] = [
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_and_keeps_to_itself() {
        assert_eq!(shown("Zoë 研究", 10), "Zoë 研究");
        assert_eq!(shown("abcdef", 3), "abc…");
        assert_eq!(shown("a\u{202e}b\u{200b}c\u{0}d\u{feff}", 10), "abcd");
        assert_eq!(shown("a\r\nb\tc", 10), "a  b c");
        let marked = format!("a{}b", "\u{0301}".repeat(10_000));
        assert_eq!(shown(&marked, 10), "a\u{0301}\u{0301}b");
        assert_eq!(shown("", 0), "");
    }

    #[test]
    fn time_passes_in_words() {
        let at = UnixTime::from_seconds;
        for (seconds, words) in
            [(0, "just now"), (59, "just now"), (60, "1 minute ago"), (7200, "2 hours ago"), (90_000, "1 day ago")]
        {
            assert_eq!(ago(at(1_000_000), at(1_000_000 + seconds)), words);
        }
        assert_eq!(ago(at(10), at(5)), "just now");
    }

    #[test]
    fn browsers_are_called_by_their_names() {
        let chrome =
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0 Safari/537.36";
        assert_eq!(browser(chrome), "Chrome on Linux");
        assert_eq!(browser(&format!("{chrome} Edg/156.0")), "Edge on Linux");
        assert_eq!(browser("curl/8.0"), "curl/8.0");
        assert_eq!(browser(&"x".repeat(100)).chars().count(), 61);
    }
}
