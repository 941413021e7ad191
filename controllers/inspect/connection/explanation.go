package connection

import (
	"net/netip"

	"github.com/fairwaynet/fairway/controllers/inspect/check"
)

// Explanation is what becomes of a connection. docs/explain.md documents its JSON, which does not change
// while Version is 1.
type Explanation struct {
	Version  int    `json:"version"`
	From     Pod    `json:"from"`
	To       string `json:"to"` // as it was asked
	Protocol string `json:"protocol"`
	Port     uint16 `json:"port"`
	// Service is whose address or name it is; nil: no Service's.
	Service *Service `json:"service,omitempty"`
	// Endpoints are where the connection can end.
	Endpoints []Endpoint `json:"endpoints"`
	End       End        `json:"end"`
	Summary   string     `json:"summary"`
	// Unknown lists what objects do not say.
	Unknown  []string        `json:"unknown,omitempty"`
	Problems []check.Finding `json:"problems"` // of the policies that isolate one of the pods, and those of the cluster that were asked
}

// Pod is one end of a connection.
type Pod struct {
	Namespace string       `json:"namespace"`
	Name      string       `json:"name"`
	Node      string       `json:"node,omitempty"`
	Addresses []netip.Addr `json:"addresses"`
}

// Service is what leads connections to others.
type Service struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Headless  bool   `json:"headless,omitempty"` // it has no address: clients connect to its endpoints
}

// Endpoint is where a connection can end.
type Endpoint struct {
	Address netip.AddrPort `json:"address"`
	Pod     string         `json:"pod,omitempty"` // "shop/web"; empty: no pod's address
	Allowed bool           `json:"allowed"`
	// Egress is what the sender's policies say, Ingress what the receiver's.
	Egress  Verdict `json:"egress"`
	Ingress Verdict `json:"ingress"`
}

// Verdict is what the policies of one end say.
type Verdict struct {
	Allowed bool `json:"allowed"`
	// By is the policy that allows it: "shop/web", or "guard" if it is one of the cluster; empty: none needs to.
	By string `json:"by,omitempty"`
	// Policies isolate the pod, and none of their rules allows it.
	Policies []string `json:"policies,omitempty"`
	// Cluster are the rules of ClusterNetworkPolicies that match, in the order in which they are asked. One that
	// accepts or denies decides.
	Cluster []ClusterRule `json:"cluster,omitempty"`
	// Why is for people.
	Why string `json:"why"`
}

// ClusterRule is a rule of a ClusterNetworkPolicy.
type ClusterRule struct {
	Policy string `json:"policy"`
	Tier   string `json:"tier"`           // Admin or Baseline
	Field  string `json:"field"`          // of the rule in the policy: "spec.ingress[0]"
	Rule   string `json:"rule,omitempty"` // its name, if it has one
	Action string `json:"action"`         // Accept, Deny or Pass
}

// End is what becomes of a connection.
type End string

// The ends.
const (
	Allowed    End = "Allowed"    // to wherever it leads
	Denied     End = "Denied"     // wherever it leads
	Partly     End = "Partly"     // allowed to some endpoints
	NoPort     End = "NoPort"     // the Service has none of that number
	NoEndpoint End = "NoEndpoint" // that a connection of the sender could lead to
)
