//! The SHA-256 of a token, as the configuration names it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::forms::FromNode;
use super::yaml::{YamlNode, YamlValue};

/// The hash of an accepted token, and the name it goes by.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenHash {
    /// The name given to it.
    pub name: Option<String>,
    hash: [u8; 32],
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenHash({})", self.name.as_deref().unwrap_or("unnamed"))
    }
}

impl TokenHash {
    /// The hash of a token.
    pub fn of(name: Option<&str>, token: &str) -> TokenHash {
        TokenHash { name: name.map(str::to_owned), hash: digest(token) }
    }

    /// A hash in hex under a name. The error does not show the text.
    pub fn new(name: Option<&str>, hex: &str) -> Result<TokenHash, String> {
        let name = name.map(str::trim);
        if name.is_some_and(|name| name.is_empty() || name.chars().any(char::is_control)) {
            return Err("has an empty or unprintable name".to_owned());
        }
        let hash = decode(hex.trim()).ok_or_else(|| {
            "is not the SHA-256 of a token: 64 hex digits, as `rstmdb-cli hash-token` prints them, \
             perhaps after a name and a colon"
                .to_owned()
        })?;
        Ok(TokenHash { name: name.map(str::to_owned), hash })
    }

    /// Whether it is of the same token, under whatever name. Takes the same time whether it is or not.
    pub(crate) fn is_same(&self, other: &TokenHash) -> bool {
        self.hash.ct_eq(&other.hash).into()
    }

    /// The name, or the first eight hex digits of the hash.
    pub(crate) fn label(&self) -> Arc<str> {
        let digits = || self.hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        self.name.clone().unwrap_or_else(digits).into()
    }
}

impl FromStr for TokenHash {
    type Err = String;

    /// `hash`, `name:hash` or `name hash`.
    fn from_str(text: &str) -> Result<TokenHash, String> {
        let text = text.trim();
        match text.rsplit_once([':', ' ', '\t']) {
            Some((name, hash)) => TokenHash::new(Some(name.trim_end_matches(':')), hash),
            None => TokenHash::new(None, text),
        }
    }
}

impl FromNode for TokenHash {
    fn from_node(node: &YamlNode) -> Result<TokenHash, String> {
        let text = |node: &YamlNode| match &node.value {
            YamlValue::Text(text) => Some(text.clone()),
            _ => None,
        };
        let wrong = || "is not a hash, name:hash, or a mapping with name and hash".to_owned();
        let members = match &node.value {
            YamlValue::Text(text) => return text.parse(),
            YamlValue::Mapping(members) => members,
            _ => return Err(wrong()),
        };
        let member = |name: &str| {
            members.iter().find(|(key, _)| text(key).as_deref() == Some(name)).map(|(_, v)| text(v))
        };
        match (members.as_slice(), member("name"), member("hash")) {
            ([_, _], Some(Some(name)), Some(Some(hash))) => TokenHash::new(Some(&name), &hash),
            ([_], None, Some(Some(hash))) => TokenHash::new(None, &hash),
            // `- ci: 9f86…`, a blank too many in `name:hash`.
            ([(name, hash)], None, None) => match (text(name), text(hash)) {
                (Some(name), Some(hash)) => TokenHash::new(Some(&name), &hash),
                _ => Err(wrong()),
            },
            _ => Err(wrong()),
        }
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

fn decode(hex: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if hex.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        let digits = std::str::from_utf8(pair).ok().filter(|pair| !pair.starts_with('+'))?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The SHA-256 of `abc`.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn malformed_hashes_are_refused_and_not_shown() {
        for bad in [
            "x",
            "",
            "ci:",
            &ABC[1..],
            &format!("{ABC}0"),
            &format!(":{ABC}"),
            &ABC.replace('b', "+"),
        ] {
            let problem = bad.parse::<TokenHash>().unwrap_err();
            assert!(!problem.contains(&ABC[8..16]), "{problem}");
        }
        let hash: TokenHash = format!("ci:{ABC}").parse().unwrap();
        assert_eq!(format!("{hash:?}"), "TokenHash(ci)");
    }
}
