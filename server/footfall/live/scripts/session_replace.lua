-- Gives a session another id: from then on the old one stands for nothing.
--
-- KEYS: 1: session; 2: its successor. ARGV: 1: idle life in ms; 2: longest life in ms.
-- Reply: {end in ms since the Unix epoch, ms left at the most}, or nil if there is no such session.
local created = redis.call("HGET", KEYS[1], "created")
if not created then return false end
redis.call("RENAME", KEYS[1], KEYS[2])
local term = extend(KEYS[2], created, tonumber(ARGV[1]), tonumber(ARGV[2]))
-- The end of its longest life may come in the moment before the key expires.
return term[2] > 0 and term
