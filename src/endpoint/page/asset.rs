//! What pages load: the stylesheet, and pictures and fonts of a theme. Each has the digest of its content in its name, so that it
//! may be kept for ever.

use std::collections::BTreeMap;

use actix_web::HttpResponse;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use bytes::Bytes;
use ring::digest;

use crate::endpoint::page::PagesError;
use crate::endpoint::page::theme::Theme;

/// Kinds of files that pages may load, by the end of their names.
const KINDS: [(&str, &str); 6] = [
    (".css", STYLE_KIND),
    (".svg", "image/svg+xml"),
    (".png", "image/png"),
    (".webp", "image/webp"),
    (".ico", "image/x-icon"),
    (".woff2", "font/woff2"),
];

const STYLE_KIND: &str = "text/css; charset=utf-8";

/// All that pages load.
#[derive(Debug)]
pub struct Assets {
    /// By the name under which a page asks for it.
    served: BTreeMap<String, Asset>,
    /// From the name of the file to that.
    names: BTreeMap<String, String>,
}

/// A file that pages load.
#[derive(Debug)]
pub struct Asset {
    content: Bytes,
    media_type: &'static str,
}

impl Assets {
    /// The built-in stylesheet, and whatever of the theme is no template.
    pub(super) fn new(theme: &Theme) -> Result<Self, PagesError> {
        let mut assets = Self { served: BTreeMap::new(), names: BTreeMap::new() };
        assets.add("style", ".css", Bytes::from_static(include_bytes!("templates/style.css")), STYLE_KIND);
        for file in theme.files.iter().filter(|file| !file.name.ends_with(".html")) {
            let kind = KINDS
                .into_iter()
                .find_map(|(end, media_type)| file.name.strip_suffix(end).map(|stem| (stem, end, media_type)));
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
            let Some((stem, end, media_type)) =
                kind.filter(|(stem, ..)| !stem.is_empty() && stem.bytes().all(is_plain))
            else {
                let reason = "a file of a theme is a .html, .css, .svg, .png, .webp, .ico or .woff2, named in letters, digits, '-', '_' and '.'";
                return Err(PagesError::File { path: file.path.clone(), reason });
            };
            assets.add(stem, end, Bytes::from(file.content.clone()), media_type);
        }
        Ok(assets)
    }

    /// The last file of a name is the one that counts.
    fn add(&mut self, stem: &str, end: &str, content: Bytes, media_type: &'static str) {
        let digest = digest::digest(&digest::SHA256, &content);
        let digest: String = digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let served = format!("{stem}-{digest}{end}");
        if let Some(before) = self.names.insert(format!("{stem}{end}"), served.clone()) {
            self.served.remove(&before);
        }
        self.served.insert(served, Asset { content, media_type });
    }

    pub(super) fn find(&self, served_name: &str) -> Option<&Asset> {
        self.served.get(served_name)
    }

    /// The names of the files, and under which each is served.
    pub(super) fn names(&self) -> &BTreeMap<String, String> {
        &self.names
    }
}

impl Asset {
    pub(super) fn response(&self) -> HttpResponse {
        let mut response = HttpResponse::Ok();
        for field in FIXED {
            response.insert_header(field);
        }
        response.insert_header((header::CONTENT_TYPE, HeaderValue::from_static(self.media_type)));
        response.body(self.content.clone())
    }
}

const FIXED: [(HeaderName, HeaderValue); 4] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    // A picture that is opened by itself runs nothing.
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; sandbox"),
    ),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
];
