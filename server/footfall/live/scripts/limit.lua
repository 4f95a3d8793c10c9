-- Decides requests one after the other, each against all of its windows at once.
--
-- KEYS: the windows' counters, request by request. ARGV: for each request its number of windows and
-- its cost, then limit and length in seconds of each of its windows.
-- A counter is "SPENT:END", END in microseconds by this server's clock. The end is compared here
-- rather than left to the key's expiry, which comes up to a millisecond late.
-- Reply: for each request {allowed, limit, remaining, end in us, wait in us, place of that window from 1}.
local time = redis.call("TIME")
local now = time[1] * 1000000 + time[2]
local replies, key, arg = {}, 0, 1

while arg <= #ARGV do
  local windows, cost = tonumber(ARGV[arg]), tonumber(ARGV[arg + 1])
  arg = arg + 2
  local spent, ends = {}, {}
  local allowed, wait, tight = 1, 0, 1
  for i = 1, windows do
    local limit, length = tonumber(ARGV[arg + 2 * i - 2]), ARGV[arg + 2 * i - 1] * 1000000
    local count, stop = 0, now + length
    local value = redis.call("GET", KEYS[key + i])
    if value then
      local n, e = string.match(value, "^(%d+):(%d+)$")
      if tonumber(e) > now then count, stop = tonumber(n), tonumber(e) end
    end
    spent[i], ends[i] = count, stop
    if count + cost > limit then
      allowed = 0
      -- The window that keeps the request waiting longest is the one to report.
      if stop - now > wait then wait, tight = stop - now, i end
    end
  end
  if allowed == 1 then
    local least = math.huge
    for i = 1, windows do
      local limit = tonumber(ARGV[arg + 2 * i - 2])
      if cost > 0 then
        spent[i] = spent[i] + cost
        local left_ms = math.ceil((ends[i] - now) / 1000) + 1
        redis.call("SET", KEYS[key + i], string.format("%d:%.0f", spent[i], ends[i]), "PX", left_ms)
      end
      local left = limit - spent[i]
      if left < least or (left == least and ends[i] > ends[tight]) then least, tight = left, i end
    end
  end
  local limit = tonumber(ARGV[arg + 2 * tight - 2])
  replies[#replies + 1] = { allowed, limit, math.max(0, limit - spent[tight]), ends[tight], wait, tight }
  key = key + windows
  arg = arg + 2 * windows
end
return replies
