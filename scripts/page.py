#!/usr/bin/env python3
"""Opens the pages of `cardinal inspect --format html` in a browser without a window, and checks what can be seen.

    scripts/page.py BIN [MODEL...] [--quick] [--pictures FOLDER]

BIN is a build of cardinal. Without MODELs the pages are those of the digits model, in which a name is made markup, of
the same model compiled and quantized, and of small networks of the tests. In three sizes of windows, light and dark, it must be that

- nothing is asked of a network and nothing is written to the console,
- every text is inside its box, no boxes overlap, and no lines cross each other or a box,
- clicks, the slider, the search, links to a place, keys and the colours do what they should.

It prints the size of each page and how long it takes to be ready. --quick opens three models in one size. --pictures
writes what was seen. Playwright is installed with pip into target/; the browser is Debian's package chromium, or any
Chromium or Chrome that is called so on PATH. Without one it says SKIPPED, and with --required fails.
"""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile

import common

HERE = common.HERE
FIXTURES = os.path.join(HERE, 'compiler', 'tests', 'fixtures')
SIZES = {'laptop': (1280, 720), 'desktop': (1920, 1080), 'phone': (390, 844)}
# Of the tests: attention of one split, of more groups than one, and of paths with other kernels.
SMALL = ['branches/k4r2.radix.dyn.onnx', 'branches/se_linear.ts17.onnx', 'branches/sk_paper_dil.dyn.onnx',
         'tiny/resnest_r2k1_avdlast.ts13_unfused.onnx', 'tiny/resnest_r2k2_avdfirst.dyn.onnx', 'tiny/resnet_basic.dyn.onnx']
BROWSERS = ['chromium', 'chromium-browser', 'google-chrome', 'chrome']

# The nodes that have a box.
DRAWN = 'VIEWS.fused.nodes.filter((node, i) => VIEWS.fused.boxes[i])'
# What is wrong with what can be seen, as a list of texts.
FAULTS = r'''() => {
  const faults = [];
  const seen = (each) => each.checkVisibility() && each.getClientRects().length > 0;
  const inside = (a, b, slack = 1.5) => a.left >= b.left - slack && a.right <= b.right + slack && a.top >= b.top - slack && a.bottom <= b.bottom + slack;
  const overlap = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1;
  const named = (each) => (each.getAttribute('aria-label') || each.textContent || each.className).toString().slice(0, 60);
  if (document.scrollingElement.scrollWidth > innerWidth + 1) faults.push(`the page is ${document.scrollingElement.scrollWidth} wide in a window of ${innerWidth}`);
  const tabs = document.getElementById('tabs');
  if (tabs.scrollWidth > tabs.clientWidth + 1) faults.push(`the tabs are ${tabs.scrollWidth} wide, and ${tabs.clientWidth} of it can be seen`);
  for (const each of document.querySelectorAll('button, summary, .chip, td, dd, dt, li, h1, h2')) {
    if (seen(each) && each.scrollWidth > each.clientWidth + 1 && getComputedStyle(each).display !== 'inline') faults.push(`text leaves ${each.tagName} ${named(each)}`);
  }
  const groups = ['.network .layer, .network summary, .drawing > svg', 'header h1, header .tools, #summary, #tabs'].map((of) => [...document.querySelectorAll(of)]);
  document.querySelectorAll('.chips, #tabs, summary').forEach((group) => groups.push([...group.children]));
  for (const group of groups) {
    const all = group.filter(seen).map((each) => [each, each.getBoundingClientRect()]);
    all.forEach(([a, x], i) => all.slice(i + 1).forEach(([b, y]) => overlap(x, y) && faults.push(`${named(a)} overlaps ${named(b)}`)));
  }
  for (const part of document.querySelectorAll('summary > *, .layer > *, .node > *, .chip')) {
    if (seen(part) && !inside(part.getBoundingClientRect(), part.parentElement.getBoundingClientRect())) faults.push(`${named(part)} leaves what it is in`);
  }
  for (const scene of document.querySelectorAll('svg.scene')) {
    if (!seen(scene)) continue;
    const frame = scene.getBoundingClientRect();
    const rects = [...scene.querySelectorAll('rect')].map((each) => [each, each.getBoundingClientRect()]);
    const boxes = rects.filter(([each]) => each.matches('.node rect, .source') || (!scene.querySelector('.node') && each.matches('.io, .pool, .dense, .map')));
    boxes.forEach(([, x], i) => boxes.slice(i + 1).forEach(([, y]) => overlap(x, y) && faults.push('boxes of a drawing overlap')));
    for (const text of scene.querySelectorAll('text')) {
      const at = text.getBoundingClientRect();
      const [x, y] = [(at.left + at.right) / 2, (at.top + at.bottom) / 2];
      const around = boxes.map(([, box]) => box).find((box) => box.left <= x && x <= box.right && box.top <= y && y <= box.bottom);
      if (!inside(at, around || frame)) faults.push(`text leaves its box: ${text.textContent}`);
    }
    const scale = frame.width / scene.viewBox.baseVal.width;
    const lines = [...scene.querySelectorAll('path[data-ends]')].map((path) => {
      const length = path.getTotalLength();
      return Array.from({length: 33}, (_, i) => path.getPointAtLength(length * i / 32));
    });
    const side = (a, b, c) => Math.sign((b.x - a.x) * (c.y - a.y) - (b.y - a.y) * (c.x - a.x));
    const cross = (a, b, c, d) => side(a, b, c) * side(a, b, d) < 0 && side(c, d, a) * side(c, d, b) < 0;
    const near = (p, q) => Math.hypot(p.x - q.x, p.y - q.y) < 2;
    lines.forEach((one, i) => lines.slice(i + 1).forEach((other) => {
      for (let a = 1; a < one.length; a++) for (let b = 1; b < other.length; b++) {
        const ends = near(one[a - 1], other[b - 1]) || near(one[a], other[b]);
        if (!ends && cross(one[a - 1], one[a], other[b - 1], other[b])) { faults.push('lines cross'); return; }
      }
    }));
    for (const line of lines) for (const [, box] of boxes) {
      const hit = line.slice(2, -2).some((p) => {
        const [x, y] = [frame.left + p.x * scale, frame.top + p.y * scale];
        return x > box.left + 2 && x < box.right - 2 && y > box.top + 2 && y < box.bottom - 2;
      });
      if (hit) faults.push('a line goes through a box');
    }
  }
  return [...new Set(faults)];
}'''


class Page:
    """A page in a window of some size."""

    def __init__(self, browser, path, size, pictures):
        self.name, self.pictures = f'{os.path.basename(path)[:-5]}.{size}', pictures
        width, height = SIZES[size]
        self.context = browser.new_context(viewport={'width': width, 'height': height}, color_scheme='light')
        self.tab = self.context.new_page()
        self.faults = []
        self.tab.on('console', lambda message: self.faults.append(f'console: {message.text}'))
        self.tab.on('pageerror', lambda error: self.faults.append(f'error: {error}'))
        self.tab.on('request', self.asked)
        self.tab.on('dialog', lambda dialog: (self.faults.append(f'says {dialog.message}'), dialog.dismiss()))
        self.url = 'file://' + path

    def asked(self, request):
        if not request.url.startswith((self.url, 'data:')):
            self.faults.append(f'asks for {request.url}')

    def open(self):
        self.tab.goto(self.url)
        self.tab.wait_for_selector('body[data-ready]')
        return int(self.tab.get_attribute('body', 'data-ready'))

    def check(self, what):
        self.faults += [f'{what}: {fault}' for fault in self.tab.evaluate(FAULTS)]
        if self.pictures:
            self.tab.screenshot(path=os.path.join(self.pictures, f'{self.name}.{what}.png'))

    def want(self, condition, what):
        if not condition:
            self.faults.append(what)

    def go(self, place):
        self.tab.evaluate('(place) => { location.hash = place; }', place)
        self.tab.wait_for_timeout(60)

    # What a reader does.

    def see_blocks(self):
        """Opens every block of the graph as it is after all passes."""
        self.go('#fused')
        self.check('folded')
        count = self.tab.evaluate('''() => {
          const all = [...document.querySelectorAll('#panel-fused details')];
          for (const each of all) { each.open = true; each.dispatchEvent(new Event('toggle')); }
          return document.querySelectorAll('#panel-fused .drawing svg').length;
        }''')
        drawn = self.tab.evaluate('''() => [...document.querySelectorAll('#panel-fused [data-node]')].map((each) => each.dataset.node).sort()''')
        every = self.tab.evaluate('''() => VIEWS.fused.boxes.map((box, i) => box && String(i)).filter(Boolean).sort()''')
        self.want(drawn == every, f'{len(drawn)} boxes are drawn of {len(every)} nodes')
        self.check('opened')
        return count

    def see_node(self):
        """Clicks a box, the largest thing there is: a Split-Attention, or else a convolution."""
        number = self.tab.evaluate('''() => {
          const {nodes} = VIEWS.fused;
          const found = ['split_attention', 'group_conv', 'conv'].map((op) => nodes.findIndex((node) => node.op === op)).find((i) => i >= 0);
          return found === undefined ? nodes.findIndex((node, i) => VIEWS.fused.boxes[i]) : found;
        }''')
        self.tab.locator(f'#panel-fused [data-node="{number}"]').first.click(force=True)
        self.tab.wait_for_timeout(80)
        name = self.tab.evaluate('(n) => VIEWS.fused.nodes[n].name', number)
        self.want(self.tab.inner_text('#detail .name') == name, 'the panel is not of the node that was clicked')
        self.want(self.tab.evaluate('decodeURIComponent(location.hash)') == f'#fused/{name}', 'the address keeps no place')
        self.check('node')
        if self.tab.locator('#detail figure button').count():
            self.tab.click('#detail figure button')
            self.check('figure')
            self.tab.keyboard.press('Escape')
        self.tab.keyboard.press('Escape')
        self.tab.wait_for_timeout(60)
        self.want(self.tab.locator('#detail').is_hidden(), 'Escape does not close the panel')

    def use_keys(self):
        self.go('#fused')
        self.tab.evaluate('document.querySelector("#panel-fused summary").focus()')
        at = 'document.activeElement.className + document.activeElement.textContent'
        before = self.tab.evaluate(at)
        self.tab.keyboard.press('ArrowDown')
        self.want(self.tab.evaluate(at) != before, 'the arrow keys do not walk')
        self.tab.keyboard.press('ArrowUp')
        self.tab.keyboard.press('ArrowLeft')
        self.want(not self.tab.evaluate('document.querySelector("#panel-fused .stage").open'), 'left does not close')
        self.tab.keyboard.press('ArrowRight')
        self.want(self.tab.evaluate('document.querySelector("#panel-fused .stage").open'), 'right does not open')

    def use_slider(self):
        if not self.tab.evaluate('DATA.passes'):
            return
        self.go('#passes')
        self.tab.focus('#pass')
        for _ in range(5):
            self.tab.keyboard.press('ArrowRight')
            self.tab.wait_for_timeout(20)
        wanted = self.tab.evaluate('DATA.passes[5].name')
        self.want(self.tab.evaluate('location.hash') == f'#passes/{wanted}', 'the slider does not go to the sixth pass')
        self.want(self.tab.inner_text('.pass h2') == wanted.replace('_', ' '), 'the slider does not show its pass')
        if self.tab.locator('.changes summary').count():
            self.tab.locator('.changes summary').first.click()
        self.check('passes')

    def search(self):
        name = self.tab.evaluate(f'() => {DRAWN}.at(-1).name')
        self.tab.keyboard.press('/')
        self.tab.fill('#search', name)
        self.check('search')
        self.tab.keyboard.press('Enter')
        self.tab.wait_for_timeout(80)
        self.want(self.tab.inner_text('#detail .name') == name, f'the search does not find {name}')

    def follow_link(self):
        """Opens the page at a place, as a link would."""
        name = self.tab.evaluate(f'() => {DRAWN}.at({DRAWN}.length / 2).name')
        encoded = self.tab.evaluate('(name) => encodeURIComponent(name)', name)
        address = f'{self.url}#fused/{encoded}'
        self.tab.goto('about:blank')
        self.tab.goto(address)
        self.tab.wait_for_selector('body[data-ready]')
        self.want(self.tab.inner_text('#detail .name') == name, 'a link does not lead to its node')
        self.want(self.tab.evaluate('document.querySelector("#panel-fused .node.selected").getClientRects().length') > 0,
                  'a link does not open the block of its node')

    def see_others(self):
        tabs = self.tab.evaluate('TABS.map((tab) => tab.name)')
        known = ['import', 'passes'] if self.tab.evaluate('DATA.passes') else []
        self.want(set(tabs) == {*known, 'fused', 'schedule', 'plan'}, f'the tabs are {tabs}')
        for tab in [tab for tab in tabs if tab not in ('fused', 'passes')]:
            self.go(f'#{tab}')
            self.check(tab)
        if self.tab.locator('.arena rect').count():
            self.tab.focus('.arena')
            self.tab.keyboard.press('ArrowRight')
            self.want(self.tab.locator('.buffer.selected').count() == 1, 'no buffer is chosen')

    def go_dark(self):
        paper = 'getComputedStyle(document.body).backgroundColor'
        light = self.tab.evaluate(paper)
        self.tab.click('#theme')
        self.want(self.tab.evaluate(paper) != light, 'the page does not become dark')
        self.go('#fused')
        self.check('dark')


def look(browser, path, size, pictures):
    """Opens a page in a size, and gives how long it took, how many blocks it has, and what is wrong."""
    page = Page(browser, path, size, pictures)
    took = page.open()
    blocks = page.see_blocks()
    for act in [page.see_node, page.use_keys, page.use_slider, page.search, page.follow_link, page.see_others, page.go_dark]:
        act()
    page.context.close()
    return took, blocks, page.faults


def hostile(folder):
    """The digits model with a value whose name is markup, of as many bytes as its own name."""
    path = os.path.join(folder, 'digits.onnx')
    name, markup = b'/conv1/conv1.2/Relu_output_0', b'<img src=x onerror=alert(1)>'
    with open(common.DIGITS, 'rb') as model, open(path, 'wb') as out:
        out.write(model.read().replace(name, markup))
    return path


def compiled(binary, folder):
    """The digits model as an artifact, whose page begins after the passes."""
    path = os.path.join(folder, 'digits.cardinal')
    subprocess.run([binary, 'compile', common.DIGITS, '-o', path], check=True, stderr=subprocess.DEVNULL)
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('binary')
    parser.add_argument('models', nargs='*')
    parser.add_argument('--quick', action='store_true')
    parser.add_argument('--required', action='store_true')
    parser.add_argument('--pictures')
    args = parser.parse_args()
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not browser:
        print('SKIPPED: scripts/page.py, which needs a Chromium (apt install chromium)', file=sys.stderr)
        sys.exit(args.required)
    common.enter('playwright')
    from playwright.sync_api import sync_playwright
    if args.pictures:
        os.makedirs(args.pictures, exist_ok=True)
    failed = False
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        models = args.models or [hostile(folder), compiled(args.binary, folder), common.quantized_digits(args.binary, folder)]
        if not args.models and not args.quick:
            models += [os.path.join(FIXTURES, name) for name in SMALL]
        chromium = playwright.chromium.launch(executable_path=browser, args=['--no-sandbox'])
        for model in models:
            page = os.path.join(folder, os.path.basename(model).removesuffix('.onnx') + '.html')
            with open(page, 'wb') as out:
                subprocess.run([args.binary, 'inspect', model, '--format', 'html'], check=True, stdout=out)
            for size in ['phone'] if args.quick else SIZES:
                took, blocks, faults = look(chromium, page, size, args.pictures)
                print(f'{os.path.basename(model):40} {size:8} {os.path.getsize(page) / 1e6:6.2f} MB  ready in {took:5} ms  {blocks:3} blocks  {len(faults)} faults')
                for fault in faults:
                    print(f'  {fault}')
                failed |= bool(faults)
        chromium.close()
    sys.exit(failed)


if __name__ == '__main__':
    main()
