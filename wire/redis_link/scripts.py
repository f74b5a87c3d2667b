"""One Lua script per atomic act on a run's keys; `memory_link` says the same in Python.

Rules that all of them keep:

* What is counted moves in the script that counts it, so the conservation law holds whatever is killed in between.
* Free before counting. A full Redis refuses a script whose *first* write needs memory, and lets any later one pass.
  So `push` begins with its XADD and is refused whole, while `ack`, `reject`, `deregister` and the rest begin by
  deleting something, and work on a full Redis too.
* Numbers that were computed are written with `whole`, since Lua would turn 1e15 into text as "1e+15".
* KEYS are the keys that a script writes; those that it only reads come in ARGV. EVAL demands of its caller the right
  to write every one of its KEYS, and no worker may write the run's limits (see `quintet.wire.redis_link.acl`).
* They run on Redis 6.2 and 7 and on Valkey. `replicate_commands` is what lets 6.2 write after TIME, and what
  `set_repl` needs there; later servers always work that way.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from quintet.wire.redis_link.keys import CLOSED_INCARNATION_TTL_S


@dataclass(frozen=True, slots=True)
class Script:
    """A script's text and the hash under which Redis keeps it."""

    text: str
    sha1: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha1", hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest())


# ---- What scripts begin with ----

_PRELUDE = """
if redis.replicate_commands then redis.replicate_commands() end

local function whole(number)
  return string.format('%.0f', number)
end
"""

# Steps of an incarnation that will never come: those between what `produced` holds already and what the worker closed.
_LOSE_TAIL = """
local function lose_tail(incarnation, counters, cumulative)
  local tail = cumulative - tonumber(redis.call('HGET', incarnation, 'accounted') or 0)
  if tail <= 0 then return 0 end
  redis.call('HINCRBY', counters, 'produced', whole(tail))
  redis.call('HINCRBY', counters, 'lost', whole(tail))
  redis.call('HSET', incarnation, 'accounted', whole(cumulative))
  return tail
end
"""

_FREE_AND_COUNT = """
-- Acknowledge and delete one entry; returns whether it was there, and its steps and bytes as push counted them.
local function free(chunks, sizes, group, id)
  local size = redis.call('HGET', sizes, id)
  redis.call('XACK', chunks, group, id)
  local was_there = redis.call('XDEL', chunks, id) == 1
  redis.call('HDEL', sizes, id)
  if not size then return was_there, 0, 0 end
  local steps, bytes = string.match(size, '(%d+) (%d+)')
  return was_there, tonumber(steps), tonumber(bytes)
end

local function count(counters, changes)
  for name, change in pairs(changes) do
    if change ~= 0 then redis.call('HINCRBY', counters, name, whole(change)) end
  end
end
"""

# An optimizer acts for the run only with the newest fencing token. A larger one than is stored was issued before Redis
# lost its last second; `holder` tells it from the same number issued again after that.
_FENCE = """
local function fence(lease, token, holder)
  local known = redis.call('HMGET', lease, 'token', 'holder', 'owner')
  local mine, newest = tonumber(token), tonumber(known[1] or 0)
  if mine > newest or (mine == newest and holder == (known[2] or '')) then return nil end
  return {'fenced', newest, known[3] or ''}
end
"""

# `worker/<n>` is how a worker is called among the heartbeats.
_CLOSE = (
    _LOSE_TAIL
    + f"""
local function close(incarnation, number, workers, heartbeats, counters, cumulative)
  local known = redis.call('HMGET', incarnation, 'worker', 'reported')
  if not known[1] then return 0 end
  if redis.call('HGET', workers, known[1]) == number then
    redis.call('HDEL', workers, known[1])
    redis.call('HDEL', heartbeats, 'worker/' .. known[1])
  end
  local lost = lose_tail(incarnation, counters, math.max(cumulative, tonumber(known[2])))
  redis.call('HSET', incarnation, 'closed', 1)
  redis.call('EXPIRE', incarnation, {CLOSED_INCARNATION_TTL_S})
  return lost
end
"""
)


# ---- The chunk stream ----

PUSH = Script(
    _PRELUDE
    + _LOSE_TAIL
    + """
-- KEYS: chunks, sizes, counters, then each chunk's incarnation
-- ARGV: key of the limits, then sequence, cumulative steps, steps and payload of each chunk
-- Returns {status, chunks that are safe}: 'ok', 'not_open', or 'closed' for the chunk after those.
local chunks, sizes, counters = KEYS[1], KEYS[2], KEYS[3]
local bound = redis.call('HMGET', ARGV[1], 'max_queued_steps', 'max_queue_bytes')
if not bound[1] then return {'not_open', 0} end
local max_steps, max_bytes = tonumber(bound[1]), tonumber(bound[2])
local queued = redis.call('HMGET', counters, 'in_flight', 'queued_bytes')
local queued_steps, queued_bytes = tonumber(queued[1] or 0), tonumber(queued[2] or 0)
local empty = redis.call('XLEN', chunks) == 0
local new_steps, new_bytes = 0, 0
local status, n_safe = 'ok', 0
for i = 1, #KEYS - 3 do
  local incarnation, at = KEYS[3 + i], 4 * i - 3
  local sequence, cumulative, payload = ARGV[at + 1], tonumber(ARGV[at + 2]), ARGV[at + 4]
  local steps = tonumber(ARGV[at + 3])
  local known = redis.call('HMGET', incarnation, 'sequence', 'accounted', 'closed', 'worker')
  if not known[1] or known[3] then
    if known[3] then lose_tail(incarnation, counters, cumulative) end
    status = 'closed'
    break
  end
  if tonumber(sequence) > tonumber(known[1]) then
    local fits = queued_steps + new_steps + steps <= max_steps and queued_bytes + new_bytes + #payload <= max_bytes
    if not (fits or empty) then break end
    local id = redis.call('XADD', chunks, '*', 'chunk', payload)
    redis.call('HSET', sizes, id, table.concat({ARGV[at + 3], #payload, known[4], incarnation, sequence}, ' '))
    lose_tail(incarnation, counters, cumulative - steps)
    local accounted = math.max(tonumber(known[2]), cumulative)
    redis.call('HSET', incarnation, 'sequence', sequence, 'accounted', whole(accounted))
    new_steps, new_bytes, empty = new_steps + steps, new_bytes + #payload, false
  end
  n_safe = i
end
if new_steps > 0 then
  redis.call('HINCRBY', counters, 'produced', whole(new_steps))
  redis.call('HINCRBY', counters, 'in_flight', whole(new_steps))
  redis.call('HINCRBY', counters, 'queued_bytes', new_bytes)
end
return {status, n_safe}
""",
)

HAS_ROOM = Script(
    """
-- ARGV: keys of limits, chunks and counters; steps, bytes. Returns 1 or 0, -1 where the run is not open.
local bound = redis.call('HMGET', ARGV[1], 'max_queued_steps', 'max_queue_bytes')
if not bound[1] then return -1 end
-- A full Redis would refuse the push. While it is handled a chunk lies in memory about three times.
local memory = redis.call('INFO', 'memory')
local maxmemory = tonumber(string.match(memory, 'maxmemory:(%d+)'))
local used = tonumber(string.match(memory, 'used_memory:(%d+)')) + 3 * tonumber(ARGV[5]) + 65536
if maxmemory > 0 and used > maxmemory then return 0 end
if redis.call('XLEN', ARGV[2]) == 0 then return 1 end
local queued = redis.call('HMGET', ARGV[3], 'in_flight', 'queued_bytes')
local steps = tonumber(queued[1] or 0) + tonumber(ARGV[4])
local bytes = tonumber(queued[2] or 0) + tonumber(ARGV[5])
return (steps <= tonumber(bound[1]) and bytes <= tonumber(bound[2])) and 1 or 0
""",
)

ACK = Script(
    _PRELUDE
    + _FENCE
    + _FREE_AND_COUNT
    + """
-- KEYS: chunks, sizes, counters, optimizer lease
-- ARGV: token, holder, group, then id, trained, stale and rejected steps of each ack
-- Returns {'ok', counters, entries}; {'unbalanced', id, steps} if one does not add up, or {'fenced', newest, owner}:
-- then nothing was done.
local refused = fence(KEYS[4], ARGV[1], ARGV[2])
if refused then return refused end
local chunks, sizes, counters, group = KEYS[1], KEYS[2], KEYS[3], ARGV[3]
for i = 4, #ARGV, 4 do
  local size = redis.call('HGET', sizes, ARGV[i])
  local steps = size and tonumber(string.match(size, '%d+'))
  local sum = tonumber(ARGV[i + 1]) + tonumber(ARGV[i + 2]) + tonumber(ARGV[i + 3])
  if steps and steps ~= sum then return {'unbalanced', ARGV[i], steps} end
end
local changes = {trained = 0, stale = 0, rejected = 0, in_flight = 0, queued_bytes = 0}
for i = 4, #ARGV, 4 do
  local _, steps, bytes = free(chunks, sizes, group, ARGV[i])
  if steps > 0 then
    changes.trained = changes.trained + tonumber(ARGV[i + 1])
    changes.stale = changes.stale + tonumber(ARGV[i + 2])
    changes.rejected = changes.rejected + tonumber(ARGV[i + 3])
    changes.in_flight = changes.in_flight - steps
    changes.queued_bytes = changes.queued_bytes - bytes
  end
end
count(counters, changes)
return {'ok', redis.call('HGETALL', counters), redis.call('XLEN', chunks)}
""",
)

REJECT = Script(
    _PRELUDE
    + _FENCE
    + _FREE_AND_COUNT
    + """
-- KEYS: chunks, sizes, counters, rejects, optimizer lease
-- ARGV: token, holder, group, id, rejects kept, reason, bytes of the payload, its beginning
-- Returns {'ok', counters, entries}, or {'fenced', newest, owner}: then nothing was done.
local refused = fence(KEYS[5], ARGV[1], ARGV[2])
if refused then return refused end
local was_there, steps, bytes = free(KEYS[1], KEYS[2], ARGV[3], ARGV[4])
if was_there or steps > 0 then
  count(KEYS[3], {rejected = steps, in_flight = -steps, queued_bytes = -bytes})
  redis.call('XADD', KEYS[4], 'MAXLEN', ARGV[5], '*', 'reason', ARGV[6], 'n_bytes', ARGV[7], 'chunk', ARGV[8])
end
return {'ok', redis.call('HGETALL', KEYS[3]), redis.call('XLEN', KEYS[1])}
""",
)

MARK_UNDONE = Script(
    _PRELUDE
    + _FENCE
    + """
-- KEYS: counters, optimizer lease; ARGV: token, holder, steps. Returns {'ok'} or {'fenced', newest, owner}.
local refused = fence(KEYS[2], ARGV[1], ARGV[2])
if refused then return refused end
redis.call('HDEL', KEYS[1], 'undone')
redis.call('HSET', KEYS[1], 'undone', ARGV[3])
return {'ok'}
""",
)

COUNTERS = Script(
    """
-- ARGV: keys of counters and chunks. Returns {'ok', counters, entries}.
return {'ok', redis.call('HGETALL', ARGV[1]), redis.call('XLEN', ARGV[2])}
""",
)


# ---- Weights ----

PUBLISH = Script(
    _PRELUDE
    + _FENCE
    + """
-- KEYS: announced, weights, optimizer lease; ARGV: token, holder, version, sha256, packed weights
-- Returns {'ok'}; {'used', the announced version} if this one would go down or be used twice, or
-- {'fenced', newest, owner}: then nothing was done.
local refused = fence(KEYS[3], ARGV[1], ARGV[2])
if refused then return refused end
local announced = redis.call('HMGET', KEYS[1], 'version', 'sha256')
if announced[1] then
  local last, version = tonumber(announced[1]), tonumber(ARGV[3])
  if version < last or (version == last and announced[2] ~= ARGV[4]) then return {'used', last} end
end
-- Past the AOF: weights can be published again, and would be most of what is written to the disk.
redis.set_repl(redis.REPL_NONE)
redis.call('DEL', KEYS[2])
redis.call('SET', KEYS[2], ARGV[5])
redis.set_repl(redis.REPL_ALL)
redis.call('HSET', KEYS[1], 'version', ARGV[3], 'sha256', ARGV[4])
return {'ok'}
""",
)


# ---- The optimizer's lease ----

TAKE_OPTIMIZER_LEASE = Script(
    _PRELUDE
    + """
-- KEYS: optimizer lease; ARGV: holder, owner, milliseconds
-- Returns {'ok', token}, or {'held', owner, milliseconds since it was renewed}.
local time = redis.call('TIME')
local now, ttl = time[1] * 1000 + math.floor(time[2] / 1000), tonumber(ARGV[3])
local known = redis.call('HMGET', KEYS[1], 'token', 'holder', 'owner', 'renewed_ms', 'until_ms')
local left = tonumber(known[5] or 0) - now
-- A lease that lasts longer than it was taken for is one whose clock was set back: it is judged from now on by ours.
if known[2] ~= ARGV[1] and left > 0 and left <= tonumber(known[5]) - tonumber(known[4]) then
  return {'held', known[3], now - tonumber(known[4])}
end
local token = tonumber(known[1] or 0) + 1
redis.call('HDEL', KEYS[1], 'until_ms')
redis.call('HSET', KEYS[1], 'token', whole(token), 'holder', ARGV[1], 'owner', ARGV[2], 'renewed_ms', whole(now),
  'until_ms', whole(now + ttl))
return {'ok', token}
""",
)

KEEP_OPTIMIZER_LEASE = Script(
    _PRELUDE
    + _FENCE
    + """
-- KEYS: optimizer lease; ARGV: token, holder, owner, milliseconds from now (0 gives it back)
-- Returns {'ok'} or {'fenced', newest, owner}. What a killed Redis forgot of the lease is written again.
local refused = fence(KEYS[1], ARGV[1], ARGV[2])
if refused then return refused end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HDEL', KEYS[1], 'until_ms')
redis.call('HSET', KEYS[1], 'token', ARGV[1], 'holder', ARGV[2], 'owner', ARGV[3], 'renewed_ms', whole(now),
  'until_ms', whole(now + tonumber(ARGV[4])))
return {'ok'}
""",
)

BREAK_OPTIMIZER_LEASE = Script(
    _PRELUDE
    + """
-- KEYS: optimizer lease. A new token that nobody holds: the old holder is fenced off, and nobody has to be waited for.
local token = tonumber(redis.call('HGET', KEYS[1], 'token') or 0)
if token == 0 then return 0 end
redis.call('HDEL', KEYS[1], 'until_ms', 'renewed_ms', 'owner')
redis.call('HSET', KEYS[1], 'token', whole(token + 1), 'holder', 'nobody')
return token + 1
""",
)


# ---- Workers and heartbeats ----

REGISTER = Script(
    _PRELUDE
    + _CLOSE
    + """
-- KEYS: incarnations, workers, heartbeats, counters
-- ARGV: worker, spec hash, prefix of incarnation keys, no data, key of the run
-- Returns {'ok', incarnation}, {'not_open', ''} or {'other_spec', the run's spec hash}.
local spec_hash = redis.call('HGET', ARGV[5], 'spec_hash')
if not spec_hash then return {'not_open', ''} end
if spec_hash ~= ARGV[2] then return {'other_spec', spec_hash} end
local process = 'worker/' .. ARGV[1]
redis.call('HDEL', KEYS[3], process)
local old = redis.call('HGET', KEYS[2], ARGV[1])
if old then close(ARGV[3] .. old, old, KEYS[2], KEYS[3], KEYS[4], 0) end
local number = whole(redis.call('INCR', KEYS[1]))
redis.call('HSET', ARGV[3] .. number, 'worker', ARGV[1], 'sequence', 0, 'accounted', 0, 'reported', 0)
redis.call('HSET', KEYS[2], ARGV[1], number)
local now = redis.call('TIME')
redis.call('HSET', KEYS[3], process, whole(now[1] * 1000 + now[2] / 1000) .. ' ' .. number .. ' 0 ' .. ARGV[4])
return {'ok', number}
""",
)

CONTROL_MESSAGE = Script(
    """
-- ARGV: keys of announced, orders and lease. Returns {version, wanted workers, stopping, lease held}.
local orders = redis.call('HMGET', ARGV[2], 'wanted_workers', 'stopping')
local version = redis.call('HGET', ARGV[1], 'version')
return {version or '0', orders[1] or '0', orders[2] or '0', redis.call('EXISTS', ARGV[3])}
""",
)

HEARTBEAT = Script(
    _PRELUDE
    + """
-- KEYS: heartbeats, for a worker its incarnation; ARGV: process, incarnation, cumulative steps, data
-- A closed incarnation is not heard: no heartbeat of it may show.
if KEYS[2] then
  local known = redis.call('HMGET', KEYS[2], 'reported', 'closed')
  if not known[1] or known[2] then return 0 end
  redis.call('HDEL', KEYS[1], ARGV[1])
  if tonumber(ARGV[3]) > tonumber(known[1]) then redis.call('HSET', KEYS[2], 'reported', ARGV[3]) end
else
  redis.call('HDEL', KEYS[1], ARGV[1])
end
local now = redis.call('TIME')
local time_ms = whole(now[1] * 1000 + now[2] / 1000)
redis.call('HSET', KEYS[1], ARGV[1], time_ms .. ' ' .. ARGV[2] .. ' ' .. ARGV[3] .. ' ' .. ARGV[4])
return 1
""",
)

HEARTBEATS = Script(
    """
-- ARGV: key of the heartbeats. Returns {now in ms, the hash}.
local now = redis.call('TIME')
return {string.format('%.0f', now[1] * 1000 + now[2] / 1000), redis.call('HGETALL', ARGV[1])}
""",
)

DEREGISTER = Script(
    _PRELUDE
    + _CLOSE
    + """
-- KEYS: incarnation, workers, heartbeats, counters; ARGV: its number, cumulative steps. Returns steps lost.
return close(KEYS[1], ARGV[1], KEYS[2], KEYS[3], KEYS[4], tonumber(ARGV[2]))
""",
)

CLOSE_WORKER = Script(
    _PRELUDE
    + _CLOSE
    + """
-- KEYS: workers, heartbeats, counters; ARGV: worker, prefix of incarnation keys. Returns steps lost.
local number = redis.call('HGET', KEYS[1], ARGV[1])
if not number then return 0 end
return close(ARGV[2] .. number, number, KEYS[1], KEYS[2], KEYS[3], 0)
""",
)


# ---- The run ----

OPEN_RUN = Script(
    _PRELUDE
    + """
-- KEYS: run, limits, orders, chunks
-- ARGV: group, spec hash, config text, max queued steps, max queue bytes, key of announced
-- Returns '', or the spec hash of the chunks or versions that the run still holds.
local old = redis.call('HGET', KEYS[1], 'spec_hash')
local used = redis.call('XLEN', KEYS[4]) > 0 or redis.call('HGET', ARGV[6], 'version')
if old and old ~= ARGV[2] and used then return old end
redis.call('HDEL', KEYS[3], 'stopping')
redis.call('HSET', KEYS[1], 'spec_hash', ARGV[2], 'config_text', ARGV[3])
redis.call('HSET', KEYS[2], 'max_queued_steps', ARGV[4], 'max_queue_bytes', ARGV[5])
local made = redis.pcall('XGROUP', 'CREATE', KEYS[4], ARGV[1], '0', 'MKSTREAM')
if type(made) == 'table' and made.err and not string.find(made.err, 'BUSYGROUP') then return made end
return ''
""",
)

SET_FIELD = Script(
    _PRELUDE
    + """
-- KEYS: a hash; ARGV: field, value ('' deletes it)
redis.call('HDEL', KEYS[1], ARGV[1])
if ARGV[2] ~= '' then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
return 1
""",
)

HOLD_LEASE = Script(
    _PRELUDE
    + """
-- KEYS: lease; ARGV: milliseconds
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], 1, 'PX', ARGV[1])
return 1
""",
)

REQUEST_SETTINGS = Script(
    _PRELUDE
    + """
-- KEYS: settings; ARGV: how many are kept, the request. Returns its id, '' where there are too many already.
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[1]) then return '' end
return redis.call('XADD', KEYS[1], '*', 'request', ARGV[2])
""",
)
