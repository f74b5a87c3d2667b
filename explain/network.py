"""A policy as a drawing and as a table: every module with its shapes and how many parameters it has.

Everything is read off the modules and the game's spec; a module that this file does not know gets a box all the same,
so that the boxes' parameters always add up to the policy's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import prod

import torch
from gymnasium import spaces
from torch import nn

from quintet.explain.plots.network import Arrow, Box, Drawing, Kind
from quintet.games.api import GameSpec, Target
from quintet.model.config import PolicyConfig
from quintet.model.encoders import Encoder
from quintet.model.entity_sets import EntitySetEncoder
from quintet.model.policy import Policy


def network_drawing(spec: GameSpec, config: PolicyConfig) -> Drawing:
    """The drawing of a policy that nobody has to wait for: its weights are never made."""
    with torch.device("meta"):
        return policy_drawing(Policy(spec, config))


def rows(drawing: Drawing) -> list[tuple[str, Box]]:
    """For a terminal: what has parameters, from input to output; an encoder by the name of its entry."""
    boxes = [(lane[0].title, box) for lane in drawing.lanes for box in lane[1:]]
    boxes += [(box.title, box) for stack in drawing.stacks for box in stack]
    return [(name, box) for name, box in boxes if box.count]


def network_words(drawing: Drawing, units: int) -> tuple[str, str]:
    """What the network's drawing shows."""
    (memory,) = (box for box in drawing.boxes if box.key == "lstm")
    sets = sum(box.title.startswith("one network") for box in drawing.boxes)
    repeated = (
        f"{sets} entries are sets: a box drawn as a stack of cards is one small network, the same weights for "
        "every slot, and the maximum over the slots goes on. "
        if sets
        else ""
    )
    first = (
        f"{drawing.title}. What is seen enters on the left, entry by entry. {repeated}Everything is put side by side, "
        "goes through one layer and into the LSTM; all heads read the LSTM's output."
    )
    second = (
        f"The LSTM has {units:,} units: {units:,} cells and {units:,} outputs for every agent, the same number at "
        f"every step, however long the game is. It holds {memory.count:,} of the parameters ({memory.share:.0%}), "
        f"because each of its four gates is a matrix from the {units:,} outputs of the step before and from what is "
        "seen now. Arrows that are dotted in green carry no gradient back, or a small share of it."
    )
    return first, second


def policy_drawing(policy: Policy) -> Drawing:
    """Boxes and arrows of a policy, meta device or not."""
    return _Sketch(policy).drawing()


def parameters(module: nn.Module) -> int:
    """How many numbers are learned."""
    return sum(p.numel() for p in module.parameters())


def layers(module: nn.Module) -> Iterator[str]:
    """One line for every layer or parameter of its own, in order: `first 25 → 128`."""
    for name, child in module.named_modules():
        label = " ".join(part for part in name.split(".") if part and not part.isdigit())
        if isinstance(child, nn.Linear):
            yield f"{label} {child.in_features:,} → {child.out_features:,}".strip()
        elif isinstance(child, nn.Embedding):
            yield f"{label}: {child.num_embeddings:,} × {child.embedding_dim:,}"
        elif isinstance(child, nn.Conv2d):
            size = "×".join(map(str, child.kernel_size))
            yield f"{label} {child.in_channels} → {child.out_channels}, {size} step {child.stride[0]}"
        else:
            for own, tensor in child.named_parameters(recurse=False):
                path = f"{label} {own}".strip().replace("_", " ")
                yield f"{path} {' × '.join(f'{n:,}' for n in tensor.shape)}"


class _Sketch:
    """The boxes of one policy in the making."""

    def __init__(self, policy: Policy) -> None:
        self.policy, self.spec, self.config = policy, policy.spec, policy.config
        self.total = max(1, parameters(policy))
        self.drawn: set[int] = set()  # parameters that some box has counted
        self.arrows: list[Arrow] = []

    def box(
        self,
        key: str,
        title: str,
        kind: Kind,
        lines: Iterable[str],
        modules: Iterable[nn.Module] = (),
        copies: int = 1,
    ) -> Box:
        """A box that counts the parameters of some modules."""
        owned = [p for module in modules for p in module.parameters()]
        self.drawn.update(map(id, owned))
        count = sum(p.numel() for p in owned)
        note = f"{count:,} parameters, {count / self.total:.1%}" if count else ""
        return Box(
            key=key, title=title, kind=kind, lines=tuple(lines), note=note, count=count, share=count / self.total,
            copies=copies,
        )  # fmt: skip

    def drawing(self) -> Drawing:
        """Everything, from left to right."""
        policy, spec = self.policy, self.spec
        pointed = {s.group for s in spec.action_space.spaces.values() if isinstance(s, Target)}
        entries = sorted(policy.encoders.items(), key=lambda entry: (entry[0] not in pointed, not _is_set(entry[1])))
        lanes = [self._lane(name, encoder, "encoder") for name, encoder in entries]
        lanes.append(self._previous_action())
        joined = len(lanes)
        width = policy.layer.in_features
        bar = Box(key="join", title=f"{width:,} numbers", kind="pool", lines=("side by side, per agent",))
        self.arrows += [Arrow(lane[-1].key, "join") for lane in lanes]
        lanes += [self._lane(name, encoder, "critic") for name, encoder in policy.critic_encoders.items()]
        stacks = [self._before_memory(), self._memory(lanes[joined:]), self._outputs()]
        rest = self._rest()
        if rest is not None:
            stacks[0].append(rest)
        agents = f"{spec.agents_per_team} agents a team" if spec.agents_per_team > 1 else "one agent a team"
        teams = f"{spec.teams} teams of {agents.replace(' a team', '')}" if spec.teams > 1 else agents
        return Drawing(
            title=f"{spec.name}: {self.total:,} parameters, LSTM of {self.config.lstm_units:,} units",
            subtitle=f"{teams}; every agent runs the same weights with a state of its own",
            lanes=lanes,
            joined=joined,
            bar=bar,
            stacks=stacks,
            arrows=self.arrows,
        )

    def _lane(self, name: str, encoder: Encoder | EntitySetEncoder, kind: Kind) -> list[Box]:
        """One entry of the observation: what it is, its encoder, and the maximum over its slots if it is a set."""
        seen = "once for the team" if name in self.spec.team_shared else "for each agent"
        key = f"{kind}/{name}"
        entry = Box(key=f"{key}/in", title=name, kind="input", lines=(_space(self.spec.observation_space[name]), seen))
        self.arrows.append(Arrow(entry.key, key))
        if not isinstance(encoder, EntitySetEncoder):
            lines = list(layers(encoder)) or ["normalise"]
            box = self.box(key, type(encoder).__name__, kind, [*lines, f"out: {encoder.outputs:,}"], [encoder])
            return [entry, box]
        slots, width = (self.spec.observation_space[name].shape or (0,))[0], encoder.second.out_features
        lines = [*self._set_layers(name, encoder), f"out: {slots} × {width:,}"]
        box = self.box(key, f"one network × {slots} slots", kind, lines, [encoder], copies=slots)
        own = [f"and the agent's own slot: {width:,}"] if name in self.spec.own_slots else []
        pool = self.box(f"{key}/max", f"maximum over {slots} slots", "pool", [f"out: {width:,}", *own])
        self.arrows.append(Arrow(key, pool.key))
        return [entry, box, pool]

    def _set_layers(self, name: str, encoder: EntitySetEncoder) -> Iterator[str]:
        """An entity set's layers, with what the plain list cannot say."""
        for line in layers(encoder):
            if line.startswith("related"):
                yield f"{line.replace('related', 'offset and distance')}, per agent"
            elif line.startswith("categories"):
                columns = len(self.spec.set_categories[name])
                yield f"{columns} categorical column{'s' * (columns > 1)}: {line.split(' ', 1)[1]}"
            else:
                yield line

    def _previous_action(self) -> list[Box]:
        previous = self.policy.previous_action
        left_out = [n for n, space in self.spec.action_space.spaces.items() if isinstance(space, Target)]
        told = [f"without {', '.join(left_out)}"] if left_out else []
        entry = Box(key="previous/in", title="previous action", kind="input", lines=("for each agent", *told))
        lines = [*layers(previous), f"out: {previous.outputs:,}"]
        box = self.box("previous", "one-hot or embedded", "encoder", lines, [previous])
        self.arrows.append(Arrow(entry.key, box.key))
        return [entry, box]

    def _before_memory(self) -> list[Box]:
        policy = self.policy
        units, agents = policy.layer.out_features, self.spec.agents_per_team
        lines = [f"{policy.layer.in_features:,} → {units:,}, relu"]
        stack = [self.box("layer", "layer", "layer", lines, [policy.layer])]
        self.arrows.append(Arrow("join", "layer"))
        if policy.pooled_units:
            lines = [f"the first {policy.pooled_units:,} of {units:,}:", f"maximum over the {agents} agents"]
            stack.append(self.box("team", "pool over the team", "pool", lines))
            self.arrows.append(Arrow("layer", "team"))
        self.arrows.append(Arrow(stack[-1].key, "lstm"))
        return stack

    def _memory(self, critic_lanes: list[list[Box]]) -> list[Box]:
        lstm, units = self.policy.lstm, self.config.lstm_units
        lines = [f"input {lstm.inputs:,} → 4 × {units:,}", f"recurrent {units:,} → 4 × {units:,}"]
        lines += [f"state: 2 × {units:,} per agent", f"out: {units:,}"]
        stack = [self.box("lstm", "LSTM", "memory", lines, [lstm])]
        layer = self.policy.critic_layer
        if layer is not None:
            lines = ["LSTM and privileged entries", f"{layer.in_features:,} → {layer.out_features:,}, relu"]
            stack.append(self.box("critic layer", "critic's layer", "critic", lines, [layer]))
            self.arrows += [Arrow("lstm", "critic layer"), Arrow("critic layer", "value")]
            self.arrows += [Arrow(lane[-1].key, "critic layer") for lane in critic_lanes]
        else:
            self.arrows.append(Arrow("lstm", "value"))
        return stack

    def _outputs(self) -> list[Box]:
        """Heads (the primary one first), value, predictions."""
        heads = self.policy.heads
        names = sorted(heads.names, key=lambda name: name != self.spec.primary_head)
        stack = [self._head(name, heads.modules_by_head[heads.names.index(name)]) for name in names]
        lines = [*layers(self.policy.value), "normalised return, per agent"]
        stack.append(self.box("value", "value", "value", lines, [self.policy.value]))
        for (name, wanted), network in zip(self.spec.auxiliary.items(), self.policy.auxiliary.networks, strict=True):
            share = f"{wanted.trunk_gradient:.0%} of its gradient passes" if wanted.trunk_gradient else "stop-gradient"
            kind = {"binary": "yes or no", "categorical": "one of"}[wanted.kind]
            size = prod(self.spec.observation_space[wanted.label].shape or ())
            title = f"predict {name}: {kind} × {size}" if wanted.kind == "binary" else f"predict {name}: {kind} {size}"
            stack.append(self.box(f"auxiliary/{name}", title, "auxiliary", [*layers(network), share], [network]))
            self.arrows.append(Arrow("lstm", f"auxiliary/{name}", "stopped"))
        return stack

    def _head(self, name: str, head: nn.Module) -> Box:
        space, primary, key = self.spec.action_space[name], self.spec.primary_head, f"head/{name}"
        self.arrows.append(Arrow("lstm", key))
        lines = [
            line.replace("given", "added by the action").replace("gate", "gate of the action") for line in layers(head)
        ]
        if isinstance(space, Target):
            self.arrows.append(Arrow(f"encoder/{space.group}", key, "keys"))
            lines.append(f"query · key, over the {space.n} slots of {space.group}")
        elif name == primary:
            lines.append(f"query · embedding, over {_choices(space)}")
        if name != primary and primary is not None:
            self.arrows.append(Arrow(f"head/{primary}", key, "choice"))
            readers = sum(name in read for read in self.spec.reads) if self.spec.reads else None
            if readers is not None:
                lines.append(f"read by {readers} of {len(self.spec.reads)} primary actions")
        return self.box(key, f"{name}: {_choices(space)}", "head", lines, [head])

    def _rest(self) -> Box | None:
        """Whatever no box has counted yet."""
        rest = [(name, p) for name, p in self.policy.named_parameters() if id(p) not in self.drawn]
        if not rest:
            return None
        count = sum(p.numel() for _, p in rest)
        lines = tuple(f"{name} {' × '.join(map(str, p.shape))}" for name, p in rest)
        note = f"{count:,} parameters, {count / self.total:.1%}"
        return Box(key="rest", title="and", kind="layer", lines=lines, note=note, count=count, share=count / self.total)


def _choices(space: spaces.Space[object]) -> str:
    if isinstance(space, spaces.Discrete):
        return f"{space.n} choices"
    numbers = prod(space.shape or ())
    return f"{numbers} number{'s' * (numbers > 1)}"


def _is_set(encoder: nn.Module) -> bool:
    return isinstance(encoder, EntitySetEncoder)


def _space(space: spaces.Space[object]) -> str:
    """An entry's shape: 64 × 26, or what a categorical one may be."""
    if isinstance(space, spaces.Discrete):
        return f"one of {space.n}"
    if isinstance(space, spaces.MultiDiscrete):
        return "one of " + ", ".join(map(str, space.nvec.reshape(-1)))
    return " × ".join(map(str, space.shape or (1,)))
