//! A browser without pictures: it keeps cookies, follows what it is told to follow, and fills in forms.

use std::collections::BTreeMap;

use crate::harness::TestServer;
use crate::http::{Answer, Request};

/// A server that browsers go to.
pub(crate) trait Site {
    /// The URL that its own pages begin with.
    fn issuer(&self) -> String;

    /// One request on a connection of its own.
    fn ask(&self, request: &Request) -> Answer;

    /// The same, of an administrator.
    fn ask_as_admin(&self, request: &Request) -> Answer;
}

impl Site for TestServer {
    fn issuer(&self) -> String {
        self.issuer.clone()
    }

    #[track_caller]
    fn ask(&self, request: &Request) -> Answer {
        Self::ask(self, request)
    }

    #[track_caller]
    fn ask_as_admin(&self, request: &Request) -> Answer {
        self.ask_socket(request)
    }
}

/// A browser that somebody sits at.
#[derive(Clone, Default)]
pub(crate) struct Browser {
    cookies: BTreeMap<String, String>,
    /// What a proxy says of where it is.
    address: Option<String>,
}

impl Browser {
    /// From now on it is at that address, as a proxy says.
    pub(crate) fn move_to(&mut self, address: &str) {
        self.address = Some(address.to_owned());
    }

    /// Gets a page of the server; a URL of the server or a path.
    #[track_caller]
    pub(crate) fn get(&mut self, server: &impl Site, url: &str) -> Answer {
        let path = url.strip_prefix(&server.issuer()).unwrap_or(url);
        self.ask(server, Request::get(path))
    }

    /// Posts a form.
    #[track_caller]
    pub(crate) fn post(&mut self, server: &impl Site, path: &str, form: &[(&str, &str)]) -> Answer {
        self.ask(server, Request::post(path).form(form))
    }

    /// Gets a page, and whatever page of the server it leads to.
    #[track_caller]
    pub(crate) fn open(&mut self, server: &impl Site, url: &str) -> Answer {
        let mut answer = self.get(server, url);
        while let Some(next) = answer.field("location").filter(|next| is_ours(server, next)) {
            let next = next.to_owned();
            answer = self.get(server, &next);
        }
        answer
    }

    pub(crate) fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies.get(name).map(String::as_str)
    }

    pub(crate) fn set_cookie(&mut self, name: &str, value: &str) {
        self.cookies.insert(name.to_owned(), value.to_owned());
    }

    fn ask(&mut self, server: &impl Site, request: Request) -> Answer {
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = if cookies.is_empty() { request } else { request.field("Cookie", &cookies.join("; ")) };
        let address = self.address.iter();
        let request = address.fold(request, |request, address| request.field("X-Forwarded-For", address));
        let answer = server.ask(&request);
        for set in answer.values("set-cookie") {
            assert!(set.starts_with("__Host-") && set.contains("; Path=/; Secure; HttpOnly; SameSite=Lax"), "{set}");
            let (name, rest) = set.split_once('=').unwrap();
            if rest.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.set_cookie(name, rest.split(';').next().unwrap());
            }
        }
        answer
    }
}

fn is_ours(server: &impl Site, location: &str) -> bool {
    location.starts_with('/') || location.starts_with(&format!("{}/", server.issuer()))
}

/// Where an answer sends a browser, by whatever means.
#[track_caller]
pub(crate) fn destination(answer: &Answer) -> String {
    if let Some(location) = answer.field("location") {
        assert_eq!(answer.status, 303, "{answer:?}");
        return location.to_owned();
    }
    let refresh = answer.field("refresh").unwrap_or_else(|| panic!("it leads nowhere: {answer:?}"));
    refresh.strip_prefix("0;url=").unwrap().to_owned()
}

/// The value of a hidden field of a page.
#[track_caller]
pub(crate) fn hidden(page: &Answer, name: &str) -> String {
    let fields = page.body.split("<input").skip(1).filter_map(|rest| rest.split('>').next());
    let field = fields.into_iter().find(|field| field.contains(&format!("name=\"{name}\"")));
    let field = field.unwrap_or_else(|| panic!("no field {name}: {page:?}"));
    let value = field.split("value=\"").nth(1).unwrap_or_else(|| panic!("{field}"));
    value.split('"').next().unwrap().to_owned()
}

/// The parameters of a URL's query, decoded.
pub(crate) fn query(url: &str) -> BTreeMap<String, String> {
    let query = url.split_once('?').map(|(_, query)| query).unwrap_or_default();
    form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}
