// The Arena's map: draws one scene of skirmish on a canvas, with what a chosen hero aims at.
// Shapes, colours and the ground come from the server: they are those of `games/skirmish/frame*.py`.

const HERO = 0, RANGED = 2, TOWER = 3, CORE = 4, NEUTRAL = 5, BOSS = 6;
const [NUMBER, KIND, TEAM, X, Y, HEALTH, ALIVE, SEEN, VISION, FACE_X, FACE_Y, MODIFIERS] = [...Array(12).keys()];
const WHITE = "244,244,240", BLACK = "12,14,18";
const HERO_RADIUS = 10.5; // on a map 640 wide
const FOG = 0.56;
const FACTOR_LIKELY = 0.01, FACTOR_WRITTEN = 0.05;

const rgb = (color, alpha = 1) => `rgba(${color[0]},${color[1]},${color[2]},${(color[3] ?? 255) / 255 * alpha})`;

export class MapView {
  constructor(canvas, setting) {
    this.canvas = canvas;
    this.pen = canvas.getContext("2d");
    this.set = setting.scene;
    this.team = setting.scene.colors.teams;
    this.fog = document.createElement("canvas");
    this.places = new Map();
    this.ground = new Image();
    this.ground.onload = () => this.onready?.();
    this.ground.src = this.set.ground;
  }

  // Which unit a hero (of both teams) is.
  unitOf(h) { return h < this.set.heroes ? h : h - this.set.heroes + this.set.block; }
  heroOf(u) {
    if (u < this.set.heroes) return u;
    const h = u - this.set.block;
    return h >= 0 && h < this.set.heroes ? h + this.set.heroes : -1;
  }

  // The hero near a place of the canvas, in CSS pixels; -1 where there is none.
  heroAt(x, y) {
    let best = -1, nearest = 22;
    for (const [u, place] of this.places) {
      const far = Math.hypot(place[0] / this.density - x, place[1] / this.density - y);
      if (this.heroOf(u) >= 0 && far < nearest) [best, nearest] = [this.heroOf(u), far];
    }
    return best;
  }

  // `now` and `before` are frames; `share` is how much of the step between them has passed.
  draw(now, before, share, { eyes, hero, trace, heads }) {
    this.density = window.devicePixelRatio || 1;
    const side = Math.round(this.canvas.clientWidth * this.density);
    if (!side) return;
    if (this.canvas.width !== side) this.canvas.width = this.canvas.height = side;
    this.side = side;
    this.scale = side / (2 * this.set.half);
    this.u = side / 640 * (this.set.heroes < 3 ? 1.15 : 1) * (side / this.density < 480 ? 1.25 : 1);
    this.eyes = eyes;
    this.scene = now.scene;
    const standing = new Map(now.scene.units.map((unit) => [unit[NUMBER], unit]));
    this.units = standing;
    this.place(now.scene.units, before?.scene, share);
    this.drawGround();
    this.drawPickups();
    if (trace) this.drawMoves(hero, trace, heads);
    this.drawAttacks();
    const shown = now.scene.units.filter((unit) => this.sees(unit));
    for (const unit of shown) if (unit[KIND] === TOWER || unit[KIND] === CORE) this.drawBuilding(unit);
    for (const unit of shown) if (![HERO, TOWER, CORE].includes(unit[KIND])) this.drawCreature(unit);
    if (eyes !== null) this.drawGhosts(1 - eyes);
    if (before) for (const cast of now.scene.casts) this.drawCast(cast, 1 - 0.6 * share);
    if (trace) this.drawTargets(hero, trace, now.slots);
    for (const unit of shown) if (unit[KIND] === HERO && unit[ALIVE]) this.drawHero(unit, hero);
    for (const fallen of now.scene.fell) this.drawFallen(fallen);
  }

  at(x, y) { return [(x + this.set.half) * this.scale, (this.set.half - y) * this.scale]; }

  place(units, old, share) {
    this.places.clear();
    const was = new Map((old?.units ?? []).map((unit) => [unit[NUMBER], unit]));
    for (const unit of units) {
      const from = was.get(unit[NUMBER]);
      let [x, y] = [unit[X], unit[Y]];
      const walked = from && from[ALIVE] && from[KIND] === unit[KIND] && Math.hypot(x - from[X], y - from[Y]) < 1000;
      if (walked && share < 1) [x, y] = [from[X] + share * (x - from[X]), from[Y] + share * (y - from[Y])];
      this.places.set(unit[NUMBER], this.at(x, y));
    }
    const heroes = units.filter((unit) => unit[KIND] === HERO && unit[ALIVE] && this.sees(unit));
    const apart = HERO_RADIUS * 1.5 * this.u;
    for (let round = 0; round < 8; round++) {
      heroes.forEach((a, k) => heroes.slice(k + 1).forEach((b) => {
        const p = this.places.get(a[NUMBER]), q = this.places.get(b[NUMBER]);
        let dx = q[0] - p[0], dy = q[1] - p[1];
        const distance = Math.hypot(dx, dy);
        if (distance >= apart) return;
        const push = 0.25 * (apart - distance) / Math.max(distance, 1);
        if (distance < 1) [dx, dy] = [Math.cos(a[NUMBER] + b[NUMBER]), Math.sin(a[NUMBER] + b[NUMBER])];
        p[0] -= push * dx; p[1] -= push * dy; q[0] += push * dx; q[1] += push * dy;
      }));
    }
  }

  sees(unit) {
    if (this.eyes === null || unit[KIND] === TOWER || unit[KIND] === CORE) return true;
    return unit[TEAM] === this.eyes || Boolean(unit[SEEN] >> this.eyes & 1);
  }

  drawGround() {
    const { pen, side } = this;
    if (this.ground.complete && this.ground.naturalWidth) pen.drawImage(this.ground, 0, 0, side, side);
    else { pen.fillStyle = "rgb(40,50,42)"; pen.fillRect(0, 0, side, side); }
    if (this.eyes === null) return;
    const small = this.fog.width = this.fog.height = Math.ceil(side / 4);
    const fog = this.fog.getContext("2d");
    fog.fillStyle = `rgba(${BLACK},${FOG})`;
    fog.fillRect(0, 0, small, small);
    fog.globalCompositeOperation = "destination-out";
    for (const unit of this.units.values()) {
      if (!unit[ALIVE] || unit[TEAM] !== this.eyes) continue;
      const [x, y] = this.places.get(unit[NUMBER]).map((v) => v / 4), r = unit[VISION] * this.scale / 4;
      const light = fog.createRadialGradient(x, y, r * 0.93, x, y, r * 1.02);
      light.addColorStop(0, "rgba(0,0,0,1)");
      light.addColorStop(1, "rgba(0,0,0,0)");
      fog.fillStyle = light;
      fog.beginPath(); fog.arc(x, y, r * 1.02, 0, 7); fog.fill();
    }
    pen.drawImage(this.fog, 0, 0, side, side);
  }

  disc([x, y], r, fill, line, width = 1) {
    const { pen } = this;
    pen.beginPath(); pen.arc(x, y, Math.max(r, 0), 0, 7);
    if (fill) { pen.fillStyle = fill; pen.fill(); }
    if (line) { pen.strokeStyle = line; pen.lineWidth = width * this.u; pen.stroke(); }
  }

  shape(outline, [x, y], r, fill, line) {
    const { pen } = this;
    pen.beginPath();
    outline.forEach(([px, py], k) => pen[k ? "lineTo" : "moveTo"](x + r * px, y + r * py));
    pen.closePath();
    pen.fillStyle = fill; pen.fill();
    if (line) { pen.strokeStyle = line; pen.lineWidth = this.u; pen.stroke(); }
  }

  line(from, to, color, width, dash = []) {
    const { pen } = this;
    pen.beginPath(); pen.moveTo(...from); pen.lineTo(...to);
    pen.strokeStyle = color; pen.lineWidth = width * this.u; pen.lineCap = "round";
    pen.setLineDash(dash.map((d) => d * this.u)); pen.stroke(); pen.setLineDash([]);
  }

  bar(x, y, width, height, share, color) {
    const { pen, u } = this;
    pen.fillStyle = `rgba(${BLACK},.86)`;
    pen.fillRect(x - u, y - u, width + 2 * u, height + 2 * u);
    pen.fillStyle = color;
    pen.fillRect(x, y, width * Math.min(1, Math.max(0, share)), height);
  }

  text([x, y], words, size, color = `rgb(${WHITE})`) {
    const { pen } = this;
    pen.font = `600 ${Math.round(size * this.u)}px system-ui, sans-serif`;
    pen.textAlign = "center"; pen.textBaseline = "middle"; pen.lineJoin = "round";
    pen.strokeStyle = `rgba(${BLACK},.9)`; pen.lineWidth = 2.6 * this.u; pen.strokeText(words, x, y);
    pen.fillStyle = color; pen.fillText(words, x, y);
  }

  color(unit, alpha = 1) { return rgb(this.team[Math.min(unit[TEAM], 2)], alpha); }

  health(unit, width, above, height = 3, color = rgb(this.set.colors.health)) {
    const [x, y] = this.places.get(unit[NUMBER]);
    this.bar(x - width / 2, y - above, width, height * this.u, unit[HEALTH] / 1000, color);
  }

  drawPickups() {
    this.scene.pickups.forEach((kind, k) => {
      const place = this.at(...this.set.pickups[k]), { runes } = this.set.colors;
      this.disc(place, 7 * this.u, `rgba(${BLACK},.47)`, `rgba(${WHITE},.24)`);
      if (kind >= 0) this.shape(this.set.shapes.other, place, 6.5 * this.u, rgb(runes[kind % runes.length]), `rgb(${BLACK})`);
    });
  }

  drawAttacks() {
    for (const [a, b] of this.scene.attacks) {
      const from = this.units.get(a), to = this.units.get(b);
      if (!from || !to || !this.sees(from) || !this.sees(to)) continue;
      const heavy = [HERO, TOWER, BOSS].includes(from[KIND]);
      this.line(this.places.get(a), this.places.get(b), this.color(from, heavy ? 0.82 : 0.5), heavy ? 1.8 : 1);
    }
  }

  drawBuilding(unit) {
    const core = unit[KIND] === CORE, place = this.places.get(unit[NUMBER]);
    const r = (core ? 13 : 9) * this.u, outline = core ? this.set.shapes.core : this.set.shapes.tower;
    if (!unit[ALIVE]) { this.shape(outline, place, r * 0.7, "rgba(160,160,160,.27)", `rgba(${BLACK},.47)`); return; }
    this.shape(outline, place, r, this.color(unit), `rgb(${BLACK})`);
    if (core) this.disc(place, 5 * this.u, `rgb(${WHITE})`);
    this.health(unit, 2.4 * r, r + 6 * this.u);
  }

  drawCreature(unit) {
    const place = this.places.get(unit[NUMBER]);
    if (unit[KIND] === BOSS) {
      this.disc(place, 12 * this.u, this.color(unit), `rgb(${BLACK})`, 1.5);
      this.shape(this.set.shapes.boss, place, 8 * this.u, rgb(this.set.colors.boss));
      this.health(unit, 28 * this.u, 18 * this.u);
      return;
    }
    const r = ({ [RANGED]: 3, [NEUTRAL]: 4.5 }[unit[KIND]] ?? 3.8) * this.u;
    this.disc(place, r, this.color(unit), `rgb(${BLACK})`);
    if (unit[KIND] === RANGED) this.disc(place, 1.2 * this.u, `rgb(${BLACK})`);
    if (unit[HEALTH] < 1000) this.health(unit, 9 * this.u, r + 4 * this.u, 2);
  }

  drawHero(unit, chosen) {
    const { u, set } = this, h = this.heroOf(unit[NUMBER]), hero = this.scene.heroes[h];
    const place = this.places.get(unit[NUMBER]), r = HERO_RADIUS * u, [x, y] = place;
    if (h === chosen) this.disc(place, r + 5 * u, `rgba(${WHITE},.16)`, `rgba(${WHITE},.95)`, 1.6);
    let ring = 0;
    set.colors.modifiers.forEach((color, k) => {
      if (unit[MODIFIERS] >> k & 1) this.disc(place, r + (2.5 + 2.2 * ring++) * u, null, rgb(color), 1.6);
    });
    const tip = [x + 1.5 * r * unit[FACE_X] / 100, y - 1.5 * r * unit[FACE_Y] / 100];
    this.line(place, tip, `rgb(${WHITE})`, 2);
    this.disc(place, r, this.color(unit), `rgb(${WHITE})`, 1.2);
    this.shape(set.glyphs[hero.archetype], place, 0.68 * r, `rgb(${BLACK})`);
    const foe = this.eyes !== null && unit[TEAM] !== this.eyes, width = 26 * u, top = r + 9 * u;
    this.health(unit, width, top, 4, foe ? "rgb(255,96,80)" : rgb(set.colors.health));
    this.bar(x - width / 2, y - top + 4.8 * u, width, 2 * u, hero.mana[0] / Math.max(1, hero.mana[1]), rgb(set.colors.mana));
    const badge = [x + 0.85 * r, y + 0.85 * r];
    this.disc(badge, 5.6 * u, `rgba(${BLACK},.9)`);
    this.text(badge, String(hero.level), 8.5);
  }

  drawGhosts(team) {
    for (let h = team * this.set.heroes; h < (team + 1) * this.set.heroes; h++) {
      const unit = this.units.get(this.unitOf(h)), last = this.scene.heroes[h].last_seen;
      if (!unit || !unit[ALIVE] || this.sees(unit) || !last) continue;
      const place = this.at(last[0], last[1]);
      this.disc(place, 9 * this.u, this.color(unit, 0.24), `rgba(${WHITE},.43)`);
      this.text(place, `${last[2]}s`, 8.5, `rgba(${WHITE},.8)`);
    }
  }

  drawCast([u, , x, y, radius, harms], strength) {
    const unit = this.units.get(u);
    if (unit && !this.sees(unit)) return;
    const color = harms ? this.set.colors.harm : this.set.colors.help, end = this.at(x, y), r = radius * this.scale;
    if (unit) this.line(this.places.get(u), end, rgb(color, 0.9 * strength), 2.6);
    this.disc(end, Math.max(r, 14 * this.u), r ? rgb(color, 0.24 * strength) : null, rgb(color, 0.94 * strength), 1.8);
  }

  drawFallen([, , team, x, y]) {
    const [px, py] = this.at(x, y), r = 9 * this.u;
    for (const [color, width] of [[`rgb(${BLACK})`, 6], [rgb(this.team[Math.min(team, 2)]), 3]]) {
      this.line([px - r, py - r], [px + r, py + r], color, width);
      this.line([px - r, py + r], [px + r, py - r], color, width);
    }
  }

  // Where the chosen hero would walk: the product of both offset heads, as dots around it.
  drawMoves(h, trace, heads) {
    const hx = trace.heads.x, hy = trace.heads.y, place = this.places.get(this.unitOf(h));
    if (!hx?.probs || !hy?.probs || !place || !hx.read || !heads.x) return;
    const { count, step } = this.set.offsets, turned = h >= this.set.heroes ? -1 : 1, half = (count - 1) / 2;
    const most = Math.max(...hx.probs) * Math.max(...hy.probs);
    for (let i = 0; i < count; i++) for (let j = 0; j < count; j++) {
      const p = hx.probs[i] * hy.probs[j];
      if (p < most * 0.02) continue;
      const dx = turned * (i - half) * step * this.scale, dy = turned * (j - half) * step * this.scale;
      this.disc([place[0] + dx, place[1] - dy], (1.5 + 5 * Math.sqrt(p / most)) * this.u, `rgba(${WHITE},${0.12 + 0.5 * p / most})`);
    }
  }

  // Whom the chosen hero would aim at: an arc around every candidate as long as its probability.
  drawTargets(h, trace, slots) {
    const head = trace.heads.target, own = this.places.get(this.unitOf(h));
    if (!head?.probs || !own || !slots) return;
    if (!head.read && !(trace.heads.primary?.probs?.[head.given] > 0)) return;
    const bright = head.read ? 1 : 0.5, team = h < this.set.heroes ? 0 : 1;
    head.probs.forEach((thousandths, k) => {
      const p = thousandths / 1000, u = slots[team][k], unit = this.units.get(u), place = this.places.get(u);
      if (p < FACTOR_LIKELY || !unit || !place || !this.sees(unit)) return;
      const r = (unit[KIND] === HERO ? 15 : unit[KIND] === BOSS ? 16 : unit[KIND] >= TOWER && unit[KIND] <= CORE ? 15 : 8.5) * this.u;
      this.line(own, place, `rgba(255,236,150,${bright * (0.15 + 0.6 * p)})`, 0.8 + 2 * p, head.read ? [] : [4, 5]);
      this.disc(place, r, null, `rgba(${BLACK},.55)`, 3.4);
      this.pen.beginPath();
      this.pen.arc(...place, r, -Math.PI / 2, -Math.PI / 2 + 2 * Math.PI * p);
      this.pen.strokeStyle = `rgba(255,236,150,${0.4 + 0.6 * bright})`;
      this.pen.lineWidth = 3 * this.u;
      this.pen.stroke();
      if (p >= FACTOR_WRITTEN) this.text([place[0], place[1] + r + 7 * this.u], `${Math.round(100 * p)}%`, 9.5, `rgba(255,240,170,${bright})`);
    });
  }
}
