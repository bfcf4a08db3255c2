//! Data of every kind, to render every template with once: a template that names what is not there shows it at the start.

use crate::clock::UnixTime;
use crate::endpoint::page::Pages;
use crate::endpoint::page::problem::{DeviceProblem, LoginProblem};
use crate::endpoint::page::template::TemplateError;
use crate::endpoint::page::view::{
    AccountPage, ApplicationView, ClientView, ConsentPage, DeviceCodePage, DeviceDonePage, DeviceOutcome, DevicePage,
    ErrorPage, LoginPage, LogoutAsked, LogoutForm, LogoutPage, Moment, Notice, SendOnPage, SessionView, Then,
};

pub(super) fn render_all(pages: &Pages) -> Result<(), TemplateError> {
    login(pages)?;
    device(pages)?;
    account(pages)?;
    let templates = &pages.templates;
    for scopes in [vec![], vec!["openid", "read"]] {
        let page =
            ConsentPage { csrf: "", request: "", client: CLIENT, scopes, username: "a", redirect_uri: "https://a/" };
        templates.render("consent.html", &page)?;
    }
    let asked = |client| LogoutAsked { request: "", client };
    for asked_by in [None, Some(asked(None)), Some(asked(Some(CLIENT)))] {
        let session = Some(LogoutForm { csrf: "", username: "a", asked_by });
        templates.render("logout.html", &LogoutPage { session })?;
    }
    templates.render("logout.html", &LogoutPage { session: None })?;
    templates.render("error.html", &ErrorPage { title: "a", text: "a" })?;
    templates.render("send_on.html", &SendOnPage { uri: "https://a/" })?;
    Ok(())
}

const CLIENT: ClientView<'_> = ClientView { name: "a" };

fn login(pages: &Pages) -> Result<(), TemplateError> {
    let authorize = Then::Authorize { request: "", client: CLIENT, redirect_uri: "https://a/" };
    for then in [authorize, Then::Account, Then::Device { user_code: "" }, Then::Device { user_code: "A" }] {
        for problem in [None, Some(LoginProblem::Refused)] {
            pages.templates.render("login.html", &LoginPage { csrf: "", then, username: "", problem })?;
        }
    }
    Ok(())
}

fn device(pages: &Pages) -> Result<(), TemplateError> {
    for problem in [None, Some(DeviceProblem::Unknown)] {
        let page = DeviceCodePage { csrf: "", user_code: "", username: "a", problem };
        pages.templates.render("device_code.html", &page)?;
    }
    for (address, scopes) in [(None, vec![]), (Some("192.0.2.1".to_owned()), vec!["openid", "read"])] {
        let page =
            DevicePage { csrf: "", user_code: "A", client: CLIENT, scopes, asked: moment(), address, username: "a" };
        pages.templates.render("device.html", &page)?;
    }
    for outcome in [DeviceOutcome::Allowed, DeviceOutcome::Denied, DeviceOutcome::Late] {
        pages.templates.render("device_done.html", &DeviceDonePage { outcome })?;
    }
    Ok(())
}

fn account(pages: &Pages) -> Result<(), TemplateError> {
    let session = |is_this, address| SessionView {
        id: "a".to_owned(),
        is_this,
        browser: "a".to_owned(),
        address,
        signed_in: moment(),
        last_seen: moment(),
    };
    let application =
        |scopes| ApplicationView { client_id: "a".to_owned(), name: "a".to_owned(), scopes, since: moment() };
    let page = |sessions, applications, notice: Option<Notice>| AccountPage {
        csrf: "",
        logout_csrf: "",
        username: "a",
        full_name: notice.is_some().then_some("a"),
        sessions,
        applications,
        notice,
    };
    pages.templates.render("account.html", &page(vec![], vec![], None))?;
    for notice in [Notice::SessionEnded, Notice::ApplicationRevoked] {
        let sessions = vec![session(true, None), session(false, Some("192.0.2.1".to_owned()))];
        let scopes = vec!["openid".to_owned(), "read".to_owned()];
        let applications = vec![application(vec![]), application(scopes)];
        pages.templates.render("account.html", &page(sessions, applications, Some(notice)))?;
    }
    Ok(())
}

fn moment() -> Moment {
    Moment::seen(UnixTime::default(), UnixTime::default())
}
