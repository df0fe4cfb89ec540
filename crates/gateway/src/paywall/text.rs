//! Text of others in a page of ours.

/// Text as HTML, good between tags and in quoted attributes.
pub(super) fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            character if character.is_control() && character != '\n' => html.push('\u{fffd}'),
            character if is_direction(character) => html.push('\u{fffd}'),
            character => html.push(character),
        }
    }
    html
}

/// JSON as it may stand inside of a `<script>`: outside of strings JSON has none of these characters, and in strings they may
/// be written so.
pub(super) fn embedded(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '<' => text.push_str("\\u003c"),
            '>' => text.push_str("\\u003e"),
            '&' => text.push_str("\\u0026"),
            '\u{2028}' => text.push_str("\\u2028"),
            '\u{2029}' => text.push_str("\\u2029"),
            character => text.push(character),
        }
    }
    text
}

/// Fills the holes of a template, such as `{{name}}`, with HTML. What is filled in has no holes.
pub(super) fn filled(template: &str, value: impl Fn(&str) -> Option<String>) -> Option<String> {
    let mut html = String::with_capacity(2 * template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}")?;
        html.push_str(before);
        html.push_str(&value(name)?);
        rest = after;
    }
    html.push_str(rest);
    Some(html)
}

/// Characters that make what follows them look like something else.
const fn is_direction(character: char) -> bool {
    matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_stays_text() {
        assert_eq!(escaped("<b a='\"'>&amp;"), "&lt;b a=&#39;&quot;&#39;&gt;&amp;amp;");
        assert_eq!(escaped("a\u{0}b\u{202e}c\nd"), "a\u{fffd}b\u{fffd}c\nd");
    }

    #[test]
    fn holes_are_filled_once() {
        let value = |name: &str| (name == "a").then(|| "{{a}}".to_owned());
        assert_eq!(filled("1{{a}}2{{a}}3", value).unwrap(), "1{{a}}2{{a}}3");
        assert_eq!(filled("{{b}}", value), None);
        assert_eq!(filled("{{a", value), None);
    }

    proptest! {
        #[test]
        fn no_json_ends_its_element_and_all_of_it_means_the_same(text in "\\PC*|(</script>|<!--|[<>&'\"\\\\]|\u{2028}|\u{2029})*") {
            let json = serde_json::to_string(&text).unwrap();
            let embedded = embedded(&json);
            let is_left = embedded.contains(['<', '>', '&', '\u{2028}', '\u{2029}']);
            prop_assert!(!is_left);
            prop_assert_eq!(serde_json::from_str::<String>(&embedded).unwrap(), text);
        }
    }
}
