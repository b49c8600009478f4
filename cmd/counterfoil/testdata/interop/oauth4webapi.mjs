import * as oauth from "oauth4webapi";
import { cases } from "./cases.mjs";
import { house, report } from "./report.mjs";

// The library leaves the second try with a nonce to its caller, who is told to
// make it so.
async function again(error, dpop, request) {
  if (dpop === undefined || !oauth.isDPoPNonceError(error)) throw error;
  return request();
}

const driver = {
  authentication: {
    basic: oauth.ClientSecretBasic,
    post: oauth.ClientSecretPost,
    privateKey: (key, change) => oauth.PrivateKeyJwt(key, change && { [oauth.modifyAssertion]: change }),
    tls: oauth.TlsClientAuth,
  },
  async open(issuer, id, how, { algorithm = "oauth2", fetch } = {}) {
    const own = { client_id: id };
    const options = { [oauth.customFetch]: fetch };
    const found = await oauth.discoveryRequest(new URL(issuer), { algorithm, ...options });
    const as = await oauth.processDiscoveryResponse(new URL(issuer), found);
    return {
      metadata: () => as,
      dpop: async (alg, change) => oauth.DPoP(own, await oauth.generateKeyPair(alg), change && { [oauth.modifyAssertion]: change }),
      grant(parameters, DPoP) {
        const request = async () =>
          oauth.processClientCredentialsResponse(as, own,
            await oauth.clientCredentialsGrantRequest(as, own, how, new URLSearchParams(parameters), { DPoP, ...options }));
        return request().catch((error) => again(error, DPoP, request));
      },
      call(token, url, DPoP) {
        const request = () => oauth.protectedResourceRequest(token, "GET", new URL(url), undefined, undefined, { DPoP, ...options });
        return request().catch((error) => again(error, DPoP, request));
      },
      introspect: async (token) => oauth.processIntrospectionResponse(as, own, await oauth.introspectionRequest(as, own, how, token, options)),
      revoke: async (token) => oauth.processRevocationResponse(await oauth.revocationRequest(as, own, how, token, options)),
    };
  },
  async refusal(error) {
    if (error instanceof oauth.ResponseBodyError) return `${error.status} ${error.error}`;
    if (!(error instanceof oauth.WWWAuthenticateChallengeError)) throw error;
    // A challenge without an error code leaves that to the body.
    const codes = await Promise.all(error.cause.map(async ({ scheme, parameters }) => `${scheme} ${parameters.error ?? (await error.response.clone().json()).error}`));
    return `${error.status} ${codes.join(", ")}`;
  },
};

await cases(driver);

// The library is a resource server as well: it looks at tokens as RFC 9068 says,
// and at proofs.
for (const [scheme, dpop] of [["bearer", false], ["dpop", true]]) {
  await report(`validateJwtAccessToken ${scheme}`, async () => {
    let sent;
    const fetch = (url, options) => {
      sent = new Request(url, { method: options.method, headers: options.headers });
      return globalThis.fetch(url, options);
    };
    const { client_id, client_secret } = house.clients.secret;
    const session = await driver.open(house.realms.generic, client_id, oauth.ClientSecretBasic(client_secret), { fetch });
    const proof = dpop ? await session.dpop("ES256") : undefined;
    const { access_token: token } = await session.grant({ scope: "read" }, proof);
    await session.call(token, house.apis.generic, proof);
    const claims = await oauth.validateJwtAccessToken(session.metadata(), sent, house.realms.generic, { requireDPoP: dpop });
    return `${claims.client_id} ${claims.scope}`;
  });
}
