// What an integrator writes with fetch, by each provider's guide.
const env = process.env;
const provider = process.argv[2];

async function json(response) {
  if (!response.ok) throw new Error(`${response.url} answered ${response.status}: ${await response.text()}`);
  return response.json();
}

async function token() {
  if (provider === "altrata") {
    const basic = Buffer.from(`${env.API_USERNAME}:${env.API_PASSWORD}`).toString("base64");
    return json(await fetch(`${env.AUTH_URL}?grant_type=client_credentials`, {
      method: "POST",
      headers: { "x-api-key": env.API_KEY, Authorization: `Basic ${basic}` },
    }));
  }
  const body = new URLSearchParams({
    grant_type: "client_credentials",
    client_id: env.API_CLIENT_ID,
    client_secret: env.API_CLIENT_SECRET,
  });
  if (provider !== "a55") body.set("scope", env.API_SCOPE);
  return json(await fetch(env.AUTH_URL, { method: "POST", body }));
}

const { access_token, ...rest } = await token();
const headers = { Authorization: `Bearer ${access_token}`, "Content-Type": "application/json" };
let api;
switch (provider) {
  case "ahotu":
    api = await json(await fetch(env.API_BASE_URL, { method: "POST", headers, body: JSON.stringify({ query: "query { events(page: 0, size: 10) { totalCount data { id name { en } } } }" }) }));
    break;
  case "altrata":
    api = await json(await fetch(env.API_BASE_URL, { method: "POST", headers: { ...headers, "x-api-key": env.API_KEY }, body: JSON.stringify({ query: "{ __typename }" }) }));
    break;
  case "engagifii":
    api = await json(await fetch(`${env.API_BASE_URL}/api/1.0/event/list`, { method: "POST", headers: { ...headers, "api-version": env.API_VERSION, "tenant-code": env.TENANT_CODE }, body: JSON.stringify({ PageNumber: 1, OnlyUpcoming: true }) }));
    break;
  default:
    api = await json(await fetch(`${env.API_BASE_URL}/wallets`, { headers }));
}
console.log(JSON.stringify({ token: rest, api }));
