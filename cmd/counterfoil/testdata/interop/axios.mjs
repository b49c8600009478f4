// What an integrator writes with axios, by each provider's guide. Its arguments
// are the provider and a stale token. It prints what is answered.
import axios from "axios";

const env = process.env;
const [provider, stale] = process.argv.slice(2);
let token;

async function fetchToken() {
  let answer;
  if (provider === "altrata") {
    answer = await axios.post(env.AUTH_URL, null, {
      params: { grant_type: "client_credentials" },
      headers: { "x-api-key": env.API_KEY },
      auth: { username: env.API_USERNAME, password: env.API_PASSWORD },
    });
  } else if (provider === "engagifii") {
    answer = await axios.post(`${env.IDENTITY_SERVER_URL}/connect/token`, new URLSearchParams({
      client_id: env.CLIENT_ID,
      client_secret: env.CLIENT_SECRET,
      grant_type: "client_credentials",
      scope: "EventsApi",
    }));
  } else {
    const form = { grant_type: "client_credentials", client_id: env.API_CLIENT_ID, client_secret: env.API_CLIENT_SECRET };
    if (provider === "ahotu") form.scope = env.API_SCOPE;
    answer = await axios.post(env.AUTH_URL, form, { headers: { "Content-Type": "application/x-www-form-urlencoded" } });
  }
  console.log("token", answer.status);
  token = answer.data.access_token;
}

const api = axios.create({ baseURL: env.API_BASE_URL, timeout: 30000 });
api.interceptors.request.use((request) => {
  request.headers.set("Authorization", `Bearer ${token}`);
  if (provider === "altrata") request.headers.set("x-api-key", env.API_KEY);
  if (provider === "engagifii") request.headers.set({ "api-version": "1.0", "tenant-code": env.TENANT_CODE });
  return request;
});
api.interceptors.response.use(
  (answer) => {
    console.log("call", answer.status);
    return answer.data;
  },
  async (error) => {
    if (error.response?.status !== 401 || error.config.repeated) throw error;
    console.log("call 401", JSON.stringify(error.response.data));
    await fetchToken();
    return api.request({ ...error.config, repeated: true });
  },
);

const guides = {
  ahotu: {
    list: async () => (await api.post("", { query: "query { events(page: 0, size: 10) { totalCount data { id name { en } } } }" })).data.events,
    one: async (id) => (await api.post("", { query: "query ($id: ID!) { event(id: $id) { id name { en } } }", variables: { id } })).data.event,
  },
  altrata: {
    list: async () => (await api.post("", { query: "{ people(page: 0, size: 10) { data { id name } } }" })).data.people,
    one: async (id) => (await api.post("", { query: "query ($id: ID!) { person(id: $id) { id name } }", variables: { id } })).data.person,
  },
  engagifii: {
    list: () => api.post("/api/1.0/event/list", { PageNumber: 1, PageSize: 10, OnlyUpcoming: true }),
    one: (id) => api.get(`/api/1.0/event/${id}`),
  },
  a55: {
    list: () => api.get("/wallets"),
    one: (id) => api.get(`/wallets/${id}`),
  },
};

const { list, one } = guides[provider];
await fetchToken();
const { id } = (await list()).data[0];
console.log("list", id);
console.log("one", (await one(id)).id);
token = stale;
console.log("one", (await one(id)).id);
