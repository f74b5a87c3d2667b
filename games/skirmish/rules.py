"""Every number of the game, as tables that people can read; `tables.py` turns them into arrays for the engine.

Health, mana and damage are in points, times in seconds, distances in units (a map cell is 100 units), percentages of
100. Nothing here depends on a team: the map is symmetric under a turn by 180 degrees, and so is everything else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

TICK_S = 0.1
FRAME_SKIP = 4
STEP_S = TICK_S * FRAME_SKIP
CELL = 100.0  # units
POINT = 100  # the engine counts health, mana and damage in hundredths of a point, as integers

OFFSETS = 9  # a move or a cast goes to own position + (offset - 4) x OFFSET_STEP, on each axis
OFFSET_STEP = 150.0
ITEM_SLOTS = 4
ABILITY_SLOTS = 3
HEALTH_HISTORY = 4  # steps
PICKUP_RANGE = 200.0
DASH_STOPS_SHORT = 80.0  # of a unit that it goes to
BASE_RADIUS = 700.0  # around a core: where heroes heal, buy and come back to life
FOUNTAIN_REGEN_PCT_S = 8.0  # of the maximum, health and mana, in the own base
FOUNTAIN_DAMAGE_S = 60.0  # to enemy heroes within FOUNTAIN_RANGE of a standing core
FOUNTAIN_RANGE = 300.0
EXPERIENCE_RANGE = 1000.0
DENY_BELOW_PCT = 50
DENY_EXPERIENCE_PCT = 50  # of a creep's, for the enemies of who denies it
ASSIST_S = 8.0  # who has hurt a hero within this time shares in the kill
REVEAL_S = 1.0  # a hero who attacks from the dark is seen for this long

# What an action may be. Abilities follow, one for each row of ABILITIES: `use` of the action is its index.
NO_OP, MOVE, ATTACK, PICK_UP, USE_ITEM, BUY_ITEM, RETREAT = range(7)
FIRST_ABILITY = 7
PRIMARY_NAMES = ("no-op", "move", "attack", "pick up", "use item", "buy item", "retreat")

# Modifiers: what may be on a unit for a time. The amount is in percent, or points for SHIELD, or points/s for REGEN.
STUN, SLOW, SHIELD, HASTE, POWER, REGEN = range(6)
MODIFIER_NAMES = ("stun", "slow", "shield", "haste", "power", "regen")

# Kinds of units, as observed. Heroes have their archetype on top.
HERO, MELEE_CREEP, RANGED_CREEP, TOWER, CORE, NEUTRAL, BOSS = range(7)
UNIT_NAMES = ("hero", "melee creep", "ranged creep", "tower", "core", "neutral", "boss")

# Pickups: what lies on the river.
RUNE_HASTE, RUNE_POWER, RUNE_REGEN, RUNE_BOUNTY = range(4)
RUNE_NAMES = ("haste", "power", "regen", "bounty")
RUNE_FIRST_S, RUNE_PERIOD_S = 30.0, 60.0
RUNE_MODIFIERS = {RUNE_HASTE: (HASTE, 50, 15.0), RUNE_POWER: (POWER, 60, 15.0), RUNE_REGEN: (REGEN, 25, 12.0)}
RUNE_BOUNTY_GOLD = 80


@dataclass(frozen=True, kw_only=True, slots=True)
class Hero:
    """An archetype. `_level` is what every level beyond the first adds."""

    name: str
    health: float
    health_level: float
    mana: float
    mana_level: float
    regen: float  # points/s
    mana_regen: float
    damage: float
    damage_level: float
    armor_pct: int  # of damage that is not taken
    attack_range: float
    attack_period_s: float
    speed: float  # units/s
    vision: float
    abilities: tuple[str, str, str]


# fmt: off
HEROES: tuple[Hero, ...] = (
    Hero(name="tank", health=780, health_level=75, mana=220, mana_level=20, regen=3.0, mana_regen=1.6, damage=46,
        damage_level=3.5, armor_pct=24, attack_range=150, attack_period_s=1.3, speed=310, vision=1000,
        abilities=("ground slam", "iron skin", "bull rush")),
    Hero(name="carry", health=560, health_level=45, mana=200, mana_level=18, regen=1.6, mana_regen=1.2, damage=50,
        damage_level=6.0, armor_pct=12, attack_range=500, attack_period_s=1.1, speed=310, vision=1000,
        abilities=("power shot", "quick step", "battle trance")),
    Hero(name="burst caster", health=500, health_level=40, mana=320, mana_level=35, regen=1.4, mana_regen=2.4,
        damage=42, damage_level=2.5, armor_pct=8, attack_range=500, attack_period_s=1.4, speed=300, vision=1000,
        abilities=("fire bolt", "flame ring", "meteor")),
    Hero(name="healer", health=540, health_level=45, mana=320, mana_level=30, regen=1.8, mana_regen=2.4, damage=40,
        damage_level=2.5, armor_pct=10, attack_range=450, attack_period_s=1.4, speed=305, vision=1000,
        abilities=("mend", "aegis", "sanctuary")),
    Hero(name="controller", health=540, health_level=45, mana=300, mana_level=28, regen=1.6, mana_regen=2.2,
        damage=41, damage_level=2.5, armor_pct=10, attack_range=450, attack_period_s=1.4, speed=305, vision=1000,
        abilities=("root bolt", "frost field", "time stop")),
    Hero(name="assassin", health=580, health_level=48, mana=240, mana_level=22, regen=1.8, mana_regen=1.6,
        damage=54, damage_level=4.5, armor_pct=14, attack_range=150, attack_period_s=1.1, speed=330, vision=1000,
        abilities=("shadow strike", "vanishing step", "execute")),
)
# fmt: on


@dataclass(frozen=True, kw_only=True, slots=True)
class Ability:
    """What a cast does. With a radius it reaches everybody around its centre, else its target alone.

    `enemy` and `ally` need a unit of that side (an ally may be the caster); `point` an offset; `self` nothing.
    A point beyond the range is drawn in to it. Damage, stun and slow are for enemies, buildings left out; heal, shield,
    haste and power for allies: heroes, and creeps within a radius. A dash takes the caster towards the centre, at most
    that far and not through walls; centre and reach are judged from where everybody stood before. Damage and healing
    grow by `level_pct` percent a level, and with the items' `ability_pct`; damage also with the power modifier.
    """

    name: str
    aim: Literal["enemy", "ally", "point", "self"]
    mana: float
    cooldown_s: float
    range: float = 0.0
    radius: float = 0.0
    level: int = 1  # of the hero, from which it may be cast
    level_pct: int = 12
    damage: float = 0.0
    heal: float = 0.0
    stun_s: float = 0.0
    slow_pct: int = 0
    slow_s: float = 0.0
    shield: float = 0.0
    shield_s: float = 0.0
    haste_pct: int = 0
    haste_s: float = 0.0
    power_pct: int = 0
    power_s: float = 0.0
    dash: float = 0.0


# fmt: off
ABILITIES: tuple[Ability, ...] = (
    Ability(name="ground slam", aim="self", mana=70, cooldown_s=9, radius=320, damage=70, slow_pct=30, slow_s=2.0),
    Ability(name="iron skin", aim="self", mana=60, cooldown_s=14, shield=160, shield_s=6.0),
    Ability(name="bull rush", aim="enemy", mana=110, cooldown_s=32, range=600, level=4, damage=120, stun_s=1.6,
        dash=600 ),
    Ability(name="power shot", aim="enemy", mana=75, cooldown_s=8, range=750, damage=105),
    Ability(name="quick step", aim="point", mana=50, cooldown_s=12, range=600, dash=400),
    Ability(name="battle trance", aim="self", mana=100, cooldown_s=40, level=4, haste_pct=20, haste_s=8.0,
        power_pct=50, power_s=8.0),
    Ability(name="fire bolt", aim="enemy", mana=80, cooldown_s=7, range=650, damage=120),
    Ability(name="flame ring", aim="point", mana=95, cooldown_s=10, range=600, radius=260, damage=100),
    Ability(name="meteor", aim="point", mana=170, cooldown_s=45, range=700, radius=320, level=4, damage=240,
        stun_s=0.8 ),
    Ability(name="mend", aim="ally", mana=75, cooldown_s=7, range=650, heal=130),
    Ability(name="aegis", aim="ally", mana=80, cooldown_s=12, range=650, shield=150, shield_s=6.0, haste_pct=15,
        haste_s=3.0 ),
    Ability(name="sanctuary", aim="self", mana=160, cooldown_s=45, radius=550, level=4, heal=220, shield=80,
        shield_s=5.0 ),
    Ability(name="root bolt", aim="enemy", mana=85, cooldown_s=11, range=600, damage=70, stun_s=1.4),
    Ability(name="frost field", aim="point", mana=90, cooldown_s=12, range=650, radius=280, damage=60, slow_pct=45,
        slow_s=3.0),
    Ability(name="time stop", aim="point", mana=170, cooldown_s=50, range=600, radius=300, level=4, damage=100,
        stun_s=2.2 ),
    Ability(name="shadow strike", aim="enemy", mana=70, cooldown_s=9, range=500, damage=85, slow_pct=35, slow_s=2.0),
    Ability(name="vanishing step", aim="point", mana=65, cooldown_s=13, range=550, dash=500, haste_pct=20, haste_s=2.0),
    Ability(name="execute", aim="enemy", mana=120, cooldown_s=38, range=300, level=4, damage=280, dash=300),
)
# fmt: on


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """Passive numbers count while it is carried; one with a cooldown can be used, and is gone then if `consumed`."""

    name: str
    cost: int
    damage: float = 0.0
    health: float = 0.0
    mana: float = 0.0
    armor_pct: int = 0
    speed: float = 0.0
    attack_speed_pct: int = 0
    regen: float = 0.0
    mana_regen: float = 0.0
    lifesteal_pct: int = 0
    ability_pct: int = 0
    cooldown_s: float = 0.0
    consumed: bool = False
    heal_s: float = 0.0  # used: a REGEN modifier of `heal_per_s` for so long
    heal_per_s: float = 0.0
    mana_now: float = 0.0  # used: mana at once
    shield: float = 0.0  # used: a SHIELD for shield_s
    shield_s: float = 0.0
    haste_pct: int = 0  # used: HASTE for haste_s
    haste_s: float = 0.0


# fmt: off
ITEMS: tuple[Item, ...] = (
    Item(name="salve", cost=90, cooldown_s=1.0, consumed=True, heal_s=8.0, heal_per_s=30),
    Item(name="clarity", cost=50, cooldown_s=1.0, consumed=True, mana_now=120),
    Item(name="swift boots", cost=350, speed=45, cooldown_s=20, haste_pct=25, haste_s=4.0),
    Item(name="long blade", cost=450, damage=18),
    Item(name="claws", cost=500, attack_speed_pct=30),
    Item(name="plate vest", cost=450, health=220, armor_pct=4),
    Item(name="sage ring", cost=400, mana=150, mana_regen=2.0, regen=1.5),
    Item(name="vampire fang", cost=600, damage=8, lifesteal_pct=18),
    Item(name="ember staff", cost=550, ability_pct=25, mana=80),
    Item(name="ward amulet", cost=550, armor_pct=6, cooldown_s=25, shield=180, shield_s=5.0),
)
# fmt: on

LEVEL_EXPERIENCE = (0, 120, 280, 480, 720, 1000, 1320, 1680, 2080, 2520)  # to reach level 1, 2 ... 10
START_GOLD = 250
PASSIVE_GOLD_S = 1.5
RESPAWN_S, RESPAWN_LEVEL_S = 6.0, 1.5
KILL_GOLD, KILL_GOLD_LEVEL = 100, 15  # shared: half to the killer, half among all who assisted
KILL_EXPERIENCE, KILL_EXPERIENCE_LEVEL = 80, 25  # shared among enemy heroes near by and the killer


@dataclass(frozen=True, kw_only=True, slots=True)
class Body:
    """A unit that is no hero."""

    health: float
    damage: float
    armor_pct: int = 0
    attack_range: float = 150
    attack_period_s: float = 1.0
    speed: float = 0.0
    vision: float = 600
    gold: int = 0  # to who strikes last
    team_gold: int = 0  # to each hero of the other team
    experience: int = 0  # shared among enemy heroes near by


# fmt: off
BODIES: dict[int, Body] = {
    MELEE_CREEP: Body(health=220, damage=14, attack_range=120, speed=260, gold=38, experience=34),
    RANGED_CREEP: Body(health=150, damage=20, attack_range=450, speed=260, gold=48, experience=42),
    TOWER: Body(health=700, damage=60, armor_pct=10, attack_range=650, attack_period_s=1.0, vision=950, gold=80,
        team_gold=80, experience=0),
    CORE: Body(health=1000, damage=0, armor_pct=10, attack_range=0, vision=950),
    NEUTRAL: Body(health=380, damage=24, attack_range=150, speed=260, gold=45, experience=45),
    BOSS: Body(health=3000, damage=75, armor_pct=25, attack_range=250, attack_period_s=1.2, speed=230, vision=500,
        gold=150, team_gold=100, experience=200),
}
# fmt: on
BOSS_POWER_PCT, BOSS_POWER_S = 30, 60.0  # on every living hero of the team that slays it
WAVE_MELEE, WAVE_RANGED = 3, 1
WAVE_FIRST_S, WAVE_PERIOD_S = 5.0, 20.0
CREEP_GROWTH_PCT = 6  # health and damage of a wave, for every minute of the game before it
CREEP_AGGRO, NEUTRAL_AGGRO, NEUTRAL_LEASH = 500.0, 250.0, 500.0
NEUTRAL_ANGER_S = 3.0  # for so long neutrals and the boss pursue who has struck one of them
NEUTRAL_REGEN_PCT_S = 8  # of their full health, while they have no target
CAMP_RESPAWN_S, BOSS_FIRST_S, BOSS_RESPAWN_S = 60.0, 60.0, 120.0
SIEGE_PCT_MIN = 60  # what buildings take grows by this percentage of the damage for every minute of the game
TOWER_HERO_FOCUS_S = 1.5  # for so long a tower prefers a hero who has struck an allied hero within its range


@dataclass(frozen=True, kw_only=True, slots=True)
class Preset:
    """A size of the game."""

    name: str
    heroes: int  # of a team
    lanes: int
    tiers: int  # towers a lane and team
    cells: int  # the map is a square of so many cells
    creeps: int  # the most that a team has at a time
    camps: int  # on each side of the river, of two neutrals each
    limit_s: float  # the game ends here, a draw: a rule, since every hero sees the clock
    slots: int  # of the unit set that a team observes


# fmt: off
PRESETS: dict[str, Preset] = {
    "skirmish-1v1": Preset(name="skirmish-1v1", heroes=1, lanes=1, tiers=2, cells=44, creeps=12, camps=1,
        limit_s=360.0, slots=28 ),
    "skirmish-3v3": Preset(name="skirmish-3v3", heroes=3, lanes=3, tiers=2, cells=64, creeps=30, camps=2,
        limit_s=480.0, slots=56 ),
    "skirmish-5v5": Preset(name="skirmish-5v5", heroes=5, lanes=3, tiers=2, cells=72, creeps=30, camps=2,
        limit_s=600.0, slots=64 ),
}
# fmt: on
# The core can be hurt once, on `CORE_OPENS_LANES` lanes, every tower of its team has fallen.
CORE_OPENS_LANES = 1

# Rewards: what one unit of a component is worth to the hero (arXiv 1912.06680, appendix on rewards, for the shape).
# `team` components are given to every hero of the team.
REWARDS: dict[str, float] = {
    "win": 5.0,  # team, at the end; minus for who lost
    "kill": 0.3,
    "death": -1.0,
    "assist": 0.15,
    "last_hit": 0.06,
    "deny": 0.06,
    "gold": 0.001,  # per gold gained, passive gold left out
    "experience": 0.001,
    "health": 1.0,  # change of the shaped health share h(x) = (x + 1 - (1 - x)^4) / 2
    "mana": 0.3,  # change of the mana share
    "tower_health": 3.0,  # team, per share of an enemy tower's health taken
    "tower": 1.5,  # team, per enemy tower that falls
    "core_health": 6.0,  # team
    "boss": 1.0,  # team
    "hero_damage": 0.5,  # per share of an enemy hero's full health taken
    "advance": 0.3,  # change of the way to the enemy: 0 in the base or dead, 1 from half way to its core on
}
REWARD_NAMES = tuple(REWARDS)
TIME_SCALE, TIME_SCALE_S = 0.6, 600.0  # all but `win` shrink by this factor every so many seconds
