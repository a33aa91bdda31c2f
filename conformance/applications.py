#!/usr/bin/env python3
"""Registers by Graph the applications that the suites of people's clients need.

    applications.py CERTIFICATE   prints them as JSON; CERTIFICATE, in DER, becomes a credential of `orders`

`program` is a public client. `orders` is an API with a secret, a certificate and a scope, whose own pages sign people
in too. `shop` is a web application with a secret, to which people also come back when they signed out.
"""

import base64
import json
import os
import sys
import urllib.error
import urllib.request
from urllib.parse import urlencode

DEV = json.load(open(os.environ["DENIZEN_DEV_JSON"], encoding="utf-8"))
# Where a program waits; nothing listens there, since the browser is person.py.
PROGRAM = "http://localhost:8400/signed-in"
SIGNED_OUT = "http://localhost:8400/signed-out"
API = "api://orders.conformance"
BROWSER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def asked(url, data, headers):
    try:
        with BROWSER.open(urllib.request.Request(url, data.encode(), headers), timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        sys.exit(f"POST {url}: {error.code} {error.read().decode()}")


class Graph:
    def __init__(self):
        admin = DEV["admin"]
        form = {
            "grant_type": "client_credentials",
            "client_id": admin["client_id"],
            "client_secret": admin["client_secret"],
            "scope": "https://graph.microsoft.com/.default",
        }
        token = asked(f"{DEV['authority']}/{DEV['tenant_id']}/oauth2/v2.0/token", urlencode(form), {})
        self.headers = {"Authorization": f"Bearer {token['access_token']}", "Content-Type": "application/json"}

    def post(self, path, body):
        return asked(f"{DEV['graph_url']}/v1.0/{path}", json.dumps(body), self.headers)

    def application(self, name, has_secret, **properties):
        made = self.post("applications", {"displayName": name, **properties})
        self.post("servicePrincipals", {"appId": made["appId"]})
        known = {"client_id": made["appId"]}
        if has_secret:
            asks = {"passwordCredential": {"displayName": "conformance"}}
            known["secret"] = self.post(f"applications/{made['id']}/addPassword", asks)["secretText"]
        return known


def main(certificate):
    graph = Graph()
    key = base64.b64encode(open(certificate, "rb").read()).decode()
    scope = {
        "id": "9c2f0d5e-0f5b-4a0e-8f3c-3f6f2d7a1b11",
        "value": "Orders.Read",
        "adminConsentDisplayName": "Read orders",
        "adminConsentDescription": "Read orders.",
        "type": "User",
        "isEnabled": True,
    }
    orders = graph.application(
        "Orders",
        True,
        identifierUris=[API],
        api={"oauth2PermissionScopes": [scope]},
        web={"redirectUris": [PROGRAM]},
        keyCredentials=[{"type": "AsymmetricX509Cert", "usage": "Verify", "key": key}],
    )
    shop = graph.application("Shop", True, web={"redirectUris": [PROGRAM, SIGNED_OUT]})
    program = graph.application(
        "Program", False, isFallbackPublicClient=True, publicClient={"redirectUris": [PROGRAM]}
    )
    made = {
        "redirect_uri": PROGRAM,
        "signed_out_uri": SIGNED_OUT,
        "scope": f"{API}/Orders.Read",
        "orders": orders,
        "shop": shop,
        "program": program,
    }
    print(json.dumps(made))


if __name__ == "__main__":
    main(sys.argv[1])
