-- Stands before slashes.lua in a gateway that keeps repeated slashes.
gateway = "Keep"

