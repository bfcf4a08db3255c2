//! Names of clients that people read: what looks like another name, or like nothing, is none.

use unicode_normalization::is_nfc;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory as _};
use unicode_script::{Script, UnicodeScript as _};
use unicode_security::mixed_script::AugmentedScriptSet;

/// Why a name is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeceptiveName {
    /// Controls, marks of direction, characters without a shape, and what no version of Unicode has assigned.
    #[error(
        "must be of characters that can be seen: no controls, no marks of direction, nothing invisible or unassigned"
    )]
    Invisible,
    /// The same text can be written in another way.
    #[error("must be in Unicode's normalization form NFC")]
    NotNormalized,
    /// Spaces that nobody sees.
    #[error("must not begin or end with a space, or have two in a row")]
    Spaces,
    /// As in `pаypal` with a Cyrillic `а`.
    #[error("must be of one script, or of Latin beside Chinese, Japanese or Korean")]
    MixedScripts,
}

/// Whether all of a name can be seen.
///
/// # Errors
///
/// [`DeceptiveName`] says what is allowed.
pub fn check_visible(name: &str) -> Result<(), DeceptiveName> {
    if !name.chars().all(is_visible) {
        return Err(DeceptiveName::Invisible);
    }
    if !is_nfc(name) {
        return Err(DeceptiveName::NotNormalized);
    }
    if name.trim() != name || name.contains("  ") {
        return Err(DeceptiveName::Spaces);
    }
    Ok(())
}

/// [`check_visible`], and whether its letters are of scripts that are written together. For names that nobody has looked at.
///
/// # Errors
///
/// [`DeceptiveName`] says what is allowed.
pub fn check_one_script(name: &str) -> Result<(), DeceptiveName> {
    check_visible(name)?;
    if !AugmentedScriptSet::for_str(name).is_empty() {
        return Ok(());
    }
    // The "highly restrictive" level of UTS #39 §5.2.
    let others: String = name.chars().filter(|character| character.script() != Script::Latin).collect();
    let AugmentedScriptSet { hanb, jpan, kore, .. } = AugmentedScriptSet::for_str(&others);
    if hanb || jpan || kore { Ok(()) } else { Err(DeceptiveName::MixedScripts) }
}

fn is_visible(character: char) -> bool {
    let is_shown = !matches!(
        character.general_category(),
        GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
            | GeneralCategory::PrivateUse
            | GeneralCategory::Surrogate
            | GeneralCategory::Unassigned
    );
    let is_other_space = character != ' ' && character.general_category() == GeneralCategory::SpaceSeparator;
    is_shown && !is_other_space && !is_blank(character)
}

/// Assigned, of a category of things that are seen, and yet shown as nothing (`Default_Ignorable_Code_Point` of Unicode, and the
/// empty pattern of Braille).
const fn is_blank(character: char) -> bool {
    matches!(
        character,
        '\u{34f}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{2800}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_seen_as_it_is_written() {
        for name in
            ["Das Tor „1“", "Café", "日本語アプリ", "アプリ A", "한국 App", "Приложение 2", "App (beta) – v2", "😀 App"]
        {
            assert_eq!(check_one_script(name), Ok(()), "{name}");
        }
        for (name, expected) in [
            ("a\u{0}", DeceptiveName::Invisible),
            ("a\nb", DeceptiveName::Invisible),
            ("\u{202e}lap\u{202c}", DeceptiveName::Invisible),
            ("\u{2066}a\u{2069}", DeceptiveName::Invisible),
            ("a\u{200b}b", DeceptiveName::Invisible),
            ("a\u{ad}b", DeceptiveName::Invisible),
            ("a\u{feff}", DeceptiveName::Invisible),
            ("\u{3164}", DeceptiveName::Invisible),
            ("\u{2800}", DeceptiveName::Invisible),
            ("a\u{a0}b", DeceptiveName::Invisible),
            ("a\u{fe0f}", DeceptiveName::Invisible),
            ("a\u{e0041}", DeceptiveName::Invisible),
            ("a\u{e000}", DeceptiveName::Invisible),
            ("a\u{378}", DeceptiveName::Invisible),
            ("Cafe\u{301}", DeceptiveName::NotNormalized),
            (" a", DeceptiveName::Spaces),
            ("a ", DeceptiveName::Spaces),
            ("a  b", DeceptiveName::Spaces),
        ] {
            assert_eq!(check_visible(name), Err(expected), "{name:?}");
            assert_eq!(check_one_script(name), Err(expected), "{name:?}");
        }
    }

    #[test]
    fn letters_of_scripts_that_look_alike_are_not_mixed() {
        for name in ["p\u{430}ypal", "\u{3bf}penid", "Googl\u{435} 1", "A\u{5d0}", "\u{391}\u{410}"] {
            assert_eq!(check_visible(name), Ok(()), "{name}");
            assert_eq!(check_one_script(name), Err(DeceptiveName::MixedScripts), "{name}");
        }
    }
}
