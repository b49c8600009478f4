"""What an integrator writes with requests, by each provider's guide."""
import json
import os
import sys

import requests

env = os.environ
provider = sys.argv[1]

if provider == "altrata":
    answer = requests.post(
        env["AUTH_URL"],
        params={"grant_type": "client_credentials"},
        headers={"x-api-key": env["API_KEY"]},
        auth=(env["API_USERNAME"], env["API_PASSWORD"]),
        timeout=30,
    )
elif provider == "engagifii":
    answer = requests.post(
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
    answer = requests.post(env["AUTH_URL"], data=form, timeout=30)
answer.raise_for_status()
token = answer.json()
headers = {"Authorization": "Bearer " + token["access_token"]}

if provider == "ahotu":
    query = "query { events(page: 0, size: 10) { totalCount data { id name { en } } } }"
    call = requests.post(env["API_BASE_URL"], json={"query": query, "variables": {}}, headers=headers, timeout=30)
elif provider == "altrata":
    headers = {"x-api-key": env["API_KEY"], "Authorization": token["access_token"]}  # bare, as in the guide's example
    call = requests.post(env["API_BASE_URL"], json={"query": "{ __typename }"}, headers=headers, timeout=30)
elif provider == "engagifii":
    headers |= {"api-version": env["API_VERSION"], "tenant-code": env["TENANT_CODE"]}
    call = requests.post(env["API_BASE_URL"] + "/api/1.0/event/list", json={}, headers=headers, timeout=30)
    first = call.json()["data"][0]["id"]
    headers["Content-Type"] = "application/json"
    call = requests.get(env["API_BASE_URL"] + "/api/1.0/event/" + first, headers=headers, timeout=30)
else:
    call = requests.get(env["API_BASE_URL"] + "/wallets", headers=headers | {"Content-Type": "application/json"}, timeout=30)
call.raise_for_status()
del token["access_token"]
print(json.dumps({"token": token, "api": call.json()}))
