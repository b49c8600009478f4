// What every script has in common: it learns on standard input what there is,
// and prints one line of JSON a case. It judges nothing: the test does.
import { readFileSync } from "node:fs";
import { Agent, request } from "node:https";

export const house = JSON.parse(readFileSync(0, "utf8"));

export async function report(name, run) {
  let got;
  try {
    got = await run();
  } catch (error) {
    got = `failed: ${describe(error)}`;
  }
  console.log(JSON.stringify({ case: name, got: String(got) }));
}

function describe(error) {
  const cause = error.cause instanceof Error ? `: ${describe(error.cause)}` : "";
  return `${error.name} ${error.code ?? ""} ${error.message}${error.error ? ` (${error.status} ${error.error})` : ""}${cause}`;
}

// fetchWith is a fetch that shows a certificate: Node's own cannot.
export function fetchWith(certificate) {
  const pem = readFileSync(house.certificates[certificate]);
  const agent = new Agent({ cert: pem, key: pem, ca: readFileSync(house.ca) });
  return (url, { method, headers, body, signal }) =>
    new Promise((resolve, reject) => {
      const text = body === undefined || body === null ? undefined : String(body);
      const out = request(url, { agent, method, signal, headers: { ...headers, ...(text && { "content-length": Buffer.byteLength(text) }) } }, (answer) => {
        const parts = [];
        answer.on("data", (part) => parts.push(part));
        answer.on("error", reject);
        answer.on("end", () => {
          const fields = [];
          for (let i = 0; i < answer.rawHeaders.length; i += 2) fields.push([answer.rawHeaders[i], answer.rawHeaders[i + 1]]);
          resolve(new Response(parts.length ? Buffer.concat(parts) : null, { status: answer.statusCode, headers: fields }));
        });
      });
      out.on("error", reject);
      out.end(text);
    });
}

// counting is a fetch that counts its calls.
export function counting() {
  const counted = (...args) => {
    counted.calls += 1;
    return fetch(...args);
  };
  counted.calls = 0;
  return counted;
}
