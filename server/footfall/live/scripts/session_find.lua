-- Reads a session and keeps it alive.
--
-- Its expiry moves only where that gives it a good deal more time, so that a busy session is written once in a while and
-- read otherwise.
-- KEYS: 1: session. ARGV: 1: idle life in ms; 2: longest life in ms; 3: the least that is worth a write, in ms.
-- Reply: {user, mark of the password, site}, or nil if there is no such session.
local user, password, site, created = unpack(redis.call("HMGET", KEYS[1], "user", "password", "site", "created"))
if not created then return false end
local idle, longest = tonumber(ARGV[1]), tonumber(ARGV[2])
if math.min(idle, created + longest - now_ms()) - redis.call("PTTL", KEYS[1]) >= tonumber(ARGV[3]) then
  extend(KEYS[1], created, idle, longest)
end
return { user, password, site }
