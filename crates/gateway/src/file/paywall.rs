//! `[gateway.paywall]`: how the page looks that browsers get where something is for sale.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error};

use super::read::parsed;

/// The longest name of a seller, in characters.
const MAX_NAME_CHARACTERS: usize = 80;
/// The longest line of text, in characters.
const MAX_TEXT_CHARACTERS: usize = 300;
/// The largest logo that is a part of the page, and the longest path of one that is not, in bytes.
const MAX_LOGO_BYTES: usize = 32 * 1024;
/// The longest link, in bytes.
const MAX_LINK_BYTES: usize = 2 * 1024;

/// The page for browsers.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Paywall {
    /// Whether there is one; without it, browsers get the same JSON as everybody else.
    pub enabled: bool,
    /// Who sells; the host, unless set.
    #[serde(deserialize_with = "name")]
    pub name: Option<String>,
    /// The seller's picture.
    #[serde(deserialize_with = "some")]
    pub logo: Option<Logo>,
    /// The colour of what is to be pressed.
    #[serde(deserialize_with = "some")]
    pub accent: Option<Colour>,
    /// One line below the price.
    #[serde(deserialize_with = "line")]
    pub text: Option<String>,
    /// Where people get help.
    #[serde(deserialize_with = "some")]
    pub support: Option<Link>,
    /// Origins of sites that may show the page in a frame; none, unless set.
    pub frame_ancestors: Vec<Origin>,
}

/// A picture that needs no other site: a `data:` URL of an image, or a path on the gateway itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logo(String);

/// A colour, red, green and blue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colour([u8; 3]);

/// Where people go: `https://…`, `mailto:…`, or a path on the gateway itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link(String);

/// An origin, such as `https://app.example.com`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(String);

impl Default for Paywall {
    fn default() -> Self {
        Self { enabled: true, name: None, logo: None, accent: None, text: None, support: None, frame_ancestors: Vec::new() }
    }
}

impl Logo {
    /// As the page names it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Link {
    /// As the page names it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Origin {
    /// As a policy names it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Colour {
    /// Whether dark text can be read on it better than light text.
    #[must_use]
    pub fn is_light(self) -> bool {
        /// How bright it is by WCAG, where a square stands for its curve: of so many, both texts read alike.
        const ALIKE: u64 = 2_000;
        let [red, green, blue] = self.0.map(|part| u64::from(part) * u64::from(part));
        (2_126 * red + 7_152 * green + 722 * blue) / (255 * 255) > ALIKE
    }
}

impl FromStr for Logo {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_picture = text.starts_with("data:image/") || is_path(text);
        if is_picture && is_plain(text) && text.len() <= MAX_LOGO_BYTES {
            return Ok(Self(text.to_owned()));
        }
        Err(
            "paywall.logo: expected a picture that needs no other site, \"data:image/…\" or a path such as \"/logo.svg\", of at most 32 KiB",
        )
    }
}

impl FromStr for Link {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let leads_somewhere = ["https://", "mailto:"].iter().any(|start| text.len() > start.len() && text.starts_with(start));
        if (leads_somewhere || is_path(text)) && is_plain(text) && text.len() <= MAX_LINK_BYTES {
            return Ok(Self(text.to_owned()));
        }
        Err("paywall.support: expected \"https://…\", \"mailto:…\" or a path such as \"/help\"")
    }
}

impl FromStr for Colour {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = "paywall.accent: expected a colour such as \"#1f5d4c\"";
        let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6 && digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let number = u32::from_str_radix(digits.ok_or(expected)?, 16).map_err(|_| expected)?;
        let [_, red, green, blue] = number.to_be_bytes();
        Ok(Self([red, green, blue]))
    }
}

impl fmt::Display for Colour {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [red, green, blue] = self.0;
        write!(formatter, "#{red:02x}{green:02x}{blue:02x}")
    }
}

impl FromStr for Origin {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_origin = text.split_once("://").is_some_and(|(scheme, host)| {
            let is_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']');
            matches!(scheme, "http" | "https") && !host.is_empty() && host.bytes().all(is_host)
        });
        if is_origin {
            return Ok(Self(text.to_owned()));
        }
        Err("paywall.frame_ancestors: expected origins such as \"https://app.example.com\", without a path")
    }
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer)
    }
}

/// A path on the gateway itself, and not the short form of another host.
fn is_path(text: &str) -> bool {
    text.starts_with('/') && !text.starts_with("//") && !text.starts_with("/\\")
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn some<'de, T: FromStr<Err: fmt::Display>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    parsed(deserializer).map(Some)
}

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    one_line(deserializer, "name", MAX_NAME_CHARACTERS)
}

fn line<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    one_line(deserializer, "text", MAX_TEXT_CHARACTERS)
}

fn one_line<'de, D: Deserializer<'de>>(deserializer: D, key: &str, most: usize) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let count = text.chars().count();
    if text.trim().is_empty() || count > most || text.chars().any(char::is_control) {
        return Err(D::Error::custom(format!("paywall.{key}: expected one line of 1 to {most} characters, got {count}")));
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Paywall, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn there_is_a_page_unless_its_seller_says_otherwise() {
        assert_eq!(read("").unwrap(), Paywall::default());
        assert!(Paywall::default().enabled && !read("enabled = false").unwrap().enabled);
    }

    #[test]
    fn a_seller_says_how_it_looks() {
        let page = read(
            "name = \"The Weather\"\nlogo = \"/logo.svg\"\naccent = \"#Ff8000\"\ntext = \"Rain, or not.\"\n\
             support = \"mailto:help@example.com\"\nframe_ancestors = [\"https://app.example.com\"]",
        )
        .unwrap();
        assert_eq!(page.accent.unwrap().to_string(), "#ff8000");
        assert_eq!(page.logo.unwrap().as_str(), "/logo.svg");
        assert_eq!(page.frame_ancestors.len(), 1);
    }

    #[test]
    fn the_documented_example_is_read() {
        #[derive(serde::Deserialize)]
        struct File {
            gateway: Tables,
        }
        #[derive(serde::Deserialize)]
        struct Tables {
            paywall: Paywall,
        }
        let examples = include_str!("../../../../docs/gateway.md").split("```toml").filter_map(|rest| rest.split("```").next());
        let example = examples.into_iter().find(|example| example.contains("[gateway.paywall]")).unwrap();
        let File { gateway: Tables { paywall } } = toml::from_str(example).unwrap();
        assert!(paywall.enabled && paywall.name.is_some() && paywall.frame_ancestors.len() == 1);
    }

    #[test]
    fn what_could_leave_the_site_or_the_page_is_refused() {
        for (text, taught) in [
            ("logo = \"https://cdn.example/logo.png\"", "needs no other site"),
            ("logo = \"//cdn.example/logo.png\"", "needs no other site"),
            ("logo = \"data:text/html,x\"", "needs no other site"),
            ("accent = \"red\"", "paywall.accent"),
            ("accent = \"#fff;}\"", "paywall.accent"),
            ("accent = \"#+12345\"", "paywall.accent"),
            ("support = \"javascript:alert(1)\"", "paywall.support"),
            ("support = \"https://\"", "paywall.support"),
            ("text = \"a\\nb\"", "one line"),
            ("name = \"\"", "one line"),
            ("frame_ancestors = [\"https://a; script-src *\"]", "frame_ancestors"),
            ("colour = \"#ffffff\"", "unknown field `colour`"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(taught), "{text}: {error}");
        }
    }

    #[test]
    fn text_can_be_read_on_every_colour() {
        let is_light = |text: &str| text.parse::<Colour>().unwrap().is_light();
        for light in ["#ffffff", "#ffcc00", "#00ff00", "#ff8000", "#9aa0a6"] {
            assert!(is_light(light), "{light}");
        }
        for dark in ["#000000", "#0000ff", "#1f5d4c", "#5b3df5", "#b00020"] {
            assert!(!is_light(dark), "{dark}");
        }
    }
}
