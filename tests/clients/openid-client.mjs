// The library `openid-client` against a running server: OpenID Connect as an application uses it that proves itself by a key.
//
// Usage: node openid-client.mjs ISSUER, with the bootstrap client in TESSERA_BOOTSTRAP_CLIENT, and the user of browser.mjs there.

import assert from 'node:assert/strict'
import { setTimeout } from 'node:timers/promises'
import * as openid from 'openid-client'
import { Browser } from './browser.mjs'

const ISSUER = new URL(process.argv[2])
const CALLBACK = 'http://127.0.0.1:9/callback'
const AFTER_LOGOUT = 'http://127.0.0.1:9/bye'
const DEVICE_CODE = 'urn:ietf:params:oauth:grant-type:device_code'
const SECONDS_MAX = 60
const INSECURE = { execute: [openid.allowInsecureRequests] }

function done(step) {
  console.log(`ok ${step}`)
}

// Keys of RSA are made beside the first start: they come a little later.
async function untilPublished(algorithm) {
  for (let seconds = 0; seconds < SECONDS_MAX; seconds += 1) {
    const { keys } = await (await fetch(new URL('/oauth2/jwks', ISSUER))).json()
    if (keys.some(({ alg }) => alg === algorithm)) return
    await setTimeout(1000)
  }
  assert.fail(`no key for ${algorithm}`)
}

const [adminId, adminSecret] = process.env.TESSERA_BOOTSTRAP_CLIENT.split(':')
const admin = await openid.discovery(ISSUER, adminId, adminSecret, undefined, INSECURE)
const { access_token: adminToken } = await openid.clientCredentialsGrant(admin)
async function create(path, document) {
  const headers = new Headers({ 'content-type': 'application/json' })
  const body = JSON.stringify(document)
  const answer = await openid.fetchProtectedResource(admin, adminToken, new URL(path, ISSUER), 'POST', body, headers)
  assert.equal(answer.status, 201, await answer.clone().text())
  return answer.json()
}

const pair = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify'])
const publicKey = { ...(await crypto.subtle.exportKey('jwk', pair.publicKey)), kid: 'mine', alg: 'ES256', use: 'sig' }
delete publicKey.key_ops
delete publicKey.ext
const { initial_access_token: initialAccessToken } = await create('/admin/v1/initial-access-tokens', {
  label: 'openid-client',
  policy: {
    grant_types: ['authorization_code', 'refresh_token', DEVICE_CODE],
    scope: 'openid profile email read',
    token_endpoint_auth_methods: ['private_key_jwt'],
  },
})
const metadata = {
  client_name: 'Notes',
  grant_types: ['authorization_code', 'refresh_token', DEVICE_CODE],
  response_types: ['code'],
  redirect_uris: [CALLBACK],
  post_logout_redirect_uris: [AFTER_LOGOUT],
  application_type: 'native',
  scope: 'openid profile email read',
  token_endpoint_auth_method: 'private_key_jwt',
  token_endpoint_auth_signing_alg: 'ES256',
  jwks: { keys: [publicKey] },
}
const authentication = openid.PrivateKeyJwt({ key: pair.privateKey, kid: 'mine' })
const client = await openid.dynamicClientRegistration(ISSUER, metadata, authentication, { initialAccessToken, ...INSECURE })
done('discovery, and dynamic registration by an initial access token')

await untilPublished('RS256')
const person = new Browser(ISSUER)
const verifier = openid.randomPKCECodeVerifier()
const [expectedState, expectedNonce] = [openid.randomState(), openid.randomNonce()]
const authorization = await openid.buildAuthorizationUrlWithPAR(client, {
  redirect_uri: CALLBACK,
  scope: 'openid profile email read',
  state: expectedState,
  nonce: expectedNonce,
  max_age: '600',
  code_challenge: await openid.calculatePKCECodeChallenge(verifier),
  code_challenge_method: 'S256',
})
const callback = await person.allow(authorization)
const checks = { pkceCodeVerifier: verifier, expectedState, expectedNonce, maxAge: 600, idTokenExpected: true }
openid.enableNonRepudiationChecks(client)
const tokens = await openid.authorizationCodeGrant(client, callback, checks)
const { sub, aud, amr } = tokens.claims()
assert.equal(aud, client.clientMetadata().client_id)
assert.deepEqual(amr, ['pwd'])
done('PAR and a code by private_key_jwt, and the signature and the claims of the ID token')

const told = await openid.fetchUserInfo(client, tokens.access_token, sub)
assert.equal(told.preferred_username, 'ada')
done('userinfo')

const seen = await openid.tokenIntrospection(client, tokens.access_token)
assert.deepEqual([seen.active, seen.sub, seen.client_id], [true, sub, aud])
done('introspection')

const refreshed = await openid.refreshTokenGrant(client, tokens.refresh_token)
assert.equal(refreshed.claims().sub, sub)
assert.equal(refreshed.claims().auth_time, tokens.claims().auth_time)
done('refresh, with an ID token')

await openid.tokenRevocation(client, refreshed.refresh_token)
assert.equal((await openid.tokenIntrospection(client, refreshed.access_token)).active, false)
await assert.rejects(openid.fetchUserInfo(client, refreshed.access_token, sub), (error) => error.status === 401)
done('revocation')

const begun = await openid.initiateDeviceAuthorization(client, { scope: 'openid read' })
const polling = openid.pollDeviceAuthorizationGrant(client, begun)
const question = await person.submit(await person.open(new URL(begun.verification_uri)), { user_code: begun.user_code })
const answered = await person.submit(question, { user_code: begun.user_code, decision: 'allow' })
assert.equal(answered.status, 200, answered.html)
assert.equal((await polling).claims().sub, sub)
done('a device, with an ID token')

const ended = await person.open(
  openid.buildEndSessionUrl(client, { id_token_hint: tokens.id_token, post_logout_redirect_uri: AFTER_LOGOUT, state: 'bye' }),
)
assert.equal(ended.next.href, `${AFTER_LOGOUT}?state=bye`)
const prompted = openid.buildAuthorizationUrl(client, { redirect_uri: CALLBACK, scope: 'openid', prompt: 'none', nonce: 'n',
  code_challenge: await openid.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256' })
assert.equal((await person.open(prompted)).next.searchParams.get('error'), 'login_required')
done('logout, and nobody is logged in any more')
