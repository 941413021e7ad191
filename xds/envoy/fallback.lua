-- Finds the routes of a request whose host is not served by its full name: as
-- a wildcard over its first label, then as the default host. Scopes match the
-- header x-fairway-host exactly, so each try writes it and looks again.

local header = "x-fairway-host"

local function try(handle, host)
  handle:headers():replace(header, host)
  handle:clearRouteCache()
end

function envoy_on_request(handle)
  if handle:streamInfo():routeName() ~= "" then
    return
  end
  local host = handle:headers():get(header) or ""
  local parent = host:match("^[^.]+%.(.+)$")
  if parent then
    try(handle, "* " .. parent)
    -- A route that nothing has asked for has no name. Asking for its metadata
    -- finds it, once in the life of a script: a second call is answered from
    -- memory, which is why the spelling of the host is a filter of its own.
    handle:metadata()
    if handle:streamInfo():routeName() ~= "" then
      return
    end
  end
  try(handle, "*")
end
