use super::*;
use crate::endpoint::page::problem::LoginProblem;
use crate::endpoint::page::theme::ThemeFile;
use crate::endpoint::page::view::{ClientView, Then};
use actix_web::body::MessageBody as _;

const ISSUER: &str = "https://auth.example.com";

fn pages() -> Pages {
    Pages::new(&Theme::default(), ISSUER).unwrap()
}

fn theme(name: &str, content: &str) -> Theme {
    let file = ThemeFile { name: name.to_owned(), path: format!("theme/{name}"), content: content.into() };
    Theme { files: vec![file] }
}

/// The body, with its slashes as a browser reads them.
fn text(response: HttpResponse) -> String {
    let body = String::from_utf8(response.into_body().try_into_bytes().unwrap().to_vec()).unwrap();
    body.replace("&#x2f;", "/")
}

fn consent<'a>(name: &'a str, scopes: Vec<&'a str>) -> ConsentPage<'a> {
    let client = ClientView { name };
    ConsentPage {
        csrf: "token",
        request: "sealed",
        client,
        scopes,
        username: name,
        redirect_uri: "https://app.example/cb",
    }
}

#[track_caller]
fn check_theme(name: &str, content: &str, expected: Result<(), &str>) {
    let pages = Pages::new(&theme(name, content), ISSUER).map(drop).map_err(|error| error.to_string());
    assert_eq!(pages.as_ref().copied().map_err(|error| &**error), expected);
}

#[test]
fn what_others_have_chosen_is_text() {
    for hostile in [
        "\"><svg/onload=alert(1)>",
        "</script><script>alert(1)</script>",
        "' onfocus=alert(1) autofocus '",
        "{{ base }}{% include 'login.html' %}",
        "+ADw-script+AD4-",
        "&lt;b&gt;",
    ] {
        let page = text(pages().consent(&consent(hostile, vec![hostile])));
        for opened in ["<svg", "<script", "' onfocus", "<b>", "&lt;b&gt;"] {
            assert!(!page.contains(opened), "{opened} of {hostile}");
        }
        assert!(page.contains("<meta charset=\"utf-8\">"), "no other charset is guessed");
        let then = Then::Authorize { request: hostile, client: ClientView { name: hostile }, redirect_uri: hostile };
        let login = LoginPage { csrf: hostile, then, username: hostile, problem: None };
        let login = text(pages().login(&login));
        let error = text(pages().error(StatusCode::BAD_REQUEST, "Wrong", hostile));
        for page in [login, error] {
            assert!(!page.contains("<svg") && !page.contains("<script") && !page.contains("' onfocus"), "{page}");
        }
    }
}

#[test]
fn a_name_of_any_length_leaves_room_for_the_rest() {
    for name in [
        "\u{0301}".repeat(10_000),
        "w".repeat(10_000),
        format!("a{}", "\u{0489}".repeat(10_000)),
        "\u{202e}".repeat(10_000),
    ] {
        let page = text(pages().consent(&consent(&name, vec!["read"])));
        assert!(page.len() < 4_000, "{} bytes", page.len());
        assert!(page.contains("value=\"allow\""));
    }
    let many: Vec<String> = (0..1000).map(|number| format!("scope{number}")).collect();
    let page = text(pages().consent(&consent("app", many.iter().map(String::as_str).collect())));
    assert!(page.contains("scope49") && !page.contains("scope50<") && page.contains("and 950 more"));
}

#[test]
fn links_stand_under_the_path_of_the_issuer_and_name_no_host() {
    for (issuer, action) in
        [(ISSUER, "/login"), ("https://a.example/tenant/", "/tenant/login"), ("http://[::1]:80", "/login")]
    {
        let pages = Pages::new(&Theme::default(), issuer).unwrap();
        let login = LoginPage { csrf: "", then: Then::Account, username: "", problem: None };
        let page = text(pages.login(&login));
        assert!(page.contains(&format!("action=\"{action}\"")), "{page}");
        assert_eq!(pages.see("/login").headers().get("location").unwrap(), action);
    }
}

#[test]
fn a_mistake_in_a_template_shows_at_the_start_with_file_and_line() {
    check_theme("login.html", "<p>{{ page.username }}</p>", Ok(()));
    check_theme(
        "login.html",
        "a\n{{ page.nothing }}",
        Err("theme/login.html, line 2: undefined value: `page.nothing` is undefined"),
    );
    check_theme(
        "consent.html",
        "a\n\n{% if %}",
        Err("theme/consent.html, line 3: syntax error: unexpected end of block"),
    );
    check_theme(
        "logout.html",
        "{% extends 'nothing.html' %}",
        Err("theme/logout.html, line 1: template not found: template \"nothing.html\" does not exist"),
    );
    check_theme(
        "layout.html",
        "\n{{ nothing }}",
        Err("theme/layout.html, line 2: undefined value: `nothing` is undefined"),
    );
    check_theme("logo.svg", "<svg/>", Ok(()));
    let reason = "a file of a theme is a .html, .css, .svg, .png, .webp, .ico or .woff2, named in letters, digits, '-', '_' and '.'";
    check_theme("login.htm", "", Err(&format!("theme/login.htm: {reason}")));
    check_theme(".css", "", Err(&format!("theme/.css: {reason}")));
}

#[test]
fn a_theme_replaces_single_files_and_all_others_stay() {
    let plain = pages();
    let themed = Pages::new(&theme("style.css", "body{}"), ISSUER).unwrap();
    let style = |pages: &Pages| {
        let page = text(pages.error(StatusCode::BAD_REQUEST, "Wrong", "text"));
        let (_, rest) = page.split_once("/assets/").unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    };
    assert_ne!(style(&plain), style(&themed));
    assert_eq!(text(themed.asset(&style(&themed)).unwrap()), "body{}");
    assert!(themed.asset(&style(&plain)).is_none() && themed.asset("style.css").is_none());
    let asset = plain.asset(&style(&plain)).unwrap();
    assert_eq!(asset.headers().get("content-type").unwrap(), "text/css; charset=utf-8");
    assert!(asset.headers().get("cache-control").unwrap().to_str().unwrap().contains("immutable"));
}

#[test]
fn what_went_wrong_is_told_and_when_to_come_back() {
    let login =
        |problem| pages().login(&LoginPage { csrf: "", then: Then::Account, username: "ada", problem: Some(problem) });
    let refused = login(LoginProblem::Refused);
    assert_eq!(refused.status(), 403);
    assert!(text(refused).contains("role=\"alert\">The username or the password is wrong."));
    let closed = login(LoginProblem::TooMany { retry_after_seconds: 90 });
    assert_eq!((closed.status().as_u16(), closed.headers().get("retry-after").unwrap().to_str().unwrap()), (429, "90"));
    assert_eq!(login(LoginProblem::Busy).status(), 503);
}

#[test]
fn a_form_leads_to_a_web_client_by_a_page_and_to_an_app_by_a_303() {
    let web = pages().send_on("https://app.example/cb?code=a&state=b;c");
    assert_eq!(
        (web.status().as_u16(), web.headers().get("refresh").unwrap().to_str().unwrap()),
        (200, "0;url=https://app.example/cb?code=a&state=b;c")
    );
    assert!(text(web).contains("href=\"https://app.example/cb?code=a&amp;state=b;c\""));
    let app = pages().send_on("com.example.app:/cb?code=a");
    assert_eq!(
        (app.status().as_u16(), app.headers().get("location").unwrap().to_str().unwrap()),
        (303, "com.example.app:/cb?code=a")
    );
}
