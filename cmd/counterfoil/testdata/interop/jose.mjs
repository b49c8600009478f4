import { inflateSync } from "node:zlib";
import { createRemoteJWKSet, jwtVerify } from "jose";
import { house, report } from "./report.mjs";

const sets = new Map();
function keys(url) {
  if (!sets.has(url)) sets.set(url, createRemoteJWKSet(new URL(url)));
  return sets.get(url);
}

const verify = ({ token, jwks_uri, issuer, audience, typ, alg }, other = {}) =>
  jwtVerify(token, keys(jwks_uri), { issuer, audience, typ, algorithms: [alg], requiredClaims: ["exp"], ...other });

async function refused(promise) {
  try {
    await promise;
  } catch (error) {
    return [error.code, error.claim].filter(Boolean).join(" ");
  }
  return "accepted";
}

for (const token of house.tokens) {
  await report(token.name, async () => {
    const { payload, protectedHeader } = await verify(token);
    const bound = payload.cnf ? ` bound by ${Object.keys(payload.cnf)}` : "";
    return `${protectedHeader.alg} ${protectedHeader.typ ?? "-"} ${payload.client_id} ${payload.exp - (payload.iat ?? payload.nbf)}s${bound}`;
  });
}

const first = house.tokens[0];
await report("another issuer", () => refused(verify(first, { issuer: "https://other.example" })));
await report("another audience", () => refused(verify(first, { audience: "https://other.example" })));
await report("another algorithm", () => refused(verify(first, { algorithms: ["RS256"] })));
await report("as a status list", () => refused(verify(first, { typ: "statuslist+jwt" })));
await report("another realm's keys", () => refused(verify({ ...first, jwks_uri: house.tokens.find((t) => t.name === "replace").jwks_uri })));
await report("changed", () => refused(verify({ ...first, token: first.token.replace(/\.(.)/, (_, c) => `.${c === "e" ? "f" : "e"}`) })));

// The OAuth Token Status List, as a foreign verifier reads it.
async function status(name) {
  const token = house.tokens.find((t) => t.name === name);
  const { idx, uri } = (await verify(token)).payload.status.status_list;
  const answer = await fetch(uri, { headers: { accept: "application/statuslist+jwt" } });
  const { payload, protectedHeader } = await jwtVerify(await answer.text(), keys(token.jwks_uri), {
    issuer: token.issuer, subject: uri, typ: "statuslist+jwt", algorithms: [token.alg], requiredClaims: ["iat", "exp", "ttl"],
  });
  const { bits, lst } = payload.status_list;
  const list = inflateSync(Buffer.from(lst, "base64url"));
  return `${answer.headers.get("content-type")} ${protectedHeader.alg} bits ${bits} status ${(list[idx >> 3] >> (idx & 7)) & 1}`;
}
await report("status of a live token", () => status("listed"));
await report("status of a revoked token", () => status("listed revoked"));
