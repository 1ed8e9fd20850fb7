// Opens a report in headless Chromium: no error on the console, the slider moves by keyboard and mouse, nothing is
// fetched, and axe finds nothing serious, in light and in dark.
//
//   npm install --no-save playwright-core axe-core
//   CHROMIUM=/usr/bin/chromium node tests/browser/check_report.mjs report.html [screenshot.png]

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

const require = createRequire(pathToFileURL(resolve('package.json')))
const { chromium } = require('playwright-core')
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8')

const [, , file, screenshot] = process.argv
const faults = []
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update'],
})

for (const colorScheme of ['light', 'dark']) {
  const context = await browser.newContext({ colorScheme, bypassCSP: true, viewport: { width: 1000, height: 1300 } })
  const page = await context.newPage()
  page.on('console', message => message.type() === 'error' && faults.push(`console: ${message.text()}`))
  page.on('pageerror', error => faults.push(`script: ${error.message}`))
  page.on('request', request => {
    if (!/^(file|data):/.test(request.url())) faults.push(`fetched: ${request.url()}`)
  })
  await page.goto(pathToFileURL(resolve(file)).href)

  const slider = page.locator('input[type=range]').first()
  const cut = () => slider.evaluate(each => each.closest('figure').querySelector('.pair').style.getPropertyValue('--cut'))
  if ((await cut()) !== '50%') faults.push(`slider: begins at ${await cut()}`)
  await slider.focus()
  for (let step = 0; step < 5; step += 1) await page.keyboard.press('ArrowRight')
  if ((await cut()) !== '55%') faults.push(`slider: five steps by keyboard lead to ${await cut()}`)
  const box = await page.locator('.pair').first().boundingBox()
  await page.mouse.move(box.x + box.width / 4, box.y + box.height / 2)
  if (Math.abs(parseFloat(await cut()) - 25) > 1) faults.push(`slider: the mouse leads to ${await cut()}`)

  await page.evaluate(axe)
  const found = await page.evaluate(() => window.axe.run())
  for (const violation of found.violations) {
    if (['serious', 'critical'].includes(violation.impact)) {
      faults.push(`axe (${colorScheme}): ${violation.id}: ${violation.help}, ${violation.nodes[0].html.slice(0, 120)}`)
    }
  }
  if (screenshot && colorScheme === 'light') await page.screenshot({ path: screenshot })
  await context.close()
}

// Without the bypass that axe needs, the page's own policy must let its script and pictures work.
const strict = await browser.newPage()
strict.on('console', message => message.type() === 'error' && faults.push(`policy: ${message.text()}`))
await strict.goto(pathToFileURL(resolve(file)).href)
const broken = await strict.evaluate(() => [...document.images].filter(each => !each.naturalWidth).length)
if (broken) faults.push(`${broken} pictures are not shown`)
await browser.close()

for (const fault of faults) console.error(fault)
console.log(faults.length ? `${faults.length} faults` : 'no faults')
process.exit(faults.length ? 1 : 0)
