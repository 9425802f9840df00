// The panel that says everything about a node.

/** What the schedule and the plan say, by the name of the value. */
const SCHEDULED = new Map(DATA.schedule.nodes.map((node) => [node.name, node]));

function link(view, name, text) {
  const number = view.numbers.get(name);
  if (number === undefined || !view.boxes[number]) return el('code', {}, text || name);
  return el('a', {href: hash(view.name, name)}, el('code', {}, text || name));
}

function typeText(node) {
  return `${node.type.dtype}[${node.type.axes.join(', ')}]`;
}

const SIZES = {f32: 4, f64: 8, i64: 8, i32: 4, u8: 1, i8: 1, bool: 1};

function bytesOf(node) {
  return node.type.shape.reduce((product, extent) => product * extent, 1) * (SIZES[node.type.dtype] || 4);
}

/** Rows of a table of two columns; those without anything are left out. */
function table(rows) {
  const shown = rows.filter(([, value]) => value !== null && value !== undefined && value !== false && value !== '' && !(Array.isArray(value) && !value.length));
  return el('dl', {}, shown.map(([key, value]) => [el('dt', {}, key), el('dd', {}, value)]));
}

function section(title, ...children) {
  return el('section', {}, el('h3', {}, title), children);
}

function detail(view, n) {
  const node = view.nodes[n];
  const box = view.boxes[n];
  const close = el('button', {type: 'button', class: 'close', 'aria-label': 'Close', onclick: () => closeDetail()}, '×');
  const title = el('h2', {class: box.class}, box.lines[0]);
  return [
    close, title, el('p', {class: 'name'}, node.name),
    box.figure !== null && figure(view, box),
    table([
      ['operator', el('code', {}, node.op)],
      ['makes', el('code', {}, typeText(node))],
      ['result of the model', view.outputs.get(node.name)],
      ...Object.entries(node.attributes).filter(([key]) => key !== 'data').map(([key, value]) => [key === 'then' ? 'epilogue' : key, el('code', {}, value)]),
    ]),
    view.name === 'fused' && computed(node.name),
    work(view, n),
    operands(view, node),
    users(view, n),
    planned(view, node.name),
    origins(node),
  ];
}

function figure(view, box) {
  const scene = view.figures[box.figure];
  const enlarge = () => {
    const close = el('button', {type: 'button', class: 'close', 'aria-label': 'Close', onclick: () => byId('large').close()}, '×');
    byId('large').replaceChildren(close, draw(scene, view.boxes));
    byId('large').showModal();
  };
  return el('figure', {}, draw(scene, view.boxes),
    el('figcaption', {}, 'After Figure 2 of the ResNeSt paper. ', el('button', {type: 'button', onclick: enlarge}, 'Enlarge')));
}

/** How the schedule has it: layout, algorithm, and what else there was. */
function computed(name) {
  const node = SCHEDULED.get(name);
  if (!node) return null;
  const conv = node.conv;
  const stage = DATA.schedule.stages[node.stage];
  const together = stage ? (stage.images === 1 ? 'image by image' : `${stage.images} images at a time`) : null;
  return section('Schedule', table([
    ['lies', node.lies],
    ['runs', together],
    ['computed by', conv && el('strong', {}, conv.by)],
    ['because', conv && conv.why],
    ['groups', conv && conv.groups_joined > 1 ? `${conv.groups_joined} joined to one` : null],
    ['makes too', conv && conv.makes.join('; ')],
    ['byte weights', node.byte_weights.length ? `operand ${node.byte_weights.join(', ')}: multiples of a scale, stored as i8` : null],
  ]), conv && estimates(conv), conv && candidates(conv));
}

function estimates(conv) {
  const most = Math.max(...conv.estimates.map((e) => e.kilocycles), 1e-9);
  return el('div', {class: 'estimates'}, el('p', {class: 'quiet'}, 'estimated kilocycles of a core'), estimateBars(conv, most));
}

/** A bar for each way to compute a convolution, that which is taken marked. */
function estimateBars(conv, most) {
  const taken = takenWay(conv);
  return conv.estimates.map(({way, kilocycles}) => el('div', {class: way === taken ? 'estimate taken' : 'estimate'},
    el('span', {}, way), el('span', {class: 'bar'}, el('i', {style: `width: ${Math.max(1, 100 * kilocycles / most)}%`})),
    el('span', {class: 'number'}, kilocycles.toLocaleString('en'))));
}

/** The way whose words are all in the choice; of several the one that says the most. */
function takenWay(conv) {
  const words = (text) => text.toLowerCase().split(' ');
  const chosen = words(conv.by);
  const fitting = conv.estimates.map(({way}) => way).filter((way) => words(way).every((word) => chosen.includes(word)));
  return fitting.sort((a, b) => words(b).length - words(a).length)[0];
}

function candidates(conv) {
  if (conv.candidates.length < 2) return null;
  return el('details', {}, el('summary', {}, `${conv.candidates.length} candidates for tuning`),
    el('ol', {}, conv.candidates.map((candidate) => el('li', {}, el('code', {}, candidate)))));
}

function work(view, n) {
  const node = view.nodes[n];
  const read = node.operands.filter((o) => o !== null).map((o) => view.nodes[view.numbers.get(o)]);
  const sum = (nodes) => nodes.reduce((total, each) => total + bytesOf(each), 0);
  const weights = sum(read.filter((each) => each.op === 'weight'));
  const values = sum(read.filter((each) => each.op !== 'weight'));
  const products = view.boxes[n].work;
  const moved = weights + values + bytesOf(node);
  return section('Work', table([
    ['multiply-adds', products ? `${count(products)}${view.work ? ` (${(100 * products / view.work).toFixed(1)} % of the network)` : ''}` : null],
    ['flops', products ? count(2 * products) : null],
    ['reads', values ? bytes(values) : null],
    ['weights', weights ? bytes(weights) : null],
    ['writes', bytes(bytesOf(node))],
    ['flops a byte', products ? (2 * products / moved).toFixed(1) : null],
  ]));
}

function operands(view, node) {
  const rows = node.operands.map((name, slot) => {
    if (name === null) return null;
    const operand = view.nodes[view.numbers.get(name)];
    const data = operand.op === 'weight' ? el('code', {class: 'hash'}, operand.attributes.data) : null;
    return el('li', {value: slot}, link(view, name), ' ', el('span', {class: 'quiet'}, typeText(operand)), data && [' ', data]);
  });
  if (!rows.some(Boolean)) return null;
  return section('Operands', el('ol', {class: 'operands', start: 0}, rows));
}

function users(view, n) {
  if (!view.users[n].length) return null;
  return section('Read by', el('ul', {}, view.users[n].slice(0, 40).map((user) => el('li', {}, link(view, view.nodes[user].name)))));
}

function planned(view, name) {
  if (view.name !== 'fused') return null;
  const steps = DATA.plan.steps.map((step, i) => [i, ...step]).filter(([, of]) => of === name);
  if (!steps.length) return null;
  return section('Kernels', el('p', {}, steps.map(([i, , kernel], k) => [k ? ', ' : '', el('code', {}, kernel), el('span', {class: 'quiet'}, ` (step ${i})`)])));
}

function origins(node) {
  if (!node.from.length) return null;
  const imported = VIEWS.import;
  const item = (name) => {
    const place = imported ? imported.origins().get(name) : undefined;
    return el('li', {}, place === undefined ? el('code', {}, name) : link(imported, imported.nodes[place].name, name));
  };
  return section(`From ${plural(node.from.length, 'ONNX node')}`, el('ul', {class: 'origins'}, node.from.map(item)));
}

View.prototype.origins = function origins() {
  if (!this.byOrigin) {
    this.byOrigin = new Map();
    this.nodes.forEach((node, i) => node.from.forEach((name) => this.boxes[i] && this.byOrigin.set(name, i)));
  }
  return this.byOrigin;
};
