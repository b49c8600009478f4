// The cases of the two libraries that act as a client. Each gives a driver with
// the same words, made of its own functions and nothing else.
import { importPKCS8 } from "jose";
import { counting, fetchWith, house, report } from "./report.mjs";

const algorithms = ["RS256", "PS256", "ES256", "EdDSA"];

export async function cases(driver) {
  const { basic, post, privateKey, tls } = driver.authentication;
  const client = (name) => house.clients[name];
  const open = (name, how, options = {}) => driver.open(house.realms[options.realm ?? "generic"], client(name).client_id, how, options);
  const secret = (name, options) => open(name, basic(client(name).client_secret), options);

  // The life of a token, every step with the same authentication.
  async function life(session, { dpop, parameters, api = "generic" } = {}) {
    const token = await session.grant({ scope: "read", ...parameters }, dpop);
    const seen = [`${token.token_type} for ${token.scope}`];
    const answer = await session.call(token.access_token, house.apis[api], dpop);
    seen.push(`${answer.status} ${await answer.text()}`);
    const about = await session.introspect(token.access_token);
    seen.push(about.active ? `active ${about.token_type} of ${about.client_id}` : "inactive");
    if (about.cnf) seen.push(Object.keys(about.cnf).sort().join(" "));
    await session.revoke(token.access_token);
    seen.push(`revoked, active ${(await session.introspect(token.access_token)).active}`);
    seen.push(await refused(session.call(token.access_token, house.apis[api], dpop)));
    return seen.join("; ");
  }

  // What a refused request is, as the library tells it.
  async function refused(promise) {
    try {
      await promise;
    } catch (error) {
      return driver.refusal(error);
    }
    return "accepted";
  }

  for (const algorithm of ["oauth2", "oidc"]) {
    for (const realm of ["generic", "nonce"]) {
      await report(`discovery ${algorithm} ${realm}`, async () => {
        const as = (await open(realm === "nonce" ? "nonce" : "secret", tls(), { algorithm, realm })).metadata();
        const here = (url) => url?.replace(house.realms[realm], "");
        return [here(as.issuer) === "", ...[as.token_endpoint, as.introspection_endpoint, as.revocation_endpoint, as.jwks_uri].map(here)].join(" ");
      });
    }
  }

  await report("client_secret_basic", async () => life(await secret("secret")));
  await report("client_secret_basic odd id", async () => life(await secret("odd")));
  await report("client_secret_post", async () => life(await open("secret", post(client("secret").client_secret))));
  for (const [where, name] of [["jwks", "inline"], ["jwks_uri", "fetched"]]) {
    for (const alg of algorithms) {
      await report(`private_key_jwt ${alg} ${where}`, async () =>
        life(await open(name, privateKey({ key: await importPKCS8(house.keys[alg], alg), kid: `key-${alg}` }))));
    }
  }
  await report("private_key_jwt EdDSA by its older name", async () =>
    life(await open("inline", privateKey({ key: await importPKCS8(house.keys.EdDSA, "EdDSA"), kid: "key-EdDSA" }, (header) => { header.alg = "EdDSA"; }))));
  await report("private_key_jwt without kid", async () => life(await open("inline", privateKey(await importPKCS8(house.keys.PS256, "PS256")))));
  await report("private_key_jwt for the token endpoint", async () =>
    life(await open("inline", privateKey(await importPKCS8(house.keys.ES256, "ES256"), (_, claims) => { claims.aud = [`${house.realms.generic}/token`]; }))));
  for (const [method, name, certificate] of [
    ["tls_client_auth subject_dn", "issued-dn", "issued"],
    ["tls_client_auth san_dns", "issued-dns", "issued"],
    ["self_signed_tls_client_auth thumbprint", "own", "own"],
    ["self_signed_tls_client_auth jwks", "listed", "listed"],
  ]) {
    await report(method, async () => life(await open(name, tls(), { fetch: fetchWith(certificate) })));
  }
  const federated = (_as, { client_id }, body) => {
    body.set("client_id", client_id);
    body.set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
    body.set("client_assertion", house.federated);
  };
  await report("federation", async () => life(await open("workload", federated)));
  await report("federation of another workload", async () => refused((await open("other-workload", federated)).grant()));
  await report("federation as another client", async () => refused((await open("inline", federated)).grant()));

  for (const alg of algorithms) {
    await report(`DPoP ${alg}`, async () => {
      const session = await secret("secret");
      return life(session, { dpop: await session.dpop(alg) });
    });
  }
  await report("DPoP with nonces", async () => {
    const fetch = counting();
    const session = await secret("nonce", { realm: "nonce", fetch });
    const dpop = await session.dpop("ES256");
    fetch.calls = 0;
    const token = await session.grant({}, dpop);
    const granted = fetch.calls;
    const answer = await session.call(token.access_token, house.apis.nonce, dpop);
    return `${token.token_type} after ${granted}; ${answer.status} ${await answer.text()} after ${fetch.calls - granted}`;
  });
  await report("private_key_jwt and DPoP with nonces", async () => {
    const fetch = counting();
    const session = await open("nonce-key", privateKey(await importPKCS8(house.keys.ES256, "ES256")), { realm: "nonce", fetch });
    const dpop = await session.dpop("EdDSA");
    fetch.calls = 0;
    const token = await session.grant({}, dpop);
    const granted = fetch.calls;
    await session.grant({}, dpop); // with the nonce of the answer before
    return `${token.token_type} after ${granted}; again after ${fetch.calls - granted}`;
  });
  await report("certificate and DPoP", async () => {
    const session = await secret("certified", { fetch: fetchWith("issued") });
    return life(session, { dpop: await session.dpop("ES256") });
  });
  await report("certificate-bound by a secret", async () => life(await secret("certified", { fetch: fetchWith("strange") })));

  await report("resource", async () => life(await secret("secret"), { parameters: { resource: "https://orders.example/" }, api: "orders" }));
  await report("resources", async () => {
    const session = await secret("secret");
    const token = await session.grant([["resource", "https://orders.example/"], ["resource", "https://stock.example/"]]);
    return [(await session.introspect(token.access_token)).aud].flat().join(" ");
  });
  await report("resource of another API", async () => {
    const session = await secret("secret");
    const token = await session.grant({ resource: "https://stock.example/" });
    return refused(session.call(token.access_token, house.apis.orders));
  });
  await report("unknown resource", async () => refused((await secret("secret")).grant({ resource: "https://other.example/" })));

  await report("a resource server introspects", async () => {
    const token = await (await secret("secret")).grant();
    const about = async (name) => (await (await secret(name)).introspect(token.access_token)).active;
    return `server ${await about("server")}, other client ${await about("odd")}`;
  });
  await report("a resource server introspects with its token", async () => {
    const token = await (await secret("secret")).grant();
    const about = async (name) => {
      const { access_token: own } = await (await secret(name)).grant();
      return (await open(name, (_as, _client, _body, headers) => headers.set("authorization", `Bearer ${own}`))).introspect(token.access_token);
    };
    return `server ${(await about("server")).active}, other client ${await refused(about("odd"))}`;
  });
  await report("another client revokes", async () => {
    const owner = await secret("secret");
    const token = await owner.grant();
    const no = await refused((await secret("odd")).revoke(token.access_token));
    return `${no}; active ${(await owner.introspect(token.access_token)).active}`;
  });
  await report("no token at all", async () => {
    const session = await secret("secret");
    await session.revoke("nonsense");
    return `revoked, active ${(await session.introspect("nonsense")).active}`;
  });

  await report("wrong secret basic", async () => refused((await open("secret", basic("wrong"))).grant()));
  await report("wrong secret post", async () => refused((await open("secret", post("wrong"))).grant()));
  await report("wrong secret at introspection", async () => refused((await open("secret", basic("wrong"))).introspect("x")));
  await report("wrong secret at revocation", async () => refused((await open("secret", basic("wrong"))).revoke("x")));
  await report("scope that is not the client's", async () => refused((await secret("secret")).grant({ scope: "read admin" })));
  await report("assertion replayed", async () => {
    const sign = privateKey(await importPKCS8(house.keys.ES256, "ES256"));
    let once;
    const session = await open("inline", async (as, own, body, headers) => {
      await sign(as, own, body, headers);
      once ??= body.get("client_assertion");
      body.set("client_assertion", once);
    });
    const first = await session.grant();
    return `${first.token_type}; ${await refused(session.grant())}; ${await refused(session.introspect(first.access_token))}`;
  });
  for (const [what, change] of [
    ["expired", (_, claims) => { claims.exp = claims.iat - 60; }],
    ["for another server", (_, claims) => { claims.aud = "https://other.example"; }],
    ["of another client", (_, claims) => { claims.iss = "secret"; }],
  ]) {
    await report(`assertion ${what}`, async () =>
      refused((await open("inline", privateKey(await importPKCS8(house.keys.ES256, "ES256"), change))).grant()));
  }
  await report("assertion of another key", async () => refused((await open("inline", privateKey({ key: await importPKCS8(house.keys.ES256, "ES256"), kid: "key-EdDSA" }))).grant()));
  await report("certificate missing", async () => refused((await open("issued-dn", tls())).grant()));
  await report("certificate of somebody", async () => refused((await open("own", tls(), { fetch: fetchWith("strange") })).grant()));
  await report("certificate that is not issued", async () => refused((await open("issued-dn", tls(), { fetch: fetchWith("own") })).grant()));
  await report("proof missing", async () => refused((await secret("proving")).grant()));

  await report("proof replayed", async () => {
    const session = await secret("secret");
    const dpop = await session.dpop("ES256", (_, claims) => { claims.jti = "once"; });
    const { access_token: token } = await session.grant({}, dpop);
    const again = await refused(session.grant({}, dpop));
    return `${again}; ${(await session.call(token, house.apis.generic, dpop)).status}; ${await refused(session.call(token, house.apis.generic, dpop))}`;
  });
  await report("proof for another method", async () => {
    const session = await secret("secret");
    return refused(session.grant({}, await session.dpop("ES256", (_, claims) => { claims.htm = "GET"; })));
  });

  await report("certificate-bound token stolen", async () => {
    const session = await open("own", tls(), { fetch: fetchWith("own") });
    const { access_token: token } = await session.grant();
    const bare = await open("own", tls());
    const other = await open("own", tls(), { fetch: fetchWith("strange") });
    return `${await refused(bare.call(token, house.apis.generic))}; ${await refused(other.call(token, house.apis.generic))}; ${(await session.call(token, house.apis.generic)).status}`;
  });
  await report("DPoP-bound token stolen", async () => {
    const session = await secret("secret");
    const [dpop, other] = [await session.dpop("ES256"), await session.dpop("ES256")];
    const { access_token: token } = await session.grant({}, dpop);
    return `${await refused(session.call(token, house.apis.generic))}; ${await refused(session.call(token, house.apis.generic, other))}; ${(await session.call(token, house.apis.generic, dpop)).status}`;
  });
  await report("replaced token", async () => {
    const session = await secret("replace", { realm: "replace" });
    const [first, second] = [await session.grant(), await session.grant()];
    return `first ${(await session.introspect(first.access_token)).active}, second ${(await session.introspect(second.access_token)).active}`;
  });
}
