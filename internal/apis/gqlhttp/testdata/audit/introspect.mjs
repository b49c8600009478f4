// Asks the endpoint given as argument for its schema, with the query of
// GraphQL's reference implementation, and prints the fields of Query.
import { buildClientSchema, getIntrospectionQuery } from 'graphql';

const query = getIntrospectionQuery({ inputValueDeprecation: true, schemaDescription: true, specifiedByUrl: true });
const res = await fetch(process.argv[2], {
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify({ query }),
});
const { data, errors } = await res.json();
if (errors) throw new Error(JSON.stringify(errors));
const schema = buildClientSchema(data);
console.log(`Query { ${Object.keys(schema.getQueryType().getFields()).join(', ')} }`);
