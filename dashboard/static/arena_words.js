// What an agent of the Arena does, in words. `setting` is the game's, `now` one frame, `k` the agent's number.

import { signed } from "./arena_policy.js";

export function sentence(setting, now, k, nameOfSlot) {
  const agent = now.agents[k], hero = now.scene?.heroes[k];
  if (hero?.back_s > 0) return `waits to come back, ${hero.back_s.toFixed(0)} s`;
  if (now.last) return "the game is over";
  if (!agent.acting) return hero ? "cannot act now" : "waits for its turn";
  const primary = setting.heads.find((head) => head.primary) ?? setting.heads[0], chosen = agent.action[primary.name];
  const name = primary.names?.[chosen];
  if (!name) return primary.choices ? `takes choice ${chosen}` : `chooses ${[chosen].flat().map((x) => signed(x)).join(", ")}`;
  const read = (head) => agent.mind?.heads[head]?.read ?? false;
  if (read("target")) return `${name} → ${nameOfSlot(agent.action.target)}`;
  if (read("item")) return `${name} → ${setting.heads.find((head) => head.name === "item")?.names?.[agent.action.item]}`;
  return name;
}

// What stands in a slot of the unit table, as this agent would call it; `map` is null where the game draws itself.
export function slotName(setting, map, now, k, slot) {
  const team = Math.floor(k / setting.agents), number = now.slots?.[team]?.[slot];
  if (number === undefined || number < 0 || !map) return `slot ${slot}`;
  const hero = map.heroOf(number);
  if (hero >= 0) {
    const name = setting.scene.archetypes[now.scene.heroes[hero].archetype];
    return hero === k ? "itself" : Math.floor(hero / setting.agents) === team ? `own ${name}` : `enemy ${name}`;
  }
  const unit = now.scene.units.find((one) => one[0] === number);
  return unit ? `${unit[2] === team ? "own " : unit[2] === 1 - team ? "enemy " : ""}${setting.scene.kinds[unit[1]]}` : `unit ${number}`;
}
