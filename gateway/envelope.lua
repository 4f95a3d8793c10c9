-- Turns a failed call into the document of the caller's family of APIs, and refuses text that no call can carry.
--
-- The server fails a call with its metadata in one frame: footfall-reason, footfall-message (percent-encoded), the
-- HTTP status, and for a batch without a good event footfall-rejected (percent-encoded JSON). Whatever lacks them was
-- made by the gRPC library and gets a fixed sentence, because such texts name classes and files.

local BY_GRPC_STATUS = {
  ["1"] = { "503", "unavailable", "The call was cancelled; try again in a moment." },
  ["3"] = { "400", "invalid_parameter", "The request cannot be read." },
  ["4"] = { "504", "unavailable", "The answer took too long; ask for less, or try again in a moment." },
  ["5"] = { "404", "not_found", "There is nothing at this path." },
  ["8"] = { "413", "payload_too_large", "The request or its answer is too large." },
  ["12"] = { "404", "not_found", "There is nothing at this path." },
  ["14"] = { "503", "unavailable", "The service does not answer; try again in a moment." },
}
local OTHERWISE = { "500", "internal", "Something went wrong on our side; the answer's X-Request-ID names this request." }

local function decode(text)
  return (text:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

local ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

local function quote(text)
  return '"' .. text:gsub('[%c"\\]', function(char)
    return ESCAPES[char] or string.format("\\u%04x", char:byte())
  end) .. '"'
end

-- Family A's document, and family B's.
local function document_a(code, message, rejected)
  local tail = rejected and ',"rejected":' .. rejected or ""
  return '{"error":{"code":' .. quote(code) .. ',"message":' .. quote(message) .. tail .. "}}"
end

local DOCUMENTS = { A = document_a }

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

function envoy_on_request(handle)
  local headers = handle:headers()
  local path = headers:get(":path")
  -- A string field that is not UTF-8 fails in the server's decoder, where nobody can say which parameter it was.
  if path:find("%%[89a-fA-F]") or path:find("[\128-\255]") then
    if not is_utf8(decode(path)) then
      handle:respond({ [":status"] = "400" }, "not UTF-8")
    end
  end
  if headers:get(":method") == "POST" then
    local announced = tonumber(headers:get("content-length"))
    if not announced or announced > BODY_BYTES_MAX then
      local body = handle:body()  -- waits for the whole of it
      if body and body:length() > BODY_BYTES_MAX then
        handle:respond({ [":status"] = "413" }, "too large")
      end
    end
  end
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local status = headers:get("grpc-status")
  if status == nil or status == "0" then return end

  local known = BY_GRPC_STATUS[status] or OTHERWISE
  local http_status, code, message = known[1], known[2], known[3]
  local rejected = nil
  local reason = headers:get("footfall-reason")
  if reason then
    http_status = headers:get("footfall-status") or http_status
    code = reason:lower()
    message = decode(headers:get("footfall-message") or "")
    rejected = headers:get("footfall-rejected")
    rejected = rejected and decode(rejected)
  end
  local family = handle:metadata():get("family")
  local document = (DOCUMENTS[family] or document_a)(code, message, rejected)

  headers:replace(":status", http_status)
  headers:replace("content-type", "application/json")
  headers:remove("content-length")
  local body = handle:body(true)  -- yields: `headers` is no longer valid after this
  -- None where the server had already sent metadata; it does not, on a failure.
  if body then body:setBytes(document) end
end
