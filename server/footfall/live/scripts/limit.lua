-- Decides a request against all of its windows at once: spends its cost in each of them, or in none.
--
-- KEYS: the windows' counters. ARGV: the cost, then limit and length in seconds of each window.
-- A counter is what was spent since its window began, never 0, and expires with the window: it is gone
-- when this server's clock, in whole milliseconds, has passed its expiry, a millisecond after it.
-- Reply: {allowed, place of the window to report from 1, left in it, its end in ms, wait in ms}.
local cost = tonumber(ARGV[1])
local spent = {}

local function length_ms(i)
  return ARGV[2 * i + 1] * 1000
end

local function end_ms(i)
  if spent[i] > 0 then return redis.call("PEXPIRETIME", KEYS[i]) + 1 end
  -- It would begin now.
  local time = redis.call("TIME")
  return time[1] * 1000 + math.floor(time[2] / 1000) + length_ms(i)
end

local longest, tight = 0, 1
for i, key in ipairs(KEYS) do
  spent[i] = tonumber(redis.call("GET", key) or 0)
  if spent[i] + cost > tonumber(ARGV[2 * i]) then
    local wait = spent[i] > 0 and redis.call("PTTL", key) + 1 or length_ms(i)
    -- The window that keeps the request waiting longest is the one to report.
    if wait > longest then longest, tight = wait, i end
  end
end
if longest > 0 then
  return { 0, tight, math.max(0, ARGV[2 * tight] - spent[tight]), end_ms(tight), longest }
end

local least = math.huge
for i, key in ipairs(KEYS) do
  if spent[i] > 0 and cost > 0 then
    redis.call("INCRBY", key, cost)
  elseif cost > 0 then
    redis.call("SET", key, cost, "PX", length_ms(i) - 1)
  end
  spent[i] = spent[i] + cost
  local left = ARGV[2 * i] - spent[i]
  if left < least or (left == least and end_ms(i) > end_ms(tight)) then least, tight = left, i end
end
return { 1, tight, least, end_ms(tight), 0 }
