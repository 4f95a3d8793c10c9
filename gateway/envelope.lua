-- Turns a failure into the document of the caller's family of APIs, and refuses text that no call can carry.
--
-- The server fails a call with its metadata in one frame: footfall-reason, footfall-message (percent-encoded) and the
-- HTTP status; percent-encoded JSON for a batch without a good event (footfall-rejected) and for faulty parameters
-- (footfall-detail). Whatever lacks them was made by the gRPC library and gets a fixed sentence, because such texts
-- name classes and files. What Envoy refuses itself comes as family A's document from local_reply_config, and is
-- written anew for the other families.

local BY_GRPC_STATUS = {
  ["1"] = { "503", "unavailable", "The call was cancelled; try again in a moment." },
  ["3"] = { "400", "invalid_parameter", "The request cannot be read." },
  ["4"] = { "504", "unavailable", "The answer took too long; ask for less, or try again in a moment." },
  ["5"] = { "404", "not_found", "There is nothing at this path." },
  ["8"] = { "413", "payload_too_large", "The request or its answer is too large." },
  ["12"] = { "404", "not_found", "There is nothing at this path." },
  ["14"] = { "503", "unavailable", "The service does not answer; try again in a moment." },
}
local UNAVAILABLE = "14"
local OTHERWISE = { "500", "internal", "Something went wrong on our side; the answer's X-Request-ID names this request." }

local function decode(text)
  return (text:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

-- A header that is missing is no value at all to `tonumber`, which fails then.
local function number(text)
  return text and tonumber(text)
end

local ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

local function quote(text)
  return '"' .. text:gsub('[%c"\\]', function(char)
    return ESCAPES[char] or string.format("\\u%04x", char:byte())
  end) .. '"'
end

-- A family is one entry here: a function from a failure to its document. A failure has `status`, `code` (lower case),
-- `message`, and perhaps `rejected` and `detail` (JSON) and `limit`, `remaining`, `reset` and `retry_after` (of a used
-- up allowance; whole numbers).
local DOCUMENTS = {}

-- Family A's and family B's.
function DOCUMENTS.A(failure)
  local tail = failure.rejected and ',"rejected":' .. failure.rejected or ""
  return '{"error":{"code":' .. quote(failure.code) .. ',"message":' .. quote(failure.message) .. tail .. "}}"
end

-- Family C has few codes: one a status, but for these reasons.
local CODES_C = {
  missing_website_id = "MISSING_WEBSITE_ID",
  website_not_found = "WEBSITE_NOT_FOUND",
  forbidden_operation = "FORBIDDEN_OPERATION",
  query_too_complex = "QUERY_TOO_COMPLEX",
  ["400"] = "VALIDATION_ERROR",
  ["401"] = "AUTH_REQUIRED",
  ["403"] = "FORBIDDEN",
  ["404"] = "NOT_FOUND",
  ["413"] = "PAYLOAD_TOO_LARGE",
  ["429"] = "RATE_LIMIT_EXCEEDED",
  ["500"] = "INTERNAL_SERVER_ERROR",
  ["503"] = "UNAVAILABLE",
  ["504"] = "UNAVAILABLE",
}

function DOCUMENTS.C(failure)
  local message, tail = failure.message, failure.detail and ',"details":' .. failure.detail or ""
  if failure.status == "429" and failure.reset then
    message = "Rate limit exceeded. Please try again later."
    tail = string.format(
      ',"limit":%d,"remaining":%d,"reset":"%s","retryAfter":%d', failure.limit, failure.remaining,
      os.date("!%Y-%m-%dT%H:%M:%S.000Z", failure.reset), failure.retry_after)
  end
  local code = CODES_C[failure.code] or CODES_C[failure.status] or failure.code:upper()
  return '{"success":false,"error":' .. quote(message) .. ',"code":' .. quote(code) .. tail .. "}"
end

function DOCUMENTS.D(failure)
  local message = failure.status == "429" and "Rate limit exceeded" or failure.message
  local tail = failure.rejected and ',"rejected":' .. failure.rejected or ""
  return '{"detail":' .. (failure.detail or quote(message)) .. tail .. "}"
end

-- Whether the bytes from 0x80 up in `text` form whole UTF-8 characters.
local function is_utf8(text)
  local at, length = 1, #text
  while at <= length do
    local lead = text:byte(at)
    local more, low, high = 0, 0x80, 0xBF
    if lead >= 0x80 then
      if lead >= 0xC2 and lead <= 0xDF then more = 1
      elseif lead >= 0xE0 and lead <= 0xEF then
        more = 2
        if lead == 0xE0 then low = 0xA0 elseif lead == 0xED then high = 0x9F end
      elseif lead >= 0xF0 and lead <= 0xF4 then
        more = 3
        if lead == 0xF0 then low = 0x90 elseif lead == 0xF4 then high = 0x8F end
      else return false end
      for step = 1, more do
        local byte = text:byte(at + step)
        if not byte or byte < low or byte > high then return false end
        low, high = 0x80, 0xBF
      end
    end
    at = at + more + 1
  end
  return true
end

local BODY_BYTES_MAX = 8 * 1024 * 1024

-- Names that HTTP allows and gRPC does not, for which it fails a call without saying anything. The server knows none of them.
local function remove_strange(headers)
  local strange = {}
  for name in pairs(headers) do
    if name:find("[^a-z0-9_.-]", name:sub(1, 1) == ":" and 2 or 1) then strange[#strange + 1] = name end
  end
  for _, name in ipairs(strange) do headers:remove(name) end
end

function envoy_on_request(handle)
  local headers = handle:headers()
  remove_strange(headers)
  local path = headers:get(":path")
  -- A string field that is not UTF-8 fails in the server's decoder, where nobody can say which parameter it was.
  if path:find("%%[89a-fA-F]") or path:find("[\128-\255]") then
    if not is_utf8(decode(path)) then
      handle:respond({ [":status"] = "400" }, "not UTF-8")
    end
  end
  local method = headers:get(":method")
  if method == "POST" or method == "PATCH" then
    local announced = number(headers:get("content-length"))
    if not announced or announced > BODY_BYTES_MAX then
      local body = handle:body()  -- waits for the whole of it
      if body and body:length() > BODY_BYTES_MAX then
        handle:respond({ [":status"] = "413" }, "too large")
      end
    end
  end
end

-- Whether an answer ended before the server had said how the call did: the transcoder leaves one without a status as it is where
-- nothing else came, and makes a bare 503 of it otherwise. Envoy's own says when to come again.
local function is_cut_off(headers)
  local content_type = headers:get("content-type") or ""
  return content_type:find("^application/grpc") or (headers:get(":status") == "503" and not headers:get("retry-after"))
end

-- What the server, or the gRPC library in its place, says of a failed call; nil for one that did not fail.
local function server_failure(headers)
  local status = headers:get("grpc-status")
  if status == nil or status == "0" then
    if not is_cut_off(headers) then return nil end
    status = UNAVAILABLE
  elseif not status:find("^%d+$") then
    status = UNAVAILABLE
  end
  local reason = headers:get("footfall-reason")
  if not reason then
    local known = BY_GRPC_STATUS[status] or OTHERWISE
    if known[1] == "503" then headers:replace("retry-after", "1") end
    return { status = known[1], code = known[2], message = known[3] }
  end
  local rejected, detail = headers:get("footfall-rejected"), headers:get("footfall-detail")
  return {
    status = headers:get("footfall-status") or OTHERWISE[1],
    code = reason:lower(),
    message = decode(headers:get("footfall-message") or ""),
    rejected = rejected and decode(rejected),
    detail = detail and decode(detail),
    limit = number(headers:get("x-ratelimit-limit")),
    remaining = number(headers:get("x-ratelimit-remaining")),
    reset = number(headers:get("x-ratelimit-reset")),
    retry_after = number(headers:get("retry-after")),
  }
end

-- What Envoy says of a request that it refuses, from the document that it has written.
local function gateway_failure(status, document)
  local code, message = document:match('^{"error":{"code":"([^"]*)","message":"([^"]*)"}}')
  if code then return { status = status, code = code, message = message } end
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local family = handle:metadata():get("family") or "A"
  local failure = server_failure(headers)
  if failure then
    headers:replace(":status", failure.status)
    headers:remove("content-length")
    if failure.status == "304" then
      headers:remove("content-type")
      return
    end
    headers:replace("content-type", "application/json")
    local body = handle:body(true)  -- yields: `headers` is no longer valid after this
    -- None where the server had already sent metadata; it does not, on a failure.
    if body then body:setBytes(DOCUMENTS[family](failure)) end
  elseif headers:get("footfall-status") then
    -- An answer like any other, but for its status.
    headers:replace(":status", headers:get("footfall-status"))
  elseif family ~= "A" then
    local status = headers:get(":status")
    if status < "400" then return end
    headers:remove("content-length")
    local body = handle:body()
    failure = body and gateway_failure(status, body:getBytes(0, body:length()))
    if failure then body:setBytes(DOCUMENTS[family](failure)) end
  end
end
