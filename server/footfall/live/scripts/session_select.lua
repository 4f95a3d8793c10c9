-- Selects a site in a session that is there.
--
-- KEYS: 1: session. ARGV: 1: site.
-- Reply: 1, or 0 if there is no such session.
if redis.call("EXISTS", KEYS[1]) == 0 then return 0 end
redis.call("HSET", KEYS[1], "site", ARGV[1])
return 1
