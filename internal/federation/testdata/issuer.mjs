// An OpenID Connect issuer for tests: node issuer.mjs FOLDER-OF-oidc-provider.
// It prints "ready URL" and rotates its key on SIGHUP, printing "rotated".
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const require = createRequire(process.argv[2] + '/package.json');
const { default: Provider } = await import(pathToFileURL(require.resolve('oidc-provider')));
const jose = await import(pathToFileURL(require.resolve('jose')));

let callback = (req, res) => res.end();
const server = createServer((req, res) => callback(req, res));
await new Promise((done) => server.listen(0, '127.0.0.1', done));
const issuer = `http://127.0.0.1:${server.address().port}`;

let generation = 0;
async function start() {
  const { privateKey } = await jose.generateKeyPair('RS256', { extractable: true });
  const key = { ...(await jose.exportJWK(privateKey)), kid: `key-${++generation}`, use: 'sig', alg: 'RS256' };
  const provider = new Provider(issuer, {
    jwks: { keys: [key] },
    clients: [{ client_id: 'ada', client_secret: 'lovelace', grant_types: ['client_credentials'], redirect_uris: [], response_types: [] }],
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (ctx, resource) => ({ audience: resource, scope: '', accessTokenFormat: 'jwt', accessTokenTTL: 600, jwt: { sign: { alg: 'RS256' } } }),
      },
    },
    extraTokenClaims: () => ({ oid: 'AAAAAAAA-0000-0000-0000-000000000001', tid: 'their-tenant', preferred_username: 'ada@example.org', name: 'Ada', groups: ['engines', 'poets'] }),
  });
  callback = provider.callback();
}
await start();
process.on('SIGHUP', async () => { await start(); console.log('rotated'); });
console.log(`ready ${issuer}`);
