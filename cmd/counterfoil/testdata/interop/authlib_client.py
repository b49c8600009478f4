# Authlib with requests: what an integrator in Python writes.
import json
import sys

import requests
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.jose import JsonWebKey, JsonWebToken
from authlib.jose.errors import JoseError
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata, get_well_known_url

house = json.load(sys.stdin)
BASE = house["realms"]["generic"]
TOKEN, INTROSPECT, REVOKE = BASE + "/token", BASE + "/introspect", BASE + "/revoke"


def report(name, run):
    try:
        got = run()
    except Exception as error:  # whatever it is, the test wants to know
        got = "failed: %s %s" % (type(error).__name__, error)
    print(json.dumps({"case": name, "got": got}), flush=True)


def session(name, method, key=None, **more):
    client = house["clients"][name]
    return OAuth2Session(
        client["client_id"], key or client.get("client_secret"), scope="read",
        token_endpoint_auth_method=method, revocation_endpoint_auth_method=method, **more)


def signing(name, alg, **options):
    own = session(name, "private_key_jwt", house["keys"][alg])
    own.register_client_auth_method(PrivateKeyJWT(TOKEN, alg=alg, **options))
    return own


def fetch(own):
    return own.fetch_token(TOKEN, grant_type="client_credentials")


def refused(own):
    try:
        fetch(own)
    except OAuthError as error:
        return error.error
    return "accepted"


def active(own, token):
    answer = own.introspect_token(INTROSPECT, token=token)
    answer.raise_for_status()
    return answer.json()


def life(own):
    token = fetch(own)
    seen = ["%s for %s" % (token["token_type"], token["scope"])]
    answer = own.get(house["apis"]["generic"])
    seen.append("%d %s" % (answer.status_code, answer.text))
    about = active(own, token["access_token"])
    seen.append("active %s of %s" % (about["token_type"], about["client_id"]))
    if "cnf" in about:
        seen.append(" ".join(about["cnf"]))
    own.revoke_token(REVOKE, token=token["access_token"], token_type_hint="access_token").raise_for_status()
    seen.append("revoked, active %s" % active(own, token["access_token"])["active"])
    seen.append(str(own.get(house["apis"]["generic"]).status_code))
    return "; ".join(seen)


def stolen(token, **more):
    answer = requests.get(house["apis"]["generic"], headers={"Authorization": "Bearer " + token}, **more)
    return "%d %s" % (answer.status_code, answer.headers.get("WWW-Authenticate"))


report("client_secret_basic", lambda: life(session("secret", "client_secret_basic")))
report("client_secret_post", lambda: life(session("secret", "client_secret_post")))
for where, name in (("jwks", "inline"), ("jwks_uri", "fetched")):
    for algorithm in ("RS256", "PS256", "ES256", "EdDSA"):
        report("private_key_jwt %s %s" % (algorithm, where), lambda: life(signing(name, algorithm)))
for method, name, certificate in (
        ("tls_client_auth", "issued-dn", "issued"),
        ("self_signed_tls_client_auth thumbprint", "own", "own"),
        ("self_signed_tls_client_auth jwks", "listed", "listed")):
    report(method, lambda: life(session(name, "none", cert=house["certificates"][certificate])))


def certificate_bound():
    cert = house["certificates"]
    token = fetch(session("own", "none", cert=cert["own"]))["access_token"]
    return "; ".join((stolen(token), stolen(token, cert=cert["strange"]), stolen(token, cert=cert["own"])))


report("certificate-bound token stolen", certificate_bound)
report("wrong secret basic", lambda: refused(session("secret", "client_secret_basic", "wrong")))
report("wrong secret post", lambda: refused(session("secret", "client_secret_post", "wrong")))
report("certificate missing", lambda: refused(session("own", "none")))
report("key of another client", lambda: refused(signing("secret", "ES256")))


def replayed():
    own = signing("inline", "ES256", claims={"jti": "once and again"})
    return "%s; %s" % (fetch(own)["token_type"], refused(own))


report("assertion replayed", replayed)
report("assertion expired", lambda: refused(signing("inline", "ES256", claims={"exp": 1})))


def metadata(issuer):
    document = AuthorizationServerMetadata(requests.get(get_well_known_url(issuer, external=True)).json())
    for key in document.REGISTRY_KEYS:
        # Authlib wants a response type where RFC 8414 section 2 wants a list: there
        # is none without an authorization endpoint.
        if key != "response_types_supported":
            getattr(document, "validate_" + key)()
    return document["issuer"] == issuer


report("metadata", lambda: " ".join(name for name in sorted(house["realms"]) if name != "moved" and metadata(house["realms"][name])))


def key_set(url):
    answer = requests.get(url)
    answer.raise_for_status()
    return JsonWebKey.import_key_set(answer.json())


def verified(token, issuer=None):
    options = {"iss": {"essential": True, "value": issuer or token["issuer"]}, "exp": {"essential": True}}
    if "audience" in token:
        options["aud"] = {"essential": True, "value": token["audience"]}
    claims = JsonWebToken([token["alg"]]).decode(token["token"], key_set(token["jwks_uri"]), claims_options=options)
    claims.validate()
    if claims.header.get("typ") != token.get("typ"):
        return "typ %s" % claims.header.get("typ")
    return "%s %s" % (claims.header["alg"], claims["client_id"])


for token in house["tokens"]:
    report("verify " + token["name"], lambda: verified(token))


def unverified(token, **more):
    try:
        return verified(token, **more)
    except JoseError as error:
        return error.error


first = house["tokens"][0]
report("verify another issuer", lambda: unverified(first, issuer="https://other.example"))
report("verify changed", lambda: unverified({**first, "token": first["token"][:-8] + "AAAAAAAA"}))
