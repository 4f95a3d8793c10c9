-- Who is on a site now: the head of apply.lua and snapshot.lua.
--
-- Every key of a site lies in one hash slot and has a time to live. A visitor's state is packed as
-- (last seen in ms, page, source, device, country, city). Each count below equals a recount of the
-- states at the end of every call:
--   PAGES    sorted set: page -> minus its active users, so that equal counts come in page order
--   SOURCES, DEVICES, COUNTRIES, CITIES   hash: value -> active users
--   page_sources(page)                    hash: source -> active users on the page
-- A page is "path NUL host"; a source is a JSON array.
--
-- The hashes of single pages are too many to name in KEYS, or to drop at once: their names hold the
-- EPOCH, a random text that goes with the other keys, and what it leaves behind expires unseen.
-- VERSION holds a text of the last call that changed anything: ARGV[4], which no other call has.
local GENERATION, SEEN, STATE, PAGES, EPOCH = unpack(KEYS, 1, 5)
local SOURCES, DEVICES, COUNTRIES, CITIES, VERSION = unpack(KEYS, 6, 10)
local PRESENCE = { unpack(KEYS, 2, 10) }
local NOW, WINDOW, VISITORS_MAX = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
-- A visitor last seen a whole window ago, or before, is gone.
local CUTOFF = NOW - WINDOW
-- Presence outlives the last visitor; a page's hash outlives presence, so that no visitor is ever
-- taken out of a hash that is gone.
local PRESENCE_TTL = WINDOW + 60000
local PAGE_TTL = 2 * WINDOW + 3600000

local moved = { page = {}, source_of = {}, source = {}, device = {}, country = {}, city = {} }
local epoch = redis.call("GET", EPOCH)

-- Pages of visitors who were put back after a drop, whose hashes are new.
local put_back

local function page_sources(page)
  if not epoch then
    epoch = ARGV[4]
    redis.call("SET", EPOCH, epoch, "PX", PRESENCE_TTL)
  end
  return EPOCH .. ":" .. epoch .. ":" .. page
end

-- Says that the site's state is another one from this call on.
local function change_version()
  redis.call("SET", VERSION, ARGV[4], "PX", PRESENCE_TTL)
end

local function add(counts, value, by)
  counts[value] = (counts[value] or 0) + by
end

-- Notes that a visitor with this state comes (by = 1) or goes (by = -1).
local function move(state, by)
  local _, page, source, device, country, city = unpack(state)
  add(moved.page, page, by)
  local sources = moved.source_of[page]
  if not sources then
    sources = {}
    moved.source_of[page] = sources
  end
  add(sources, source, by)
  add(moved.source, source, by)
  add(moved.device, device, by)
  add(moved.country, country, by)
  add(moved.city, city, by)
end

local function write_hash(key, counts)
  for value, by in pairs(counts) do
    if by ~= 0 and redis.call("HINCRBY", key, value, by) <= 0 then
      redis.call("HDEL", key, value)
    end
  end
end

-- Renews the time to live of what the caller wrote: an unread site goes as a whole, after its last
-- visitor.
local function keep(pages)
  for _, key in ipairs(PRESENCE) do redis.call("PEXPIRE", key, PRESENCE_TTL) end
  for page in pairs(pages) do redis.call("PEXPIRE", page_sources(page), PAGE_TTL) end
end

-- Writes all noted moves to the counts.
local function write_moves()
  for page, by in pairs(moved.page) do
    if by ~= 0 and tonumber(redis.call("ZINCRBY", PAGES, -by, page)) == 0 then
      redis.call("ZREM", PAGES, page)
    end
  end
  for page, sources in pairs(moved.source_of) do write_hash(page_sources(page), sources) end
  write_hash(SOURCES, moved.source)
  write_hash(DEVICES, moved.device)
  write_hash(COUNTRIES, moved.country)
  write_hash(CITIES, moved.city)
  if put_back then keep(put_back) end
end

-- Runs a command on a list of arguments, which may be longer than Lua's stack.
local function call_many(command, key, list)
  for first = 1, #list, 1000 do
    redis.call(command, key, unpack(list, first, math.min(first + 999, #list)))
  end
end

-- Returns the packed states of the visitors, false for the unknown.
local function states_of(visitors)
  local states = {}
  for first = 1, #visitors, 1000 do
    local part = redis.call("HMGET", STATE, unpack(visitors, first, math.min(first + 999, #visitors)))
    for _, state in ipairs(part) do states[#states + 1] = state end
  end
  return states
end

-- Takes out expired visitors, at most VISITORS_MAX of them; returns whether there may be more.
-- When nearly everyone is gone, it drops the keys at once and puts the few that are left back.
-- To be called first, since it needs the counts as they are.
local function sweep()
  local gone = redis.call("ZRANGEBYSCORE", SEEN, "-inf", CUTOFF, "LIMIT", 0, VISITORS_MAX)
  if #gone == 0 then return false end
  if #gone == VISITORS_MAX then
    local left = redis.call("ZRANGEBYSCORE", SEEN, string.format("(%.0f", CUTOFF), "+inf", "LIMIT", 0, VISITORS_MAX + 1)
    if #left <= VISITORS_MAX then
      local states = states_of(left)
      redis.call("UNLINK", unpack(PRESENCE))
      change_version()
      epoch, put_back = nil, {}
      for i, visitor in ipairs(left) do
        local state = { cmsgpack.unpack(states[i]) }
        move(state, 1)
        put_back[state[2]] = true
        redis.call("ZADD", SEEN, state[1], visitor)
        redis.call("HSET", STATE, visitor, states[i])
      end
      return false
    end
  end
  change_version()
  for _, state in ipairs(states_of(gone)) do move({ cmsgpack.unpack(state) }, -1) end
  call_many("HDEL", STATE, gone)
  redis.call("ZREMRANGEBYRANK", SEEN, 0, #gone - 1)
  return #gone == VISITORS_MAX
end
