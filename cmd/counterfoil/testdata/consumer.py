"""What an integrator writes with requests, by each provider's guide.

Its arguments are the provider and a stale token. It prints what is answered.
"""
import json
import os
import ssl
import sys

import requests
from requests.adapters import HTTPAdapter

env = os.environ
provider, stale = sys.argv[1:]


class SecureHTTPAdapter(HTTPAdapter):
    """TLS 1.2 or newer, and certificates and host names are checked: engagifii's guide."""

    def init_poolmanager(self, *args, **kwargs):
        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = True
        context.verify_mode = ssl.CERT_REQUIRED
        return super().init_poolmanager(*args, ssl_context=context, **kwargs)


session = requests.Session()
if provider == "engagifii":
    session.mount("https://", SecureHTTPAdapter())


def fetch_token():
    if provider == "altrata":
        answer = session.post(
            env["AUTH_URL"],
            params={"grant_type": "client_credentials"},
            headers={"x-api-key": env["API_KEY"]},
            auth=(env["API_USERNAME"], env["API_PASSWORD"]),
            timeout=30,
        )
    elif provider == "engagifii":
        answer = session.post(
            env["IDENTITY_SERVER_URL"] + "/connect/token",
            data={
                "client_id": env["CLIENT_ID"],
                "client_secret": env["CLIENT_SECRET"],
                "grant_type": "client_credentials",
                "scope": "EventsApi",
            },
            timeout=30,
        )
    else:
        form = {
            "grant_type": "client_credentials",
            "client_id": env["API_CLIENT_ID"],
            "client_secret": env["API_CLIENT_SECRET"],
        }
        if provider == "ahotu":
            form["scope"] = env["API_SCOPE"]
        answer = session.post(env["AUTH_URL"], data=form, timeout=30)
    print("token", answer.status_code)
    answer.raise_for_status()
    return answer.json()["access_token"]


def send(method, path, body):
    url = env["API_BASE_URL"] + path
    if provider == "altrata":  # the token bare and no media type, as in the guide's examples
        headers = {"x-api-key": env["API_KEY"], "Authorization": token}
        return session.request(method, url, data=json.dumps(body), headers=headers, timeout=30)
    headers = {"Authorization": "Bearer " + token}
    if provider == "engagifii":
        headers |= {"api-version": "1.0", "tenant-code": env["TENANT_CODE"]}
    if provider in ("engagifii", "a55"):  # among the headers that these guides list
        headers["Content-Type"] = "application/json"
    return session.request(method, url, json=body, headers=headers, timeout=30)


def call(method, path="", body=None):
    global token
    answer = send(method, path, body)
    if answer.status_code == 401:
        print("call 401", answer.text.strip())
        token = fetch_token()
        answer = send(method, path, body)
    print("call", answer.status_code)
    answer.raise_for_status()
    return answer.json()


def list_all():
    if provider == "ahotu":
        query = "query { events(page: 0, size: 10) { totalCount data { id name { en } } } }"
        return call("POST", body={"query": query})["data"]["events"]["data"]
    if provider == "altrata":
        return call("POST", body={"query": "{ people(page: 0, size: 10) { data { id name } } }"})["data"]["people"]["data"]
    if provider == "engagifii":
        return call("POST", "/api/1.0/event/list", {"PageNumber": 1, "PageSize": 10, "OnlyUpcoming": True})["data"]
    return call("GET", "/wallets")["data"]


def get_one(key):
    if provider == "ahotu":
        query = "query ($id: ID!) { event(id: $id) { id name { en } } }"
        return call("POST", body={"query": query, "variables": {"id": key}})["data"]["event"]
    if provider == "altrata":
        query = "query ($id: ID!) { person(id: $id) { id name } }"
        return call("POST", body={"query": query, "variables": {"id": key}})["data"]["person"]
    if provider == "engagifii":
        return call("GET", "/api/1.0/event/" + key)
    return call("GET", "/wallets/" + key)


token = fetch_token()
first = list_all()[0]["id"]
print("list", first)
print("one", get_one(first)["id"])
token = stale
print("one", get_one(first)["id"])
