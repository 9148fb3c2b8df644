//! Manifests and image configurations as registries deliver them: OCI and Docker's schema 2, with their indexes. Pure.
//!
//! Only what running an image needs is read; everything is taken as hostile: bounded, and every digest checked in form here
//! and in content by containerd.

use crate::reference::is_digest;
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// What is asked for, most wanted first.
pub const ACCEPTED: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];
/// Larger manifests are refused.
pub const MANIFEST_BYTES_MAX: usize = 4 << 20;
/// Larger image configurations are refused.
pub const CONFIG_BYTES_MAX: u64 = 8 << 20;
/// overlayfs stacks no more.
pub const LAYERS_MAX: usize = 128;

/// What something is, where, and how large.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Its type.
    #[serde(default)]
    pub media_type: String,
    /// `sha256:…`.
    pub digest: String,
    /// Bytes.
    pub size: i64,
    /// In an index: what machine it is for.
    pub platform: Option<Platform>,
}

/// A kind of machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Platform {
    /// "amd64", "arm64", …
    #[serde(default)]
    pub architecture: String,
    /// "linux".
    #[serde(default)]
    pub os: String,
    /// "v7", "v8", …
    #[serde(default)]
    pub variant: String,
}

/// A manifest of one image or of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// The same image for several kinds of machines.
    Index(Vec<Descriptor>),
}

/// A manifest of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Its own type.
    pub media_type: String,
    /// Its configuration.
    pub config: Descriptor,
    /// Its layers, lowest first.
    pub layers: Vec<Descriptor>,
}

/// What is wrong with what a registry delivered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// It cannot be read.
    #[error("the registry's manifest cannot be read: {0}")]
    Unreadable(String),
    /// None of the index is for this machine.
    #[error("it is not built for {here}, only for {there}")]
    NoPlatform {
        /// This machine.
        here: String,
        /// What there is.
        there: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: Option<u32>,
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
}

/// Reads a manifest or an index.
pub fn read(bytes: &[u8]) -> Result<Document, ManifestError> {
    let unreadable = |what: &str| ManifestError::Unreadable(what.to_owned());
    if bytes.len() > MANIFEST_BYTES_MAX {
        return Err(unreadable("it is larger than 4 MiB"));
    }
    let raw: Raw = serde_json::from_slice(bytes).map_err(|error| unreadable(&error.to_string()))?;
    if raw.schema_version != Some(2) {
        return Err(unreadable("it is not of schema version 2 (push the image again with a newer tool)"));
    }
    if let Some(manifests) = raw.manifests {
        return Ok(Document::Index(manifests));
    }
    let (Some(config), Some(layers)) = (raw.config, raw.layers) else {
        return Err(unreadable("it has neither layers nor manifests"));
    };
    if layers.is_empty() || layers.len() > LAYERS_MAX {
        return Err(unreadable(&format!("it has {} layers; 1 to {LAYERS_MAX} can be unpacked", layers.len())));
    }
    if let Some(bad) = layers.iter().chain([&config]).find(|found| !is_digest(&found.digest) || found.size < 0) {
        return Err(unreadable(&format!("{:?} of {} bytes is no content", bad.digest, bad.size)));
    }
    if config.size.unsigned_abs() > CONFIG_BYTES_MAX {
        return Err(unreadable("its configuration is larger than 8 MiB"));
    }
    let media_type = raw.media_type.unwrap_or_else(|| ACCEPTED[1].to_owned());
    Ok(Document::Manifest(Manifest { media_type, config, layers }))
}

/// Chooses from an index what this machine can run.
pub fn choose<'a>(index: &'a [Descriptor], architecture: &str) -> Result<&'a Descriptor, ManifestError> {
    let fits = |found: &&Descriptor| {
        found.platform.as_ref().is_some_and(|platform| platform.os == "linux" && platform.architecture == architecture)
    };
    // Of several variants the first is as good as any: indexes list the most general one first.
    let chosen = index.iter().find(fits).filter(|found| is_digest(&found.digest));
    chosen.ok_or_else(|| {
        let mut there: Vec<String> = index
            .iter()
            .filter_map(|found| found.platform.as_ref())
            .filter(|platform| platform.os != "unknown")
            .map(|platform| format!("{}/{}", platform.os, platform.architecture))
            .collect();
        there.dedup();
        let there = if there.is_empty() { "no machine that is named".to_owned() } else { there.join(", ") };
        ManifestError::NoPlatform { here: format!("linux/{architecture}"), there }
    })
}

/// What registries call an architecture that Rust calls `name`.
pub fn architecture(name: &str) -> &str {
    match name {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

/// What an image says about how it wants to be run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RunConfig {
    /// "", "1000", "1000:1000", "nobody", "nobody:users".
    #[serde(deserialize_with = "null_is_default")]
    pub user: String,
    /// `NAME=value`.
    #[serde(deserialize_with = "null_is_default")]
    pub env: Vec<String>,
    /// The command.
    #[serde(deserialize_with = "null_is_default")]
    pub entrypoint: Vec<String>,
    /// Its default arguments.
    #[serde(deserialize_with = "null_is_default")]
    pub cmd: Vec<String>,
    /// Where it starts.
    #[serde(deserialize_with = "null_is_default")]
    pub working_dir: String,
    /// "SIGTERM", "SIGQUIT", "15", …
    #[serde(deserialize_with = "null_is_default")]
    pub stop_signal: String,
}

/// Docker writes `null` for what is empty.
fn null_is_default<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// An image's configuration, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageConfig {
    /// How to run it.
    pub run: RunConfig,
    /// Digests of its layers, unpacked.
    pub diff_ids: Vec<String>,
}

/// Reads an image's configuration.
pub fn read_config(bytes: &[u8], layers: usize) -> Result<ImageConfig, ManifestError> {
    #[derive(Deserialize)]
    struct RootFs {
        diff_ids: Vec<String>,
    }
    #[derive(Deserialize)]
    struct Raw {
        config: Option<RunConfig>,
        rootfs: RootFs,
    }
    let raw: Raw = serde_json::from_slice(bytes)
        .map_err(|error| ManifestError::Unreadable(format!("the image's configuration: {error}")))?;
    if raw.rootfs.diff_ids.len() != layers {
        let diffs = raw.rootfs.diff_ids.len();
        return Err(ManifestError::Unreadable(format!("it lists {layers} layers, its configuration {diffs}")));
    }
    Ok(ImageConfig { run: raw.config.unwrap_or_default(), diff_ids: raw.rootfs.diff_ids })
}

/// What each layer is called once it lies on those below it (OCI image specification, "Layer ChainID").
pub fn chain_ids(diff_ids: &[String]) -> Vec<String> {
    let mut chain: Vec<String> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let next = match chain.last() {
            None => diff_id.clone(),
            Some(below) => digest_of(format!("{below} {diff_id}").as_bytes()),
        };
        chain.push(next);
    }
    chain
}

/// `sha256:` and the digest.
pub fn digest_of(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(char: char) -> String {
        format!("sha256:{}", char.to_string().repeat(64))
    }

    #[test]
    fn an_index_yields_the_image_for_this_machine() {
        let index = format!(
            r#"{{"schemaVersion":2,"manifests":[
                {{"digest":"{}","size":1,"platform":{{"os":"linux","architecture":"arm64","variant":"v8"}}}},
                {{"digest":"{}","size":1,"platform":{{"os":"linux","architecture":"amd64"}}}},
                {{"digest":"{}","size":1,"platform":{{"os":"unknown","architecture":"unknown"}}}}]}}"#,
            digest('a'),
            digest('b'),
            digest('c')
        );
        let Ok(Document::Index(index)) = read(index.as_bytes()) else { panic!("an index") };
        assert_eq!(choose(&index, "amd64").map(|found| found.digest.clone()), Ok(digest('b')));
        let error = choose(&index, "riscv64").expect_err("not built for it").to_string();
        assert_eq!(error, "it is not built for linux/riscv64, only for linux/arm64, linux/amd64");
    }

    #[test]
    fn malformed_manifests_are_refused() {
        let layer = |digest: &str, size: i64| format!(r#"{{"digest":"{digest}","size":{size}}}"#);
        let manifest =
            |config: String, layers: &str| format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layers}]}}"#);
        let good = layer(&digest('a'), 3);
        assert!(matches!(read(manifest(good.clone(), &good).as_bytes()), Ok(Document::Manifest(_))));
        for (bytes, reason) in [
            ("{".to_owned(), "EOF"),
            (r#"{"schemaVersion":1}"#.to_owned(), "schema version 2"),
            (r#"{"schemaVersion":2}"#.to_owned(), "neither"),
            (manifest(good.clone(), ""), "0 layers"),
            (manifest(good.clone(), &vec![good.clone(); 200].join(",")), "200 layers"),
            (manifest(good.clone(), &layer("../../etc/passwd", 3)), "no content"),
            (manifest(good.clone(), &layer(&digest('a'), -1)), "no content"),
            (manifest(layer(&digest('a'), 1 << 40), &good), "larger than 8 MiB"),
            (" ".repeat(MANIFEST_BYTES_MAX + 1), "larger than 4 MiB"),
        ] {
            let error = read(bytes.as_bytes()).expect_err(reason).to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn a_configuration_with_nulls_is_read() {
        let config = br#"{"config":{"Env":null,"Entrypoint":null,"Cmd":["sh"],"User":""},"rootfs":{"type":"layers","diff_ids":["x"]}}"#;
        let config = read_config(config, 1).expect("good");
        assert_eq!((config.run.cmd, config.run.env), (vec!["sh".to_owned()], vec![]));
        assert!(read_config(br#"{"rootfs":{"diff_ids":[]}}"#, 1).is_err());
    }

    #[test]
    fn chain_ids_follow_the_specification() {
        let chain = chain_ids(&["sha256:a".into(), "sha256:b".into()]);
        assert_eq!(chain, ["sha256:a".to_owned(), digest_of(b"sha256:a sha256:b")]);
    }
}
