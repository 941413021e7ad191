-- Finds the virtual host of a request whose host is none that is served by its
-- full name as it was sent: in lower case, then as a wildcard over its first
-- label, then the default host. Scopes match the header x-fairway-host exactly,
-- so each try writes it and looks for the route again.

local header = "x-fairway-host"

-- A route must be asked for before its name is known: metadata() does that.
local function found(handle)
  handle:metadata()
  return handle:streamInfo():routeName() ~= ""
end

local function try(handle, host)
  handle:headers():replace(header, host)
  handle:clearRouteCache()
  return found(handle)
end

function envoy_on_request(handle)
  if found(handle) then
    return
  end
  local sent = handle:headers():get(header) or ""
  local host = sent:lower():gsub("^([^%[%]]*):%d*$", "%1"):gsub("%.$", "")
  if host ~= sent and host ~= "" and try(handle, host) then
    return
  end
  local parent = host:match("^[^.]+%.(.+)$")
  if parent and try(handle, "*." .. parent) then
    return
  end
  try(handle, "*")
end
