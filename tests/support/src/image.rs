//! Images made from Debian's static busybox and a few small files, pushed to a registry.

use crate::TestRegistry;
use crate::netns::within;
use flate2::{Compression, GzBuilder};
use oci_client::client::{ClientConfig, ClientProtocol, Config, ImageLayer};
use oci_client::manifest::{IMAGE_CONFIG_MEDIA_TYPE, IMAGE_LAYER_GZIP_MEDIA_TYPE, OciDescriptor, OciImageManifest};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// The programs of busybox that images have as commands.
const APPLETS: [&str; 37] = [
    "awk", "cat", "chmod", "cp", "cut", "date", "dd", "echo", "env", "expr", "false", "grep", "head", "hostname",
    "httpd", "id", "ip", "kill", "ls", "mkdir", "mv", "nc", "ps", "rm", "sed", "seq", "sh", "sleep", "sort", "tail",
    "test", "timeout", "tr", "true", "uname", "wc", "wget",
];

/// What an image holds and how it starts.
#[derive(Debug, Clone, Default)]
pub struct ImageSpec {
    base: bool,
    files: BTreeMap<String, (u32, Vec<u8>)>,
    entrypoint: Vec<String>,
    args: Vec<String>,
    env: Vec<String>,
    user: Option<String>,
}

impl ImageSpec {
    /// An image with busybox and its usual commands, /tmp, /etc/passwd. All such images share this layer.
    pub fn busybox() -> Self {
        Self { base: true, env: vec!["PATH=/bin".to_owned()], ..Self::default() }
    }

    /// An image without anything.
    pub fn empty() -> Self {
        Self::default()
    }

    /// With a file.
    #[must_use]
    pub fn file(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.insert(path.to_owned(), (0o644, content.into()));
        self
    }

    /// With a file that can be run.
    #[must_use]
    pub fn script(mut self, path: &str, content: &str) -> Self {
        self.files.insert(path.to_owned(), (0o755, content.as_bytes().to_vec()));
        self
    }

    /// What is run.
    #[must_use]
    pub fn entrypoint<'a>(mut self, words: impl IntoIterator<Item = &'a str>) -> Self {
        self.entrypoint = words.into_iter().map(str::to_owned).collect();
        self
    }

    /// The arguments it gets unless the spec says otherwise.
    #[must_use]
    pub fn args<'a>(mut self, words: impl IntoIterator<Item = &'a str>) -> Self {
        self.args = words.into_iter().map(str::to_owned).collect();
        self
    }

    /// With an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push(format!("{name}={value}"));
        self
    }

    /// Run as this user, as the image says it ("1000:1000").
    #[must_use]
    pub fn user(mut self, user: &str) -> Self {
        self.user = Some(user.to_owned());
        self
    }
}

/// An image in a registry.
#[derive(Debug, Clone)]
pub struct Pushed {
    /// `localhost:PORT/name:tag`.
    pub reference: String,
    /// The digest of its manifest, `sha256:…`.
    pub manifest_digest: String,
    /// The digest of its configuration.
    pub config_digest: String,
    /// The digests of its layers, lowest first.
    pub layer_digests: Vec<String>,
}

/// Builds the image and pushes it to a test's registry.
///
/// # Panics
/// When the registry refuses.
pub fn push(registry: &TestRegistry, name: &str, tag: &str, spec: &ImageSpec) -> Pushed {
    let authority = registry.authority();
    within(registry.netns(), || push_from_here(&authority, name, tag, spec))
        .unwrap_or_else(|error| panic!("pushing {name}:{tag} to {authority}: {error}"))
}

/// Builds the image and pushes it to the registry at `authority` by plain HTTP, from the caller's network namespace.
/// Must not be called on a thread of an async runtime.
///
/// # Errors
/// What the registry or the network says.
pub fn push_from_here(
    authority: &str,
    name: &str,
    tag: &str,
    spec: &ImageSpec,
) -> Result<Pushed, Box<dyn std::error::Error + Send + Sync>> {
    // A second call finds the provider installed: that is fine.
    drop(rustls::crypto::ring::default_provider().install_default());
    let reference = Reference::with_tag(authority.to_owned(), name.to_owned(), tag.to_owned());
    let built = build(spec);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let manifest_digest = runtime.block_on(async {
        let client = Client::new(ClientConfig { protocol: ClientProtocol::Http, ..ClientConfig::default() });
        let layers: Vec<ImageLayer> =
            built.layers.iter().map(|layer| ImageLayer::oci_v1_gzip(layer.clone(), None)).collect();
        let config = Config::oci_v1(built.config.clone(), None);
        client.push(&reference, &layers, config, &RegistryAuth::Anonymous, Some(built.manifest())).await?;
        client.fetch_manifest_digest(&reference, &RegistryAuth::Anonymous).await
    })?;
    Ok(Pushed {
        reference: format!("{authority}/{name}:{tag}"),
        manifest_digest,
        config_digest: digest(&built.config),
        layer_digests: built.layers.iter().map(|layer| digest(layer)).collect(),
    })
}

struct Built {
    layers: Vec<Vec<u8>>,
    config: Vec<u8>,
}

impl Built {
    fn manifest(&self) -> OciImageManifest {
        OciImageManifest {
            config: descriptor(IMAGE_CONFIG_MEDIA_TYPE, &self.config),
            layers: self.layers.iter().map(|layer| descriptor(IMAGE_LAYER_GZIP_MEDIA_TYPE, layer)).collect(),
            media_type: Some(oci_client::manifest::OCI_IMAGE_MEDIA_TYPE.to_owned()),
            ..OciImageManifest::default()
        }
    }
}

fn build(spec: &ImageSpec) -> Built {
    // Made once for each process: compressing it takes a second in a debug build.
    static BUSYBOX: LazyLock<Layer> = LazyLock::new(|| Layer::of(&busybox_tar()));
    let mut layers = Vec::new();
    if spec.base {
        layers.push(BUSYBOX.clone());
    }
    if !spec.files.is_empty() || layers.is_empty() {
        layers.push(Layer::of(&files_tar(&spec.files)));
    }
    let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
    let config = serde_json::json!({
        "architecture": architecture(),
        "os": "linux",
        "config": {
            "Entrypoint": spec.entrypoint,
            "Cmd": spec.args,
            "Env": spec.env,
            "WorkingDir": "/",
            "User": spec.user.clone().unwrap_or_default(),
        },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    Built {
        layers: layers.into_iter().map(|layer| layer.compressed).collect(),
        config: config.to_string().into_bytes(),
    }
}

#[derive(Clone)]
struct Layer {
    diff_id: String,
    compressed: Vec<u8>,
}

impl Layer {
    fn of(tar: &[u8]) -> Self {
        Self { diff_id: digest(tar), compressed: gzip(tar) }
    }
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn busybox_tar() -> Vec<u8> {
    let busybox = crate::process::program("busybox");
    let bytes = std::fs::read(&busybox).unwrap_or_else(|error| panic!("{}: {error}", busybox.display()));
    let mut tar = tar::Builder::new(Vec::new());
    for (directory, mode) in
        [("bin", 0o755), ("dev", 0o755), ("etc", 0o755), ("proc", 0o755), ("sys", 0o755), ("tmp", 0o1777)]
    {
        add_directory(&mut tar, directory, mode);
    }
    add_file(&mut tar, "bin/busybox", 0o755, &bytes);
    for applet in APPLETS {
        let mut header = header(tar::EntryType::Symlink, 0o777, 0);
        tar.append_link(&mut header, format!("bin/{applet}"), "busybox").expect("a tar in memory takes any link");
    }
    add_file(&mut tar, "etc/passwd", 0o644, b"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n");
    add_file(&mut tar, "etc/group", 0o644, b"root:x:0:\nnogroup:x:65534:\n");
    tar.into_inner().expect("a tar in memory can be closed")
}

fn files_tar(files: &BTreeMap<String, (u32, Vec<u8>)>) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut made = std::collections::BTreeSet::new();
    for (path, (mode, content)) in files {
        let path = path.trim_start_matches('/');
        for (end, _) in path.match_indices('/') {
            if made.insert(path[..end].to_owned()) {
                add_directory(&mut tar, &path[..end], 0o755);
            }
        }
        add_file(&mut tar, path, *mode, content);
    }
    tar.into_inner().expect("a tar in memory can be closed")
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    // The same content gives the same digest, whenever and by whomever it is built.
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn add_directory(tar: &mut tar::Builder<Vec<u8>>, path: &str, mode: u32) {
    let mut header = header(tar::EntryType::Directory, mode, 0);
    tar.append_data(&mut header, format!("{path}/"), std::io::empty()).expect("a tar in memory takes any directory");
}

fn add_file(tar: &mut tar::Builder<Vec<u8>>, path: &str, mode: u32, content: &[u8]) {
    let mut header = header(tar::EntryType::Regular, mode, content.len() as u64);
    tar.append_data(&mut header, path, content).expect("a tar in memory takes any file");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzBuilder::new().mtime(0).read(bytes, Compression::fast());
    let mut out = Vec::new();
    std::io::copy(&mut encoder, &mut out).expect("compressing in memory cannot fail");
    out
}

fn descriptor(media_type: &str, bytes: &[u8]) -> OciDescriptor {
    let size = i64::try_from(bytes.len()).expect("an image of a test is small");
    OciDescriptor { media_type: media_type.to_owned(), digest: digest(bytes), size, ..OciDescriptor::default() }
}

fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{http, skip_unless_root_and_containerd};

    #[test]
    fn the_same_spec_gives_the_same_digests() {
        let spec = ImageSpec::empty().file("/a/b/c", "hello").script("/run", "#!/bin/sh\n");
        assert_eq!(build(&spec).layers, build(&spec).layers);
        let entries: Vec<String> = tar::Archive::new(flate2::read::GzDecoder::new(build(&spec).layers[0].as_slice()))
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(entries, ["a/", "a/b/", "a/b/c", "run"]);
    }

    #[test]
    fn a_pushed_image_is_served_until_the_registry_stops_and_again_when_it_is_back() {
        if skip_unless_root_and_containerd() {
            return;
        }
        let mut registry = TestRegistry::start();
        let pushed = push(&registry, "team/app", "1", &ImageSpec::busybox().file("/hello", "hello"));
        let config = format!("/v2/team/app/blobs/{}", pushed.config_digest);
        assert_eq!(http::get(None, registry.address(), &config).unwrap().status, 200);
        registry.stop();
        assert!(http::get(None, registry.address(), &config).is_err());
        registry.start_again();
        assert_eq!(http::get(None, registry.address(), &config).unwrap().status, 200);
        let layer = format!("/v2/team/app/blobs/{}", pushed.layer_digests[1]);
        let before = http::get(None, registry.address(), &layer).unwrap();
        registry.corrupt(&pushed.layer_digests[1]);
        let after = http::get(None, registry.address(), &layer).unwrap();
        assert_ne!(before.body, after.body);
    }
}
