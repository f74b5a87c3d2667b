"""The scripts of the desks: registration, orders, heartbeats. The rules of `redis_scripts` hold here too."""

from __future__ import annotations

from wire.keys import CLOSED_INCARNATION_TTL_S
from wire.redis_scripts import LOSE_TAIL, PRELUDE, Script

# `worker/<n>` is how a worker is called among the heartbeats.
_CLOSE = (
    LOSE_TAIL
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

SET_FIELD = Script(
    "set_field",
    PRELUDE
    + """
-- KEYS: a hash; ARGV: field, value ('' deletes it)
redis.call('HDEL', KEYS[1], ARGV[1])
if ARGV[2] ~= '' then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
return 1
""",
)

HOLD_LEASE = Script(
    "hold_lease",
    PRELUDE
    + """
-- KEYS: lease; ARGV: milliseconds
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], 1, 'PX', ARGV[1])
return 1
""",
)

REGISTER = Script(
    "register",
    PRELUDE
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

DIRECTIVE = Script(
    "directive",
    """
-- ARGV: keys of announced, orders and lease. Returns {version, wanted workers, stopping, lease held}.
local orders = redis.call('HMGET', ARGV[2], 'wanted_workers', 'stopping')
local version = redis.call('HGET', ARGV[1], 'version')
return {version or '0', orders[1] or '0', orders[2] or '0', redis.call('EXISTS', ARGV[3])}
""",
)

HEARTBEAT = Script(
    "heartbeat",
    PRELUDE
    + """
-- KEYS: heartbeats, for a worker its incarnation; ARGV: process, incarnation, cumulative steps, data
-- A closed incarnation is not heard: it must not look alive.
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
    "heartbeats",
    """
-- ARGV: key of the heartbeats. Returns {now in ms, the hash}.
local now = redis.call('TIME')
return {string.format('%.0f', now[1] * 1000 + now[2] / 1000), redis.call('HGETALL', ARGV[1])}
""",
)

FAREWELL = Script(
    "farewell",
    PRELUDE
    + _CLOSE
    + """
-- KEYS: incarnation, workers, heartbeats, counters; ARGV: its number, cumulative steps. Returns steps lost.
return close(KEYS[1], ARGV[1], KEYS[2], KEYS[3], KEYS[4], tonumber(ARGV[2]))
""",
)

CLOSE_WORKER = Script(
    "close_worker",
    PRELUDE
    + _CLOSE
    + """
-- KEYS: workers, heartbeats, counters; ARGV: worker, prefix of incarnation keys. Returns steps lost.
local number = redis.call('HGET', KEYS[1], ARGV[1])
if not number then return 0 end
return close(ARGV[2] .. number, number, KEYS[1], KEYS[2], KEYS[3], 0)
""",
)

OPEN_RUN = Script(
    "open_run",
    PRELUDE
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
