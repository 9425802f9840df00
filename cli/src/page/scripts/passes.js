// What each pass did: a slider over the passes, the nodes that are left, every rewrite, and near misses.

/** Rewrites that are listed at first. */
const LISTED = 60;

function passesTab() {
  const passes = DATA.passes;
  const slider = el('input', {
    type: 'range', min: 0, max: Math.max(0, passes.length - 1), value: 0, id: 'pass', 'aria-label': 'Pass',
    oninput: () => go('passes', passes[slider.value].name),
  });
  const most = Math.max(1, ...passes.flatMap((pass) => [pass.before, pass.after]));
  const bar = (pass) => el('button', {
    type: 'button', class: 'pass-bar', onclick: () => go('passes', pass.name), 'data-pass': pass.name,
  }, el('span', {class: 'pass-name'}, pass.name.replaceAll('_', ' ')),
  el('span', {class: 'bar'}, el('i', {style: `width: ${100 * pass.after / most}%`}), el('b', {style: `width: ${100 * Math.max(0, pass.before - pass.after) / most}%`})),
  el('span', {class: 'number'}, String(pass.after), pass.after < pass.before && el('small', {}, ` −${pass.before - pass.after}`)));
  const chart = el('div', {class: 'pass-bars'}, passes.map(bar));
  const shown = el('div', {class: 'pass', 'aria-live': 'polite'});
  const show = (name) => {
    const at = Math.max(0, passes.findIndex((pass) => pass.name === name));
    slider.value = at;
    for (const row of chart.children) row.classList.toggle('chosen', row.dataset.pass === passes[at].name);
    shown.replaceChildren(...onePass(passes[at]));
  };
  return {element: el('div', {class: 'passes'}, el('p', {class: 'quiet'}, 'Nodes after each pass; drag, or use the arrow keys.'), slider, chart, shown), show};
}

function onePass(pass) {
  const changes = el('ol', {class: 'changes'});
  const more = el('button', {type: 'button', onclick: () => { list(pass.changes.length); more.remove(); }}, `Show all ${pass.changes.length}`);
  const list = (upTo) => changes.replaceChildren(...pass.changes.slice(0, upTo).map(change));
  list(LISTED);
  return [
    el('h2', {}, pass.name.replaceAll('_', ' ')),
    el('p', {}, `${pass.summary[0].toUpperCase()}${pass.summary.slice(1)}.`),
    el('p', {class: 'quiet'}, `${pass.before} → ${plural(pass.after, 'node')} · ${plural(pass.changes.length, 'rewrite')} · nearly fits ${plural(pass.near_misses.length, 'time')}`),
    operatorsOf(pass),
    pass.near_misses.length ? section('Where it nearly fits', el('ul', {class: 'misses'}, pass.near_misses.map(nearMiss))) : null,
    pass.changes.length ? section('Rewrites', changes, pass.changes.length > LISTED && more) : null,
  ].filter(Boolean);
}

function operatorsOf(pass) {
  const [before, after] = pass.operators;
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort();
  const changed = names.filter((name) => before[name] !== after[name]);
  if (!changed.length) return null;
  return el('p', {class: 'chips'}, changed.map((name) => {
    const [from, to] = [before[name] || 0, after[name] || 0];
    return el('span', {class: to > from ? 'chip grown' : 'chip shrunk'}, `${name} ${from} → ${to}`);
  }));
}

function change({at, removed, made, by}) {
  const fused = VIEWS.fused;
  const known = (name) => link(fused.numbers.has(name) ? fused : VIEWS.import, name);
  const list = (nodes) => el('ul', {}, nodes.map(([op, name]) => el('li', {}, el('span', {class: 'op'}, op), ' ', known(name))));
  const operators = (nodes) => nodes.filter(([op]) => op !== 'weight').length;
  const head = `${operators(removed)} → ${operators(made)}`;
  return el('li', {}, el('details', {}, el('summary', {}, el('span', {class: 'times'}, head), ' ', el('code', {}, at)),
    el('div', {class: 'sides'},
      el('div', {}, el('h4', {}, 'removed'), removed.length ? list(removed) : el('p', {class: 'quiet'}, 'nothing')),
      el('div', {}, el('h4', {}, 'made'), made.length ? list(made) : el('p', {class: 'quiet'}, by === null ? 'nothing' : ['nothing: ', known(by), ' is used instead'])))));
}

function nearMiss({place, value, because, from}) {
  const fused = VIEWS.fused;
  return el('li', {}, link(fused.numbers.has(value) ? fused : VIEWS.import, value, place), ': ', because,
    from.length > 1 && el('details', {}, el('summary', {}, plural(from.length, 'ONNX node')), el('ul', {}, from.map((name) => el('li', {}, el('code', {}, name))))));
}
