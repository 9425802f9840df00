// Tabs, places in the address, search, keys and colours.

// Of an artifact it is not known what was imported, nor what passes did.
const VIEWS = {import: DATA.views.import && new View('import', DATA.views.import), fused: new View('fused', DATA.views.fused)};

const TABS = [
  {name: 'import', title: 'Import', size: () => String(VIEWS.import.operators()), make: () => networkTab(VIEWS.import)},
  {name: 'passes', title: 'Passes', size: () => String(DATA.passes.length), make: passesTab},
  {name: 'fused', title: 'Fused', size: () => String(VIEWS.fused.operators()), make: () => networkTab(VIEWS.fused)},
  {name: 'schedule', title: 'Schedule', size: () => String(DATA.schedule.nodes.filter((n) => n.conv).length), make: scheduleTab},
  {name: 'plan', title: 'Plan', size: () => bytes(DATA.plan.arena_bytes), make: planTab},
].filter(({name}) => (name !== 'import' || VIEWS.import) && (name !== 'passes' || DATA.passes));

function networkTab(view) {
  return {element: view.render(), show() {}};
}

/** What is shown: a tab, and in it a node, a pass or a buffer. */
let at = {tab: null, name: null};

/** The address of a place on the page. */
function hash(tab, name) {
  return `#${tab}${name === null || name === undefined ? '' : `/${encodeURIComponent(name)}`}`;
}

function go(tab, name) {
  const wanted = hash(tab, name);
  if (location.hash === wanted) show();
  else location.hash = wanted;
}

function place() {
  const [tab, ...rest] = location.hash.slice(1).split('/');
  if (!TABS.some((each) => each.name === tab)) return {tab: DATA.open.tab, name: DATA.open.pass ?? DATA.open.node};
  try {
    return {tab, name: rest.length ? decodeURIComponent(rest.join('/')) : null};
  } catch {
    return {tab, name: null};
  }
}

function show() {
  const before = at.tab;
  at = place();
  if (before !== at.tab) window.scrollTo(0, 0);
  for (const tab of TABS) {
    const chosen = tab.name === at.tab;
    const button = byId(`tab-${tab.name}`);
    button.setAttribute('aria-selected', chosen);
    button.tabIndex = chosen ? 0 : -1;
    byId(`panel-${tab.name}`).hidden = !chosen;
    if (chosen && !tab.made) {
      tab.made = tab.make();
      byId(`panel-${tab.name}`).append(tab.made.element);
    }
    if (chosen) tab.made.show(at.name);
  }
  showNode();
}

/** Shows the node that the place names, in its block and in the panel. */
function showNode() {
  const view = VIEWS[at.tab];
  const number = view && at.name !== null ? view.numbers.get(at.name) : undefined;
  const aside = byId('detail');
  aside.hidden = number === undefined || !view.boxes[number];
  document.body.classList.toggle('with-detail', !aside.hidden);
  mark();
  if (aside.hidden) return;
  aside.replaceChildren(...detail(view, number).filter(Boolean));
  aside.scrollTop = 0;
  const element = view.reveal(number, byId(`panel-${at.tab}`));
  mark();
  if (element) {
    element.focus({preventScroll: true});
    element.scrollIntoView({block: 'center', inline: 'nearest'});
  }
}

function mark() {
  const view = VIEWS[at.tab];
  const number = view && at.name !== null ? view.numbers.get(at.name) : undefined;
  document.querySelectorAll('.node.selected').forEach((each) => each.classList.remove('selected'));
  if (number === undefined) return;
  byId(`panel-${at.tab}`).querySelectorAll(`[data-node="${number}"]`).forEach((each) => each.classList.add('selected'));
}

function closeDetail() {
  const chosen = document.querySelector('.node.selected');
  go(at.tab, null);
  if (chosen) chosen.focus({preventScroll: true});
}

// ---- search --------------------------------------------------------------------------------

/** Names with where they lead. Of the graph as it was imported come those that nothing else has. */
function findable() {
  const all = new Map();
  for (const view of [VIEWS.import, VIEWS.fused].filter(Boolean)) {
    view.nodes.forEach((node, i) => {
      if (!view.boxes[i]) return;
      for (const name of [...node.from, node.name]) all.set(name, {view, node, title: view.boxes[i].lines[0]});
    });
  }
  return [...all].map(([name, target]) => ({name, folded: name.toLowerCase(), ...target}));
}

function setUpSearch() {
  const [input, list] = [byId('search'), byId('found')];
  let names = null;
  let chosen = 0;
  const close = () => {
    list.hidden = true;
    input.setAttribute('aria-expanded', 'false');
    input.removeAttribute('aria-activedescendant');
  };
  const pick = (row) => {
    close();
    input.blur();
    go(row.dataset.view, row.dataset.name);
  };
  const choose = (i) => {
    chosen = Math.max(0, Math.min(i, list.children.length - 1));
    [...list.children].forEach((row, k) => row.setAttribute('aria-selected', k === chosen));
    const row = list.children[chosen];
    if (!row) return;
    input.setAttribute('aria-activedescendant', row.id);
    row.scrollIntoView({block: 'nearest'});
  };
  const search = () => {
    names = names || findable();
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = words.length ? names.filter((each) => words.every((word) => each.folded.includes(word) || each.title.toLowerCase().includes(word))) : [];
    const rank = (each) => (each.folded === words.join(' ') ? 0 : 2) + (each.view === VIEWS.fused ? 0 : 1);
    found.sort((a, b) => rank(a) - rank(b));
    list.replaceChildren(...found.slice(0, 30).map((each, i) => el('li', {
      role: 'option', id: `found-${i}`, 'data-view': each.view.name, 'data-name': each.node.name, onpointerdown: (event) => {
        event.preventDefault();
        pick(event.currentTarget);
      },
    }, el('code', {}, each.name), el('span', {class: 'quiet'}, `${each.title}${each.view.name === 'import' ? ', import' : ''}`))));
    if (words.length && !found.length) list.replaceChildren(el('li', {class: 'quiet', id: 'found-none'}, 'nothing has such a name'));
    list.hidden = !words.length;
    input.setAttribute('aria-expanded', String(!list.hidden));
    choose(0);
  };
  input.addEventListener('input', search);
  input.addEventListener('focus', search);
  input.addEventListener('blur', close);
  input.addEventListener('keydown', (event) => {
    if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
      event.preventDefault();
      choose(chosen + (event.key === 'ArrowDown' ? 1 : -1));
    }
    const row = list.children[chosen];
    if (event.key === 'Enter' && !list.hidden && row && row.dataset.name !== undefined) pick(row);
    if (event.key === 'Escape') {
      event.stopPropagation();
      input.value = '';
      close();
      input.blur();
    }
  });
}

// ---- keys ----------------------------------------------------------------------------------

/** Up and down go through what can be opened or chosen, right opens and left closes. */
function keys(event) {
  if (event.target.matches('input, dialog, dialog *') || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === '/') {
    event.preventDefault();
    byId('search').focus();
  } else if (event.key === 'Escape' && !byId('detail').hidden) {
    closeDetail();
  } else if (event.target.closest('.network')) {
    walk(event);
  }
}

function walk(event) {
  const {key, target} = event;
  const by = {ArrowDown: 1, ArrowUp: -1}[key];
  if (by) {
    const all = [...target.closest('.network').querySelectorAll('summary, .node, .from')].filter((each) => each.checkVisibility());
    const next = all[all.indexOf(target) + by];
    event.preventDefault();
    if (next) next.focus();
  } else if (key === 'ArrowRight' && target.matches('summary')) {
    target.parentElement.open = true;
  } else if (key === 'ArrowLeft') {
    const own = target.matches('summary') ? target.parentElement : null;
    const around = own && own.open ? own : (own || target).parentElement.closest('details');
    if (!around) return;
    if (around === own) own.open = false;
    around.querySelector('summary').focus();
  }
}

/** Left and right go from tab to tab. */
function tabKeys(event) {
  const by = {ArrowRight: 1, ArrowLeft: -1}[event.key];
  if (!by) return;
  const next = TABS[(TABS.findIndex((tab) => tab.name === at.tab) + by + TABS.length) % TABS.length];
  go(next.name, null);
  byId(`tab-${next.name}`).focus();
}

// ---- the page ------------------------------------------------------------------------------

function setUpTheme() {
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const root = document.documentElement;
  byId('theme').addEventListener('click', () => {
    const now = root.dataset.theme || (dark.matches ? 'dark' : 'light');
    root.dataset.theme = now === 'dark' ? 'light' : 'dark';
  });
}

function summary() {
  const [before, after] = [VIEWS.import, VIEWS.fused];
  const attentions = after.nodes.filter((node) => node.op === 'split_attention').length;
  const parts = [
    before ? `${before.operators()} operators of ONNX became ${after.operators()}` : `${after.operators()} operators`,
    attentions ? `${attentions} of them Split-Attention` : null,
    after.work ? `${count(after.work)} multiply-adds` : null,
    `${bytes(DATA.plan.weight_bytes)} of packed weights`,
    `an arena of ${bytes(DATA.plan.arena_bytes)}`,
    DATA.cpu ? `for ${DATA.cpu}` : null,
  ];
  return parts.filter(Boolean).join(' · ');
}

function setUp() {
  document.title = `${DATA.file} · Cardinal`;
  byId('name').textContent = DATA.file;
  byId('summary').textContent = summary();
  for (const tab of TABS) {
    byId('tabs').append(el('button', {
      type: 'button', role: 'tab', id: `tab-${tab.name}`, 'aria-controls': `panel-${tab.name}`, onclick: () => go(tab.name, null),
    }, tab.title, el('small', {}, tab.size())));
    byId('main').append(el('div', {role: 'tabpanel', id: `panel-${tab.name}`, 'aria-labelledby': `tab-${tab.name}`, hidden: ''}));
  }
  byId('tabs').addEventListener('keydown', tabKeys);
  byId('large').addEventListener('click', (event) => event.target === byId('large') && byId('large').close());
  document.addEventListener('keydown', keys);
  window.addEventListener('hashchange', show);
  setUpSearch();
  setUpTheme();
  show();
  document.body.dataset.ready = String(Math.round(performance.now()));
}

setUp();
