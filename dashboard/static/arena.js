// The Arena: asks the server for frames, plays them at the speed one likes, and lets one look into an agent's head.

import { MapView } from "./arena_map.js";
import { PolicyView, element, signed } from "./arena_policy.js";
import { sentence, slotName } from "./arena_words.js";

const SPEEDS = [0.25, 0.5, 1, 2, 4, 8, 16];
const PLAIN_STEPS_PER_S = 15; // of games that have no clock of their own
const KEPT = 1500; // frames of a game that goes on
const AHEAD_S = 2.5; // of watching that are fetched before they are needed
const ASKED = 40; // frames at once
const STILL_HERE_MS = 10000;
const AGAIN_MS = 2500;
const EYES = [null, 0, 1];

class Arena {
  constructor(root) {
    this.root = root;
    this.ticket = root.dataset.ticket;
    this.choice = { player: "newest", opponent: "itself", replay: "", greedy: "", seed: "1" };
    for (const [name, value] of new URLSearchParams(location.search)) if (name in this.choice) this.choice[name] = value;
    this.agent = 0;
    this.eyes = 0;
    this.speed = SPEEDS.indexOf(2);
    this.playing = true;
    this.build();
    document.addEventListener("keydown", (event) => this.onKey(event));
    addEventListener("quintet-theme", () => { this.dirty = true; });
    new ResizeObserver(() => { this.dirty = true; }).observe(root);
    setInterval(() => this.stayHere(), STILL_HERE_MS);
    this.open();
    requestAnimationFrame((time) => this.tick(time));
  }

  // ---- what is on the page ----

  build() {
    const select = (name, label) => element("label", {}, label, this[name] = element("select", { onchange: (event) => this.choose(name, event.target.value) }));
    this.greedyBox = element("input", { type: "checkbox", onchange: (event) => this.choose("greedy", event.target.checked ? "1" : "") });
    this.choices = element("div", { class: "arena-choices" },
      select("replay", "Show"), select("player", "Policy"), select("opponent", "Against"),
      element("label", { class: "arena-check", title: "Take the likeliest action instead of a drawn one" }, this.greedyBox, "likeliest action"),
      this.another = element("button", { type: "button", class: "button", onclick: () => this.newGame() }, "New game"));
    this.board = element("div", { class: "arena-board" });
    this.canvas = element("canvas", { class: "arena-map", role: "img", onclick: (event) => this.onClick(event) });
    this.picture = element("img", { class: "arena-picture", alt: "the game's own picture", hidden: true });
    this.curtain = element("div", { class: "arena-curtain", role: "status" }, "starting the game …");
    this.stage = element("div", { class: "arena-stage" }, this.canvas, this.picture, this.curtain);
    const button = (words, label, act) => element("button", { type: "button", class: "arena-button", title: label, "aria-label": label, onclick: act }, words);
    this.playButton = button("", "Play or pause (space)", () => this.toggle());
    this.speedBox = element("select", { "aria-label": "Speed (+ and −)", onchange: (event) => { this.speed = Number(event.target.value); } },
      ...SPEEDS.map((speed, k) => element("option", { value: k }, `× ${speed}`)));
    this.scrub = element("input", { type: "range", min: 0, max: 0, step: 1, value: 0, "aria-label": "Step of the game", oninput: (event) => this.seek(Number(event.target.value)) });
    this.clock = element("span", { class: "arena-clock" });
    this.eyesBox = element("span", { class: "segments" });
    this.transport = element("div", { class: "arena-transport" },
      button("◂", "One step back (←)", () => this.stepBy(-1)), this.playButton, button("▸", "One step on (→)", () => this.stepBy(1)),
      this.speedBox, this.scrub, this.clock, this.eyesBox);
    this.heroes = element("div", { class: "arena-heroes", role: "group", "aria-label": "Whose head to look into (n, p)" });
    this.said = element("p", { class: "arena-said", "aria-live": "polite" });
    this.who = element("div", { class: "arena-who" });
    this.policyRoot = element("div", { class: "arena-policy" });
    this.root.replaceChildren(element("div", { class: "arena-left panel" }, this.choices, this.board, this.stage, this.transport, this.heroes, this.said,
      element("p", { class: "arena-keys" }, ...["space", "play", "← →", "step", "+ −", "speed", "n p", "whose head", "f", "whose eyes"].map((words, k) => element(k % 2 ? "span" : "kbd", {}, words)))),
      element("div", { class: "arena-right panel" }, this.who, this.policyRoot));
    this.showPlaying();
  }

  fillChoices() {
    const { setting, choice } = this;
    const fill = (box, options, value) => {
      if (!options.some(([name]) => name === value)) options.push([value, value]);
      box.replaceChildren(...options.map(([name, words]) => element("option", { value: name, selected: name === value }, words)));
    };
    const live = setting.kind === "live", versions = setting.checkpoints.map((name) => [name, `version ${Number(name)}`]);
    fill(this.replay, [["", "a live game"], ...setting.replays.map((name) => [name, name.replace(/\.replay$/, "")])], choice.replay);
    fill(this.player, [["newest", live ? "newest weights" : "newest checkpoint"], ...versions], choice.player);
    fill(this.opponent, [["itself", "itself"], ...setting.bots.map((name) => [`bot:${name}`, `bot ${name}`]),
      ...(setting.bots.includes("random") ? [] : [["random", "random"]]), ...versions], choice.opponent);
    this.greedyBox.checked = choice.greedy === "1";
    this.opponent.parentElement.hidden = !live || setting.teams < 2;
    this.greedyBox.parentElement.hidden = !live;
    this.another.hidden = !live;
    this.replay.parentElement.hidden = !setting.scene && !setting.replays.length;
  }

  fillEyes() {
    const names = this.setting.scene ? ["all", "blue's eyes", "red's eyes"] : [];
    this.eyesBox.hidden = !names.length;
    this.eyesBox.replaceChildren(...names.map((name, k) => element("button", {
      type: "button", class: "button", title: "What is shown: everything, or what one team sees (f)", "aria-pressed": String(EYES[k] === EYES[this.eyes]),
      onclick: () => { this.eyes = k; this.fillEyes(); this.dirty = true; } }, name)));
  }

  // ---- asking the server ----

  query(more) { return new URLSearchParams({ ticket: this.ticket, ...this.choice, ...more }); }

  async ask(what, more) {
    const response = await fetch(`/arena/${what}?${this.query(more)}`, { cache: "no-store" });
    const answer = await response.json().catch(() => ({ error: `the server answered ${response.status}` }));
    if (answer.error) throw new Error(answer.error);
    return answer;
  }

  async open() {
    const turn = this.turn = {};
    this.setting = null;
    this.frames = [];
    this.base = this.cursor = this.made = 0;
    this.done = this.asking = false;
    this.wanted = null;
    this.drop("starting the game … (it has the lowest priority: beside a busy training this takes a while)");
    try {
      const answer = await this.ask("open", {});
      if (turn !== this.turn) return;
      this.setting = answer.setting;
      this.epoch = answer.epoch;
      this.agent = Math.min(this.agent, this.setting.teams * this.setting.agents - 1);
      this.map = this.setting.scene ? new MapView(this.canvas, this.setting) : null;
      if (this.map) this.map.onready = () => { this.dirty = true; };
      this.policyView = new PolicyView(this.policyRoot, this.setting);
      this.policyView.onchange = () => { this.dirty = true; };
      this.canvas.hidden = !this.map;
      this.picture.hidden = true;
      this.fillChoices();
      this.fillEyes();
      this.more(-1);
    } catch (error) {
      if (turn === this.turn) this.fail(error);
    }
  }

  async more(after) {
    if (this.asking) return;
    this.asking = true;
    const turn = this.turn;
    try {
      const answer = await this.ask("frames", { after, most: this.wanted === null ? ASKED : 4 * ASKED });
      if (turn !== this.turn) return;
      this.lift();
      this.take(answer);
    } catch (error) {
      if (turn === this.turn) this.fail(error);
    } finally {
      if (turn === this.turn) this.asking = false;
    }
  }

  take(answer) {
    if (answer.epoch !== this.epoch) { this.open(); return; } // the game that we watched is over: nobody looked for a while
    this.made = answer.made;
    this.done = answer.done;
    if (!answer.frames.length) return;
    if (!this.frames.length || answer.first !== this.base + this.frames.length) {
      this.frames = [];
      this.base = this.cursor = answer.first;
    }
    this.frames.push(...answer.frames);
    const spare = this.setting.steps === null ? this.frames.length - KEPT : 0;
    if (spare > 0) {
      this.frames.splice(0, spare);
      this.base += spare;
      this.cursor = Math.max(this.cursor, this.base);
    }
    if (this.wanted !== null && this.wanted <= this.last) { this.cursor = this.wanted; this.wanted = null; }
    this.dirty = true;
  }

  // Without a word for half a minute the server takes it that nobody watches.
  stayHere() {
    if (document.hidden || !this.setting || this.asking) return;
    this.ask("frames", { after: this.last, most: 0 }).then((answer) => {
      if (answer.epoch !== this.epoch) this.open();
    }).catch(() => {}); // whoever fetches the next frame will say it
  }

  fail(error) {
    const away = error instanceof TypeError;
    this.drop(away ? "the dashboard does not answer; trying again …" : error.message);
    clearTimeout(this.again);
    if (away || /ask again/.test(error.message)) {
      const turn = this.turn;
      this.again = setTimeout(() => turn === this.turn && (this.setting ? this.more(this.last) : this.open()), AGAIN_MS);
    }
  }

  drop(words) { this.curtain.textContent = words; this.curtain.hidden = false; }
  lift() { this.curtain.hidden = true; }

  // ---- what one does ----

  choose(name, value) {
    this.choice[name] = value;
    if (name === "replay") Object.assign(this.choice, { player: "newest", opponent: "itself" });
    this.open();
  }

  newGame() { this.choice.seed = String(Math.floor(Math.random() * 2 ** 31)); this.open(); }
  toggle() { this.playing = !this.playing; if (this.playing && this.done && this.cursor >= this.last) this.seek(this.base); this.showPlaying(); }
  showPlaying() { this.playButton.textContent = this.playing ? "❚❚" : "►"; }
  stepBy(steps) { this.playing = false; this.showPlaying(); this.seek(Math.floor(this.cursor) + steps); }

  seek(to) {
    if (!this.frames?.length) return;
    const end = this.setting.steps === null ? this.last + 1 : this.setting.steps;
    const target = Math.max(this.base, Math.min(to, end));
    this.wanted = target > this.last ? target : null;
    this.cursor = Math.min(target, this.last);
    this.dirty = true;
  }

  onClick(event) {
    const box = this.canvas.getBoundingClientRect();
    const hero = this.map?.heroAt(event.clientX - box.left, event.clientY - box.top) ?? -1;
    if (hero >= 0) this.pick(hero);
  }

  pick(agent) { this.agent = agent; this.dirty = true; }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input, textarea, select, [contenteditable]")) return;
    if (!this.setting || !this.root.isConnected) return;
    if (event.key === " " && event.target.closest?.("button")) return; // it presses that button
    const count = this.setting.teams * this.setting.agents;
    const acts = {
      " ": () => this.toggle(), ArrowLeft: () => this.stepBy(-1), ArrowRight: () => this.stepBy(1),
      n: () => this.pick((this.agent + 1) % count), p: () => this.pick((this.agent + count - 1) % count),
      f: () => { this.eyes = (this.eyes + 1) % EYES.length; this.fillEyes(); this.dirty = true; },
      "+": () => { this.speed = Math.min(SPEEDS.length - 1, this.speed + 1); }, "-": () => { this.speed = Math.max(0, this.speed - 1); },
    };
    if (!acts[event.key]) return;
    event.preventDefault();
    acts[event.key]();
  }

  // ---- what passes by ----

  get last() { return this.base + this.frames.length - 1; }
  get stepsPerS() { return SPEEDS[this.speed] * (this.setting.scene ? 1 / this.setting.step_s : PLAIN_STEPS_PER_S); }
  frame(number) { return this.frames[number - this.base]; }

  tick(time) {
    if (!this.root.isConnected) return;
    const passed = Math.min(0.25, (time - (this.time ?? time)) / 1000);
    this.time = time;
    if (this.setting && this.frames.length) {
      if (this.playing && this.wanted === null) {
        const before = this.cursor;
        this.cursor = Math.min(this.last, this.cursor + passed * this.stepsPerS);
        if (this.cursor !== before) this.dirty = true;
      }
      const ahead = this.last - this.cursor;
      const needed = this.wanted !== null || (this.playing && ahead < Math.max(2, AHEAD_S * this.stepsPerS)) || ahead < 1;
      if (needed && !this.done && !document.hidden && this.curtain.hidden) this.more(this.last);
      if (this.dirty) this.draw();
    }
    requestAnimationFrame((next) => this.tick(next));
  }

  draw() {
    this.dirty = false;
    const k = Math.floor(this.cursor), share = this.cursor - k, now = this.frame(k), next = share > 0 ? this.frame(k + 1) : null;
    if (!now) return;
    const trace = now.agents[this.agent].mind, moving = next && !next.first;
    if (this.map) {
      this.map.draw(moving ? next : now, moving ? now : this.frame(k - 1), moving ? share : 1,
        { eyes: EYES[this.eyes], hero: this.agent, trace, heads: { x: this.setting.heads.some((head) => head.name === "x") } });
      this.canvas.setAttribute("aria-label", `the map at ${now.scene.clock}: ${now.players[0]} against ${now.players[1]}`);
    } else if (now.picture && this.shownPicture !== now.picture) {
      this.shownPicture = this.picture.src = now.picture;
      this.picture.hidden = false;
    }
    if (this.drawn === now && !this.pickedAnew()) return this.drawTime(now);
    this.drawn = now;
    this.drawBoard(now);
    this.drawHeroes(now);
    this.drawWho(now);
    this.policyView.draw(this.frames.slice(Math.max(0, k - this.base - 160), k - this.base + 1), this.agent, (slot) => this.slotName(now, slot));
    this.drawTime(now);
  }

  // Whether anything but the time has changed since the panels were drawn.
  pickedAnew() {
    const look = `${this.agent} ${this.policyView.which} ${document.documentElement.dataset.theme} ${this.root.clientWidth}`;
    const changed = look !== this.look;
    this.look = look;
    return changed;
  }

  drawTime(now) {
    const end = this.setting.steps ?? Math.max(this.last, 1);
    this.scrub.min = this.base;
    this.scrub.max = end;
    if (document.activeElement !== this.scrub || this.playing) this.scrub.value = this.wanted ?? Math.floor(this.cursor);
    this.speedBox.value = this.speed;
    const thinking = this.wanted === null ? "" : ` · working on it, ${Math.round(100 * (this.last - this.base) / Math.max(1, this.wanted - this.base))} %`;
    this.clock.textContent = `${now.scene ? now.scene.clock : `step ${now.step}`}${this.setting.steps ? ` / ${this.time_of(this.setting.steps)}` : ""}${thinking}`;
    const said = `${this.setting.game} · ${now.players.join(" against ")} · ${now.origin}${this.setting.kind === "live" ? ` · game ${now.game + 1}` : ""}`
      + (!this.map && !now.picture ? " · this game draws no picture" : "");
    if (this.said.textContent !== said) this.said.textContent = said;
  }

  time_of(steps) {
    const s = Math.floor(steps * this.setting.step_s);
    return `${Math.floor(s / 60)}:${String(s % 60).padStart(2, "0")}`;
  }

  drawBoard(now) {
    const { scene } = now, per = this.setting.agents, colors = this.setting.scene?.colors.teams;
    const total = (team) => now.agents.slice(team * per, (team + 1) * per).reduce((sum, agent) => sum + agent.total, 0) / per;
    const side = (team) => element("div", { class: `arena-side arena-side${team % 2}` },
      element("b", { style: colors ? `color: rgb(${colors[team].join(",")})` : "" }, now.players[team] ?? ""),
      element("span", {}, scene ? `towers ${scene.score[team].towers} of ${scene.towers} · worth ${scene.score[team].worth.toLocaleString("en")}`
        : `${this.setting.team_names[team]} · return ${signed(total(team))}`));
    const kills = (team) => element("strong", {}, String(scene.score[team].kills));
    const middle = scene ? [kills(0), element("span", { class: "arena-time" }, scene.clock, element("small", {}, scene.over || "kills")), kills(1)]
      : [element("span", { class: "arena-time" }, now.last ? "over" : String(now.step), element("small", {}, now.last ? `game ${now.game + 1}` : "step"))];
    const worth = scene ? scene.score.map((score) => score.worth) : null;
    const balance = element("div", { class: "arena-balance", title: "share of what both teams are worth" });
    if (worth) {
      balance.style.background = `linear-gradient(90deg, rgb(${colors[0].join(",")}) ${100 * worth[0] / Math.max(1, worth[0] + worth[1])}%, rgb(${colors[1].join(",")}) 0)`;
    }
    const sides = [...Array(this.setting.teams).keys()];
    this.board.replaceChildren(side(0), element("div", { class: "arena-middle" }, ...middle), ...sides.slice(1).map(side), ...(worth ? [balance] : []));
  }

  drawHeroes(now) {
    const count = this.setting.teams * this.setting.agents;
    if (this.heroes.childElementCount !== count || this.heroesOf !== this.setting) {
      this.heroesOf = this.setting;
      this.heroes.replaceChildren(...Array.from({ length: count }, (_, k) => element("button", { type: "button", class: "arena-chip", onclick: () => this.pick(k) },
        element("i"), element("span"), element("small"), element("u", {}, element("s")))));
      this.heroes.style.setProperty("--columns", this.setting.agents > 1 ? this.setting.agents : this.setting.teams);
      this.heroes.hidden = count === 1;
    }
    [...this.heroes.children].forEach((chip, k) => {
      const hero = now.scene?.heroes[k], team = Math.floor(k / this.setting.agents), color = this.setting.scene?.colors.teams[team];
      chip.setAttribute("aria-pressed", String(k === this.agent));
      chip.children[0].style.background = color ? `rgb(${color.join(",")})` : `var(--s${1 + team % 8})`;
      chip.children[1].textContent = hero ? this.setting.scene.archetypes[hero.archetype] : this.agentName(k);
      chip.children[2].textContent = hero ? (hero.back_s > 0 ? `back in ${Math.ceil(hero.back_s)} s` : hero.kda.join("/")) : signed(now.agents[k].total, 1);
      chip.children[3].hidden = !hero;
      if (hero) chip.children[3].firstChild.style.width = `${100 * hero.health[0] / Math.max(1, hero.health[1])}%`;
      chip.classList.toggle("arena-dead", Boolean(hero && hero.back_s > 0));
    });
  }

  slotName(now, slot) { return slotName(this.setting, this.map, now, this.agent, slot); }

  agentName(k) {
    const team = Math.floor(k / this.setting.agents), name = this.setting.team_names[team] ?? `team ${team}`;
    return this.setting.agents > 1 ? `${name} ${k % this.setting.agents}` : name;
  }

  drawWho(now) {
    const agent = now.agents[this.agent], hero = now.scene?.heroes[this.agent], team = Math.floor(this.agent / this.setting.agents);
    const title = hero ? this.setting.scene.archetypes[hero.archetype] : this.setting.teams * this.setting.agents > 1 ? this.agentName(this.agent) : "The agent";
    const color = this.setting.scene?.colors.teams[team];
    const meter = (words, [have, most], kind) => {
      const bar = element("i"), full = element("span", { class: `arena-meter arena-${kind}`, title: words }, bar, element("small", {}, `${have} / ${most}`));
      bar.style.width = `${100 * have / Math.max(1, most)}%`;
      return full;
    };
    const items = hero?.items.filter((item) => item >= 0).map((item) => this.setting.scene.items[item]) ?? [];
    this.who.replaceChildren(
      element("h2", {}, element("i", { class: "arena-dot", style: color ? `background: rgb(${color.join(",")})` : "" }), title,
        element("small", {}, `${hero ? `level ${hero.level} · ` : ""}${now.players[team] ?? ""}`)),
      ...(hero ? [element("div", { class: "arena-meters" }, meter("health", hero.health, "health"), meter("mana", hero.mana, "mana")),
        element("p", { class: "arena-note" }, `${hero.gold} gold · ${hero.last_hits} last hits${items.length ? ` · carries ${items.join(", ")}` : ""}`)] : []),
      element("p", { class: "arena-does" }, sentence(this.setting, now, this.agent, (slot) => this.slotName(now, slot))));
  }
}

// NiceGUI puts the element in when its page is ready.
const started = new WeakSet();
function start() {
  const root = document.getElementById("arena");
  if (root && !started.has(root)) { started.add(root); new Arena(root); }
}
new MutationObserver(start).observe(document.documentElement, { childList: true, subtree: true });
start();
