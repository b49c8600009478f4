// Runs every GraphQL over HTTP audit against the endpoint given as argument
// and writes one JSON object a line: {"id", "name", "status", "reason"?}.
// AUDIT_HEADERS, a JSON object, holds headers that each request carries.
import { serverAudits } from 'graphql-http';

const extra = JSON.parse(process.env.AUDIT_HEADERS ?? '{}');
const fetchFn = (url, init = {}) => fetch(url, { ...init, headers: { ...init.headers, ...extra } });

for (const audit of serverAudits({ url: process.argv[2], fetchFn })) {
  const { id, name, status, reason } = await audit.fn();
  console.log(JSON.stringify({ id, name, status, reason }));
}
