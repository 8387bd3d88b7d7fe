//! Values of the policy file that are valid by construction.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Unexpected, Visitor},
};

use crate::k8s::names::{is_dns_subdomain, is_label_key};

/// Declares a string type that is checked when it is read.
macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $check:path, $pattern:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "pattern": $pattern})
            }
        }

        impl $name {
            /// Returns the text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Creates a built-in value; a test checks that a file could hold each of them.
            #[allow(dead_code, reason = "not every type has a built-in value")]
            pub(super) fn built_in(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                $check(&text).map(|()| Self(text))
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

checked_text! {
    /// An absolute path without `..`, `:` or control characters, and not the root.
    AbsolutePath, check_path, r"^/[^:\x00-\x1f]+$"
}

checked_text! {
    /// The URL of a pull-through mirror: `http(s)://host[:port][/path]`.
    MirrorUrl, check_mirror, r#"^https?://[^/?#@\s"\\]+(/[^?#@\s"\\]*)?$"#
}

checked_text! {
    /// The host of a registry as image references name it: `host[:port]`.
    RegistryHost, check_registry, r"^[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?(:[0-9]{1,5})?$"
}

checked_text! {
    /// An RFC 1123 subdomain: the name of a Kubernetes object.
    ObjectName, check_object_name, r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
}

checked_text! {
    /// The key of a label or annotation: `[prefix/]name`.
    LabelKey, check_label_key, r"^([a-z0-9.-]+/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
}

checked_text! {
    /// A container image reference.
    ImageRef, check_image, r"^\S+$"
}

/// The URL of a pull-through mirror that dockerd uses: one without a path.
///
/// dockerd refuses to start on a mirror without a scheme or with a query, fragment or user; versions before 28
/// refuse one with a path too.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HubMirror(MirrorUrl);

impl HubMirror {
    /// Returns the URL.
    #[must_use]
    pub fn url(&self) -> &MirrorUrl {
        &self.0
    }

    /// Creates a built-in value.
    pub(super) fn built_in(url: &str) -> Self {
        Self(MirrorUrl::built_in(url))
    }
}

impl JsonSchema for HubMirror {
    fn schema_name() -> Cow<'static, str> {
        "HubMirror".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": r#"^https?://[^/?#@\s"\\]+/?$"#})
    }
}

impl TryFrom<String> for HubMirror {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let url = MirrorUrl::try_from(text)?;
        if url.location() == url.host() {
            return Ok(Self(url));
        }
        Err(format!(
            "`{url}` is not a valid registry mirror: it must not have a path (dockerd before version 28 refuses to start)"
        ))
    }
}

impl From<HubMirror> for String {
    fn from(mirror: HubMirror) -> Self {
        mirror.0.into()
    }
}

impl MirrorUrl {
    /// Returns `host[:port][/path]`.
    #[must_use]
    pub fn location(&self) -> &str {
        let rest = self.0.split_once("://").map_or(self.as_str(), |(_, r)| r);
        rest.trim_end_matches('/')
    }

    /// Returns `host[:port]`.
    #[must_use]
    pub fn host(&self) -> &str {
        let location = self.location();
        location.split_once('/').map_or(location, |(host, _)| host)
    }

    /// Returns `host:port`, with the scheme's port if the URL has none.
    #[must_use]
    pub fn address(&self) -> String {
        let host = self.host();
        // The last colon may be within the brackets of an IPv6 address.
        let has_port = host
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()) && !port.is_empty());
        match (has_port, self.is_plain_http()) {
            (true, _) => host.to_owned(),
            (false, true) => format!("{host}:80"),
            (false, false) => format!("{host}:443"),
        }
    }

    /// Returns whether the mirror uses plain HTTP, which BuildKit ignores unless the host is also an insecure
    /// registry.
    #[must_use]
    pub fn is_plain_http(&self) -> bool {
        self.0.starts_with("http://")
    }
}

fn check_path(text: &str) -> Result<(), String> {
    let problem = if !text.starts_with('/') {
        "it must start with `/`"
    } else if text.split('/').any(|part| part == "..") {
        "it must not contain `..`"
    } else if text.contains(':') || text.chars().any(char::is_control) {
        "it must not contain `:` or control characters"
    } else if text.trim_matches('/').is_empty() {
        "it must not be the root"
    } else {
        return Ok(());
    };
    Err(format!("`{text}` is not a valid path: {problem}"))
}

fn check_mirror(text: &str) -> Result<(), String> {
    let problem = match text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))
    {
        None => "it must start with `https://` or `http://`",
        Some(host) if host.is_empty() || host.starts_with('/') => "it names no host",
        Some(host) if host.contains('@') => "it must not contain credentials",
        Some(host) if host.contains(['?', '#']) => "it must not contain a query or a fragment",
        Some(host) if host.chars().any(|c| c.is_whitespace() || c.is_control()) => {
            "it must not contain white space"
        }
        Some(host) if host.contains(['"', '\\']) => "it must not contain quotes or backslashes",
        Some(_) => return Ok(()),
    };
    Err(format!(
        "`{text}` is not a valid registry mirror: {problem}"
    ))
}

fn check_registry(text: &str) -> Result<(), String> {
    let (host, port) = text.split_once(':').unwrap_or((text, "443"));
    let ends_well = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let is_host = host
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "-.".contains(c))
        && ends_well(host.chars().next())
        && ends_well(host.chars().next_back());
    let is_port = port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok();
    (is_host && is_port)
        .then_some(())
        .ok_or_else(|| format!("`{text}` is not a valid registry: expected `host` or `host:port`"))
}

fn check_object_name(text: &str) -> Result<(), String> {
    is_dns_subdomain(text).then_some(()).ok_or_else(|| {
        format!(
            "`{text}` is not a valid object name: expected lower-case letters, digits, `-` and `.`"
        )
    })
}

fn check_label_key(text: &str) -> Result<(), String> {
    is_label_key(text).then_some(()).ok_or_else(|| {
        format!("`{text}` is not a valid label key: expected `name` or `example.com/name`")
    })
}

fn check_image(text: &str) -> Result<(), String> {
    (!text.is_empty() && !text.chars().any(char::is_whitespace))
        .then_some(())
        .ok_or_else(|| format!("`{text}` is not a valid image reference"))
}

/// A path that is found from the node's facts, or given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub enum SocketPath {
    /// From what the nodes say.
    #[default]
    Auto,
    /// This path on every node.
    At(AbsolutePath),
}

impl TryFrom<String> for SocketPath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "auto" => Ok(Self::Auto),
            _ => AbsolutePath::try_from(text).map(Self::At),
        }
    }
}

impl From<SocketPath> for String {
    fn from(path: SocketPath) -> Self {
        match path {
            SocketPath::Auto => "auto".to_owned(),
            SocketPath::At(path) => path.into(),
        }
    }
}

/// The size of the largest packet, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mtu {
    /// That of the pod's interface, read when dockerd starts.
    Auto,
    /// This number of bytes.
    Bytes(u16),
}

impl Serialize for Mtu {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Bytes(bytes) => serializer.serialize_u16(*bytes),
        }
    }
}

impl<'de> Deserialize<'de> for Mtu {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MtuVisitor;

        impl Visitor<'_> for MtuVisitor {
            type Value = Mtu;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`auto` or a number of bytes up to 65535")
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Mtu, E> {
                let fits = u16::try_from(bytes).ok().map(Mtu::Bytes);
                fits.ok_or_else(|| E::invalid_value(Unexpected::Unsigned(bytes), &self))
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Mtu, E> {
                let fits = u16::try_from(bytes).ok().map(Mtu::Bytes);
                fits.ok_or_else(|| E::invalid_value(Unexpected::Signed(bytes), &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Mtu, E> {
                match text {
                    "auto" => Ok(Mtu::Auto),
                    _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
                }
            }
        }

        deserializer.deserialize_any(MtuVisitor)
    }
}

impl JsonSchema for Mtu {
    fn schema_name() -> Cow<'static, str> {
        "Mtu".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"oneOf": [
            {"const": "auto"},
            {"type": "integer", "minimum": 576, "maximum": 65535}
        ]})
    }
}

/// A name with `*` for any run of characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Glob(String);

impl Glob {
    /// Creates a pattern.
    #[must_use]
    pub fn new(pattern: &str) -> Self {
        Self(pattern.to_owned())
    }

    /// Returns whether the whole of `text` matches.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let mut parts = self.0.split('*');
        let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else {
            return false;
        };
        let Some(last) = parts.next_back() else {
            return rest.is_empty();
        };
        // Matching the middle parts as far left as possible leaves the most room for the last one.
        for part in parts {
            match rest.find(part).and_then(|at| rest.get(at + part.len()..)) {
                Some(after) => rest = after,
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_whole_names() {
        for (pattern, yes, no) in [
            ("ci-*", "ci-a", "xci-a"),
            ("*", "", "\u{0}never"),
            ("svc-*", "svc-0", "svc"),
            ("a*b*c", "aXbYbZc", "aXbYbZ"),
            ("build", "build", "build2"),
            (
                "*/docker:*dind*",
                "reg/x/docker:27-dind-alpine",
                "reg/docker:27",
            ),
        ] {
            assert!(Glob::new(pattern).matches(yes), "{pattern} {yes}");
            assert!(
                pattern == "*" || !Glob::new(pattern).matches(no),
                "{pattern} {no}"
            );
        }
        assert!(!Glob::new("ab*ba").matches("aba"));
    }

    #[test]
    fn registries_are_hosts() {
        for good in ["ghcr.io", "localhost:5000", "127.0.0.1:5000", "a"] {
            assert!(RegistryHost::try_from(good.to_owned()).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            "a.",
            "a/b",
            "https://a",
            "a:b",
            "a:",
            "a:+1",
            "a:70000",
            "a\"b",
        ] {
            assert!(RegistryHost::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_mirror_for_builders_may_have_a_path() {
        let mirror =
            MirrorUrl::try_from("https://harbor.corp:8443/proxy/ghcr.io/".to_owned()).unwrap();
        assert_eq!(mirror.host(), "harbor.corp:8443");
        assert_eq!(mirror.location(), "harbor.corp:8443/proxy/ghcr.io");
        assert_eq!(mirror.address(), "harbor.corp:8443");
        for bad in ["https:///path", "https://a\"b", "https://a\\b/c"] {
            assert!(MirrorUrl::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn mirrors_that_keep_dockerd_from_starting_are_refused() {
        for bad in [
            "mirror.gcr.io",
            "ftp://m",
            "https://",
            "https://u:p@m",
            "https://m/?x",
            "https://m/path",
            "https://m m",
        ] {
            assert!(HubMirror::try_from(bad.to_owned()).is_err(), "{bad}");
        }
        let mirror = HubMirror::try_from("http://mirror.ci.svc:5000/".to_owned()).unwrap();
        let mirror = mirror.url();
        assert_eq!(mirror.host(), "mirror.ci.svc:5000");
        assert!(mirror.is_plain_http());
    }

    #[test]
    fn relative_paths_and_paths_with_dot_dot_are_refused() {
        for bad in ["tmp", "", "/", "//", "/a/../b", "/a:b", "/a\nb"] {
            assert!(AbsolutePath::try_from(bad.to_owned()).is_err(), "{bad:?}");
        }
        assert!(AbsolutePath::try_from("/tmp/x".to_owned()).is_ok());
    }
}
