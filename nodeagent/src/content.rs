//! Blobs in containerd's content store. The outside.
//!
//! A download that was cut short goes on where it stopped, also after a restart of the agent: containerd keeps what it has
//! under the blob's name. Written under a lease, so that its garbage collector waits until the image is complete.

use crate::containerd::{Containerd, ContainerdError};
use bytes::Bytes;
use containerd_client::services::v1::{
    AbortRequest, Info, InfoRequest, ReadContentRequest, StatusRequest, UpdateRequest, WriteAction, WriteContentRequest,
};
use futures::StreamExt;
use futures::stream::BoxStream;
use std::collections::HashMap;
use std::io;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status};

/// containerd refuses messages above 16 MiB; smaller ones keep memory low.
const CHUNK_BYTES: usize = 1 << 20;

/// What a blob is and how it is to be kept.
#[derive(Debug, Clone)]
pub(crate) struct Blob {
    pub(crate) digest: String,
    pub(crate) size: i64,
    pub(crate) labels: HashMap<String, String>,
}

/// Why a blob was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error(transparent)]
    Containerd(#[from] ContainerdError),
    #[error("what came does not have the digest or size that was promised")]
    Mismatch,
    #[error("the download broke")]
    Source(#[source] io::Error),
}

impl Containerd {
    pub(crate) fn leased<T>(&self, message: T, lease: &str) -> Request<T> {
        let mut request = self.request(message);
        if let Ok(lease) = lease.parse() {
            request.metadata_mut().insert("containerd-lease", lease);
        }
        request
    }

    /// True when the blob is there, whole.
    pub(crate) async fn has_blob(&self, digest: &str) -> Result<bool, ContainerdError> {
        let request = self.request(InfoRequest { digest: digest.to_owned() });
        match self.client().content().info(request).await {
            Ok(_) => Ok(true),
            Err(status) if status.code() == Code::NotFound => Ok(false),
            Err(status) => Err(ContainerdError::new("look for a blob", status)),
        }
    }

    /// Reads a small blob whole.
    pub(crate) async fn read_blob(&self, digest: &str) -> Result<Vec<u8>, ContainerdError> {
        let failed = |status| ContainerdError::new("read a blob", status);
        let request = self.request(ReadContentRequest { digest: digest.to_owned(), offset: 0, size: 0 });
        let mut stream = self.client().content().read(request).await.map_err(failed)?.into_inner();
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.message().await.map_err(failed)? {
            bytes.extend_from_slice(&chunk.data);
        }
        Ok(bytes)
    }

    /// Adds labels to a blob.
    pub(crate) async fn label_blob(
        &self,
        digest: &str,
        labels: HashMap<String, String>,
    ) -> Result<(), ContainerdError> {
        let paths = labels.keys().map(|key| format!("labels.{key}")).collect();
        let info = Info { digest: digest.to_owned(), labels, ..Info::default() };
        let request =
            self.request(UpdateRequest { info: Some(info), update_mask: Some(prost_types::FieldMask { paths }) });
        let updated = self.client().content().update(request).await;
        updated.map(drop).map_err(|status| ContainerdError::new("label a blob", status))
    }

    /// How much of a blob an earlier, broken download has left.
    pub(crate) async fn partial_bytes(&self, digest: &str) -> u64 {
        let request = self.request(StatusRequest { r#ref: ingest_name(digest) });
        match self.client().content().status(request).await {
            Ok(reply) => reply.into_inner().status.map_or(0, |status| status.offset.unsigned_abs()),
            Err(_) => 0,
        }
    }

    /// Forgets what an earlier download has left.
    pub(crate) async fn forget_partial(&self, digest: &str) {
        let request = self.request(AbortRequest { r#ref: ingest_name(digest) });
        self.client().content().abort(request).await.ok();
    }

    /// Writes a blob from `offset` on; `data` holds what follows there.
    pub(crate) async fn write_blob(
        &self,
        lease: &str,
        blob: Blob,
        offset: u64,
        data: BoxStream<'static, io::Result<Bytes>>,
    ) -> Result<(), WriteError> {
        let digest = blob.digest.clone();
        let (sender, receiver) = mpsc::channel(4);
        let feeding = tokio::spawn(feed(blob, offset.cast_signed(), data, sender));
        let mut request = self.leased(ReceiverStream::new(receiver), lease);
        // A large layer on a slow line takes longer than any single call may.
        request.metadata_mut().remove("grpc-timeout");
        let written = async {
            let mut replies = self.client().content().write(request).await?.into_inner();
            while replies.message().await?.is_some() {}
            Ok::<(), Status>(())
        };
        let written = written.await;
        let exists = matches!(&written, Err(status) if status.code() == Code::AlreadyExists);
        if exists {
            feeding.abort();
            return Ok(());
        }
        // The source's own error says more than containerd's complaint about the end of the stream.
        if let Ok(Err(error)) = feeding.await {
            return Err(WriteError::Source(error));
        }
        match written {
            Ok(()) => Ok(()),
            Err(status) if matches!(status.code(), Code::FailedPrecondition | Code::OutOfRange) => {
                tracing::debug!(digest, %status, "a blob was refused");
                self.forget_partial(&digest).await;
                Err(WriteError::Mismatch)
            }
            Err(status) => Err(ContainerdError::new("store a blob", status).into()),
        }
    }
}

fn ingest_name(digest: &str) -> String {
    format!("hyphae-{digest}")
}

/// Hands a download to containerd, in order. An error of the download is returned; that containerd hung up is not one.
async fn feed(
    blob: Blob,
    mut offset: i64,
    mut data: BoxStream<'static, io::Result<Bytes>>,
    sender: mpsc::Sender<WriteContentRequest>,
) -> io::Result<()> {
    let message = |action: WriteAction, offset, data| WriteContentRequest {
        action: action as i32,
        r#ref: ingest_name(&blob.digest),
        total: blob.size,
        expected: blob.digest.clone(),
        offset,
        data,
        labels: HashMap::new(),
    };
    while let Some(bytes) = data.next().await {
        for chunk in bytes?.chunks(CHUNK_BYTES) {
            if sender.send(message(WriteAction::Write, offset, chunk.to_vec())).await.is_err() {
                return Ok(());
            }
            offset += chunk.len().cast_signed() as i64;
        }
    }
    let commit = WriteContentRequest { labels: blob.labels.clone(), ..message(WriteAction::Commit, offset, vec![]) };
    sender.send(commit).await.ok();
    Ok(())
}
