-- Reads a site's live state, everything at one moment.
--
-- KEYS: see presence.lua; 11-14: the day's page views, page views by page, visitors, and page
-- descriptions; 15: page descriptions of the day before.
-- ARGV: 1-4: see presence.lua; 5: how many pages to return; 6: the version that the caller has of
-- that day, or "".
-- Reply: {3} if the state is that version still; {1, version, active, page views, visitors, devices, countries, cities, sources, pages}, a page
-- being {page, minus its active users, page views, title, image, sources}, counts as JSON texts:
-- [[value, ...], [count, ...]] and, for sources, [source, count, ...]; {0, the generation found} if
-- the state is not whole; {2} if expired visitors are left and the caller should ask again. One text
-- costs both sides a fraction of what as many replies would.
local generation = redis.call("GET", GENERATION)
if not generation or string.sub(generation, 1, 2) ~= "r:" then return { 0, generation or "" } end
local more = sweep()
write_moves()
if more then return { 2 } end
local version = redis.call("GET", VERSION) or ""
if version ~= "" and version == ARGV[6] then return { 3 } end

local function counts_of(key)
  local values = redis.call("HKEYS", key)
  if #values == 0 then return "[[],[]]" end
  local counts = table.concat(redis.call("HVALS", key), ",")
  return "[" .. cjson.encode(values) .. ",[" .. counts .. "]]"
end

-- A source is JSON already.
local function sources_of(key)
  return "[" .. table.concat(redis.call("HGETALL", key), ",") .. "]"
end

local total, views_of, seen, described, described_before = unpack(KEYS, 11, 15)
local ranked = redis.call("ZRANGE", PAGES, 0, ARGV[5] - 1, "WITHSCORES")
local names, pages = {}, {}
for i = 1, #ranked, 2 do names[#names + 1] = ranked[i] end
if #names > 0 then
  local views = redis.call("HMGET", views_of, unpack(names))
  local texts = redis.call("HMGET", described, unpack(names))
  local texts_before = redis.call("HMGET", described_before, unpack(names))
  for i, page in ipairs(names) do
    local title, image = "", ""
    if texts_before[i] then title, image = cmsgpack.unpack(texts_before[i]) end
    if texts[i] then
      local new_title, new_image = cmsgpack.unpack(texts[i])
      if new_title ~= "" then title = new_title end
      if new_image ~= "" then image = new_image end
    end
    local sources = sources_of(page_sources(page))
    pages[i] = { page, ranked[2 * i], views[i] or "0", title, image, sources }
  end
end
return {
  1, version, redis.call("ZCARD", SEEN), redis.call("GET", total) or "0", redis.call("SCARD", seen),
  counts_of(DEVICES), counts_of(COUNTRIES), counts_of(CITIES), sources_of(SOURCES), pages,
}
