//! Images: pulled from a registry into containerd's content store, unpacked into snapshots, and removed when unused. The outside.
//!
//! ```text
//!   reference -> manifest (of this machine's kind) -> missing blobs, one download each -> layers unpacked -> image record
//! ```
//!
//! containerd's garbage collector keeps what is referred to: the image record refers to the manifest, its labels to the
//! configuration and the layers, and the configuration's label to the unpacked layers. Until the record exists, a lease does.
//! An image that is here is not asked for again, whatever its tag now means in the registry.

use crate::containerd::{Containerd, ContainerdError};
use crate::content::{Blob, WriteError};
use crate::manifest::{self, Descriptor, Document, ImageConfig, Manifest, ManifestError};
use crate::reference::{Reference, ReferenceError};
use crate::registry::{RegistryError, Repository};
use bytes::Bytes;
use containerd_client::services::v1::snapshots::{
    CommitSnapshotRequest, PrepareSnapshotRequest, RemoveSnapshotRequest, StatSnapshotRequest,
};
use containerd_client::services::v1::{
    ApplyRequest, CreateImageRequest, CreateRequest, DeleteImageRequest, DeleteRequest, GetImageRequest, Image,
    ListImagesRequest, UpdateImageRequest,
};
use containerd_client::types;
use futures::StreamExt;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use tonic::Code;

/// A lease that nobody deletes is dropped by containerd then. Far longer than any pull.
const LEASE_HOURS: i64 = 24;

/// Why an image is not here.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// It cannot be named.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// Its registry does not give it.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// What its registry gives cannot be run here.
    #[error("image {image} cannot be run here: {source}")]
    Manifest {
        /// Which.
        image: String,
        /// Why.
        #[source]
        source: ManifestError,
    },
    /// A layer does not unpack to what the image's configuration promises.
    #[error("image {image} cannot be unpacked: layer {layer} of {layers} is not what the image's configuration says")]
    Unpack {
        /// Which.
        image: String,
        /// Counted from 1.
        layer: usize,
        /// All.
        layers: usize,
    },
    /// containerd.
    #[error(transparent)]
    Containerd(#[from] ContainerdError),
}

/// An image that is here and unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnpackedImage {
    /// The snapshot with all its layers.
    pub chain_id: String,
    /// How it wants to be run.
    pub config: ImageConfig,
}

/// Images on this node.
#[derive(Debug)]
pub struct Images {
    containerd: Containerd,
    plain_http_registries: Vec<String>,
    /// Blobs being downloaded, so that two images that share a layer do not fetch it twice.
    downloads: Mutex<HashMap<String, std::sync::Weak<tokio::sync::Mutex<()>>>>,
    unique: AtomicU64,
}

impl Images {
    /// Images in this containerd; the registries named are spoken to in plain HTTP.
    pub fn new(containerd: Containerd, plain_http_registries: Vec<String>) -> Self {
        Self { containerd, plain_http_registries, downloads: Mutex::default(), unique: AtomicU64::new(0) }
    }

    /// Has the image here, unpacked. `progress` hears how many of how many layers are here.
    pub async fn pull(&self, written: &str, progress: impl Fn(usize, usize)) -> Result<UnpackedImage, PullError> {
        let reference = Reference::parse(written)?;
        let name = reference.to_string();
        let lease = self.lease().await?;
        let pulled = self.pull_leased(&reference, &name, &lease, &progress).await;
        let request = self.containerd.request(DeleteRequest { id: lease, sync: false });
        if let Err(status) = self.containerd.client().leases().delete(request).await {
            tracing::debug!(%status, "a lease stays until it expires");
        }
        pulled
    }

    async fn pull_leased(
        &self,
        reference: &Reference,
        name: &str,
        lease: &str,
        progress: &impl Fn(usize, usize),
    ) -> Result<UnpackedImage, PullError> {
        if let Some(image) = self.present(name, lease).await? {
            return Ok(image);
        }
        let repository = Repository::new(reference.clone(), &self.plain_http_registries);
        let (bytes, digest, manifest) = self.manifest(&repository, name).await?;
        let layers = manifest.layers.len();
        progress(0, layers);
        // The configuration first: it is small and tells whether the rest is worth fetching.
        self.fetch(&repository, lease, &manifest.config, HashMap::new()).await?;
        let config = self.config(name, &manifest).await?;
        for (index, layer) in manifest.layers.iter().enumerate() {
            self.fetch(&repository, lease, layer, HashMap::new()).await?;
            progress(index + 1, layers);
        }
        let chain_id = self.unpack(name, lease, &manifest, &config).await?;
        self.keep(lease, &manifest, &chain_id, &bytes, &digest).await?;
        self.record(name, lease, &manifest, digest, bytes.len()).await?;
        Ok(UnpackedImage { chain_id, config })
    }

    /// The image if it is here; unpacks it again if only that is missing.
    async fn present(&self, name: &str, lease: &str) -> Result<Option<UnpackedImage>, PullError> {
        let request = self.containerd.request(GetImageRequest { name: name.to_owned() });
        let target = match self.containerd.client().images().get(request).await {
            Ok(reply) => reply.into_inner().image.and_then(|image| image.target),
            Err(status) if status.code() == Code::NotFound => None,
            Err(status) => return Err(ContainerdError::new("look for an image", status).into()),
        };
        let Some(target) = target else { return Ok(None) };
        let Ok(bytes) = self.containerd.read_blob(&target.digest).await else { return Ok(None) };
        let Ok(Document::Manifest(manifest)) = manifest::read(&bytes) else { return Ok(None) };
        for blob in manifest.layers.iter().chain([&manifest.config]) {
            if !self.containerd.has_blob(&blob.digest).await? {
                return Ok(None);
            }
        }
        let config = self.config(name, &manifest).await?;
        let chain_id = self.unpack(name, lease, &manifest, &config).await?;
        Ok(Some(UnpackedImage { chain_id, config }))
    }

    async fn manifest(&self, repository: &Repository, name: &str) -> Result<(Bytes, String, Manifest), PullError> {
        let unfit = |source| PullError::Manifest { image: name.to_owned(), source };
        let (bytes, digest) = repository.manifest(None).await?;
        let index = match manifest::read(&bytes).map_err(unfit)? {
            Document::Manifest(manifest) => return Ok((bytes, digest, manifest)),
            Document::Index(index) => index,
        };
        let architecture = manifest::architecture(std::env::consts::ARCH);
        let chosen = manifest::choose(&index, architecture).map_err(unfit)?;
        let (bytes, digest) = repository.manifest(Some(&chosen.digest)).await?;
        match manifest::read(&bytes).map_err(unfit)? {
            Document::Manifest(manifest) => Ok((bytes, digest, manifest)),
            Document::Index(_) => Err(unfit(ManifestError::Unreadable("its index leads to another index".into()))),
        }
    }

    async fn config(&self, name: &str, manifest: &Manifest) -> Result<ImageConfig, PullError> {
        let bytes = self.containerd.read_blob(&manifest.config.digest).await?;
        manifest::read_config(&bytes, manifest.layers.len())
            .map_err(|source| PullError::Manifest { image: name.to_owned(), source })
    }

    /// Has a blob in the content store.
    async fn fetch(
        &self,
        repository: &Repository,
        lease: &str,
        blob: &Descriptor,
        labels: HashMap<String, String>,
    ) -> Result<(), PullError> {
        let download = self.download_lock(&blob.digest);
        let _alone = download.lock().await;
        if self.containerd.has_blob(&blob.digest).await? {
            return Ok(());
        }
        let wanted = Blob { digest: blob.digest.clone(), size: blob.size, labels };
        // A broken download goes on where it stopped, so a second attempt is not a second download.
        let mut broken = None;
        for _ in 0..3 {
            let partial = self.containerd.partial_bytes(&blob.digest).await;
            let partial = if partial < blob.size.unsigned_abs() { partial } else { 0 };
            let (data, offset) = repository.blob(blob, partial).await?;
            match self.containerd.write_blob(lease, wanted.clone(), offset, data).await {
                Ok(()) => return Ok(()),
                Err(WriteError::Containerd(error)) => return Err(error.into()),
                Err(WriteError::Mismatch) => return Err(repository.mismatch("a layer", &blob.digest).into()),
                Err(WriteError::Source(error)) => match repository.broken(&blob.digest, &error) {
                    mismatch @ RegistryError::DigestMismatch { .. } => {
                        self.containerd.forget_partial(&blob.digest).await;
                        return Err(mismatch.into());
                    }
                    error => broken = Some(error),
                },
            }
        }
        match broken {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    fn download_lock(&self, digest: &str) -> std::sync::Arc<tokio::sync::Mutex<()>> {
        let mut downloads = self.downloads.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        downloads.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = downloads.get(digest).and_then(std::sync::Weak::upgrade) {
            return lock;
        }
        let lock = std::sync::Arc::new(tokio::sync::Mutex::new(()));
        downloads.insert(digest.to_owned(), std::sync::Arc::downgrade(&lock));
        lock
    }

    /// Unpacks the layers that are not unpacked. Returns the snapshot with all of them.
    async fn unpack(
        &self,
        name: &str,
        lease: &str,
        manifest: &Manifest,
        config: &ImageConfig,
    ) -> Result<String, PullError> {
        let chain = manifest::chain_ids(&config.diff_ids);
        let mut parent = String::new();
        for (index, (layer, chain_id)) in manifest.layers.iter().zip(&chain).enumerate() {
            if !self.has_snapshot(chain_id).await? {
                let diff_id = &config.diff_ids[index];
                if !self.unpack_layer(lease, layer, &parent, chain_id, diff_id).await? {
                    let (layer, layers) = (index + 1, chain.len());
                    return Err(PullError::Unpack { image: name.to_owned(), layer, layers });
                }
            }
            parent = chain_id.clone();
        }
        Ok(parent)
    }

    async fn has_snapshot(&self, key: &str) -> Result<bool, ContainerdError> {
        let snapshotter = self.containerd.snapshotter().to_owned();
        let request = self.containerd.request(StatSnapshotRequest { snapshotter, key: key.to_owned() });
        match self.containerd.client().snapshots().stat(request).await {
            Ok(_) => Ok(true),
            Err(status) if status.code() == Code::NotFound => Ok(false),
            Err(status) => Err(ContainerdError::new("look for an unpacked layer", status)),
        }
    }

    /// Unpacks one layer on those below it. False, and nothing remains, if it does not hold what `diff_id` says.
    async fn unpack_layer(
        &self,
        lease: &str,
        layer: &Descriptor,
        parent: &str,
        chain_id: &str,
        diff_id: &str,
    ) -> Result<bool, ContainerdError> {
        let failed = |status| ContainerdError::new("unpack a layer", status);
        let snapshotter = self.containerd.snapshotter().to_owned();
        let unique = self.unique.fetch_add(1, Ordering::Relaxed);
        let key = format!("unpack-{}-{unique} {chain_id}", std::process::id());
        let prepare = PrepareSnapshotRequest {
            snapshotter: snapshotter.clone(),
            key: key.clone(),
            parent: parent.to_owned(),
            labels: HashMap::new(),
        };
        let mut snapshots = self.containerd.client().snapshots();
        let prepared = snapshots.prepare(self.containerd.leased(prepare, lease)).await.map_err(failed)?;
        let unpacked = async {
            let diff = types::Descriptor {
                media_type: layer.media_type.clone(),
                digest: layer.digest.clone(),
                size: layer.size,
                annotations: HashMap::new(),
            };
            let apply =
                ApplyRequest { diff: Some(diff), mounts: prepared.into_inner().mounts, ..ApplyRequest::default() };
            let mut request = self.containerd.leased(apply, lease);
            request.metadata_mut().remove("grpc-timeout");
            let applied = self.containerd.client().diff().apply(request).await?.into_inner().applied;
            if applied.is_none_or(|applied| applied.digest != diff_id) {
                return Ok(false);
            }
            let commit = CommitSnapshotRequest {
                snapshotter: snapshotter.clone(),
                name: chain_id.to_owned(),
                key: key.clone(),
                labels: HashMap::new(),
            };
            snapshots.commit(self.containerd.leased(commit, lease)).await?;
            Ok(true)
        };
        let unpacked: Result<bool, tonic::Status> = unpacked.await;
        if !matches!(unpacked, Ok(true)) {
            let request = self.containerd.request(RemoveSnapshotRequest { snapshotter, key });
            self.containerd.client().snapshots().remove(request).await.ok();
        }
        match unpacked {
            // Another image with the same layers was faster.
            Err(status) if status.code() == Code::AlreadyExists => Ok(true),
            other => other.map_err(failed),
        }
    }

    /// Makes the configuration refer to the unpacked layers, and the manifest to configuration and layers.
    async fn keep(
        &self,
        lease: &str,
        manifest: &Manifest,
        chain_id: &str,
        bytes: &Bytes,
        digest: &str,
    ) -> Result<(), PullError> {
        let snapshotter = self.containerd.snapshotter();
        let label = (format!("containerd.io/gc.ref.snapshot.{snapshotter}"), chain_id.to_owned());
        self.containerd.label_blob(&manifest.config.digest, [label].into()).await?;
        let mut labels =
            HashMap::from([("containerd.io/gc.ref.content.config".to_owned(), manifest.config.digest.clone())]);
        for (index, layer) in manifest.layers.iter().enumerate() {
            labels.insert(format!("containerd.io/gc.ref.content.l.{index}"), layer.digest.clone());
        }
        let blob = Blob { digest: digest.to_owned(), size: bytes.len() as i64, labels: labels.clone() };
        let bytes = bytes.clone();
        let data = futures::stream::once(async move { Ok(bytes) }).boxed();
        match self.containerd.write_blob(lease, blob, 0, data).await {
            // It may have been here before, without its labels.
            Ok(()) => Ok(self.containerd.label_blob(digest, labels).await?),
            Err(WriteError::Containerd(error)) => Err(error.into()),
            Err(WriteError::Mismatch | WriteError::Source(_)) => Err(PullError::Manifest {
                image: digest.to_owned(),
                source: ManifestError::Unreadable("it changed while it was stored".into()),
            }),
        }
    }

    async fn record(
        &self,
        name: &str,
        lease: &str,
        manifest: &Manifest,
        digest: String,
        bytes: usize,
    ) -> Result<(), ContainerdError> {
        let failed = |status| ContainerdError::new("record the image", status);
        let media_type = manifest.media_type.clone();
        let target = types::Descriptor { media_type, digest, size: bytes as i64, annotations: HashMap::new() };
        let image = Some(Image { name: name.to_owned(), target: Some(target), ..Image::default() });
        let create = CreateImageRequest { image: image.clone(), source_date_epoch: None };
        let mut images = self.containerd.client().images();
        match images.create(self.containerd.leased(create, lease)).await {
            Ok(_) => Ok(()),
            Err(status) if status.code() == Code::AlreadyExists => {
                let update = UpdateImageRequest { image, update_mask: None, source_date_epoch: None };
                images.update(self.containerd.leased(update, lease)).await.map_err(failed)?;
                Ok(())
            }
            Err(status) => Err(failed(status)),
        }
    }

    /// A lease of its own, with an end in case the agent is killed.
    async fn lease(&self) -> Result<String, ContainerdError> {
        let unique = self.unique.fetch_add(1, Ordering::Relaxed);
        let now = jiff::Timestamp::now();
        let id = format!("hyphae-pull-{}-{unique}-{}", std::process::id(), now.as_nanosecond());
        let expire = (now + jiff::SignedDuration::from_hours(LEASE_HOURS)).to_string();
        let labels = HashMap::from([("containerd.io/gc.expire".to_owned(), expire)]);
        let request = self.containerd.request(CreateRequest { id: id.clone(), labels });
        let created = self.containerd.client().leases().create(request).await;
        created.map_err(|status| ContainerdError::new("create a lease", status))?;
        Ok(id)
    }

    /// The names of all images here.
    pub async fn names(&self) -> Result<Vec<String>, ContainerdError> {
        let request = self.containerd.request(ListImagesRequest { filters: vec![] });
        let reply = self.containerd.client().images().list(request).await;
        let images = reply.map_err(|status| ContainerdError::new("list images", status))?.into_inner().images;
        Ok(images.into_iter().map(|image| image.name).collect())
    }

    /// Removes the images that have not been in `used` (references as written) for so long; containerd then collects their content.
    /// `unused_since` is remembered from call to call. What was removed.
    pub async fn remove_unused(
        &self,
        used: &BTreeSet<String>,
        unused_since: &mut BTreeMap<String, u64>,
        now_millis: u64,
        unused_millis_max: u64,
    ) -> Result<Vec<String>, ContainerdError> {
        let used: BTreeSet<String> = used
            .iter()
            .filter_map(|written| Reference::parse(written).ok())
            .map(|reference| reference.to_string())
            .collect();
        let names = self.names().await?;
        unused_since.retain(|name, _| names.contains(name) && !used.contains(name));
        let mut removed = Vec::new();
        for name in names.into_iter().filter(|name| !used.contains(name)) {
            let since = *unused_since.entry(name.clone()).or_insert(now_millis);
            if now_millis.saturating_sub(since) < unused_millis_max {
                continue;
            }
            let request = self.containerd.request(DeleteImageRequest { name: name.clone(), sync: false, target: None });
            match self.containerd.client().images().delete(request).await {
                Ok(_) => removed.push(name),
                Err(status) if status.code() == Code::NotFound => {}
                Err(status) => return Err(ContainerdError::new("remove an image", status)),
            }
        }
        Ok(removed)
    }
}
