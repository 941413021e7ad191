package ingressstatus

import (
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
)

// The cases of docs/status.md.
func TestWhatBecomesOfAnAddress(t *testing.T) {
	one := []networkingv1.IngressLoadBalancerIngress{{IP: "192.0.2.1"}}
	other := []networkingv1.IngressLoadBalancerIngress{{Hostname: "gateway.example"}}
	for _, test := range []struct {
		name string
		in   facts
		want action
	}{
		{"a new one waits until it is served", facts{ours: true, wanted: one}, await},
		{"one that has it keeps it, whatever is served", facts{ours: true, owned: true, current: one, wanted: one}, leave},
		{"the addresses are others: at once, for it was given", facts{ours: true, owned: true, current: one, wanted: other}, give},
		{"it has moved to another gateway, which has yet to serve it", facts{ours: true, owned: true, moved: true, current: one, wanted: other}, await},
		{"the Service has lost its addresses", facts{ours: true, owned: true, current: one}, leave},
		{"the Service has none yet", facts{ours: true}, leave},
		{"what another controller left there is no promise of ours", facts{ours: true, current: one, wanted: one}, await},
		{"it is being deleted", facts{ours: true, leaving: true, wanted: one}, leave},
		{"another controller's, which we never touched", facts{foreign: true, current: one, wanted: other}, leave},
		{"another controller's, and was ours", facts{foreign: true, owned: true, current: one, wanted: one}, withdraw},
		{"its class is gone, and may be back", facts{owned: true, current: one, wanted: one}, leave},
		{"without addresses to give, another's is still given up", facts{foreign: true, owned: true, current: one}, withdraw},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := next(test.in); got != test.want {
				t.Errorf("next = %d, want %d", got, test.want)
			}
		})
	}
}
