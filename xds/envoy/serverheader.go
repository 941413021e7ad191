package envoy

import (
	"slices"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	headermutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	managerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/fairwaynet/fairway/xds/route"
)

// serverName is the gateway's name in the Server header. It has no version,
// because strangers need not know which faults the gateway may have.
const serverName = "fairway"

// anonymityFilter removes the Server header of backends.
const anonymityFilter = "fairway.anonymity"

// sign sets the Server header of responses, and of the gateway's own answers.
func sign(m *managerv3.HttpConnectionManager, s route.Settings) {
	m.ServerName = serverName
	switch s.ServerHeader {
	case route.ServerHeaderPassThrough:
		m.ServerHeaderTransformation = managerv3.HttpConnectionManager_PASS_THROUGH
	case route.ServerHeaderRemove:
		m.ServerHeaderTransformation = managerv3.HttpConnectionManager_PASS_THROUGH
		m.HttpFilters = slices.Insert(m.GetHttpFilters(), 0, filter(anonymityFilter, &headermutationv3.HeaderMutation{
			Mutations: &headermutationv3.Mutations{ResponseMutations: []*mutationv3.HeaderMutation{remove("server")}},
		}))
	default:
		m.ServerHeaderTransformation = managerv3.HttpConnectionManager_APPEND_IF_ABSENT
	}
}
