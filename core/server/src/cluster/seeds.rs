//! Where the first of the other nodes are found.

use crate::config::Seed;

/// The addresses that are found now.
pub(super) async fn addresses(seeds: &[Seed]) -> Vec<String> {
    let mut found = Vec::new();
    for seed in seeds {
        match seed {
            Seed::At(address) => found.push(address.to_string()),
            Seed::Dns(address) => match tokio::net::lookup_host(address.as_str()).await {
                Ok(addresses) => found.extend(addresses.map(|address| address.to_string())),
                Err(error) => tracing::warn!("{seed}, of cluster.seeds, is not found: {error}"),
            },
            Seed::File(path) => match std::fs::read_to_string(path) {
                Ok(text) => {
                    let lines = text.lines().map(str::trim);
                    let named = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
                    found.extend(named.map(str::to_owned));
                }
                Err(error) => tracing::warn!("{seed}, of cluster.seeds, can't be read: {error}"),
            },
        }
    }
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn addresses_come_from_lists_names_and_files() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("seeds");
        std::fs::write(&file, "# the group\n a:7403\n\nb:7403\n").unwrap();
        let file = format!("file:{}", file.display());
        let seeds = [file.as_str(), "c:7403", "dns:127.0.0.1:7403"];
        let seeds: Vec<Seed> = seeds.iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(addresses(&seeds).await, ["a:7403", "b:7403", "c:7403", "127.0.0.1:7403"]);
        assert_eq!(seeds[0].to_string(), file);
        assert_eq!(seeds[2].to_string(), "dns:127.0.0.1:7403");
        assert!("nowhere".parse::<Seed>().unwrap_err().contains("host:port"));
        assert!("dns:".parse::<Seed>().is_err());
    }
}
