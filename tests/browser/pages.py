#!/usr/bin/python3
"""The pages in a real browser: headless Chromium signs in, allows a client, exchanges the code, allows a device, and takes it all back.

Usage: pages.py SERVER [SCREENSHOTS]: the server's program, and a directory for a picture of every page in light and dark, on a
phone and on a desktop.
"""

import base64
import contextlib
import hashlib
import http.server
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

PATIENCE_SECONDS = 30
PASSWORD = "correct horse battery staple"
HOSTILE_NAME = "Łukasz' \"Notes\" </title><svg/onload=alert(1)> " + "w" * 60


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def server(program):
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        environment = dict(os.environ, TESSERA_BOOTSTRAP_CLIENT="admin:secret", TESSERA_LOG_FORMAT="json")
        arguments = ["--listen", f"127.0.0.1:{port}", "--data-dir", f"{directory}/data", "--durability", "memory"]
        with open(f"{directory}/log", "wb") as log:
            process = subprocess.Popen([program, "serve", *arguments], env=environment, stdout=log, stderr=log)
        issuer = f"http://127.0.0.1:{port}"
        try:
            wait_until_ready(process, issuer)
            yield issuer
            log = pathlib.Path(f"{directory}/log").read_text()
            assert PASSWORD not in log, "a password is in the log"
            assert not re.search(r"[B-Z]{4}-[B-Z]{4}", log), "a user code is in the log"
        finally:
            process.terminate()
            process.wait(PATIENCE_SECONDS)


def wait_until_ready(process, issuer):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(f"{issuer}/readyz", timeout=5).read()
        assert process.poll() is None, "the server has ended"
        assert time.monotonic() < deadline, "the server is not ready"
        time.sleep(0.05)


class Client(http.server.BaseHTTPRequestHandler):
    """A client whose callback leads on to another origin, as many do."""

    codes = []
    home = ""

    def do_GET(self):
        path, _, query = self.path.partition("?")
        if path == "/callback":
            Client.codes.append(dict(urllib.parse.parse_qsl(query)))
            self.send_response(302)
            self.send_header("Location", Client.home)
            self.end_headers()
            return
        body = b"<!doctype html><title>The client</title><h1>Welcome back</h1>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def serve_client():
    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Client)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    return listener.server_port


def call(url, form=None, document=None, basic=None, bearer=None):
    headers = {}
    body = None
    if form is not None:
        body = urllib.parse.urlencode(form).encode()
    if document is not None:
        body = json.dumps(document).encode()
        headers["Content-Type"] = "application/json"
    if basic:
        headers["Authorization"] = "Basic " + base64.b64encode(":".join(basic).encode()).decode()
    if bearer:
        headers["Authorization"] = f"Bearer {bearer}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=PATIENCE_SECONDS) as answer:
            return answer.status, json.loads(answer.read() or b"{}")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"{}")


class Person:
    """Somebody at a browser, and the pictures of what they see."""

    LOOKS = [("light", 1280, 900), ("dark", 1280, 900), ("light", 360, 740), ("dark", 360, 740)]

    def __init__(self, pictures):
        options = webdriver.ChromeOptions()
        for argument in ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]:
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.browser = webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)
        self.browser.set_page_load_timeout(PATIENCE_SECONDS)
        self.pictures = pictures

    def look(self, name):
        self.check(name)
        if not self.pictures:
            return
        for scheme, width, height in self.LOOKS:
            media = [{"name": "prefers-color-scheme", "value": scheme}]
            self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
            metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
            self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            picture = self.browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
            file = pathlib.Path(self.pictures) / f"{name}-{'phone' if width < 500 else 'desktop'}-{scheme}.png"
            file.write_bytes(base64.b64decode(picture["data"]))
            wide = self.browser.execute_script("return document.documentElement.scrollWidth > window.innerWidth")
            assert not wide, f"{name} is wider than {width} pixels"
        self.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

    def check(self, name):
        """What holds for every page: labels, one heading, no complaint of the browser, enough contrast."""
        complaints = [entry["message"] for entry in self.browser.get_log("browser")]
        complaints = [text for text in complaints if "status of 4" not in text and "favicon" not in text]
        assert not complaints, (name, complaints)
        assert len(self.browser.find_elements(By.TAG_NAME, "h1")) == 1, name
        assert self.browser.find_element(By.TAG_NAME, "html").get_attribute("lang") == "en", name
        for field in self.browser.find_elements(By.CSS_SELECTOR, "input:not([type=hidden])"):
            label = f"label[for={field.get_attribute('id')}]"
            assert self.browser.find_elements(By.CSS_SELECTOR, label), (name, label)
            for described in (field.get_attribute("aria-describedby") or "").split():
                assert self.browser.find_elements(By.ID, described), (name, described)
        for scheme in ["light", "dark"]:
            media = [{"name": "prefers-color-scheme", "value": scheme}]
            self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
            faint = self.browser.execute_script(CONTRAST)
            assert not faint, (name, scheme, faint)

    def open(self, url):
        self.browser.get(url)

    def type(self, field, text):
        element = self.browser.find_element(By.ID, field)
        element.clear()
        element.send_keys(text)

    def press(self, text):
        before = self.browser.find_element(By.TAG_NAME, "html")
        self.browser.find_element(By.XPATH, f"//button[normalize-space()='{text}']").send_keys(Keys.ENTER)
        WebDriverWait(self.browser, PATIENCE_SECONDS).until(lambda _: is_gone(before))

    def expect(self, heading):
        def seen(browser):
            found = browser.find_elements(By.TAG_NAME, "h1")
            return found and found[0].text == heading

        try:
            WebDriverWait(self.browser, PATIENCE_SECONDS, ignored_exceptions=[Exception]).until(seen)
        except Exception:
            raise AssertionError(f"not {heading!r} but {self.browser.current_url}\n{self.browser.page_source}")


def is_gone(element):
    try:
        element.is_enabled()
        return False
    except Exception:
        return True


# WCAG 2.2, 1.4.3: the contrast of every text with what is behind it is at least 4.5.
CONTRAST = """
const rgb = text => (text.match(/[\\d.]+/g) || []).map(Number);
const light = ([r, g, b]) => {
  const [x, y, z] = [r, g, b].map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * x + 0.7152 * y + 0.0722 * z;
};
const behind = element => {
  for (; element; element = element.parentElement) {
    const colour = rgb(getComputedStyle(element).backgroundColor);
    if (colour.length === 3 || colour[3] > 0) return colour;
  }
  return [255, 255, 255];
};
return [...document.querySelectorAll('body *')].filter(element =>
  element.matches('input') || [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim())
).filter(element => element.getClientRects().length).map(element => {
  const [a, b] = [light(rgb(getComputedStyle(element).color)), light(behind(element))];
  return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), element.outerHTML.slice(0, 90)];
}).filter(([ratio]) => ratio < 4.5);
"""


def set_up(issuer):
    _, token = call(f"{issuer}/oauth2/token", form={"grant_type": "client_credentials"}, basic=("admin", "secret"))
    admin = token["access_token"]
    user = {"username": "ada", "password": PASSWORD, "name": "Ada Lovelace"}
    assert call(f"{issuer}/admin/v1/users", document=user, bearer=admin)[0] == 201
    callback = f"http://127.0.0.1:{serve_client()}/callback"
    Client.home = f"http://127.0.0.1:{serve_client()}/home"
    metadata = {
        "client_id": "notes",
        "client_name": HOSTILE_NAME,
        "redirect_uris": [callback],
        "grant_types": ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
        "scope": "openid profile notes.read notes.write offline_access",
    }
    status, client = call(f"{issuer}/admin/v1/clients", document=metadata, bearer=admin)
    assert status == 201, client
    return (client["client_id"], client["client_secret"]), callback


def authorization_request(issuer, client, callback, verifier):
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    parameters = {
        "response_type": "code",
        "client_id": client[0],
        "redirect_uri": callback,
        "scope": "profile notes.read offline_access",
        "state": "a state; with & and é",
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    return f"{issuer}/oauth2/authorize?{urllib.parse.urlencode(parameters)}"


def sign_in(person, name="ada", password=PASSWORD):
    person.type("username", name)
    person.type("password", password)
    person.press("Sign in")


def code_flow(person, issuer, client, callback):
    verifier = "v" * 43
    person.open(authorization_request(issuer, client, callback, verifier))
    person.expect("Sign in")
    person.look("login")
    sign_in(person, password="wrong")
    person.expect("Sign in")
    person.look("login-refused")
    person.type("password", PASSWORD)
    person.press("Sign in")
    person.expect("Allow access?")
    person.look("consent")
    person.press("Allow")
    # Past the callback, which leads to another origin: no policy of ours stands in the way.
    person.expect("Welcome back")
    answer = Client.codes.pop()
    assert answer["state"] == "a state; with & and é" and answer["iss"] == issuer, answer
    form = {"grant_type": "authorization_code", "code": answer["code"], "redirect_uri": callback, "code_verifier": verifier}
    status, tokens = call(f"{issuer}/oauth2/token", form=form, basic=client)
    assert status == 200, tokens
    # With a session and a remembered consent nobody is asked anything.
    person.open(authorization_request(issuer, client, callback, verifier))
    person.expect("Welcome back")
    # Nor is anything in the way of a login whose consent is remembered.
    person.open(f"{issuer}/logout")
    person.press("Sign out")
    person.open(authorization_request(issuer, client, callback, verifier))
    sign_in(person)
    person.expect("Welcome back")
    form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    status, tokens = call(f"{issuer}/oauth2/token", form=form, basic=client)
    assert status == 200, tokens
    return tokens


def device_flow(person, issuer, client):
    status, device = call(f"{issuer}/oauth2/device_authorization", form={"scope": "notes.read"}, basic=client)
    assert status == 200, device
    person.open(device["verification_uri"])
    person.expect("Connect a device")
    person.look("device-code")
    person.type("user_code", "BCDF-GHJK")
    person.press("Continue")
    person.expect("Connect a device")
    person.look("device-code-unknown")
    person.open(device["verification_uri_complete"])
    person.expect("Connect a device")
    person.press("Continue")
    person.expect("Connect this device?")
    person.look("device")
    person.press("Allow")
    person.expect("The device is connected")
    person.look("device-done")
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": device["device_code"]}
    status, tokens = call(f"{issuer}/oauth2/token", form=form, basic=client)
    assert status == 200, tokens
    return tokens


def is_active(issuer, client, token):
    return call(f"{issuer}/oauth2/introspect", form={"token": token}, basic=client)[1]["active"]


def account(person, issuer, client, tokens):
    person.open(f"{issuer}/account")
    person.expect("Your account")
    person.look("account")
    assert all(is_active(issuer, client, token["access_token"]) for token in tokens)
    person.press("Revoke")
    person.expect("Your account")
    person.look("account-revoked")
    assert not any(is_active(issuer, client, token["access_token"]) for token in tokens)
    person.open(f"{issuer}/logout")
    person.expect("Sign out?")
    person.look("logout")
    person.press("Sign out")
    person.expect("You are signed out")
    person.look("logged-out")
    person.open(f"{issuer}/account")
    person.expect("Sign in")
    sign_in(person)
    person.expect("Your account")
    person.press("Sign out everywhere")
    person.expect("You are signed out")
    person.open(f"{issuer}/oauth2/authorize?client_id=%22%3E%3Csvg%2Fonload%3E")
    person.expect("This sign-in cannot go on")
    person.look("error")


def main():
    program, pictures = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
    with server(program) as issuer:
        client, callback = set_up(issuer)
        person = Person(pictures)
        try:
            tokens = [code_flow(person, issuer, client, callback), device_flow(person, issuer, client)]
            account(person, issuer, client, tokens)
        finally:
            person.browser.quit()
    print("the pages work in Chromium")


main()
