-- Takes a site's live state to rebuild it: empties it and shuts everyone else out.
--
-- KEYS: 1: generation; 2: the builder's lease; then every key to drop. ARGV: 1: token; 2: lease
-- in ms; 3: time to live of the generation in ms.
-- Reply: 1, or 0 while another builder is at it.
if not redis.call("SET", KEYS[2], ARGV[1], "NX", "PX", ARGV[2]) then return 0 end
redis.call("UNLINK", unpack(KEYS, 3))
redis.call("SET", KEYS[1], "b:" .. ARGV[1], "PX", ARGV[3])
return 1
