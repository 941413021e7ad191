-- Takes from a request who its client is, unless its host asked for that: a
-- connection over which a client has shown its certificate for one host may
-- carry requests for others, whose backends shall not learn of it.

local header = "x-fairway-client"
local identity = "x-forwarded-client-cert"

function envoy_on_request(handle)
  handle:metadata() -- finds the route, if nothing has yet
  local asked = handle:virtualHost():metadata():get("policy")
  if asked == nil or asked ~= handle:headers():get(header) then
    handle:headers():remove(identity)
  end
end
