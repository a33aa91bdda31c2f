//! A container's whole life through the unmodified `BlobServiceClient`, and what the storage service must refuse.
//!
//! The service is Azurite with `--oauth basic`: it checks a token's times, issuer, audience and account, and no
//! signature. `SUITE_STORAGE_URL` is where it answers, over https. Its refusals are told apart by its own words, since
//! all of them are the same status and code.

use std::sync::Arc;

use azure_core::{
    credentials::{AccessToken, TokenCredential},
    error::ErrorKind,
    http::{RequestContent, StatusCode, Url},
};
use azure_storage_blob::{BlobContainerClient, BlobServiceClient};
use futures::TryStreamExt;

use crate::{
    contract::{fault, now, variable},
    vault::Fixed,
};

/// More than the client sends at once (4 MiB): it goes up in blocks, and comes down in ranges, several at a time.
const LARGE: usize = 9 * 1024 * 1024 + 7;

/// Creates a container, and in it uploads, downloads, lists and deletes blobs; then deletes it.
pub(crate) async fn exercise(credential: Arc<dyn TokenCredential>, label: &str) -> Result<String, String> {
    let name = format!("conformance-{label}-{:x}-{:x}", now(), std::process::id());
    let container = client(credential)?.blob_container_client(&name);
    container.create(None).await.map_err(fault("create container"))?;
    if !container.exists().await.map_err(fault("container exists"))? {
        return Err("the container that was created does not exist".into());
    }

    let large: Vec<u8> = (0..LARGE).map(|at| (at % 251).to_le_bytes()[0]).collect();
    let blobs = [("notes/ünïcode und Leerzeichen.txt", &b"Hello, blobs"[..]), ("large.bin", &large), ("empty", b"")];
    for (blob, content) in blobs {
        let client = container.blob_client(blob);
        client.upload(RequestContent::from(content.to_vec()), None).await.map_err(fault("upload"))?;
        let body = client.download(None).await.map_err(fault("download"))?.body;
        let read = body.collect().await.map_err(fault("download body"))?;
        if read != content {
            return Err(format!("{blob}: {} bytes went up and {} others came down", content.len(), read.len()));
        }
    }
    let mut expected: Vec<&str> = blobs.iter().map(|(blob, _)| *blob).collect();
    expected.sort_unstable();
    if list(&container).await? != expected {
        return Err(format!("the list is {:?}, expected {expected:?}", list(&container).await?));
    }

    let gone = container.blob_client("large.bin");
    gone.delete(None).await.map_err(fault("delete blob"))?;
    if gone.exists().await.map_err(fault("blob exists"))? {
        return Err("the deleted blob is there".into());
    }
    expected.retain(|blob| *blob != "large.bin");
    if list(&container).await? != expected {
        return Err("the list has what was deleted".into());
    }
    container.delete(None).await.map_err(fault("delete container"))?;
    match container.blob_client("empty").download(None).await {
        Ok(_) => Err("a blob of the deleted container still answers".into()),
        Err(error) => {
            refusal(&error, StatusCode::NotFound, "ContainerNotFound", "").map_err(|e| format!("after delete: {e}"))?;
            Ok("token, create, upload, download, list, delete".into())
        }
    }
}

/// The service must turn away a token for the reason that it gives in these words.
pub(crate) async fn refuses_token(token: AccessToken, words: &str) -> Result<String, String> {
    let container = client(Arc::new(Fixed(token)))?.blob_container_client("never-made");
    match container.create(None).await {
        Ok(_) => Err(format!("the storage service took it; expected: {words}")),
        Err(error) => refusal(&error, StatusCode::Forbidden, "AuthenticationFailed", words),
    }
}

fn client(credential: Arc<dyn TokenCredential>) -> Result<BlobServiceClient, String> {
    let url = variable("SUITE_STORAGE_URL")?;
    let url = Url::parse(&url).map_err(|error| format!("SUITE_STORAGE_URL: {error}"))?;
    BlobServiceClient::new(url, Some(credential), None).map_err(fault("BlobServiceClient"))
}

async fn list(container: &BlobContainerClient) -> Result<Vec<String>, String> {
    let pager = container.list_blobs(None).map_err(fault("list"))?;
    let mut names: Vec<String> =
        pager.map_ok(|blob| blob.name.unwrap_or_default()).try_collect().await.map_err(fault("list"))?;
    names.sort_unstable();
    Ok(names)
}

fn refusal(error: &azure_core::Error, status: StatusCode, code: &str, words: &str) -> Result<String, String> {
    match error.kind() {
        ErrorKind::HttpResponse { status: found, error_code: Some(found_code), raw_response: Some(response) }
            if *found == status
                && found_code == code
                && String::from_utf8_lossy(response.body().as_ref()).contains(words) =>
        {
            Ok(format!("{} {code} {words}", u16::from(status)))
        }
        _ => Err(format!("expected {} {code} {words}, got {:?}", u16::from(status), crate::report::chain(error))),
    }
}
