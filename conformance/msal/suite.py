"""People sign in by MSAL for Python, unmodified; what a person does on the pages, this does with requests.

    suite.py CASE

Exits 0 when everything held, 1 when something did not, which it says in one line.
"""

import html
import json
import os
import re
import sys
import threading
from urllib.parse import parse_qs, urljoin, urlsplit

import jwt
import msal
import requests
from azure.identity import DeviceCodeCredential

DEV = json.load(open(os.environ["DENIZEN_DEV_JSON"], encoding="utf-8"))
AUTHORITY = f"{DEV['authority']}/{DEV['tenant_id']}"
AZURE_CLI = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
VAULT = "https://vault.azure.net/.default"
ARM = "https://management.core.windows.net//.default"
# Where a program waits; nothing listens there, since the browser is this one.
PROGRAM = "http://localhost:8400"


class Mismatch(Exception):
    pass


def holds(what, is_so):
    if not is_so:
        raise Mismatch(what)


def claims(token):
    """The claims of a token that one of the published keys has signed."""
    keys = jwt.PyJWKClient(f"{AUTHORITY}/discovery/v2.0/keys")
    key = keys.get_signing_key_from_jwt(token)
    options = {"verify_aud": False}
    return jwt.decode(token, key.key, algorithms=["RS256"], options=options)


class Person:
    """Somebody with a browser: it keeps cookies, and fills the forms in that it is shown."""

    def __init__(self):
        self.browser = requests.Session()

    def open(self, url):
        return self._follow(self.browser.get(url, allow_redirects=False), url)

    def _follow(self, answer, url):
        for _ in range(20):
            if answer.is_redirect:
                url = urljoin(url, answer.headers["location"])
                if url.startswith(PROGRAM):
                    return url
                answer = self.browser.get(url, allow_redirects=False)
                continue
            form = re.search(r"<form.*?</form>", answer.text, re.S)
            if not form:
                return answer
            answer, url = self._fill(form.group(0), url)
        raise Mismatch("the pages do not end")

    def _fill(self, form, url):
        action = re.search(r'<form[^>]*action="([^"]*)"', form)
        url = urljoin(url, html.unescape(action.group(1)) if action else url)
        fields = {}
        for field in re.findall(r"<input[^>]*>", form):
            name = re.search(r'name="([^"]*)"', field)
            value = re.search(r'value="([^"]*)"', field)
            if name:
                fields[html.unescape(name.group(1))] = html.unescape(value.group(1)) if value else ""
        for name, value in (("name", DEV["user"]["name"]), ("password", DEV["user"]["password"])):
            if name in fields:
                fields[name] = value
        button = re.search(r'<button[^>]*name="([^"]*)"[^>]*value="([^"]*)"', form)
        if button:
            fields[button.group(1)] = button.group(2)
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(url))
        headers = {"Origin": origin, "Referer": url}
        return self.browser.post(url, data=fields, headers=headers, allow_redirects=False), url

    def decide(self, code, uri):
        page = self.open(f"{uri}?user_code={code}")
        holds(f"the device page ends with {page.status_code}", page.status_code == 200)


def public(client=AZURE_CLI):
    return msal.PublicClientApplication(client, authority=AUTHORITY, instance_discovery=False)


def token_of(result):
    holds(f"{result.get('error')}: {result.get('error_description')}", "access_token" in result)
    return result


def is_the_user(said):
    holds(f"it is about {said}", said["idtyp"] == "user" and said["upn"] == DEV["user"]["name"])


def device():
    app = public()
    flow = app.initiate_device_flow(scopes=[ARM])
    holds(f"no device flow: {flow}", "user_code" in flow)
    person = threading.Thread(target=lambda: Person().decide(flow["user_code"], flow["verification_uri"]))
    person.start()
    result = token_of(app.acquire_token_by_device_flow(flow))
    person.join()
    is_the_user(claims(result["access_token"]))
    account = app.get_accounts()[0]
    holds(f"the account is {account}", account["username"] == DEV["user"]["name"])
    # From the cache, and then for another resource by the refresh token; the one after that by what followed it.
    again = token_of(app.acquire_token_silent([ARM], account))
    holds("a token that is good was asked for again", again["access_token"] == result["access_token"])
    for _ in range(2):
        other = token_of(app.acquire_token_silent([VAULT], account, force_refresh=True))
        said = claims(other["access_token"])
        is_the_user(said)
        holds(f"it is for {said['aud']}", said["aud"] == "https://vault.azure.net")


def device_credential():
    def shown(uri, code, _ends):
        threading.Thread(target=lambda: Person().decide(code, uri)).start()

    credential = DeviceCodeCredential(
        tenant_id=DEV["tenant_id"],
        authority=DEV["authority"],
        disable_instance_discovery=True,
        prompt_callback=shown,
    )
    is_the_user(claims(credential.get_token(VAULT).token))
    is_the_user(claims(credential.get_token(ARM).token))


def sign_in(app, scopes):
    flow = app.initiate_auth_code_flow(scopes, redirect_uri=PROGRAM)
    back = Person().open(flow["auth_uri"])
    holds(f"the pages end with {getattr(back, 'text', back)[:200]}", isinstance(back, str))
    brought = {name: values[0] for name, values in parse_qs(urlsplit(back).query).items()}
    return token_of(app.acquire_token_by_auth_code_flow(flow, brought)), flow, brought


def code():
    app = public()
    result, flow, brought = sign_in(app, [ARM])
    is_the_user(claims(result["access_token"]))
    said = result["id_token_claims"]
    holds(f"the id token is {said}", said["aud"] == AZURE_CLI and said["preferred_username"] == DEV["user"]["name"])
    holds("a code was redeemed twice", "error" in app.acquire_token_by_auth_code_flow(flow, brought))
    # Which revokes what came of it.
    account = app.get_accounts()[0]
    late = app.acquire_token_silent_with_error([VAULT], account, force_refresh=True)
    holds(f"what came of a code that was redeemed twice is good: {late}", late and "error" in late)


class Graph:
    """The administrator, who registers applications."""

    def __init__(self):
        admin = DEV["admin"]
        app = msal.ConfidentialClientApplication(
            admin["client_id"],
            client_credential=admin["client_secret"],
            authority=AUTHORITY,
            instance_discovery=False,
        )
        token = token_of(app.acquire_token_for_client(["https://graph.microsoft.com/.default"]))
        self.headers = {"Authorization": "Bearer " + token["access_token"]}

    def post(self, path, body):
        answer = requests.post(f"{DEV['graph_url']}/v1.0/{path}", json=body, headers=self.headers, timeout=30)
        holds(f"POST {path}: {answer.status_code} {answer.text}", answer.status_code in (200, 201))
        return answer.json()


def bare_scope():
    # What is asked for by its bare name is found again by it, without another request.
    app = public()
    result, _, _ = sign_in(app, ["User.Read"])
    again = app.acquire_token_silent(["User.Read"], app.get_accounts()[0])
    holds(f"the cache gives {again}", again and again["access_token"] == result["access_token"])


def on_behalf_of():
    graph = Graph()
    scope = {
        "id": "9c2f0d5e-0f5b-4a0e-8f3c-3f6f2d7a1b11",
        "value": "Orders.Read",
        "adminConsentDisplayName": "Read orders",
        "adminConsentDescription": "Read orders.",
        "type": "User",
        "isEnabled": True,
    }
    uri = "api://orders.conformance"
    api = graph.post(
        "applications",
        {
            "displayName": "Orders",
            "identifierUris": [uri],
            "api": {"oauth2PermissionScopes": [scope]},
            "web": {"redirectUris": [PROGRAM]},
        },
    )
    graph.post("servicePrincipals", {"appId": api["appId"]})
    secret = graph.post(f"applications/{api['id']}/addPassword", {"passwordCredential": {"displayName": "conformance"}})
    program = graph.post(
        "applications",
        {"displayName": "Program", "isFallbackPublicClient": True, "publicClient": {"redirectUris": [PROGRAM]}},
    )
    graph.post("servicePrincipals", {"appId": program["appId"]})
    # The person consents on the page.
    result, _, _ = sign_in(public(program["appId"]), [f"{uri}/Orders.Read"])
    called_with = claims(result["access_token"])
    holds(f"it may do {called_with.get('scp')}", called_with["scp"] == "Orders.Read")
    middle = msal.ConfidentialClientApplication(
        api["appId"],
        client_credential=secret["secretText"],
        authority=AUTHORITY,
        instance_discovery=False,
    )
    early = middle.acquire_token_on_behalf_of(result["access_token"], [VAULT])
    holds(f"nobody has consented to that: {early}", early.get("suberror") == "consent_required")
    # MSAL remembers a refusal for a minute, so another resource is asked for once the person has consented.
    sign_in(middle, ["https://storage.azure.com/.default"])
    late = middle.acquire_token_on_behalf_of(result["access_token"], ["https://storage.azure.com/.default"])
    said = claims(token_of(late)["access_token"])
    is_the_user(said)
    holds("it is not by the resource that was called", said["appid"] == api["appId"])
    mine = middle.acquire_token_for_client([f"{uri}/.default"])
    refused = middle.acquire_token_on_behalf_of(token_of(mine)["access_token"], [ARM])
    holds(f"an application's own token was taken for a user's: {refused}", refused.get("error_codes") == [7000114])


if __name__ == "__main__":
    try:
        {case.__name__: case for case in (device, device_credential, code, bare_scope, on_behalf_of)}[sys.argv[1]]()
    except Mismatch as mismatch:
        print(mismatch)
        sys.exit(1)
