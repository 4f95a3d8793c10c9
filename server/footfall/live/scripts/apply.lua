-- Moves a site's live state by a batch of events.
--
-- KEYS: see presence.lua; 11: the builder's lease; then for each day its page views, page views by
-- page, visitors, and page descriptions.
-- ARGV: 1-4: see presence.lua; 5: the generation that the caller writes to; 6: the source of a
-- visitor without any; 7: time to live of days and generation in ms; 8: lease in ms, 0 for none;
-- 9: events [[visitor, ms, page, source or "", device, country, city], ...] in commit order; then
-- for each day {total, pages: {page: views}, visitors: [...], described: [[page, title, image]]}.
-- Reply: {1}, or {0, the generation found} with nothing changed.
local generation = redis.call("GET", GENERATION)
if generation ~= ARGV[5] then return { 0, generation or "" } end
local direct, day_ttl = ARGV[6], ARGV[7]

sweep()

local events = cjson.decode(ARGV[9])
local visitors, before, after = {}, {}, {}
for _, event in ipairs(events) do
  local visitor = event[1]
  if before[visitor] == nil then
    before[visitor] = false
    visitors[#visitors + 1] = visitor
  end
end
for i, state in ipairs(states_of(visitors)) do
  if state then before[visitors[i]] = { cmsgpack.unpack(state) } end
end

for _, event in ipairs(events) do
  local visitor, ms, page, source, device, country, city = unpack(event)
  ms = math.min(ms, NOW)
  local state = after[visitor] or before[visitor]
  if ms > CUTOFF and not (state and ms < state[1]) then
    if source == "" then
      source = state and state[1] > CUTOFF and state[3] or direct
    end
    after[visitor] = { ms, page, source, device, country, city }
  end
end

local states, scores, pages = {}, {}, {}
for visitor, state in pairs(after) do
  pages[state[2]] = true
  local old = before[visitor]
  if old then move(old, -1) end
  move(state, 1)
  states[#states + 1], states[#states + 2] = visitor, cmsgpack.pack(unpack(state))
  scores[#scores + 1], scores[#scores + 2] = state[1], visitor
end
call_many("HSET", STATE, states)
call_many("ZADD", SEEN, scores)
write_moves()
change_version()
keep(pages)

for i = 10, #ARGV do
  local day = cjson.decode(ARGV[i])
  local total, views_of, seen, described = unpack(KEYS, 12 + 4 * (i - 10), 15 + 4 * (i - 10))
  if day.total > 0 then redis.call("INCRBY", total, day.total) end
  for page, views in pairs(day.pages) do redis.call("HINCRBY", views_of, page, views) end
  call_many("SADD", seen, day.visitors)
  for _, description in ipairs(day.described) do
    local page, title, image = unpack(description)
    local known = redis.call("HGET", described, page)
    if known then
      local known_title, known_image = cmsgpack.unpack(known)
      if title == "" then title = known_title end
      if image == "" then image = known_image end
    end
    local packed = cmsgpack.pack(title, image)
    if packed ~= known then redis.call("HSET", described, page, packed) end
  end
  for _, key in ipairs({ total, views_of, seen, described }) do redis.call("PEXPIRE", key, day_ttl) end
end

redis.call("PEXPIRE", GENERATION, day_ttl)
if ARGV[8] ~= "0" then redis.call("PEXPIRE", KEYS[11], ARGV[8]) end
return { 1 }
