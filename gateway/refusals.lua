-- Repeats refusals for used-up allowances, so that whoever goes on asking costs the server next to nothing.
--
-- With such a refusal the server says for how many milliseconds from its decision on it would refuse every call of the same method
-- with the same credentials (footfall-holds); where a call names the site that it is about, of which site. What else it says is
-- kept, by each thread of Envoy for itself, and is the answer to such calls: the filters in front of this one make of it what they
-- make of the server's.

-- What changes meanwhile (a plan, a revoked key) is in force once the server has been asked again: within a second, since the server
-- looks at its accounts every half second.
local HOLDS_MS_MAX = 500
-- To find out which site a message names costs more than it saves where that is long.
local MESSAGE_BYTES_MAX = 65536
local FILTER = "footfall.refusals"

-- By method and credentials, then by site ("" for any): from when on and until when the answer holds, and the answer.
local refusals, swept_at = {}, 0

local function in_force(refusal, now)
  -- A clock that has been set back is no reason to go on refusing.
  return refusal and refusal.from <= now and now < refusal.ends
end

local function sweep(now)
  for call, by_site in pairs(refusals) do
    for site, refusal in pairs(by_site) do
      if not in_force(refusal, now) then by_site[site] = nil end
    end
    if not next(by_site) then refusals[call] = nil end
  end
  swept_at = now
end

-- What decides whether two calls are refused alike, but for the site; nil for a call without credentials. A session is none here:
-- the server never says of one that its refusal holds.
local function call_of(headers)
  local bearer, api_key, user = headers:get("authorization"), headers:get("x-api-key"), headers:get("x-auth-user")
  if bearer or api_key or user then
    return table.concat({ headers:get(":path"), bearer or "", api_key or "", user or "", headers:get("x-auth-key") or "" }, "\n")
  end
end

local function varint(text, at)
  local value, unit = 0, 1
  repeat
    local byte = text:byte(at) or 0
    value, unit, at = value + byte % 128 * unit, unit * 128, at + 1
  until byte < 128
  return value, at
end

-- The site that a gRPC request of one message names: the text in its first field, which in all methods with such an allowance is the
-- site's id. nil if that cannot be told.
local function site_of(body)
  if not body or body:length() > MESSAGE_BYTES_MAX then return nil end
  local text = body:getBytes(0, body:length())
  if text:byte(1) ~= 0 then return nil end  -- compressed
  local at, site, tag, length = 6, nil, nil, nil
  while at <= #text do
    tag, at = varint(text, at)
    local wire_type = tag % 8
    if wire_type == 0 then length, at = varint(text, at); length = 0
    elseif wire_type == 1 then length = 8
    elseif wire_type == 2 then length, at = varint(text, at)
    elseif wire_type == 5 then length = 4
    else return nil end
    if tag == 10 then site = text:sub(at, at + length - 1) end
    at = at + length
  end
  return site
end

function envoy_on_request(handle)
  local call = call_of(handle:headers())
  if not call then return end
  local asked_at = handle:timestamp()
  local by_site = refusals[call]
  if by_site then
    -- As by the server, nothing is answered before all of the request is there: HTTP/1 would end the connection.
    local body = handle:body()
    local refusal = by_site[""] or by_site[site_of(body)]
    if in_force(refusal, handle:timestamp()) then handle:respond(refusal.answer) end
  end
  local noted = handle:streamInfo():dynamicMetadata()
  noted:set(FILTER, "call", call)
  noted:set(FILTER, "asked_at", asked_at)
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local holds = headers:get("footfall-holds")
  if not holds then return end
  local answer = { [":status"] = "200" }
  for name, value in pairs(headers) do
    if name:find("^footfall%-") or name:find("^grpc%-") or name:find("^x%-ratelimit%-") or name == "retry-after" then
      answer[name] = value
    end
  end
  answer["footfall-holds"] = nil
  headers:remove("footfall-holds")

  local noted = handle:streamInfo():dynamicMetadata():get(FILTER)
  if not noted then return end  -- a call without credentials
  local now = handle:timestamp()
  if now < swept_at or now >= swept_at + HOLDS_MS_MAX then sweep(now) end
  local holds_ms, site = holds:match("^(%d+) ?(.*)$")
  refusals[noted.call] = refusals[noted.call] or {}
  -- From when the call came, since nobody here knows when it was decided.
  refusals[noted.call][site] = { from = now, ends = math.min(noted.asked_at + tonumber(holds_ms), now + HOLDS_MS_MAX), answer = answer }
end
