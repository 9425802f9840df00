// A graph: stages, in them runs of blocks that are alike, in these blocks, and layers.

/** Operators of a block that are named while it is folded. */
const CHIPS = 8;

class View {
  constructor(name, data) {
    this.name = name;
    this.nodes = data.graph.nodes;
    this.graph = data.graph;
    this.boxes = data.boxes;
    this.stages = data.stages;
    this.figures = data.figures;
    this.numbers = new Map(this.nodes.map((node, i) => [node.name, i]));
    this.outputs = new Map(data.graph.outputs.map((output) => [output.value, output.name]));
    this.users = this.nodes.map(() => []);
    this.nodes.forEach((node, i) => new Set(node.operands).forEach((operand) => {
      if (operand !== null) this.users[this.numbers.get(operand)].push(i);
    }));
    this.work = this.boxes.reduce((sum, box) => sum + (box ? box.work : 0), 0);
    /** What must be opened for a node to be seen. */
    this.inside = new Map();
  }

  operators() {
    return this.nodes.filter((node) => node.op !== 'input' && node.op !== 'weight').length;
  }

  workOf(units) {
    return units.flatMap((unit) => unit.nodes).reduce((sum, n) => sum + this.boxes[n].work, 0);
  }

  /** The element that shows all of it. */
  render() {
    const stages = this.stages.map((stage) => this.stage(stage));
    return el('div', {class: 'network'}, stages);
  }

  stage(stage) {
    const units = stage.runs.flat();
    const blocks = units.filter((unit) => unit.nodes.length > 1).length;
    const share = this.work ? this.workOf(units) / this.work : 0;
    const parts = [blocks ? plural(blocks, 'block') : null, plural(units.flatMap((u) => u.nodes).length, 'node'),
      share >= 0.001 ? `${(100 * share).toFixed(1)} % of the multiply-adds` : null].filter(Boolean);
    const head = el('summary', {}, el('span', {class: 'stage-title'}, stage.title), el('span', {class: 'quiet'}, parts.join(' · ')));
    const body = el('div', {class: 'units'});
    const element = el('details', {class: 'stage', open: ''}, head, body);
    for (const run of stage.runs) body.append(this.run(run, [element]));
    return element;
  }

  run(run, around) {
    if (run.length < 3) return el('div', {class: 'units'}, run.map((unit) => this.unit(unit, around)));
    const [first, last] = [run[0], run[run.length - 1]];
    const title = first.name ? `${first.name} – ${last.name}` : 'blocks';
    const head = el('summary', {}, el('span', {class: 'unit-title'}, title), el('span', {class: 'times'}, `×${run.length}`), this.chips(first), this.made(first));
    const body = el('div', {class: 'units'});
    const element = el('details', {class: 'run'}, head, body);
    for (const unit of run) body.append(this.unit(unit, [...around, element]));
    return element;
  }

  unit(unit, around) {
    if (unit.nodes.length === 1) return this.layer(unit.nodes[0], around);
    const head = el('summary', {}, el('span', {class: 'unit-title'}, unit.name || 'block'), this.chips(unit), this.made(unit));
    const body = el('div', {class: 'drawing'});
    const element = el('details', {class: 'block'}, head, body);
    for (const n of unit.nodes) this.inside.set(n, [...around, element]);
    element.addEventListener('toggle', () => this.open(element, unit));
    return element;
  }

  /** Draws a block when it is opened first: networks have hundreds. */
  open(element, unit) {
    const body = element.lastElementChild;
    if (!element.open || body.firstChild) return;
    if (unit.scene) {
      body.append(draw(unit.scene, this.boxes, (n) => go(this.name, this.nodes[n].name)));
    } else {
      body.append(el('p', {class: 'quiet'}, 'Too large to be drawn; its layers in order:'), unit.nodes.map((n) => this.layer(n, null)));
    }
    mark();
  }

  layer(n, around) {
    if (around) this.inside.set(n, around);
    const box = this.boxes[n];
    const [title, ...rest] = box.lines;
    const {name, op} = this.nodes[n];
    const output = this.outputs.get(name);
    return el('button', {
      type: 'button', class: `layer node ${box.class}`, 'data-node': n, onclick: () => go(this.name, name),
    }, el('strong', {}, title), op === 'input' && el('code', {}, name), el('span', {}, rest.join('  ·  ')),
    output !== undefined && el('span', {class: 'times'}, `→ ${output}`));
  }

  /** The operators of a block; those beside the longest way through it stand behind a plus. */
  chips(unit) {
    const beside = new Set(unit.beside);
    const row = (nodes) => nodes.slice(0, CHIPS).map((n) => el('span', {class: `chip ${this.boxes[n].class}`}, this.boxes[n].short));
    const main = unit.nodes.filter((n) => !beside.has(n));
    const more = Math.max(0, main.length - CHIPS) + Math.max(0, beside.size - CHIPS);
    return el('span', {class: 'chips'}, row(main), beside.size > 0 && [el('span', {class: 'quiet'}, '+'), row(unit.beside)],
      unit.shortcut && el('span', {class: 'quiet'}, '+ shortcut'),
      more > 0 && el('span', {class: 'quiet'}, `and ${more} more`));
  }

  made(unit) {
    const {axes} = this.nodes[unit.nodes[unit.nodes.length - 1]].type;
    return el('span', {class: 'made'}, axes.slice(1).join(' × '));
  }

  /** Opens what a node is in, and gives its element. */
  reveal(n, root) {
    for (const around of this.inside.get(n) || []) {
      around.open = true;
      // The event comes too late for what follows.
      around.dispatchEvent(new Event('toggle'));
    }
    return root.querySelector(`[data-node="${n}"]`);
  }
}
