// What the programs here have in common: the person who logs in.

import assert from 'node:assert/strict'

export const USERNAME = 'ada'
export const PASSWORD = 'correct horse battery staple'
const PAGES_MAX = 8

// Somebody at a browser without pictures: it keeps cookies and fills in forms.
export class Browser {
  cookies = new Map()

  constructor(issuer) {
    this.issuer = issuer
  }

  async ask(url, form) {
    const cookie = [...this.cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    const headers = cookie ? { cookie } : {}
    const body = form && new URLSearchParams(form)
    const answer = await fetch(url, { method: form ? 'POST' : 'GET', headers, body, redirect: 'manual' })
    for (const line of answer.headers.getSetCookie()) {
      const [, name, value] = /^(__Host-[^=]+)=([^;]*)/.exec(line) ?? assert.fail(line)
      if (/; Max-Age=0/i.test(line)) this.cookies.delete(name)
      else this.cookies.set(name, value)
    }
    const refresh = answer.headers.get('refresh')?.replace(/^0;url=/, '')
    const next = answer.headers.get('location') ?? refresh
    return { status: answer.status, url, html: await answer.text(), next: next && new URL(next, url) }
  }

  // Posts the form of a page with its hidden fields and these.
  async submit(page, fields) {
    const form = /<form[^>]*>[^]*?<\/form>/.exec(page.html)?.[0] ?? assert.fail(`no form: ${page.status} ${page.html}`)
    const action = attribute(/<form[^>]*>/.exec(form)[0], 'action') ?? ''
    const inputs = form.match(/<input[^>]*>/g).filter((input) => attribute(input, 'type') === 'hidden')
    const hidden = inputs.map((input) => [attribute(input, 'name'), attribute(input, 'value')])
    return this.follow(await this.ask(new URL(action, page.url), { ...Object.fromEntries(hidden), ...fields }))
  }

  async open(url) {
    return this.follow(await this.ask(url))
  }

  // Goes on while the server leads to a page of its own.
  async follow(page) {
    for (let pages = 0; page.next?.origin === this.issuer.origin; pages += 1) {
      assert.ok(pages < PAGES_MAX, `${page.next} leads on for ever`)
      page = await this.ask(page.next)
    }
    return page
  }

  // Answers the login page and the consent page, as they come, until the person is sent to the client.
  async allow(url) {
    let page = await this.open(url)
    if (page.html.includes('name="password"')) page = await this.submit(page, { username: USERNAME, password: PASSWORD })
    if (page.html.includes('name="decision"')) page = await this.submit(page, { decision: 'allow' })
    return page.next ?? assert.fail(`it leads nowhere: ${page.status} ${page.html}`)
  }
}

function attribute(tag, name) {
  const value = new RegExp(` ${name}="([^"]*)"`).exec(tag)?.[1]
  const characters = { amp: '&', lt: '<', gt: '>', quot: '"', '#39': "'", '#x27': "'", '#x2F': '/', '#34': '"' }
  return value?.replace(/&([^;]+);/g, (reference, known) => characters[known] ?? assert.fail(reference))
}
