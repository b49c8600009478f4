// What an integrator writes with fetch, by each provider's guide. Its arguments
// are the provider and a stale token. It prints what is answered.
const env = process.env;
const [provider, stale] = process.argv.slice(2);
let token;

async function fetchToken() {
  let answer;
  if (provider === "altrata") {
    const basic = Buffer.from(`${env.API_USERNAME}:${env.API_PASSWORD}`).toString("base64");
    answer = await fetch(`${env.AUTH_URL}?grant_type=client_credentials`, {
      method: "POST",
      headers: { "x-api-key": env.API_KEY, Authorization: `Basic ${basic}` },
    });
  } else if (provider === "engagifii") {
    answer = await fetch(`${env.IDENTITY_SERVER_URL}/connect/token`, {
      method: "POST",
      body: new URLSearchParams({
        client_id: env.CLIENT_ID,
        client_secret: env.CLIENT_SECRET,
        grant_type: "client_credentials",
        scope: "EventsApi",
      }),
    });
  } else {
    const body = new URLSearchParams({
      grant_type: "client_credentials",
      client_id: env.API_CLIENT_ID,
      client_secret: env.API_CLIENT_SECRET,
    });
    if (provider === "ahotu") body.set("scope", env.API_SCOPE);
    answer = await fetch(env.AUTH_URL, { method: "POST", body });
  }
  console.log("token", answer.status);
  token = (await answer.json()).access_token;
}

function send(method, path, body) {
  const headers = { Authorization: `Bearer ${token}` };
  if (provider === "altrata") headers["x-api-key"] = env.API_KEY;
  if (provider === "engagifii") Object.assign(headers, { "api-version": "1.0", "tenant-code": env.TENANT_CODE });
  // fetch calls a string text/plain, unless it is told otherwise
  if (body) headers["Content-Type"] = "application/json";
  return fetch(env.API_BASE_URL + path, { method, headers, body: body && JSON.stringify(body) });
}

async function call(method, path, body) {
  let answer = await send(method, path, body);
  if (answer.status === 401) {
    console.log("call 401", (await answer.text()).trim());
    await fetchToken();
    answer = await send(method, path, body);
  }
  console.log("call", answer.status);
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

const guides = {
  ahotu: {
    list: async () => (await call("POST", "", { query: "query { events(page: 0, size: 10) { totalCount data { id name { en } } } }" })).data.events,
    one: async (id) => (await call("POST", "", { query: "query ($id: ID!) { event(id: $id) { id name { en } } }", variables: { id } })).data.event,
  },
  altrata: {
    list: async () => (await call("POST", "", { query: "{ people(page: 0, size: 10) { data { id name } } }" })).data.people,
    one: async (id) => (await call("POST", "", { query: "query ($id: ID!) { person(id: $id) { id name } }", variables: { id } })).data.person,
  },
  engagifii: {
    list: () => call("POST", "/api/1.0/event/list", { PageNumber: 1, PageSize: 10, OnlyUpcoming: true }),
    one: (id) => call("GET", `/api/1.0/event/${id}`),
  },
  a55: {
    list: () => call("GET", "/wallets"),
    one: (id) => call("GET", `/wallets/${id}`),
  },
};

const { list, one } = guides[provider];
await fetchToken();
const { id } = (await list()).data[0];
console.log("list", id);
console.log("one", (await one(id)).id);
token = stale;
console.log("one", (await one(id)).id);
