// The Arena's side panel: what the policy of the chosen agent computes, as bars, lines and a picture of its memory.

const MOST_BARS = 7;
const REMEMBERED = 150; // steps in the lines and in the memory's trace
const TRACE_ROWS = 128;

export const element = (tag, attributes = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") made.className = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
};

export const signed = (x, digits = 2) => `${x < 0 ? "−" : "+"}${Math.abs(x).toFixed(digits)}`;
const percent = (thousandths) => (thousandths === 0 ? "0" : thousandths < 10 ? "<1" : String(Math.round(thousandths / 10))) + " %";

export function theme() {
  const style = getComputedStyle(document.body);
  const read = (name, fallback) => style.getPropertyValue(name).trim() || fallback;
  return {
    ink: read("--ink", "#222"), faint: read("--ink-3", "#888"), line: read("--line", "#ddd"),
    panel: read("--panel", "#fff"), s1: read("--s1", "#3b7dd8"), s2: read("--s2", "#d8743b"),
  };
}

const bytes = (text) => Int8Array.from(atob(text), (c) => (c.charCodeAt(0) << 24) >> 24);

function prepared(canvas) {
  const density = window.devicePixelRatio || 1;
  const width = Math.round(canvas.clientWidth * density), height = Math.round(canvas.clientHeight * density);
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  const pen = canvas.getContext("2d");
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.clearRect(0, 0, width, height);
  return { pen, width, height, density };
}

const mix = (a, b, share) => a.map((x, k) => Math.round(x + (b[k] - x) * share));
function parsed(color) {
  const probe = document.createElement("canvas").getContext("2d");
  probe.fillStyle = color;
  const text = probe.fillStyle;
  return [1, 3, 5].map((k) => parseInt(text.slice(k, k + 2), 16) || 0);
}

export class PolicyView {
  constructor(root, setting) {
    this.setting = setting;
    this.which = "hidden";
    this.heads = new Map();
    this.win = element("span", { class: "arena-figure" });
    this.value = element("span", { class: "arena-figure" });
    this.lines = element("canvas", { class: "arena-lines", role: "img" });
    this.actions = element("div", { class: "arena-heads" });
    this.rewards = element("div", { class: "arena-rewards" });
    this.total = element("span", { class: "arena-figure" });
    this.grid = element("canvas", { class: "arena-grid", role: "img", "aria-label": "the LSTM's state, one square per unit" });
    this.trace = element("canvas", { class: "arena-trace", role: "img", "aria-label": "the same over the last steps, one row per unit" });
    this.memoryNote = element("span", { class: "arena-note" });
    this.switches = ["hidden", "cell"].map((which) => element("button", {
      type: "button", class: "arena-chip", "aria-pressed": String(which === this.which),
      onclick: () => { this.which = which; this.press(); this.onchange?.(); },
    }, which === "hidden" ? "output h" : "cell c"));
    this.nothing = element("p", { class: "arena-empty", hidden: true });
    this.body = element("div", { class: "arena-policybody" },
      this.section(setting.scene ? "Value and chance to win" : "Value", this.value, this.win, this.lines),
      this.section("What it will do", this.actions),
      this.section("Reward as it comes", this.total, this.rewards),
      this.section("Memory: the LSTM's state", this.memoryNote, element("span", { class: "arena-switch" }, ...this.switches), this.grid, this.trace),
    );
    root.replaceChildren(this.nothing, this.body);
  }

  press() { this.switches.forEach((button, k) => button.setAttribute("aria-pressed", String(["hidden", "cell"][k] === this.which))); }

  section(title, ...parts) {
    const figures = parts.filter((part) => part.tagName === "SPAN"), rest = parts.filter((part) => part.tagName !== "SPAN");
    return element("section", { class: "arena-section" }, element("header", {}, element("h3", {}, title), ...figures), ...rest);
  }

  // `past` are the frames up to now, the newest last; `nameOf(slot)` names a slot of a target head.
  draw(past, agent, nameOf) {
    const now = past[past.length - 1].agents[agent], trace = now.mind;
    this.nothing.hidden = Boolean(trace);
    this.body.classList.toggle("arena-untraced", !trace);
    if (!trace) this.nothing.textContent = "No policy sits here: this player does not think. Choose another agent, or another opponent.";
    this.drawRewards(past, agent, now);
    if (!trace) return;
    this.value.textContent = `value ${signed(trace.value)}`;
    this.win.textContent = trace.win === undefined || trace.win === null ? "" : `wins ${(100 * trace.win).toFixed(0)} %`;
    this.drawLines(past, agent);
    this.drawHeads(trace, now, nameOf);
    this.drawMemory(past, agent, trace);
  }

  drawLines(past, agent) {
    const { pen, width, height, density } = prepared(this.lines), look = theme();
    const traces = past.slice(-REMEMBERED).map((frame) => frame.agents[agent].mind);
    const wins = traces.some((trace) => typeof trace?.win === "number");
    const values = traces.filter(Boolean).map((trace) => trace.value);
    const most = Math.max(0.5, ...values.map(Math.abs));
    const x = (k) => (k + REMEMBERED - traces.length) / (REMEMBERED - 1) * width;
    const rule = (y, words) => {
      pen.strokeStyle = look.line; pen.lineWidth = density; pen.beginPath(); pen.moveTo(0, y); pen.lineTo(width, y); pen.stroke();
      pen.fillStyle = look.faint; pen.font = `${11 * density}px system-ui, sans-serif`; pen.textBaseline = "bottom"; pen.fillText(words, 2 * density, y - 2 * density);
    };
    const curve = (y, color, read) => {
      pen.strokeStyle = color; pen.lineWidth = 2 * density; pen.lineJoin = "round"; pen.beginPath();
      let drawn = false;
      traces.forEach((trace, k) => {
        if (!trace || typeof read(trace) !== "number" || past.slice(-REMEMBERED)[k].first) drawn = false;
        if (!trace || typeof read(trace) !== "number") return;
        pen[drawn ? "lineTo" : "moveTo"](x(k), y(read(trace)));
        drawn = true;
      });
      pen.stroke();
    };
    const [top, bottom] = wins ? [0.56 * height, 0.97 * height] : [0.06 * height, 0.94 * height];
    rule((top + bottom) / 2, `value 0 (± ${most.toFixed(1)})`);
    curve((v) => (top + bottom) / 2 - v / most * (bottom - top) / 2, look.s1, (trace) => trace.value);
    if (wins) {
      const low = 0.44 * height, high = 0.04 * height;
      rule((low + high) / 2, "wins 50 %");
      curve((p) => low + p * (high - low), look.s2, (trace) => trace.win);
    }
    this.lines.setAttribute("aria-label", `value${wins ? " and win probability" : ""} over the last ${traces.length} steps`);
  }

  drawHeads(trace, now, nameOf) {
    for (const head of this.setting.heads) {
      const found = trace.heads[head.name], view = this.headView(head);
      const possible = found && (found.read || !(found.given >= 0) || this.chance(trace, found.given) > 0);
      view.root.hidden = Boolean(!head.primary && !possible);
      if (view.root.hidden) continue;
      view.root.classList.toggle("arena-unread", Boolean(found && !found.read));
      view.note.textContent = !found ? "does not act now" : found.read ? "" : `if it chose ${this.primaryName(found.given)}`;
      view.fill(found, now.action[head.name], nameOf);
    }
  }

  chance(trace, choice) {
    const primary = this.setting.heads.find((head) => head.primary);
    return trace.heads[primary?.name]?.probs?.[choice] ?? 0;
  }

  primaryName(choice) {
    const primary = this.setting.heads.find((head) => head.primary);
    return primary?.names?.[choice] ?? `action ${choice}`;
  }

  headView(head) {
    if (!this.heads.has(head.name)) {
      const note = element("span", { class: "arena-note" }), box = element("div", { class: "arena-bars" });
      const root = element("div", { class: "arena-head" }, element("h4", {}, HEAD_TITLES[head.name] ?? head.name, note), box);
      const narrow = head.choices > 0 && !head.names && !head.group && head.choices <= 16;
      if (narrow) root.classList.add("arena-narrow");
      const fill = head.choices === 0 ? fillBox(box, head) : narrow ? fillColumns(box, head) : fillBars(box, head);
      this.heads.set(head.name, { root, note, fill });
      this.actions.append(root);
    }
    return this.heads.get(head.name);
  }

  drawRewards(past, agent, now) {
    this.total.textContent = `this game ${signed(now.total)}`;
    const recent = past.slice(-25).map((frame) => frame.agents[agent]);
    if (!this.setting.parts.length) {
      this.rewards.replaceChildren(element("p", { class: "arena-note" }, `last step ${signed(now.reward)}`));
      return;
    }
    const sums = this.setting.parts.map((_, k) => recent.reduce((sum, one) => sum + one.parts[k], 0));
    const rows = this.setting.parts.map((name, k) => ({ name: name.replaceAll("_", " "), step: now.parts[k], recent: sums[k], game: now.sums[k] }));
    const shown = rows.filter((row) => Math.abs(row.game) >= 0.005 || Math.abs(row.recent) >= 0.005).sort((a, b) => Math.abs(b.game) - Math.abs(a.game));
    const most = Math.max(0.2, ...shown.map((row) => Math.abs(row.game)));
    this.rewards.replaceChildren(...(shown.length ? shown.map((row) => {
      const bar = element("i", { class: row.game < 0 ? "arena-minus" : "arena-plus" });
      bar.style.width = `${50 * Math.abs(row.game) / most}%`;
      const fresh = Math.abs(row.step) >= 0.0005 ? signed(row.step, Math.abs(row.step) < 0.01 ? 3 : 2) : "";
      return element("div", { class: "arena-reward" }, element("span", {}, row.name), element("span", { class: "arena-axis" }, bar),
        element("b", {}, signed(row.game)), element("em", { class: row.step < 0 ? "arena-minus" : "arena-plus" }, fresh));
    }) : [element("p", { class: "arena-note" }, "nothing yet in this game")]));
  }

  drawMemory(past, agent, trace) {
    const look = theme(), colors = [parsed(look.s1), parsed(look.panel), parsed(look.s2)];
    const paint = (v) => (v < 0 ? mix(colors[1], colors[0], -v / 127) : mix(colors[1], colors[2], v / 127));
    const state = bytes(trace[this.which]);
    const columns = Math.ceil(Math.sqrt(state.length * 4)), rows = Math.ceil(state.length / columns);
    this.memoryNote.textContent = state.length < this.setting.units ? `${state.length} of ${this.setting.units} units` : `${state.length} units`;
    this.grid.style.aspectRatio = `${columns} / ${rows}`;
    dots(this.grid, columns, rows, (put) => state.forEach((v, k) => put(k % columns, Math.floor(k / columns), paint(v))), true);
    const traces = past.slice(-REMEMBERED).map((frame) => frame.agents[agent].mind);
    const every = Math.max(1, Math.ceil(state.length / TRACE_ROWS)), height = Math.ceil(state.length / every);
    dots(this.trace, REMEMBERED, height, (put) => traces.forEach((one, k) => {
      if (!one) return;
      const then = one === trace ? state : bytes(one[this.which]);
      for (let row = 0; row < height; row++) put(k + REMEMBERED - traces.length, row, paint(then[row * every] ?? 0));
    }), false);
  }
}

const HEAD_TITLES = { primary: "Action", target: "Target", x: "Offset x", y: "Offset y", item: "Item" };

function dots(canvas, columns, rows, fill, gaps) {
  const { pen, width, height } = prepared(canvas);
  const picture = new ImageData(columns, rows);
  fill((x, y, [r, g, b]) => picture.data.set([r, g, b, 255], 4 * (y * columns + x)));
  const small = document.createElement("canvas");
  [small.width, small.height] = [columns, rows];
  small.getContext("2d").putImageData(picture, 0, 0);
  pen.imageSmoothingEnabled = false;
  pen.drawImage(small, 0, 0, width, height);
  if (!gaps || width / columns < 5) return;
  pen.strokeStyle = theme().panel; pen.lineWidth = 1; pen.beginPath();
  for (let k = 1; k < columns; k++) { const x = Math.round(k * width / columns) + 0.5; pen.moveTo(x, 0); pen.lineTo(x, height); }
  for (let k = 1; k < rows; k++) { const y = Math.round(k * height / rows) + 0.5; pen.moveTo(0, y); pen.lineTo(width, y); }
  pen.stroke();
}

// The likeliest choices by name, one bar each, in the order of the choices, so that they do not jump about.
function fillBars(box, head) {
  const rows = Array.from({ length: Math.min(MOST_BARS, head.choices) }, () => {
    const name = element("span"), bar = element("i"), figure = element("b"), root = element("div", { class: "arena-bar" }, name, element("span", { class: "arena-track" }, bar), figure);
    box.append(root);
    return { root, name, bar, figure };
  });
  return (found, taken, nameOf) => {
    const probs = found?.probs ?? [];
    const best = probs.map((p, k) => [p, k]).filter(([p, k]) => p >= 5 || (found.read && k === taken)).sort((a, b) => b[0] - a[0]).slice(0, rows.length).sort((a, b) => a[1] - b[1]);
    rows.forEach((row, k) => {
      row.root.hidden = k >= best.length;
      if (row.root.hidden) return;
      const [p, choice] = best[k];
      row.name.textContent = head.group ? nameOf(choice) : head.names?.[choice] ?? String(choice);
      row.bar.style.width = `${p / 10}%`;
      row.figure.textContent = percent(p);
      row.root.classList.toggle("arena-taken", Boolean(found.read && choice === taken));
    });
  };
}

// Few numbered choices side by side.
function fillColumns(box, head) {
  box.classList.add("arena-columns");
  const columns = Array.from({ length: head.choices }, (_, k) => {
    const bar = element("i"), root = element("span", { class: "arena-column" }, bar, element("small", {}, head.labels?.[k] ?? String(k)));
    box.append(root);
    return { root, bar };
  });
  return (found, taken) => columns.forEach(({ root, bar }, k) => {
    const p = found?.probs?.[k] ?? 0;
    bar.style.height = `${p / 10}%`;
    root.classList.toggle("arena-taken", Boolean(found?.read && k === taken));
    root.title = `${head.labels?.[k] ?? `choice ${k}`}: ${percent(p)}`;
  });
}

// A continuous head: mean and spread of every dimension between the bounds of the box, and what was taken.
function fillBox(box, head) {
  return (found, taken) => box.replaceChildren(...(found?.mean ?? []).map((mean, k) => {
    const low = head.low?.[k] ?? mean - 3 * found.std[k], high = head.high?.[k] ?? mean + 3 * found.std[k];
    const at = (x) => 100 * Math.min(1, Math.max(0, (x - low) / (high - low || 1)));
    const spread = element("i"), mark = element("u");
    spread.style.left = `${at(mean - found.std[k])}%`;
    spread.style.width = `${at(mean + found.std[k]) - at(mean - found.std[k])}%`;
    mark.style.left = `${at(taken?.[k] ?? mean)}%`;
    return element("div", { class: "arena-bar" }, element("span", {}, `${head.name} ${k}`), element("span", { class: "arena-track arena-spread" }, spread, mark),
      element("b", {}, signed(taken?.[k] ?? mean)));
  }));
}
