'use strict';
// Elements, numbers and drawings. Text from the model is always put in as text.

const DATA = JSON.parse(document.getElementById('data').textContent);
const SVG = 'http://www.w3.org/2000/svg';

/** An element with attributes and children; strings become text, what is null or false is left out. */
function el(name, attributes, ...children) {
  return fill(document.createElement(name), attributes, children);
}

function svg(name, attributes, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value);
  }
  element.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

function byId(id) {
  return document.getElementById(id);
}

/** 12345678 as `12.3 M`. */
function count(n) {
  for (const [unit, size] of [['G', 1e9], ['M', 1e6], ['k', 1e3]]) {
    if (n >= size) return `${(n / size).toPrecision(3)} ${unit}`;
  }
  return String(n);
}

function bytes(n) {
  for (const [unit, size] of [['GiB', 2 ** 30], ['MiB', 2 ** 20], ['KiB', 2 ** 10]]) {
    if (n >= size) return `${Number((n / size).toFixed(n / size < 10 ? 2 : 1))} ${unit}`;
  }
  return `${n} B`;
}

function plural(n, word) {
  return `${n} ${word}${n === 1 ? '' : 's'}`;
}

/** A drawing that was laid out by the compiler. `choose` is called with the number of a node's box. */
function draw(scene, boxes, choose) {
  const root = svg('svg', {
    class: 'scene', viewBox: `0 0 ${scene.width} ${scene.height}`, style: `--width: ${scene.width}px`,
  });
  for (const shape of scene.shapes) root.append(drawn(shape, boxes, choose));
  return root;
}

function drawn(shape, boxes, choose) {
  if (shape.line) {
    const ends = shape.ends ? shape.ends.join(' ') : null;
    return svg('path', {class: shape.line, d: shape.path, 'data-ends': ends});
  }
  const [x, y, width, height] = shape.at;
  if (shape.sign) {
    return svg('g', {}, svg('circle', {class: 'sign', cx: x, cy: y, r: 10}),
      svg('text', {class: 'sign-text', x, y: y + 5, 'text-anchor': 'middle'}, shape.sign));
  }
  if (shape.text !== undefined) {
    return svg('text', {class: shape.class, x, y, 'text-anchor': shape.anchor}, shape.text);
  }
  const rect = svg('rect', {class: shape.box, x, y, width, height, rx: shape.box === 'dot' ? height / 2 : Math.min(6, height / 4)});
  if (shape.node === null || !choose) return rect;
  const isSource = shape.box === 'source';
  const label = (isSource ? 'from ' : '') + boxes[shape.node].lines.join(', ');
  const chosen = (event) => {
    if (event.type === 'click' || event.key === 'Enter' || event.key === ' ') {
      event.preventDefault();
      choose(shape.node);
    }
  };
  return svg('g', {
    class: isSource ? 'from' : 'node', [isSource ? 'data-from' : 'data-node']: shape.node, role: 'button', tabindex: 0, 'aria-label': label,
    onclick: chosen, onkeydown: chosen,
  }, rect);
}
