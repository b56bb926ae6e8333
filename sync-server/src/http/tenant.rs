//! Tenant resolution: which organization a request says it is for, by subdomain (S3-16), by header (S3-32), by path
//! (S3-33). What is said grants nothing: it must agree with whoever asks.

use axum::extract::Request;
use carepost_protocol::id::OrganizationId;
use carepost_protocol::text::fold;
use http::request::Parts;
use http::uri::{PathAndQuery, Uri};

use crate::app::App;
use crate::error::Answer;
use crate::operations::person::TenantClaim;
use crate::store::Organization;
use crate::text::line;

/// The header that names an organization by its id.
const ORGANIZATION_HEADER: &str = "x-organization-id";

/// The slug that stood in the path.
#[derive(Debug, Clone)]
struct PathSlug(String);

/// Takes `/org/{slug}` off the front of a path and remembers the slug.
#[must_use]
pub fn take_slug(mut request: Request) -> Request {
    let Some(rest) = request.uri().path().strip_prefix("/org/") else { return request };
    let Some((slug, rest)) = rest.split_once('/') else { return request };
    let slug = PathSlug(slug.to_owned());
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let Ok(path) = format!("/{rest}{query}").parse::<PathAndQuery>() else { return request };
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = Some(path);
    let Ok(uri) = Uri::from_parts(parts) else { return request };
    *request.uri_mut() = uri;
    request.extensions_mut().insert(slug);
    request
}

/// What the request says, looked up.
///
/// # Errors
/// What the store says.
pub async fn claimed(app: &App, parts: &Parts) -> Answer<TenantClaim> {
    // As a sign-in's is read, and a host name.
    let path = parts.extensions.get::<PathSlug>().map(|slug| fold(&slug.0));
    let slugs = path.into_iter().chain(subdomains(app, parts));
    let mut found: Option<Organization> = None;
    for header in parts.headers.get_all(ORGANIZATION_HEADER) {
        let text = header.to_str().unwrap_or_default();
        let Ok(id) = text.parse::<OrganizationId>() else {
            return Ok(TenantClaim::Nonsense(line(text, 100)));
        };
        match app.store.system().organization(id).await? {
            Some(organization) if found.as_ref().is_none_or(|found| found.id == organization.id) => {
                found = Some(organization);
            }
            Some(_) | None => return Ok(TenantClaim::Nonsense(id.to_string())),
        }
    }
    for slug in slugs {
        match app.store.system().organization_by_slug(&slug).await? {
            Some(organization) if found.as_ref().is_none_or(|found| found.id == organization.id) => {
                found = Some(organization);
            }
            Some(_) | None => return Ok(TenantClaim::Nonsense(line(&slug, 100))),
        }
    }
    Ok(found.map_or(TenantClaim::Nothing, |organization| TenantClaim::One(Box::new(organization))))
}

/// The labels before the configured base domain: of the request's target (HTTP/2 says the host in
/// `:authority`) and of its Host header. A client may send both, so both have to agree with the rest.
fn subdomains(app: &App, parts: &Parts) -> impl Iterator<Item = String> {
    let base = app.config.base_domain.as_deref().map(str::to_ascii_lowercase);
    let headers = parts.headers.get_all(http::header::HOST).iter().filter_map(|host| host.to_str().ok());
    let hosts = parts.uri.host().into_iter().chain(headers);
    let labels: Vec<String> = hosts.filter_map(|host| label(host, base.as_deref()?)).collect();
    labels.into_iter()
}

fn label(host: &str, base: &str) -> Option<String> {
    let host = host.rsplit_once(':').map_or(host, |(name, _port)| name).to_ascii_lowercase();
    Some(host.strip_suffix(base)?.strip_suffix('.')?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    #[test]
    fn the_slug_leaves_the_path_and_the_query_stays() {
        for (before, after, slug) in [
            ("/org/alpha/api/v1/facilities?x=1", "/api/v1/facilities?x=1", Some("alpha")),
            ("/org/alpha", "/org/alpha", None),
            ("/api/v1/facilities", "/api/v1/facilities", None),
            ("/org//api/v1/health", "/api/v1/health", Some("")),
        ] {
            let request = take_slug(http::Request::get(before).body(Body::empty()).unwrap());
            assert_eq!(request.uri(), after);
            assert_eq!(request.extensions().get::<PathSlug>().map(|slug| slug.0.as_str()), slug);
        }
    }
}
