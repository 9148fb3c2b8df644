//! A registry, as a source of manifests and blobs. The outside: HTTP through `oci-client`.
//!
//! HTTPS, except to registries on this machine and those named in the configuration. Pulls anonymously. What may pass
//! (a connection refused, a 503) is tried again a few times here; anything longer is the reconciler's pause.

use crate::manifest::{self, ACCEPTED};
use crate::reference::Reference;
use bytes::Bytes;
use futures::stream::BoxStream;
use oci_client::Reference as OciReference;
use oci_client::client::{BlobResponse, Client, ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::manifest::OciDescriptor;
use oci_client::secrets::RegistryAuth;
use std::error::Error;
use std::time::Duration;

/// Pauses between the attempts of one request.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(1_000)];

/// What a registry did not give.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// There is no such image.
    #[error("image {image} does not exist in its registry")]
    NotFound {
        /// Which.
        image: String,
    },
    /// Nobody answers.
    #[error("registry {registry} cannot be reached: {why}")]
    Unreachable {
        /// Which.
        registry: String,
        /// As the network says it.
        why: String,
    },
    /// It wants to know who asks.
    #[error("registry {registry} refuses to give {image} to anybody unknown (images are pulled anonymously)")]
    Denied {
        /// Which.
        registry: String,
        /// What was asked for.
        image: String,
    },
    /// What came is not what was asked for.
    #[error("{what} of image {image} is not what its digest {expected} says: it is corrupt or was tampered with")]
    DigestMismatch {
        /// Which image.
        image: String,
        /// "the manifest", "a layer".
        what: &'static str,
        /// The digest it should have.
        expected: String,
    },
    /// Anything else.
    #[error("registry {registry} did not give {image}: {why}")]
    Failed {
        /// Which.
        registry: String,
        /// What was asked for.
        image: String,
        /// As it says it.
        why: String,
    },
}

/// A repository in a registry.
pub struct Repository {
    client: Client,
    reference: Reference,
}

impl Repository {
    /// Prepares to pull; nothing is connected yet.
    pub fn new(reference: Reference, plain_http_registries: &[String]) -> Self {
        let plain = reference.is_loopback() || plain_http_registries.contains(&reference.registry);
        let protocol = if plain { ClientProtocol::Http } else { ClientProtocol::Https };
        let client = Client::new(ClientConfig {
            protocol,
            connect_timeout: Some(Duration::from_secs(10)),
            read_timeout: Some(Duration::from_secs(60)),
            user_agent: concat!("hyphae/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        });
        Self { client, reference }
    }

    fn at(&self, digest: Option<&str>) -> OciReference {
        let (registry, repository) = (self.reference.registry.clone(), self.reference.repository.clone());
        match (digest.or(self.reference.digest.as_deref()), &self.reference.tag) {
            (Some(digest), _) => OciReference::with_digest(registry, repository, digest.to_owned()),
            (None, Some(tag)) => OciReference::with_tag(registry, repository, tag.clone()),
            (None, None) => OciReference::with_tag(registry, repository, "latest".to_owned()),
        }
    }

    /// The manifest or index behind the reference, or behind a digest found in an index; its bytes and its digest, checked.
    pub async fn manifest(&self, digest: Option<&str>) -> Result<(Bytes, String), RegistryError> {
        let at = self.at(digest);
        let pull = || self.client.pull_manifest_raw(&at, &RegistryAuth::Anonymous, &ACCEPTED);
        let (bytes, _) = self.try_again(pull).await?;
        let actual = manifest::digest_of(&bytes);
        match digest.or(self.reference.digest.as_deref()) {
            Some(expected) if expected != actual => Err(self.mismatch("the manifest", expected)),
            _ => Ok((bytes, actual)),
        }
    }

    /// A blob from `offset` on, and where the stream really begins (0 when the registry cannot begin in the middle).
    pub async fn blob(
        &self,
        blob: &manifest::Descriptor,
        offset: u64,
    ) -> Result<(BoxStream<'static, std::io::Result<Bytes>>, u64), RegistryError> {
        let descriptor = OciDescriptor { digest: blob.digest.clone(), size: blob.size, ..OciDescriptor::default() };
        let at = self.at(None);
        if offset == 0 {
            let stream = self.try_again(|| self.client.pull_blob_stream(&at, &descriptor)).await?;
            return Ok((stream.stream, 0));
        }
        match self.try_again(|| self.client.pull_blob_stream_partial(&at, &descriptor, offset, None)).await? {
            BlobResponse::Full(stream) => Ok((stream.stream, 0)),
            BlobResponse::Partial(stream) => Ok((stream.stream, offset)),
        }
    }

    /// The error for content that is not what was promised.
    pub fn mismatch(&self, what: &'static str, expected: &str) -> RegistryError {
        RegistryError::DigestMismatch { image: self.reference.to_string(), what, expected: expected.to_owned() }
    }

    /// The error for a stream that broke.
    pub fn broken(&self, expected: &str, error: &std::io::Error) -> RegistryError {
        let why = innermost(error);
        if why.to_lowercase().contains("digest") {
            return self.mismatch("a layer", expected);
        }
        RegistryError::Unreachable { registry: self.reference.registry.clone(), why }
    }

    async fn try_again<T, F>(&self, request: impl Fn() -> F) -> Result<T, RegistryError>
    where
        F: Future<Output = Result<T, OciDistributionError>>,
    {
        for pause in PAUSES {
            match request().await {
                Ok(got) => return Ok(got),
                Err(error) if may_pass(&error) => tokio::time::sleep(pause).await,
                Err(error) => return Err(self.explain(&error)),
            }
        }
        request().await.map_err(|error| self.explain(&error))
    }

    fn explain(&self, error: &OciDistributionError) -> RegistryError {
        let (registry, image) = (self.reference.registry.clone(), self.reference.to_string());
        match error {
            OciDistributionError::ImageManifestNotFoundError(_) => RegistryError::NotFound { image },
            OciDistributionError::ServerError { code: 404, .. } => RegistryError::NotFound { image },
            OciDistributionError::RegistryError { envelope, .. }
                if envelope.errors.iter().any(|error| {
                    matches!(
                        error.code,
                        OciErrorCode::ManifestUnknown | OciErrorCode::NameUnknown | OciErrorCode::NotFound
                    )
                }) =>
            {
                RegistryError::NotFound { image }
            }
            OciDistributionError::RegistryError { envelope, .. }
                if envelope
                    .errors
                    .iter()
                    .any(|error| matches!(error.code, OciErrorCode::Denied | OciErrorCode::Unauthorized)) =>
            {
                RegistryError::Denied { registry, image }
            }
            OciDistributionError::UnauthorizedError { .. } | OciDistributionError::AuthenticationFailure(_) => {
                RegistryError::Denied { registry, image }
            }
            OciDistributionError::DigestError(_) => {
                let expected = self.reference.digest.clone().unwrap_or_default();
                RegistryError::DigestMismatch { image, what: "the manifest", expected }
            }
            OciDistributionError::RequestError(_) => RegistryError::Unreachable { registry, why: innermost(error) },
            other => RegistryError::Failed { registry, image, why: other.to_string() },
        }
    }
}

/// Trying again a moment later may help.
fn may_pass(error: &OciDistributionError) -> bool {
    match error {
        OciDistributionError::RequestError(_) | OciDistributionError::IoError(_) => true,
        OciDistributionError::ServerError { code, .. } => *code == 429 || *code >= 500,
        _ => false,
    }
}

/// The cause at the bottom says most: "Connection refused" rather than "error sending request".
fn innermost(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
