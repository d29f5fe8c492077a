//! Requests that have arrived whole, and the answers to them: plain data in,
//! plain data out.

use bytes::Bytes;
use http::{Method, StatusCode};
use oci::Digest;
use serde_json::json;

use super::content::{Content, Refused};
use super::route::{Endpoint, Route, query_value};
use super::{Options, UploadLocation};

/// An answer, before it is sent or spoilt.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn new(status: StatusCode) -> Self {
        Self {
            status: status.as_u16(),
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    pub(crate) fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    pub(crate) fn body(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.header("content-type", content_type)
    }

    /// Sets a header, or removes it, whatever case its name had.
    pub(crate) fn replace_header(&mut self, name: &str, value: Option<&str>) {
        self.headers
            .retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        if let Some(value) = value {
            self.headers.push((name.to_owned(), value.to_owned()));
        }
    }
}

impl From<Refused> for Reply {
    fn from(Refused(status, code, words): Refused) -> Self {
        let errors = json!({"errors": [{"code": code, "message": words}]});
        Self {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
        }
        .body("application/json", errors.to_string())
    }
}

/// A request with its body. For an upload session the body is already in it.
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a Method,
    pub(crate) route: &'a Route,
    pub(crate) query: &'a str,
    pub(crate) content_type: Option<&'a str>,
    pub(crate) range: Option<&'a str>,
    pub(crate) if_match: Option<&'a str>,
    pub(crate) body: Bytes,
    /// Whether the bearer may pull from the repository in `from=`.
    pub(crate) may_mount: bool,
    /// False: answer as if it had been stored.
    pub(crate) keep: bool,
    /// What upload locations begin with, when they are absolute.
    pub(crate) base_url: &'a str,
}

/// Does what was asked.
pub(crate) fn answer(content: &mut Content, options: &Options, asked: &Asked<'_>) -> Reply {
    let route = asked.route;
    let done = match (route.endpoint, asked.method.as_str()) {
        (Endpoint::Version, "GET" | "HEAD") => Ok(Reply::new(StatusCode::OK)
            .header("docker-distribution-api-version", "registry/2.0")
            .body("application/json", "{}")),
        (Endpoint::Blob, "GET" | "HEAD") => get_blob(content, asked),
        (Endpoint::Blob, "DELETE") if options.deletes => delete_blob(content, route),
        (Endpoint::UploadStart, "POST") => start_upload(content, options, asked),
        (Endpoint::UploadSession, "PATCH") => after_patch(content, options, asked),
        (Endpoint::UploadSession, "PUT") => finish_upload(content, asked),
        (Endpoint::UploadSession, "GET") => upload_status(content, options, asked),
        (Endpoint::UploadSession, "DELETE") => match content.cancel_upload(&route.reference) {
            true => Ok(Reply::new(StatusCode::NO_CONTENT)),
            false => Err(Refused(404, "BLOB_UPLOAD_UNKNOWN", route.reference.clone())),
        },
        (Endpoint::Manifest, "GET" | "HEAD") => get_manifest(content, route),
        (Endpoint::Manifest, "PUT") => put_manifest(content, options, asked),
        (Endpoint::Manifest, "DELETE") if options.deletes => delete_manifest(content, route),
        (Endpoint::Tags, "GET") => list_tags(content, options, asked),
        (Endpoint::Catalog, "GET") if options.catalog => Ok(list_names(content, options, asked)),
        (Endpoint::Catalog, _) => Err(Refused(404, "NOT_FOUND", "no such endpoint".into())),
        (Endpoint::Referrers, "GET") if options.referrers => {
            list_referrers(content, options, asked)
        }
        (Endpoint::Referrers, _) => Err(Refused(404, "NOT_FOUND", "no such endpoint".into())),
        _ => Err(Refused(405, "UNSUPPORTED", asked.method.to_string())),
    };
    done.unwrap_or_else(Reply::from)
}

fn digest_in(route: &Route) -> Result<Digest, Refused> {
    (route.reference.parse()).map_err(|_| Refused(400, "DIGEST_INVALID", route.reference.clone()))
}

fn get_blob(content: &Content, asked: &Asked<'_>) -> Result<Reply, Refused> {
    let digest = digest_in(asked.route)?;
    let Some(bytes) = content.blob(&asked.route.repository, &digest) else {
        return Err(Refused(404, "BLOB_UNKNOWN", digest.to_string()));
    };
    let reply = |status| {
        Reply::new(status)
            .header("docker-content-digest", &digest)
            .header("etag", format!("\"{digest}\""))
            .header("accept-ranges", "bytes")
    };
    let octets = "application/octet-stream";
    let Some(range) = asked.range else {
        return Ok(reply(StatusCode::OK).body(octets, bytes));
    };
    let total = bytes.len();
    match byte_range(range, total) {
        Some((first, last)) => Ok(reply(StatusCode::PARTIAL_CONTENT)
            .header("content-range", format!("bytes {first}-{last}/{total}"))
            .body(octets, bytes.slice(first..=last))),
        None => Ok(reply(StatusCode::RANGE_NOT_SATISFIABLE)
            .header("content-range", format!("bytes */{total}"))),
    }
}

/// First and last byte of `bytes=a-b`, `bytes=a-` or `bytes=-n`.
fn byte_range(text: &str, total: usize) -> Option<(usize, usize)> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let end = total.checked_sub(1)?;
    let (first, last) = match (first, last) {
        ("", last) => (total.saturating_sub(last.parse().ok()?), end),
        (first, "") => (first.parse().ok()?, end),
        (first, last) => (first.parse().ok()?, last.parse::<usize>().ok()?.min(end)),
    };
    (first <= last).then_some((first, last))
}

fn delete_blob(content: &mut Content, route: &Route) -> Result<Reply, Refused> {
    let digest = digest_in(route)?;
    match content.delete_blob(&route.repository, &digest) {
        true => Ok(Reply::new(StatusCode::ACCEPTED)),
        false => Err(Refused(404, "BLOB_UNKNOWN", digest.to_string())),
    }
}

fn delete_manifest(content: &mut Content, route: &Route) -> Result<Reply, Refused> {
    content.check_tag(&route.repository, &route.reference, None)?;
    match content.delete_manifest(&route.repository, &route.reference) {
        true => Ok(Reply::new(StatusCode::ACCEPTED)),
        false => Err(Refused(404, "MANIFEST_UNKNOWN", route.reference.clone())),
    }
}

fn blob_created(route: &Route, digest: &Digest) -> Reply {
    Reply::new(StatusCode::CREATED)
        .header(
            "location",
            format!("/v2/{}/blobs/{digest}", route.repository),
        )
        .header("docker-content-digest", digest)
}

fn start_upload(
    content: &mut Content,
    options: &Options,
    asked: &Asked<'_>,
) -> Result<Reply, Refused> {
    let route = asked.route;
    let parameter = |name| query_value(asked.query, name);
    if let (Some(digest), Some(from)) = (parameter("mount"), parameter("from"))
        && options.mounts
        && asked.may_mount
        && let Ok(digest) = digest.parse::<Digest>()
        && content.mount(&route.repository, &from, &digest)
    {
        return Ok(blob_created(route, &digest));
    }
    let session = content.begin_upload(&route.repository);
    if let Some(digest) = parameter("digest") {
        content.append(&session, &asked.body);
        let digest = content.finish_upload(&session, &digest, asked.keep)?;
        return Ok(blob_created(route, &digest));
    }
    let mut reply = session_reply(StatusCode::ACCEPTED, options, asked, &session, 0);
    if let Some(bytes) = options.chunk_bytes_min {
        reply = reply.header("oci-chunk-min-length", bytes);
    }
    Ok(reply)
}

/// 202 or 204 with the place and the state of an upload.
fn session_reply(
    status: StatusCode,
    options: &Options,
    asked: &Asked<'_>,
    session: &str,
    size: u64,
) -> Reply {
    // The query changes with every answer, as Distribution's does: who keeps
    // an old location is found out.
    let path = format!(
        "/v2/{}/blobs/uploads/{session}?_state={size}",
        asked.route.repository
    );
    let location = match options.upload_location {
        UploadLocation::Relative => path,
        UploadLocation::Absolute => format!("{}{path}", asked.base_url),
    };
    Reply::new(status)
        .header("location", location)
        .header("docker-upload-uuid", session)
        .header("range", format!("0-{}", size.saturating_sub(1)))
}

/// The size of the session that a request names, or the refusal.
fn session_size(content: &Content, route: &Route) -> Result<u64, Refused> {
    (content.upload_size(&route.repository, &route.reference))
        .ok_or_else(|| Refused(404, "BLOB_UPLOAD_UNKNOWN", route.reference.clone()))
}

fn after_patch(content: &Content, options: &Options, asked: &Asked<'_>) -> Result<Reply, Refused> {
    let size = session_size(content, asked.route)?;
    let session = &asked.route.reference;
    Ok(session_reply(
        StatusCode::ACCEPTED,
        options,
        asked,
        session,
        size,
    ))
}

fn upload_status(
    content: &Content,
    options: &Options,
    asked: &Asked<'_>,
) -> Result<Reply, Refused> {
    let size = session_size(content, asked.route)?;
    let session = &asked.route.reference;
    Ok(session_reply(
        StatusCode::NO_CONTENT,
        options,
        asked,
        session,
        size,
    ))
}

fn finish_upload(content: &mut Content, asked: &Asked<'_>) -> Result<Reply, Refused> {
    session_size(content, asked.route)?;
    let Some(digest) = query_value(asked.query, "digest") else {
        return Err(Refused(400, "DIGEST_INVALID", "no digest given".into()));
    };
    let digest = content.finish_upload(&asked.route.reference, &digest, asked.keep)?;
    Ok(blob_created(asked.route, &digest))
}

fn get_manifest(content: &Content, route: &Route) -> Result<Reply, Refused> {
    match content.manifest(&route.repository, &route.reference) {
        Some((digest, stored)) => Ok(Reply::new(StatusCode::OK)
            .header("docker-content-digest", &digest)
            .header("etag", format!("\"{digest}\""))
            .body(&stored.content_type, stored.bytes)),
        None => Err(Refused(404, "MANIFEST_UNKNOWN", route.reference.clone())),
    }
}

fn put_manifest(
    content: &mut Content,
    options: &Options,
    asked: &Asked<'_>,
) -> Result<Reply, Refused> {
    let route = asked.route;
    if let Some(wanted) = asked.if_match.filter(|_| options.heeds_if_match) {
        let current = content.manifest(&route.repository, &route.reference);
        if current.is_none_or(|(digest, _)| format!("\"{digest}\"") != wanted) {
            return Err(Refused(412, "PRECONDITION_FAILED", wanted.to_owned()));
        }
    }
    let (digest, subject) = content.put_manifest(
        &route.repository,
        &route.reference,
        asked.content_type.unwrap_or(""),
        asked.body.clone(),
        asked.keep,
    )?;
    let reply = Reply::new(StatusCode::CREATED)
        .header(
            "location",
            format!("/v2/{}/manifests/{digest}", route.repository),
        )
        .header("docker-content-digest", &digest);
    Ok(match subject {
        Some(subject) if options.referrers && options.says_subject => {
            reply.header("oci-subject", subject)
        }
        _ => reply,
    })
}

fn list_tags(content: &Content, options: &Options, asked: &Asked<'_>) -> Result<Reply, Refused> {
    let name = &asked.route.repository;
    let Some(tags) = content.tags(name) else {
        return Err(Refused(404, "NAME_UNKNOWN", name.clone()));
    };
    let after = query_value(asked.query, "last").unwrap_or_default();
    let rest: Vec<String> = tags.into_iter().filter(|tag| *tag > after).collect();
    let count = query_value(asked.query, "n")
        .and_then(|n| n.parse().ok())
        .unwrap_or(rest.len())
        .min(options.page_entries_max.unwrap_or(usize::MAX));
    let page = &rest[..count.min(rest.len())];
    let body = json!({"name": name, "tags": page}).to_string();
    let reply = Reply::new(StatusCode::OK).body("application/json", body);
    Ok(match page.last() {
        Some(last) if page.len() < rest.len() => reply.header(
            "link",
            format!("</v2/{name}/tags/list?n={count}&last={last}>; rel=\"next\""),
        ),
        _ => reply,
    })
}

fn list_names(content: &Content, options: &Options, asked: &Asked<'_>) -> Reply {
    let after = query_value(asked.query, "last").unwrap_or_default();
    let names = content.names();
    let rest: Vec<String> = names.into_iter().filter(|name| *name > after).collect();
    let end = options.page_entries_max.unwrap_or(rest.len());
    let page = &rest[..end.min(rest.len())];
    let body = json!({"repositories": page}).to_string();
    let reply = Reply::new(StatusCode::OK).body("application/json", body);
    match page.last() {
        Some(last) if page.len() < rest.len() => {
            let next = format!("</v2/_catalog?last={last}>; rel=\"next\"");
            reply.header("link", next)
        }
        _ => reply,
    }
}

fn list_referrers(
    content: &Content,
    options: &Options,
    asked: &Asked<'_>,
) -> Result<Reply, Refused> {
    let digest = digest_in(asked.route)?;
    let mut found = content.referrers(&asked.route.repository, digest.as_str());
    let kind = query_value(asked.query, "artifactType").filter(|_| options.filters_referrers);
    if let Some(kind) = &kind {
        found.retain(|descriptor| descriptor["artifactType"] == kind.as_str());
    }
    let skip: usize = query_value(asked.query, "skip")
        .and_then(|skip| skip.parse().ok())
        .unwrap_or(0);
    let end = skip + options.page_entries_max.unwrap_or(found.len());
    let is_last = end >= found.len();
    let page: Vec<_> = (found.into_iter()).take(end).skip(skip).collect();
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": page,
    });
    let mut reply = Reply::new(StatusCode::OK)
        .body("application/vnd.oci.image.index.v1+json", index.to_string());
    if !is_last {
        let filter = match query_value(asked.query, "artifactType") {
            Some(kind) => format!("&artifactType={kind}"),
            None => String::new(),
        };
        let name = &asked.route.repository;
        let link = format!("</v2/{name}/referrers/{digest}?skip={end}{filter}>; rel=\"next\"");
        reply = reply.header("link", link);
    }
    Ok(match kind {
        Some(_) => reply.header("oci-filters-applied", "artifactType"),
        None => reply,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        assert_eq!(byte_range("bytes=0-3", 10), Some((0, 3)));
        assert_eq!(byte_range("bytes=4-", 10), Some((4, 9)));
        assert_eq!(byte_range("bytes=-2", 10), Some((8, 9)));
        assert_eq!(byte_range("bytes=4-99", 10), Some((4, 9)));
        assert_eq!(byte_range("bytes=10-", 10), None);
        assert_eq!(byte_range("bytes=0-", 0), None);
        assert_eq!(byte_range("lines=1-2", 10), None);
    }
}
