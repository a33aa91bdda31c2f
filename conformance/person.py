#!/usr/bin/env python3
"""Somebody with a browser, for the suites whose client has none: it keeps cookies, fills the forms in that it is
shown, and presses the first button.

    person.py open URL...       prints where each URL leads outside the authority, or `page TITLE` if it ends inside
    person.py decide CODE URI   types a device's code at URI and says yes

The URLs of one call are opened in one browser, and every call is a new one. It signs in as the user of dev.json.
What a form would post elsewhere is printed as that form's action with the fields as its query. Exits 0 when
everything ended as said above, 1 when it did not, which it says in one line.
"""

import html
import http.cookiejar
import json
import os
import re
import sys
import urllib.error
import urllib.request
from urllib.parse import urlencode, urljoin, urlsplit

DEV = json.load(open(os.environ["DENIZEN_DEV_JSON"], encoding="utf-8"))


class Stuck(Exception):
    pass


class NoRedirects(urllib.request.HTTPRedirectHandler):
    """Where the authority sends the browser is looked at before it is followed."""

    def redirect_request(self, *_):
        return None


def origin(url):
    return "{0.scheme}://{0.netloc}".format(urlsplit(url))


def attribute(tag, name):
    found = re.search(rf'\s{name}="([^"]*)"', tag)
    return html.unescape(found.group(1)) if found else None


class Person:
    def __init__(self):
        cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self.browser = urllib.request.build_opener(urllib.request.ProxyHandler({}), NoRedirects, cookies)

    def _ask(self, url, fields=None, page=None):
        """The status, the place to go to instead, and the text."""
        data, headers = None, {}
        if fields is not None:
            data, headers = urlencode(fields).encode(), {"Origin": origin(page), "Referer": page}
        try:
            answer = self.browser.open(urllib.request.Request(url, data, headers), timeout=30)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return answer.status, answer.headers.get("location"), answer.read().decode()

    def open(self, url):
        home, (status, location, text) = origin(url), self._ask(url)
        for _ in range(20):
            if location:
                url = urljoin(url, location)
                if origin(url) != home:
                    return url
                status, location, text = self._ask(url)
                continue
            title = re.search(r"<title>(.*?)</title>", text, re.S)
            title = html.unescape(title.group(1)) if title else ""
            if status != 200:
                raise Stuck(f"a page '{title}' with {status}: {' '.join(re.sub('<[^>]*>', ' ', text).split())[:300]}")
            form = re.search(r"<form.*?</form>", text, re.S)
            if not form:
                return f"page {title}"
            action, fields = self._filled(form.group(0), url)
            if origin(action) != home:
                # response_mode=form_post: what the program would be sent.
                return f"{action}?{urlencode(fields)}"
            page, url = url, action
            status, location, text = self._ask(url, fields, page)
        raise Stuck("the pages do not end")

    def _filled(self, form, url):
        action = urljoin(url, attribute(re.match(r"<form[^>]*>", form).group(0), "action") or "")
        fields = {}
        for field in re.findall(r"<input[^>]*>", form):
            if name := attribute(field, "name"):
                fields[name] = attribute(field, "value") or ""
        for name, value in (("name", DEV["user"]["name"]), ("password", DEV["user"]["password"])):
            if name in fields:
                fields[name] = value
        button = re.search(r"<button[^>]*>", form)
        if button and (name := attribute(button.group(0), "name")):
            fields[name] = attribute(button.group(0), "value") or ""
        return action, fields


def main(action, *words):
    person = Person()
    if action == "open" and words:
        for url in words:
            print(person.open(url))
    elif action == "decide" and len(words) == 2:
        code, uri = words
        end = person.open(f"{uri}?{urlencode({'user_code': code})}")
        if not end.startswith("page "):
            raise Stuck(f"the device's page leads to {end}")
    else:
        raise Stuck(__doc__)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Stuck as stuck:
        print(stuck)
        sys.exit(1)
