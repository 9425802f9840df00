// The schedule as a table, and the arena as a timeline.

function scheduleTab() {
  const fused = VIEWS.fused;
  const most = Math.max(1e-9, ...DATA.schedule.nodes.flatMap((node) => (node.conv ? node.conv.estimates.map((e) => e.kilocycles) : [])));
  const row = (node) => {
    const box = fused.boxes[fused.numbers.get(node.name)];
    const conv = node.conv;
    return el('tr', {'data-name': node.name}, el('td', {class: 'op'}, link(fused, node.name, box.lines[0])),
      el('td', {}, el('code', {class: 'long'}, node.name)), el('td', {}, node.lies), el('td', {}, conv ? conv.by : ''), el('td', {class: 'ways'}, conv && estimateBars(conv, most)));
  };
  const head = ['operator', 'value', 'lies', 'computed by', 'estimates, kilocycles'];
  const body = el('tbody', {}, DATA.schedule.nodes.map(row));
  const element = el('div', {class: 'schedule'},
    el('p', {}, 'Machine: ', el('strong', {}, DATA.schedule.machine), `. Estimates choose where nothing was measured; the way that is taken is marked.`),
    el('div', {class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Schedule'}, el('table', {}, el('thead', {}, el('tr', {}, head.map((text) => el('th', {}, text)))), body)));
  return {element, show() {}};
}

/** Buffers as rectangles: steps from left to right, bytes from bottom to top. */
function planTab() {
  const {steps, buffers, arena_bytes: arena} = DATA.plan;
  const fused = VIEWS.fused;
  const note = el('p', {class: 'note', 'aria-live': 'polite'}, 'Point at a buffer, or go from one to the next with the arrow keys.');
  const root = svg('svg', {
    class: 'arena', viewBox: `0 0 ${Math.max(1, steps.length)} ${Math.max(1, arena)}`, preserveAspectRatio: 'none',
    role: 'application', tabindex: 0, 'aria-label': `Arena of ${bytes(arena)} over ${steps.length} steps`,
  });
  const rects = buffers.map(([name, size, offset, first, last], i) => {
    const number = fused.numbers.get(name);
    const rect = svg('rect', {
      class: `buffer ${number === undefined ? 'move' : fused.boxes[number].class}`, 'data-buffer': i,
      x: first, width: last - first + 1, y: arena - offset - size, height: size,
    }, svg('title', {}, `${name}: ${bytes(size)}`));
    root.append(rect);
    return rect;
  });
  const tell = (i) => {
    const [name, size, offset, first, last] = buffers[i];
    rects.forEach((rect, k) => rect.classList.toggle('selected', k === i));
    note.replaceChildren(el('strong', {}, bytes(size)), ` at ${bytes(offset)}, from step ${first} (${steps[first] ? steps[first][1] : ''}) to ${last} (${steps[last] ? steps[last][1] : ''}) · `, link(fused, name));
    root.dataset.at = i;
  };
  const over = (event) => event.target.dataset.buffer !== undefined && tell(Number(event.target.dataset.buffer));
  root.addEventListener('pointerover', over);
  root.addEventListener('click', over);
  root.addEventListener('keydown', (event) => {
    const by = {ArrowRight: 1, ArrowLeft: -1}[event.key];
    if (event.key === 'Enter' && root.dataset.at) go('fused', buffers[root.dataset.at][0]);
    if (!by || !buffers.length) return;
    event.preventDefault();
    tell((Number(root.dataset.at || (by > 0 ? -1 : 0)) + by + buffers.length) % buffers.length);
  });
  const [peak, busiest] = mostLive(steps.length, buffers);
  const apart = buffers.reduce((sum, buffer) => sum + buffer[1], 0);
  const element = el('div', {class: 'plan'}, note,
    el('div', {class: 'plot'}, el('div', {class: 'y-axis'}, [1, 0.75, 0.5, 0.25, 0].map((part) => el('span', {}, bytes(Math.round(arena * part))))), root,
      el('div', {class: 'x-axis'}, [0, 0.25, 0.5, 0.75, 1].map((part) => el('span', {}, part === 0 ? 'step 0' : String(Math.round((steps.length - 1) * part)))))),
    legend(),
    table([
      ['arena', `${bytes(arena)} for ${plural(buffers.length, 'buffer')}, which take ${bytes(apart)} together`],
      ['live at once', `${bytes(peak)} at most, in step ${busiest}`],
      ['each thread', DATA.plan.worker_bytes ? bytes(DATA.plan.worker_bytes) : null],
      ['packed weights', bytes(DATA.plan.weight_bytes)],
      ['steps', String(steps.length)],
      ['loops', DATA.plan.stages.length ? `images go through its stages by ${DATA.plan.stages.join(', ')}` : null],
    ]));
  const show = (name) => {
    const i = buffers.findIndex(([of]) => of === name);
    if (i >= 0) tell(i);
  };
  return {element, show};
}

/** The most bytes of buffers that are live in one step, and the first such step. */
function mostLive(steps, buffers) {
  const change = new Array(steps + 1).fill(0);
  for (const [, size, , first, last] of buffers) {
    change[first] += size;
    change[last + 1] -= size;
  }
  let [live, most, step] = [0, 0, 0];
  change.forEach((by, i) => {
    live += by;
    if (live > most) [most, step] = [live, i];
  });
  return [most, step];
}

function legend() {
  const names = [['conv', 'convolution'], ['group-conv', 'grouped convolution'], ['attention', 'Split-Attention'], ['dense', 'dense'], ['pool', 'pooling'], ['map', 'elementwise'], ['move', 'moved or scratch']];
  return el('p', {class: 'legend'}, names.map(([name, text]) => el('span', {class: `chip ${name}`}, text)));
}
