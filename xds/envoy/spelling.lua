-- Gives the host of a request its one spelling (lower case, no port, no
-- trailing dot) if no host is served under the one that was sent.

local header = "x-fairway-host"

function envoy_on_request(handle)
  if handle:streamInfo():routeName() ~= "" then
    return
  end
  local headers = handle:headers()
  local sent = headers:get(header) or ""
  local host = sent:lower():gsub("^([^%[%]]*):%d*$", "%1"):gsub("%.$", "")
  if host ~= sent then
    headers:replace(header, host)
    handle:clearRouteCache()
  end
end
