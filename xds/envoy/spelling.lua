-- Gives the host of a request its one spelling (lower case, no port, no
-- trailing dot) if no host is served under the one that was sent, and refuses
-- what is not a host: two Host headers arrive here joined by a comma.

local header = "x-fairway-host"

-- nameOf is sent without its port, or nil if it is no host.
local function nameOf(sent)
  local name = sent:match("^([^%[%]:,@]*)$") or sent:match("^([^%[%]:,@]*):%d*$")
  return name or sent:match("^(%[[%x:.]+%])$") or sent:match("^(%[[%x:.]+%]):%d*$")
end

function envoy_on_request(handle)
  if handle:streamInfo():routeName() ~= "" then
    return
  end
  local headers = handle:headers()
  local sent = headers:get(header) or ""
  local name = nameOf(sent)
  if not name then
    handle:respond({[":status"] = "400"}, "The Host header is not a host.\n")
    return
  end
  name = name:lower():gsub("%.$", "")
  if name ~= sent then
    headers:replace(header, name)
    handle:clearRouteCache()
  end
end
