-- What the scripts about sessions share.
--
-- A session is a hash of `user`, `password` (the mark of the one that it began with), `site` (selected, or "") and
-- `created` (ms since the Unix epoch, by this server's clock). The key's expiry is the session's.

local function now_ms()
  local time = redis.call("TIME")
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Begins the idle time of a session anew, for `idle` ms but no longer than `longest` ms after its creation. Returns when
-- it ends, and in how many ms at the latest; both in ms.
local function extend(key, created, idle, longest)
  local now = now_ms()
  local left_max = created + longest - now
  local left = math.min(idle, left_max)
  redis.call("PEXPIRE", key, left)
  return { now + left, left_max }
end
