-- Chooses the route of a path with repeated slashes by the path without: so a
-- rule for /admin holds for //admin, which many backends take for the same. The
-- backend sees the one or the other, as the route says, or else the gateway
-- (slashes-keep.lua).

function envoy_on_request(handle)
  local headers = handle:headers()
  local sent = headers:get(":path")
  local path, query = sent:match("^([^?]*)(.*)$")
  local merged = path:gsub("//+", "/")
  if merged == path then
    return
  end
  headers:replace(":path", merged .. query)
  handle:clearRouteCache()
  -- Asking for the metadata finds the route. It stays when the path changes.
  local choice = handle:metadata():get("repeatedSlashes") or gateway
  if choice == "Keep" then
    headers:replace(":path", sent)
  end
end
