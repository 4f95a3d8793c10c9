-- Gives a rebuilt site free.
--
-- KEYS: 1: generation; 2: the builder's lease. ARGV: 1: token; 2: sequence number of the last event
-- contained; 3: time to live of the generation in ms.
-- Reply: 1, or 0 if another builder has taken over since.
if redis.call("GET", KEYS[1]) ~= "b:" .. ARGV[1] then return 0 end
redis.call("SET", KEYS[1], "r:" .. ARGV[1] .. ":" .. ARGV[2], "PX", ARGV[3])
redis.call("DEL", KEYS[2])
return 1
