package policy_test

import (
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairwaynet/fairway/proxy/policy"
)

// A Problem names the field, so that its line can be found.
func TestProblemsNameTheirField(t *testing.T) {
	np := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}}
	np.Spec.PodSelector.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: "app", Operator: "Like"}}
	np.Spec.Egress = []networkingv1.NetworkPolicyEgressRule{{To: []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: "::1::"}}}}}
	_, problems := policy.Parse(np)
	if len(problems) != 2 || problems[0].Field != "spec.podSelector" || problems[1].Field != "spec.egress[0].to[0].ipBlock.cidr" ||
		problems[1].Message != `"::1::" is no network such as 10.1.0.0/16` {
		t.Errorf("problems are %q", problems)
	}
}
