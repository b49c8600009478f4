// Runs every GraphQL over HTTP audit against the endpoint given as argument
// and writes one JSON object a line: {"id", "name", "status", "reason"?}.
import { serverAudits } from 'graphql-http';

for (const audit of serverAudits({ url: process.argv[2] })) {
  const { id, name, status, reason } = await audit.fn();
  console.log(JSON.stringify({ id, name, status, reason }));
}
