// oidc-provider as a token endpoint for client credentials: RS256 or ES256 access
// tokens in JWT form, 1,000 clients or as many as asked for, one worker for each
// processor. It prints its port and "ready", like the other sides of the
// benchmark. With a file, which has a certificate and its key, it uses TLS.
import cluster from 'node:cluster';
import { createHash, generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { Provider } from 'oidc-provider';

const [, , algorithm, clientCount, workers, tlsFile] = process.argv;

const idOf = (i) => `client-${String(i).padStart(20, '0')}`;
const secretOf = (i) => createHash('sha256').update(`bench ${i}`).digest('base64url');

if (cluster.isPrimary) {
  const { privateKey } = algorithm === 'RS256'
    ? generateKeyPairSync('rsa', { modulusLength: 2048 })
    : generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const key = JSON.stringify(privateKey.export({ format: 'jwk' }));
  let up = 0;
  for (let i = 0; i < Number(workers); i++) {
    cluster.fork({ SIGNING_KEY: key }).on('message', (port) => {
      if (++up === Number(workers)) console.log(`${tlsFile ? 'https' : 'http'}://127.0.0.1:${port}/token\nready`);
    });
  }
  process.on('SIGTERM', () => process.exit(0));
} else {
  const clients = Array.from({ length: Number(clientCount) }, (_, i) => ({
    client_id: idOf(i),
    client_secret: secretOf(i),
    grant_types: ['client_credentials'],
    redirect_uris: [],
    response_types: [],
    token_endpoint_auth_method: 'client_secret_post',
    scope: 'read write',
    ...(algorithm === 'RS256' ? {} : { id_token_signed_response_alg: algorithm }),
  }));
  const provider = new Provider('http://127.0.0.1', {
    clients,
    scopes: ['read', 'write'],
    jwks: { keys: [{ ...JSON.parse(process.env.SIGNING_KEY), alg: algorithm, use: 'sig', kid: 'bench' }] },
    ttl: { ClientCredentials: 3600 },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => 'https://api.example',
        useGrantedResource: () => true,
        getResourceServerInfo: () => ({
          scope: 'read write', audience: 'https://api.example', accessTokenFormat: 'jwt', accessTokenTTL: 3600, jwt: { sign: { alg: algorithm } },
        }),
      },
    },
  });
  const pem = tlsFile && readFileSync(tlsFile);
  const server = tlsFile ? createServer({ cert: pem, key: pem }, provider.callback()) : null;
  const listening = (server ?? provider).listen(0, '127.0.0.1', () => process.send(listening.address().port));
}
