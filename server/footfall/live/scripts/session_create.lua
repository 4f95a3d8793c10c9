-- Stores a new session.
--
-- KEYS: 1: session. ARGV: 1: idle life in ms; 2: longest life in ms; 3: user; 4: mark of the password; 5: site.
-- Reply: {end in ms since the Unix epoch, ms left at the most}.
local now = now_ms()
redis.call("HSET", KEYS[1], "user", ARGV[3], "password", ARGV[4], "site", ARGV[5], "created", string.format("%.0f", now))
return extend(KEYS[1], now, tonumber(ARGV[1]), tonumber(ARGV[2]))
