//! Where the engine gets random numbers from: ids, salts, seeds of hashes.
//!
//! They need to be different, not secret: keys come from elsewhere.

use std::sync::atomic::{AtomicU64, Ordering};

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// A source of random numbers.
pub trait Entropy: Send + Sync {
    /// 64 random bits.
    fn next_u64(&self) -> u64;
}

impl dyn Entropy + '_ {
    /// 128 random bits, as a salt or an id.
    pub fn salt(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        let words = [self.next_u64(), self.next_u64()];
        for (place, byte) in bytes.iter_mut().zip(words.iter().flat_map(|word| word.to_le_bytes()))
        {
            *place = byte;
        }
        bytes
    }
}

/// The system's source.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    #[expect(clippy::disallowed_methods, reason = "randomness is handed in from here")]
    fn next_u64(&self) -> u64 {
        // A few bits of the id are fixed: the hash spreads the others.
        xxh3_64(uuid::Uuid::new_v4().as_bytes())
    }
}

/// The same numbers again for the same seed.
#[derive(Debug, Default)]
pub struct SeededEntropy {
    seed: u64,
    drawn: AtomicU64,
}

impl SeededEntropy {
    /// The numbers of a seed, from the first on.
    #[must_use]
    pub fn new(seed: u64) -> SeededEntropy {
        SeededEntropy { seed, drawn: AtomicU64::new(0) }
    }
}

impl Entropy for SeededEntropy {
    fn next_u64(&self) -> u64 {
        let drawn = self.drawn.fetch_add(1, Ordering::Relaxed);
        xxh3_64_with_seed(&drawn.to_le_bytes(), self.seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_the_system_never_does() {
        let draw = |entropy: &dyn Entropy| [entropy.salt(), entropy.salt()];
        assert_eq!(draw(&SeededEntropy::new(1)), draw(&SeededEntropy::new(1)));
        assert_ne!(draw(&SeededEntropy::new(1)), draw(&SeededEntropy::new(2)));
        assert_ne!(draw(&SystemEntropy), draw(&SystemEntropy));
        let [one, other] = draw(&SeededEntropy::new(1));
        assert_ne!(one, other);
    }
}
