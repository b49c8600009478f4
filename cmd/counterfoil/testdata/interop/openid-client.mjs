import * as client from "openid-client";
import { cases } from "./cases.mjs";

await cases({
  authentication: {
    basic: client.ClientSecretBasic,
    post: client.ClientSecretPost,
    privateKey: (key, change) => client.PrivateKeyJwt(key, change && { [client.modifyAssertion]: change }),
    tls: client.TlsClientAuth,
  },
  async open(issuer, id, how, { algorithm = "oauth2", fetch } = {}) {
    const config = await client.discovery(new URL(issuer), id, undefined, how, { algorithm, [client.customFetch]: fetch });
    return {
      metadata: () => config.serverMetadata(),
      dpop: async (alg, change) => client.getDPoPHandle(config, await client.randomDPoPKeyPair(alg), change && { [client.modifyAssertion]: change }),
      grant: (parameters, DPoP) => client.clientCredentialsGrant(config, new URLSearchParams(parameters), { DPoP }),
      call: (token, url, DPoP) => client.fetchProtectedResource(config, token, new URL(url), "GET", undefined, undefined, { DPoP }),
      introspect: (token) => client.tokenIntrospection(config, token),
      revoke: (token) => client.tokenRevocation(config, token),
    };
  },
  async refusal(error) {
    if (error instanceof client.ResponseBodyError) return `${error.status} ${error.error}`;
    if (!(error instanceof client.WWWAuthenticateChallengeError)) throw error;
    // A challenge without an error code leaves that to the body.
    const codes = await Promise.all(error.cause.map(async ({ scheme, parameters }) => `${scheme} ${parameters.error ?? (await error.response.clone().json()).error}`));
    return `${error.status} ${codes.join(", ")}`;
  },
});
