// The library `oauth4webapi` against a running server: each endpoint as an application uses it, and a person at its pages.
//
// Usage: node oauth4webapi.mjs ISSUER, with the bootstrap client in TESSERA_BOOTSTRAP_CLIENT.

import assert from 'node:assert/strict'
import { setTimeout } from 'node:timers/promises'
import * as oauth from 'oauth4webapi'
import { Browser, PASSWORD, USERNAME } from './browser.mjs'

const ISSUER = new URL(process.argv[2])
const CALLBACK = 'http://127.0.0.1:9/callback'
const DEVICE_CODE = 'urn:ietf:params:oauth:grant-type:device_code'
const INSECURE = { [oauth.allowInsecureRequests]: true }

async function administrator() {
  const [id, secret] = process.env.TESSERA_BOOTSTRAP_CLIENT.split(':')
  const authentication = oauth.ClientSecretBasic(secret)
  const client = { client_id: id }
  const answer = await oauth.clientCredentialsGrantRequest(server, client, authentication, {}, INSECURE)
  const { access_token } = await oauth.processClientCredentialsResponse(server, client, answer)
  return async (path, document) => {
    const headers = new Headers({ 'content-type': 'application/json' })
    const url = new URL(path, ISSUER)
    const answer = await oauth.protectedResourceRequest(access_token, 'POST', url, headers, JSON.stringify(document), INSECURE)
    assert.equal(answer.status, 201, await answer.clone().text())
    return answer.json()
  }
}

async function introspect(token) {
  const answer = await oauth.introspectionRequest(server, client, authentication, token, INSECURE)
  return oauth.processIntrospectionResponse(server, client, answer)
}

async function refresh(token) {
  const answer = await oauth.refreshTokenGrantRequest(server, client, authentication, token, INSECURE)
  return oauth.processRefreshTokenResponse(server, client, answer)
}

async function poll(deviceCode) {
  const answer = await oauth.deviceCodeGrantRequest(server, client, authentication, deviceCode, INSECURE)
  return oauth.processDeviceCodeResponse(server, client, answer)
}

function done(step) {
  console.log(`ok ${step}`)
}

const discovered = await oauth.discoveryRequest(ISSUER, { algorithm: 'oauth2', ...INSECURE })
const server = await oauth.processDiscoveryResponse(ISSUER, discovered)
assert.equal(server.authorization_response_iss_parameter_supported, true)
done('discovery')

const create = await administrator()
await create('/admin/v1/users', { username: USERNAME, password: PASSWORD })
const registered = await create('/admin/v1/clients', {
  client_id: 'https://notes.example/?a=b+c',
  grant_types: ['authorization_code', 'refresh_token', DEVICE_CODE],
  redirect_uris: [CALLBACK],
  scope: 'read write',
})
const client = { client_id: registered.client_id }
const authentication = oauth.ClientSecretBasic(registered.client_secret)
done('client credentials, and with them a user and a client')

const verifier = oauth.generateRandomCodeVerifier()
const state = oauth.generateRandomState()
const parameters = {
  response_type: 'code',
  redirect_uri: CALLBACK,
  scope: 'read',
  state,
  code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
  code_challenge_method: 'S256',
}
const push = await oauth.pushedAuthorizationRequest(server, client, authentication, parameters, INSECURE)
const pushed = await oauth.processPushedAuthorizationResponse(server, client, push)
done('pushed authorization request')

const person = new Browser(ISSUER)
const authorization = new URL(server.authorization_endpoint)
authorization.search = new URLSearchParams({ client_id: client.client_id, request_uri: pushed.request_uri })
const callback = await person.allow(authorization)
assert.equal(callback.origin + callback.pathname, CALLBACK)
assert.equal(callback.searchParams.get('iss'), server.issuer)
const validated = oauth.validateAuthResponse(server, client, callback, state)
done('login, consent, and the authorization response with its issuer')

const redemption = [server, client, authentication, validated, CALLBACK, verifier, INSECURE]
const redeemed = await oauth.authorizationCodeGrantRequest(...redemption)
const tokens = await oauth.processAuthorizationCodeResponse(server, client, redeemed)
assert.ok(tokens.refresh_token)
done('authorization code with PKCE')

const seen = await introspect(tokens.access_token)
assert.deepEqual([seen.active, seen.client_id, seen.scope, seen.iss], [true, client.client_id, 'read', server.issuer])
done('introspection')

const refreshed = await refresh(tokens.refresh_token)
assert.notEqual(refreshed.refresh_token, tokens.refresh_token)
assert.equal((await introspect(refreshed.access_token)).active, true)
done('refresh')

const again = await refresh(tokens.refresh_token)
assert.equal(again.access_token, refreshed.access_token)
assert.equal(again.refresh_token, refreshed.refresh_token)
done('the same refresh again, the same tokens')

const revocation = await oauth.revocationRequest(server, client, authentication, refreshed.refresh_token, INSECURE)
await oauth.processRevocationResponse(revocation)
assert.equal((await introspect(refreshed.access_token)).active, false)
await assert.rejects(refresh(refreshed.refresh_token), { error: 'invalid_grant' })
done('revocation')

const begun = await oauth.deviceAuthorizationRequest(server, client, authentication, { scope: 'read' }, INSECURE)
const device = await oauth.processDeviceAuthorizationResponse(server, client, begun)
await setTimeout(device.interval * 1000)
await assert.rejects(poll(device.device_code), { error: 'authorization_pending' })
done('device authorization, and a device that waits')

const entry = await person.open(new URL(device.verification_uri))
const question = await person.submit(entry, { user_code: device.user_code })
const answered = await person.submit(question, { user_code: device.user_code, decision: 'allow' })
assert.equal(answered.status, 200, answered.html)
await setTimeout(device.interval * 1000)
const connected = await poll(device.device_code)
assert.equal((await introspect(connected.access_token)).active, true)
done('approval, and the tokens of the device')
