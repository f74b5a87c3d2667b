"""Weights as bytes: a round trip, precision on the way, and refusal of whatever does not fit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import Tensor

from quintet.model.policy import Policy
from quintet.model.weights import encode_weights, load_masters, load_weights
from quintet.wire.errors import DecodeError
from quintet.wire.link import EncodedWeights, Precision
from tests.support.policy_factory import every_kind, make_policy, plain, random_rows

SPEC = plain()
OTHER: dict[Precision, Precision] = {"float32": "bfloat16", "bfloat16": "float32"}


def published(policy: Policy) -> EncodedWeights:
    return encode_weights(policy, version=3, agent_steps=500, spec_hash="abc")


def payload_of(policy: Policy) -> bytes:
    return published(policy).payload


def contents(policy: Policy) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in policy.state_dict().items()}


def assert_refused(payload: bytes, match: str, spec_policy: Policy | None = None) -> None:
    """The bytes are refused in words, and the policy is what it was."""
    policy = spec_policy or make_policy(SPEC, seed=1)
    before = contents(policy)
    with pytest.raises(DecodeError, match=match):
        load_weights(policy, replace(published(policy), payload=payload))
    assert all(torch.equal(before[name], tensor) for name, tensor in policy.state_dict().items())


def changed(change: Callable[[dict[str, Tensor]], object]) -> bytes:
    tensors = load(payload_of(make_policy(SPEC)))
    change(tensors)
    return save(tensors)


def test_a_round_trip_gives_the_same_policy() -> None:
    spec = every_kind()
    one, other, rows = make_policy(spec, seed=0), make_policy(spec, seed=1), random_rows(spec, 8)
    one.update_input_statistics(rows.observation, rows.previous_action, torch.ones(7, 3, 2, dtype=torch.bool))
    one.returns.update(torch.tensor([1.0, 5.0]), decay=0.9, value_head=one.value)
    load_weights(other, published(one))
    assert contents(one).keys() == contents(other).keys()
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in contents(one).items())
    assert torch.equal(rows.unroll(one).value, rows.unroll(other).value)


def test_the_header_says_what_it_was_told_and_the_payloads_hash() -> None:
    weights = encode_weights(make_policy(SPEC), version=3, agent_steps=500, spec_hash="abc")
    assert (weights.version, weights.agent_steps, weights.spec_hash) == (3, 500, "abc")
    assert weights.sha256 == hashlib.sha256(weights.payload).hexdigest()


def test_encoding_does_not_disturb_the_policy_that_learns() -> None:
    policy = make_policy(SPEC, precision="bfloat16")
    before = contents(policy)
    payload_of(policy)
    assert all(torch.equal(before[name], tensor) for name, tensor in policy.state_dict().items())
    assert all(p.dtype == torch.float32 and p.requires_grad for p in policy.parameters())


def test_bfloat16_products_travel_as_bfloat16_and_statistics_value_head_and_the_rest_as_float32() -> None:
    policy = make_policy(every_kind(), precision="bfloat16")
    tensors = load(payload_of(policy))
    exact = {n for n, t in tensors.items() if t.dtype == torch.float32}
    rounded = {n for n, t in tensors.items() if t.dtype == torch.bfloat16}
    assert exact | rounded == tensors.keys()
    assert {"value.weight", "value.bias", "returns.scale", "returns.mean"} <= exact
    assert {n for n in tensors if ".normalizer." in n or "log_std" in n or "tables" in n} <= exact
    assert {"lstm.gates.weight", "lstm.gates.bias", "layer.weight"} <= rounded
    full = sum(t.numel() * 4 for t in policy.state_dict().values())
    assert len(payload_of(policy)) < 0.7 * full


def test_a_worker_that_loads_bfloat16_computes_what_the_optimizers_float32_master_does() -> None:
    spec = every_kind()
    master, worker = make_policy(spec, precision="bfloat16"), make_policy(spec, seed=1, precision="bfloat16")
    load_weights(worker, published(master))
    rows = random_rows(spec, 8)
    torch.testing.assert_close(rows.unroll(worker).value, rows.unroll(master).value)


def test_weights_of_the_other_number_format_are_refused_with_both_names(precision: Precision) -> None:
    other = OTHER[precision]
    policy = make_policy(SPEC, precision=precision)
    before = contents(policy)
    says = f"computed in {other}, but model.precision is {precision} here"
    with pytest.raises(DecodeError, match=says):
        load_weights(policy, published(make_policy(SPEC, precision=other)))
    with pytest.raises(DecodeError, match=says):
        load_masters(policy, save(make_policy(SPEC).state_dict()), other)
    assert policy.precision == precision
    assert all(torch.equal(before[name], tensor) for name, tensor in policy.state_dict().items())


def test_a_policy_that_leaves_it_open_computes_in_the_format_of_its_weights(precision: Precision) -> None:
    spec = every_kind()
    rows, master = random_rows(spec, 8), make_policy(spec, precision=precision)
    worker, evaluated = (make_policy(spec, seed=1, precision="auto") for _ in range(2))
    assert worker.precision == "float32", "and in f32 before, whatever this machine prefers"
    load_weights(worker, published(master))
    load_masters(evaluated, save(master.state_dict()), precision)
    for policy in (worker, evaluated):
        assert policy.precision == precision
        assert policy.value.compute_dtype == torch.float32
        assert torch.equal(rows.unroll(policy).value, rows.unroll(master).value)


def test_a_header_that_lies_about_the_number_format_is_refused(precision: Precision) -> None:
    """Or f32 numbers would be cast on the way to a product, and the policy would not be the one that is trained."""
    policy = make_policy(SPEC, precision=precision)
    lie = replace(published(policy), payload=payload_of(make_policy(SPEC, precision=OTHER[precision])))
    with pytest.raises(DecodeError, match=f"is torch.{OTHER[precision]}, expected torch.{precision}"):
        load_weights(policy, lie)


def test_a_checkpoint_of_before_formats_were_written_down_is_loaded_as_configured(precision: Precision) -> None:
    policy = make_policy(SPEC, seed=1, precision=precision)
    load_masters(policy, save(make_policy(SPEC).state_dict()), "")
    assert policy.precision == precision


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_one_number_that_is_not_finite_is_refused(value: float) -> None:
    assert_refused(changed(lambda t: t["lstm.gates.weight"][3, 2].fill_(value)), "lstm.gates.weight holds NaN or inf")


def test_a_missing_and_an_additional_tensor_are_refused_by_name() -> None:
    assert_refused(changed(lambda t: t.pop("layer.bias")), "'layer.bias' is on one side only")
    assert_refused(changed(lambda t: t.update(extra=torch.zeros(2))), "'extra' is on one side only")


def test_weights_from_before_images_had_statistics_play_as_they_did_and_go_on_so() -> None:
    spec = every_kind()
    old, policy, rows = make_policy(spec), make_policy(spec, seed=1), random_rows(spec, 8)
    seen = (rows.observation, rows.previous_action, torch.ones(7, 3, 2, dtype=torch.bool))
    policy.update_input_statistics(*seen)
    image = f"encoders.{policy.entries.index('image')}.normalizer."
    tensors = {name: tensor for name, tensor in load(payload_of(old)).items() if not name.startswith(image)}
    load_weights(policy, replace(published(old), payload=save(tensors)))
    assert torch.equal(rows.unroll(policy).value, rows.unroll(old).value)
    policy.update_input_statistics(*seen)
    assert torch.equal(policy.state_dict()[f"{image}mean"], torch.zeros(3))
    some = {**tensors, f"{image}mean": torch.zeros(3)}
    assert_refused(save(some), f"'{image}count' is on one side only", make_policy(spec, seed=1))


def test_another_shape_or_dtype_is_refused_by_name() -> None:
    assert_refused(changed(lambda t: t.update({"value.bias": torch.zeros(2)})), r"value.bias has shape \[2\], expected")
    assert_refused(changed(lambda t: t.update({"value.bias": t["value.bias"].half()})), "value.bias is torch.float16")
    assert_refused(changed(lambda t: t.update({"value.bias": t["value.bias"].int()})), "value.bias is torch.int32")


def test_weights_of_another_size_or_game_are_refused() -> None:
    assert_refused(payload_of(make_policy(SPEC, lstm_units=16)), "has shape")
    assert_refused(payload_of(make_policy(every_kind())), "on one side only")


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_truncated_or_overwritten_bytes_are_refused_or_harmless_but_nothing_else(data: st.DataObject) -> None:
    payload = payload_of(make_policy(SPEC))
    header_bytes = 8 + int.from_bytes(payload[:8], "little")
    if data.draw(st.booleans()):
        bad = payload[: data.draw(st.integers(0, len(payload) - 1))]
    else:
        at = data.draw(st.integers(0, header_bytes - 1))
        piece = data.draw(st.binary(min_size=1, max_size=8))
        bad = payload[:at] + piece + payload[at + len(piece) :]
    policy = make_policy(SPEC, seed=1)
    before = contents(policy)
    try:
        load_weights(policy, replace(published(policy), payload=bad))
    except DecodeError:
        assert all(torch.equal(before[name], tensor) for name, tensor in policy.state_dict().items())


@pytest.mark.parametrize("dtype", ["F8_E4M3", "C64", "F4", "I64", "nonsense"])
def test_a_header_that_declares_a_strange_dtype_is_refused(dtype: str) -> None:
    payload = payload_of(make_policy(SPEC))
    n = int.from_bytes(payload[:8], "little")
    header = json.loads(payload[8 : 8 + n])
    header["value.bias"]["dtype"] = dtype
    text = json.dumps(header).encode()
    assert_refused(len(text).to_bytes(8, "little") + text + payload[8 + n :], "weights")
