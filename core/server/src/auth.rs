//! Bearer tokens: SHA-256 hashes from the configuration, and who a token belongs to.
//!
//! A token is compared with every hash, each in constant time. Hashes and tokens appear in no
//! message and in no `Debug`.

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;

use governor::Quota;
use rstmdb_types::Result;

use crate::config::{AuthConfig, NetworkConfig, ReplicationConfig, TokenHash, read_text, refused};

/// Lets requests through at a rate; asking costs one atomic operation.
pub type RequestLimiter = governor::DefaultDirectRateLimiter;

/// A limiter of this rate; None when 0 says that there is no limit. A burst of 0 means as many as
/// the rate allows in a second.
pub fn request_limiter(per_second: u32, burst: u32) -> Option<RequestLimiter> {
    let rate = NonZeroU32::new(per_second)?;
    let burst = NonZeroU32::new(burst).unwrap_or(rate);
    Some(RequestLimiter::direct(Quota::per_second(rate).allow_burst(burst)))
}

/// Who presented a token.
#[derive(Debug, Clone)]
pub struct Identity {
    hash: TokenHash,
    /// The name of the token, or the first eight hex digits of its hash.
    pub name: Arc<str>,
    /// The limiter all connections with this token share.
    pub limiter: Option<Arc<RequestLimiter>>,
}

/// The accepted tokens.
#[derive(Debug, Clone, Default)]
pub struct Tokens {
    entries: Vec<Identity>,
    rate: (u32, u32),
}

impl Tokens {
    /// The tokens of the configuration and of its secrets file.
    ///
    /// Tokens that `previous` has too keep their limiters, so that reading the configuration again
    /// gives nobody a fresh allowance.
    pub fn load(
        auth: &AuthConfig,
        network: &NetworkConfig,
        previous: Option<&Tokens>,
    ) -> Result<Tokens> {
        let hashes =
            hashes_of("auth.secrets_file", &auth.token_hashes, auth.secrets_file.as_deref())?;
        if auth.required && hashes.is_empty() {
            return Err(refused(
                "auth.required",
                "auth.required is true but there is no token: add the output of `rstmdb-cli \
                 hash-token` to auth.token_hashes or to the file of auth.secrets_file",
            ));
        }
        let rate = (network.requests_per_second_per_token, network.request_burst);
        Ok(Tokens::of(hashes, rate, previous))
    }

    /// Those that replicas may present.
    pub fn of_replicas(replication: &ReplicationConfig) -> Result<Tokens> {
        let file = replication.auth_secrets_file.as_deref();
        let listed = &replication.auth_token_hashes;
        let mut hashes = hashes_of("replication.auth_secrets_file", listed, file)?;
        if hashes.is_empty() {
            let own = replication.auth_token.as_ref();
            hashes.extend(own.map(|token| TokenHash::of(Some("replica"), token.reveal())));
        }
        Ok(Tokens::of(hashes, (0, 0), None))
    }

    fn of(hashes: Vec<TokenHash>, rate: (u32, u32), previous: Option<&Tokens>) -> Tokens {
        let kept = previous.filter(|previous| previous.rate == rate);
        let mut entries: Vec<Identity> = Vec::with_capacity(hashes.len());
        for hash in hashes {
            if entries.iter().any(|entry| entry.hash.is_same(&hash)) {
                continue;
            }
            let old = kept.and_then(|kept| kept.entries.iter().find(|e| e.hash.is_same(&hash)));
            let limiter = match old {
                Some(old) => old.limiter.clone(),
                None => request_limiter(rate.0, rate.1).map(Arc::new),
            };
            entries.push(Identity { name: hash.label(), hash, limiter });
        }
        Tokens { entries, rate }
    }

    /// Whose token this is; None when it is nobody's.
    pub fn verify(&self, token: &str) -> Option<Identity> {
        let presented = TokenHash::of(None, token);
        let mut found = None;
        // Every entry is looked at, so that the time does not tell which one matched.
        for entry in &self.entries {
            if entry.hash.is_same(&presented) {
                found = Some(entry);
            }
        }
        found.cloned()
    }

    /// The token of this name, as another member says that it was presented there.
    pub fn named(&self, name: &str) -> Option<Identity> {
        self.entries.iter().find(|entry| &*entry.name == name).cloned()
    }

    /// Whether the token of this identity is still accepted.
    pub fn lists(&self, identity: &Identity) -> bool {
        self.entries.iter().any(|entry| entry.hash.is_same(&identity.hash))
    }

    /// The names of all of them.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| &*entry.name)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Those that are listed, and those of a file.
fn hashes_of(key: &str, listed: &[TokenHash], file: Option<&Path>) -> Result<Vec<TokenHash>> {
    let mut hashes = listed.to_vec();
    if let Some(path) = file {
        hashes.extend(read_secrets(key, path)?);
    }
    Ok(hashes)
}

/// One hash a line, perhaps with a name before it; `#` begins a comment.
fn read_secrets(key: &str, path: &Path) -> Result<Vec<TokenHash>> {
    let text = read_text(path).map_err(|error| {
        refused(key, format!("can't read {key} {}: {error}", path.display()))
            .with("file", path.display().to_string())
    })?;
    let mut hashes = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let hash = line.parse().map_err(|problem| {
            let place = format!("{}, line {}", path.display(), index + 1);
            refused(key, format!("{key} {place} {problem}"))
                .with("file", path.display().to_string())
                .with("line", index + 1)
        })?;
        hashes.push(hash);
    }
    Ok(hashes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The SHA-256 of `abc`.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn tokens(entries: &[&str], network: &NetworkConfig) -> Tokens {
        let token_hashes = entries.iter().map(|entry| entry.parse().unwrap()).collect();
        let auth = AuthConfig { token_hashes, ..AuthConfig::default() };
        Tokens::load(&auth, network, None).unwrap()
    }

    #[test]
    fn a_token_is_known_by_its_hash_and_goes_by_its_name() {
        let network = NetworkConfig::default();
        for (entry, name) in [
            (ABC.to_owned(), "ba7816bf"),
            (ABC.to_uppercase(), "ba7816bf"),
            (format!("ci:{ABC}"), "ci"),
            (format!("ci {ABC}"), "ci"),
            (format!("ci: {ABC}"), "ci"),
            (format!("team:ci:{ABC}"), "team:ci"),
        ] {
            let tokens = tokens(&[&entry], &network);
            assert_eq!(&*tokens.verify("abc").unwrap().name, name, "{entry}");
            assert!(tokens.verify("abd").is_none());
            assert!(tokens.verify("").is_none());
        }
    }

    #[test]
    fn hashes_are_not_shown() {
        let tokens = tokens(&[ABC], &NetworkConfig::default());
        assert!(!format!("{tokens:?}").contains("ba7816bf8f"));
    }

    #[test]
    fn all_connections_with_one_token_share_its_allowance() {
        let network = NetworkConfig {
            requests_per_second_per_token: 1,
            request_burst: 2,
            ..NetworkConfig::default()
        };
        let first = tokens(&[ABC], &network);
        let (one, two) = (first.verify("abc").unwrap(), first.verify("abc").unwrap());
        assert!(one.limiter.unwrap().check().is_ok());
        assert!(two.limiter.unwrap().check().is_ok());

        let auth = AuthConfig { token_hashes: vec![ABC.parse().unwrap()], ..AuthConfig::default() };
        let again = Tokens::load(&auth, &network, Some(&first)).unwrap();
        assert!(again.verify("abc").unwrap().limiter.unwrap().check().is_err());
    }
}
